#!/usr/bin/env bash
# `make check-lmcache`: LMCache itself and this library read each other's chunks in a bucket of a real S3 server. Needs what
# `make bench-peers` installs (7 GB), which is why it is no part of `make test`; there LMCache's names are held to its own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO=${CARGO:-cargo}
peers=${BENCH_PEERS:-build/peers}
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release

fail() { echo "check-lmcache: $*" >&2; exit 1; }

for program in python weed; do
    [ -x "$peers/bin/$program" ] || fail "$peers/bin/$program is not there; make bench-peers installs it"
done
"$CARGO" build --release --lib --locked

folder=$(mktemp -d)
server_pid=
finish() {
    # The server ends with its standard input.
    exec 3>&- || true
    [ -z "$server_pid" ] || wait "$server_pid" || true
    rm -rf "$folder"
}
trap finish EXIT
mkdir "$folder/data"
mkfifo "$folder/stop"
python3 scripts/s3_server.py seaweedfs --program "$peers/bin/weed" --directory "$folder/data" \
    <"$folder/stop" >"$folder/server.json" &
server_pid=$!
exec 3>"$folder/stop"
# s3_server.py gives up by itself after a minute.
until [ -s "$folder/server.json" ]; do
    kill -0 "$server_pid" 2>/dev/null || fail "the server did not start"
    sleep 0.1
done

LMCACHE_LOG_LEVEL=ERROR PYTHONDONTWRITEBYTECODE=1 "$peers/bin/python" tests/interchange/lmcache_bucket.py \
    "$release_dir/libnixl_store.so" <"$folder/server.json"
echo "check-lmcache: LMCache and this library read each other's chunks"
