#!/bin/sh
# The stand-in's own test: self_test.sh OUTDIR builds the stand-in and the test there and runs it. CFLAGS may name a
# sanitizer. With LIBCUDA=FOLDER the same tests run over the libcuda.so.1 there, a real one for instance, as far as
# they ask the driver alone.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: self_test.sh OUTDIR}
mkdir -p "$out"

# shellcheck disable=SC2086 # flags are words
"${CC:-cc}" -std=c11 -O1 -g -Wall -Wextra -Wpedantic ${CFLAGS:-} "$here"/self_test/*.c -o "$out/self_test" \
    -pthread -ldl
if [ -z "${LIBCUDA:-}" ]; then
    "$here/build.sh" "$out/plain" "$here/self_test"
    LD_LIBRARY_PATH=$out/plain "$out/self_test" launches_without_kernels
    "$here/build.sh" "$out" "$here/self_test/kernels"
    LIBCUDA=$out
fi
# Freed memory that AddressSanitizer keeps would pass for a leak.
export ASAN_OPTIONS="quarantine_size_mb=4:${ASAN_OPTIONS:-}"
LD_LIBRARY_PATH=$LIBCUDA${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$out/self_test"
