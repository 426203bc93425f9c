#!/usr/bin/env bash
# Compiles the CUDA kernels as C++ and compares what they compute with the library's checksums and with plain copies.
# Needs a C++ compiler, no GPU and no CUDA. CXX names the compiler, CXXFLAGS what it is told besides.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

CXX=${CXX:-c++}
out=build/cuda-kernels
tests=tests/cuda_kernels
read -r -a extra <<<"${CXXFLAGS:-}"
flags=(-std=c++17 -O2 -g -Wall -Wextra -Wpedantic -Werror "${extra[@]}")

command -v "$CXX" >/dev/null || { echo "check-cuda-kernels: $CXX was not found" >&2; exit 1; }
mkdir -p "$out"
objects=()
for file in "$tests"/*.cpp; do
    object=$out/$(basename "$file" .cpp).o
    "$CXX" "${flags[@]}" -c -o "$object" "$file"
    objects+=("$object")
done
"$CXX" "${flags[@]}" -x c++ -include "$tests/shim.h" -c -o "$out/kernels.o" src/cuda/kernels/kernels.cu
"$CXX" "${flags[@]}" -o "$out/check" "${objects[@]}" "$out/kernels.o"
# Some seconds on an idle machine.
timeout 300 "$out/check" "$tests/sums.tsv"
