#!/usr/bin/env bash
# Compares what the CUDA kernels compute with the library's checksums and with plain copies: their source, compiled as
# C++, and the checked-in PTX, interpreted. Needs a C++ compiler and python3, no GPU and no CUDA. CXX names the
# compiler, CXXFLAGS what it is told besides.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

CXX=${CXX:-c++}
out=build/cuda-kernels
tests=tests/cuda_kernels
# Each part takes some seconds on an idle machine.
SECONDS_MAX=600
read -r -a extra <<<"${CXXFLAGS:-}"
flags=(-std=c++17 -O2 -g -Wall -Wextra -Wpedantic -Werror "${extra[@]}")

for tool in "$CXX" python3; do
    command -v "$tool" >/dev/null || { echo "check-cuda-kernels: $tool was not found" >&2; exit 1; }
done
mkdir -p "$out"
objects=()
for file in "$tests"/*.cpp; do
    object=$out/$(basename "$file" .cpp).o
    "$CXX" "${flags[@]}" -c -o "$object" "$file"
    objects+=("$object")
done
"$CXX" "${flags[@]}" -x c++ -include "$tests/shim.h" -c -o "$out/kernels.o" src/cuda/kernels/kernels.cu
"$CXX" "${flags[@]}" -o "$out/check" "${objects[@]}" "$out/kernels.o"
timeout "$SECONDS_MAX" "$out/check" "$tests/sums.tsv"
PYTHONDONTWRITEBYTECODE=1 timeout "$SECONDS_MAX" python3 "$tests/check_ptx.py"
