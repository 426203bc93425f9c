#!/bin/sh
# The demonstration behind `make demo`. Needs Rust, a C compiler and nothing else.
#
# Builds the library and two C programs, runs the quickstart, then replays a request trace through a POSIX store in a
# temporary folder whose pool is smaller than the trace's working set. DEMO_SLOTS, DEMO_REQUESTS and DEMO_DIR change
# the size of the pool, the length of the trace and where the folder is made.
set -eu

cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
CC=${CC:-cc}
block_bytes=2M
slots=${DEMO_SLOTS:-1024}
requests=${DEMO_REQUESTS:-500}
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
out=build/demo

say() { printf '\n== %s\n' "$*"; }

for tool in "$CARGO" "$CC"; do
    command -v "$tool" >/dev/null || { echo "demo: $tool was not found; it is needed to build" >&2; exit 1; }
done

say "Building the library (the first time takes some minutes)"
"$CARGO" build --release --lib --locked

say "Compiling the examples"
mkdir -p "$out"
# The programs ask the loader for the soname, which they find beside them.
cp -f "$release_dir/libnixl_store.so" "$out/libnixl_store.so.0"
ln -sf libnixl_store.so.0 "$out/libnixl_store.so"
compile() {
    program=$1
    shift
    echo "$CC $program"
    "$CC" -O2 -Wall -Iinclude "$@" -o "$out/$program" -L"$out" -lnixl_store "-Wl,-rpath,\$ORIGIN"
}
compile quickstart examples-c/quickstart.c
compile trace_replay examples-c/trace_replay.c examples-c/common/*.c examples-c/replay/*.c

# Under the project, because /tmp is memory on many systems and this is about storage.
folder=$(mktemp -d "${DEMO_DIR:-$PWD/$out}/tmp.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

say "Quickstart: one chunk to storage and back"
cat >"$folder/lmcache.yaml" <<YAML
chunk_size: 256
nixl_buffer_size: 67108864
nixl_buffer_device: cpu
extra_config:
  enable_nixl_storage: true
  nixl_backend: POSIX
  nixl_pool_size: 64
  nixl_path: "$folder"
YAML
"$out/quickstart" "$folder/lmcache.yaml"

say "Replay: $requests requests of a chat service, blocks of $block_bytes, a pool of $slots blocks"
"$out/trace_replay" --trace examples-c/data/conversation_trace_500.jsonl --requests "$requests" \
    --block-bytes "$block_bytes" --pool-slots "$slots" --direct --temp-dir "$folder"
