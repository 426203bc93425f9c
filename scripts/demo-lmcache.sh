#!/usr/bin/env bash
# The demonstration behind `make demo-lmcache`, for users of LMCache's server (its multi-process mode).
#
# Three parts, on nixl-store's Python package, which is built and installed for it, and on LMCache's own adapters:
# LMCache's benchmark of them all; what each serves after something went wrong; a real `lmcache server`, restarted.
# Needs Rust, python3 (3.10 to 3.13) with venv, and PyPI the first time. LMCache and NIXL go into build/peers, or
# BENCH_PEERS, which is shared with `make bench` and kept: some 7 GB, because LMCache needs torch.
#
# DEMO_DIR is a directory on the disk, of which 1 GiB is used for a while, DEMO_TMPFS one on tmpfs, of which it is
# 0.5 GiB; DEMO_TURNS is how often the benchmark is repeated; DEMO_ADAPTERS=plugin,fs_native takes only those whose
# names contain one of these words; DEMO_WHEEL is a wheel of the package that was built before; DEMO_QUICK=1 does all of
# it in about a minute, to see that it works.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

LMCACHE_VERSION=0.5.6
NIXL_VERSION=1.5.1

CARGO=${CARGO:-cargo}
peers=${BENCH_PEERS:-build/peers}
out=build/demo-lmcache
examples=examples-python/lmcache

say() { printf '\n== %s\n\n' "$*"; }
fail() { echo "demo-lmcache: $*" >&2; exit 1; }

# What runs at the moment. It is in the background, so that a signal ends it and then this.
running=''
folders=()
clean_up() {
    trap - EXIT
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true
        wait "$running" 2>/dev/null || true
    fi
    rm -rf "${folders[@]}"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run() {
    local status=0
    "$@" &
    running=$!
    wait "$running" || status=$?
    running=''
    return "$status"
}

# Runs a command that says much, showing from time to time how far it is.
with_progress() {
    local log=$1 watched=$2 started=$SECONDS shown=15 status=0
    shift 2
    "$@" >"$log" 2>&1 &
    running=$!
    while kill -0 "$running" 2>/dev/null; do
        sleep 1
        if [ $((SECONDS - started)) -ge "$shown" ]; then
            printf '   %4d s  %s\n' $((SECONDS - started)) "$(du -sh "$watched" 2>/dev/null | cut -f 1)"
            shown=$((SECONDS - started + 15))
        fi
    done
    wait "$running" || status=$?
    running=''
    [ "$status" = 0 ] || { tail -n 30 "$log" >&2; fail "failed; the whole log is in $log"; }
}

has_version() {
    "$peers/bin/python" -c 'import sys; from importlib.metadata import version
sys.exit(version(sys.argv[1]) != sys.argv[2])' "$1" "$2" 2>/dev/null
}

for tool in "$CARGO" python3; do
    command -v "$tool" >/dev/null || fail "$tool was not found"
done
[ "$(uname -m)" = x86_64 ] || fail "NIXL and LMCache have wheels for x86_64 only, this is $(uname -m)"
mkdir -p "$out"
: >"$out/bench.log" >"$out/drill.log" >"$out/serve.log"

if ! has_version lmcache "$LMCACHE_VERSION" || ! has_version nixl-cu12 "$NIXL_VERSION"; then
    say "Installing LMCache $LMCACHE_VERSION and NIXL $NIXL_VERSION from PyPI (once, 5 to 15 minutes, 7 GB in $peers)"
    [ -x "$peers/bin/python" ] || python3 -m venv "$peers" ||
        fail "python3 cannot make an environment; on Debian install python3-venv"
    # NIXL's one dependency is torch, which LMCache brings in the version that it wants.
    with_progress "$out/nixl.log" "$peers/" \
        "$peers/bin/pip" install --disable-pip-version-check --no-deps "nixl-cu12==$NIXL_VERSION"
    with_progress "$out/lmcache.log" "$peers/" \
        "$peers/bin/pip" install --disable-pip-version-check "lmcache==$LMCACHE_VERSION"
fi

if [ -n "${DEMO_WHEEL:-}" ]; then
    say "Installing nixl-store's Python package beside LMCache"
else
    say "Building nixl-store's Python package and installing it beside LMCache"
fi
# The target directory is that of every other build here, so that what is built stays built.
export CARGO
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}") with_progress "$out/package.log" target/ \
    "$peers/bin/pip" install --disable-pip-version-check --force-reinstall --no-deps "${DEMO_WHEEL:-./python}"
"$peers/bin/python" -c 'from importlib.metadata import version
for package in ("nixl-store", "lmcache", "nixl-cu12"): print(f"{package} {version(package)}")'

# Under the project, because /tmp is memory on many systems and one half of the benchmark is about a disk.
disk=$(mktemp -d "${DEMO_DIR:-$PWD/$out}/tmp.XXXXXX")
folders+=("$disk")
tmpfs=''
if [ "$(stat -f -c %T "${DEMO_TMPFS:-/dev/shm}" 2>/dev/null)" = tmpfs ]; then
    tmpfs=$(mktemp -d "${DEMO_TMPFS:-/dev/shm}/nixl-store-demo.XXXXXX")
    folders+=("$tmpfs")
fi

export DEMO_OUT=$PWD/$out
export LMCACHE_LOG_LEVEL=${LMCACHE_LOG_LEVEL:-WARNING} LMCACHE_TRACK_USAGE=false LMCACHE_DISABLE_BANNER=1
# LMCache's benchmark clears the memory that it loads into with torch, whose threads then spin for a while, in the time
# that is measured and on processors that the adapters want. All adapters are treated alike.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# Of libraries that LMCache imports, about versions of Python.
export PYTHONWARNINGS=ignore::FutureWarning PYTHONDONTWRITEBYTECODE=1

failed=0
say "LMCache's own benchmark of L2 adapters: lmcache bench l2, with verification"
# shellcheck disable=SC2086 # There may be no tmpfs.
run "$peers/bin/python" "$examples/bench.py" "$disk" $tmpfs || failed=1
say "What is served after something went wrong"
run "$peers/bin/python" "$examples/drill.py" "$disk" || failed=1
say "A real lmcache server, restarted"
run "$peers/bin/python" "$examples/serve.py" "$disk" || failed=1

echo
if [ "$failed" = 0 ]; then
    echo "  Nothing but right bytes from nixl-store. More is in $out/*.log."
else
    echo "  NOT as it should be; see above, and $out/*.log."
fi
exit "$failed"
