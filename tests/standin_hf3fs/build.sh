#!/bin/sh
# Builds the stand-in: build.sh OUTDIR makes OUTDIR/libhf3fs_api_shared.so, and OUTDIR/standin_hf3fs_replay, which plays
# a journal. CC and CFLAGS (as -fsanitize=address) are honoured.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh OUTDIR}
mkdir -p "$out"
made=$(mktemp -d "$out/made.XXXXXX")
trap 'rm -rf "$made"' EXIT

flags="-std=c11 -D_GNU_SOURCE -O2 -g -pthread -Wall -Wextra -Werror -Wpedantic ${CFLAGS:-}"
sources=
for source in rules counts settings faults mount fds iov ring_make ring ring_api daemon transfer journal; do
    sources="$sources $here/$source.c"
done

# Its threads may outlive a dlclose, so it stays loaded. It has no soname, as the genuine one.
# shellcheck disable=SC2086 # flags and sources are words
"${CC:-cc}" $flags -fPIC -fvisibility=hidden -shared -Wl,-z,nodelete $sources -o "$made/libhf3fs_api_shared.so"
# shellcheck disable=SC2086
"${CC:-cc}" $flags -fvisibility=hidden "$here/replay.c" "$here/rules.c" "$here/journal.c" -o "$made/standin_hf3fs_replay"
mv "$made/libhf3fs_api_shared.so" "$made/standin_hf3fs_replay" "$out/"
