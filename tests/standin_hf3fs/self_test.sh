#!/bin/sh
# The stand-in's own test: self_test.sh OUTDIR builds the stand-in and the test there and runs it. CFLAGS may name a
# sanitizer.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: self_test.sh OUTDIR}
"$here/build.sh" "$out"
out=$(cd "$out" && pwd)

# shellcheck disable=SC2086 # flags are words
"${CC:-cc}" -std=c11 -O1 -g -pthread -Wall -Wextra -Werror -Wpedantic ${CFLAGS:-} "$here"/self_test/*.c -o "$out/self_test" \
    -L"$out" -lhf3fs_api_shared -Wl,-rpath,"$out"
# ThreadSanitizer waits a second at each process's end otherwise.
export TSAN_OPTIONS="atexit_sleep_ms=0:${TSAN_OPTIONS:-}"
REPLAY=$out/standin_hf3fs_replay "$out/self_test"
