#!/usr/bin/env bash
# Runs the stress test under AddressSanitizer. Arguments go to cargo test.
#
# The sanitizer is a nightly option of rustc; RUSTC_BOOTSTRAP lets the stable compiler take it, for this build alone.
# A sanitizer that is not on finds nothing, so that it is on is shown twice: a program with a known fault, built with
# the same flags, has to be caught, and the test binary has to announce the sanitizer's runtime.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
CARGO=${CARGO:-cargo}
target_dir=${CARGO_TARGET_DIR:-target}/asan
sanitizer_flags="-Zsanitizer=address"
host=$(rustc -vV | sed -n 's/^host: //p')

export RUSTC_BOOTSTRAP=1
fail() { echo "test-asan: $*" >&2; exit 1; }

mkdir -p "$target_dir"
rustc $sanitizer_flags --edition 2024 -o "$target_dir/asan_probe" scripts/asan_probe.rs
if caught=$("$target_dir/asan_probe" 2>&1); then fail "a read of freed memory was not caught"; fi
grep -q "AddressSanitizer: heap-use-after-free" <<<"$caught" || fail "the probe failed for another reason: $caught"

export RUSTFLAGS="$sanitizer_flags"
# --target keeps the flags away from build scripts, which run on this machine and not under test.
arguments=("$@" --target "$host" --target-dir "$target_dir" --test stress)
# All dependencies are built once more, for one short test: unoptimised in half the time.
arguments+=(--config 'profile.dev.package."*".opt-level=0' --config 'profile.dev.debug="line-tables-only"')
"$CARGO" test "${arguments[@]}" --no-run
# Built by now, so that this only names the binary.
binary=$("$CARGO" test "${arguments[@]}" --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
[ -x "$binary" ] || fail "cargo does not name the test binary"
announced=$(ASAN_OPTIONS=verbosity=1 "$binary" --list 2>&1)
grep -q "AddressSanitizer Init done" <<<"$announced" || fail "$binary was built without the sanitizer"
grep -q ": test$" <<<"$announced" || fail "there is no stress test to run"
echo "test-asan: the sanitizer is on"

"$CARGO" test "${arguments[@]}"
