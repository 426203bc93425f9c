#!/usr/bin/env bash
# The benchmark behind `make bench-trace`. Needs Rust, a C compiler and Python 3.9.
#
# Builds the library and the replay program, tests the calculators that the results are compared with, then replays the
# trace with every eviction policy and several pool sizes, alone and behind a tier in memory. Results go to build/bench:
# trace.json, trace.md, and as pictures trace.svg (hits) and writes.svg (what was written for them).
#
#   BENCH_TRACE        another trace: Mooncake's JSON lines, or the compact form of benches/data
#   BENCH_DIR          where the stores are made; else build/bench/trace
#   TRACE_CHUNK_BYTES  bytes of a chunk; else 65536
#
# Arguments go to benches/trace/bench.py, for instance: --policies LRU REUSE --percents 5 10 --tier-percent 0
set -euo pipefail

cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
CC=${CC:-cc}
PYTHON=${PYTHON:-python3}
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
out=build/bench
programs=$out/trace

say() { printf '\n== %s\n' "$*"; }

for tool in "$CARGO" "$CC" "$PYTHON"; do
    command -v "$tool" >/dev/null || { echo "bench-trace: $tool was not found; install it and try again" >&2; exit 1; }
done
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    { echo "bench-trace: $PYTHON is older than Python 3.9; set PYTHON to a newer one" >&2; exit 1; }

say "Building the library and the replay program"
"$CARGO" build --release --lib --locked
mkdir -p "$programs"
# The program asks the loader for the soname, which it finds beside it.
cp -f "$release_dir/libnixl_store.so" "$programs/libnixl_store.so.0"
"$CC" -std=gnu11 -O2 -Wall -Wextra -Wpedantic -Wshadow -Iinclude benches/trace/*.c examples-c/common/samples.c \
    -o "$programs/replay" "$programs/libnixl_store.so.0" '-Wl,-rpath,$ORIGIN'

say "Testing the calculators"
"$PYTHON" -m unittest discover -s benches/trace/tests

say "Replaying"
exec "$PYTHON" benches/trace/bench.py --replay "$programs/replay" --out "$out" "$@"
