#!/bin/sh
# Builds the stand-in: build.sh OUTDIR [KERNELS] makes OUTDIR/libcuda.so.1. Kernels are the C++ files in the folder
# KERNELS, or else the library's own, compiled for a processor; without any, launches answer that there is no such kernel.
# CC, CXX and CFLAGS (as -fsanitize=address) are honoured.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh OUTDIR [KERNELS]}
kernels=${2:-}
shim=$here/../cuda_kernels
mkdir -p "$out"
objects=$(mktemp -d "$out/objects.XXXXXX")
trap 'rm -rf "$objects"' EXIT

flags="-O2 -g -fPIC -pthread -fvisibility=hidden -Wall -Wextra -Wpedantic ${CFLAGS:-}"
linker=${CC:-cc}

for source in state rules handles device context arena memory alloc pool vmm pointer stream stream_api execute event \
    capture copy ptx module per_thread refused proc testing; do
    # shellcheck disable=SC2086 # flags are words
    "${CC:-cc}" -std=c11 $flags -c "$here/$source.c" -o "$objects/$source.o"
done
# compile_kernel SOURCE FLAGS...
compile_kernel() {
    source=$1
    shift
    linker=${CXX:-c++}
    # shellcheck disable=SC2086
    "$linker" -std=c++17 $flags "$@" -c "$source" -o "$objects/kernel_$(basename "${source%.*}").o"
}
if [ -n "$kernels" ]; then
    for source in "$kernels"/*.cpp; do
        [ ! -e "$source" ] || compile_kernel "$source"
    done
else
    for source in launch memory warp; do
        compile_kernel "$shim/$source.cpp"
    done
    compile_kernel "$here/../../src/cuda/kernels/kernels.cu" -x c++ -include "$shim/shim.h"
fi

# Its threads may outlive a dlclose, so it stays loaded.
# shellcheck disable=SC2086
"$linker" -shared -pthread ${CFLAGS:-} -Wl,-soname,libcuda.so.1 -Wl,-z,nodelete "$objects"/*.o -o "$objects/libcuda.so.1"
mv "$objects/libcuda.so.1" "$out/libcuda.so.1"
