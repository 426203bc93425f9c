#!/usr/bin/env bash
# The benchmark behind `make bench`. Needs Rust, a C compiler and python3; what it compares with is optional and comes
# from `make bench-peers`. Builds the release library and the worker programs into build/bench/bin, then hands over to
# benches/bench.py, where the variables BENCH_* are explained. `scripts/bench.sh --build` only builds.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO=${CARGO:-cargo}
CC=${CC:-cc}
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
bin=build/bench/bin

for tool in "$CARGO" "$CC" python3; do
    command -v "$tool" >/dev/null || { echo "bench: $tool was not found; it is needed" >&2; exit 1; }
done

"$CARGO" build --release --lib --locked
mkdir -p "$bin"
# The worker asks the loader for the soname, which it finds beside itself.
cp -f "$release_dir/libnixl_store.so" "$bin/libnixl_store.so.0"
ln -sf libnixl_store.so.0 "$bin/libnixl_store.so"

flags=(-std=c11 -D_GNU_SOURCE -O3 -Wall -Wextra -Wpedantic)
"$CC" "${flags[@]}" -Iinclude benches/worker/*.c -o "$bin/worker" -L"$bin" -lnixl_store -lpthread -ldl \
    '-Wl,-rpath,$ORIGIN'
"$CC" "${flags[@]}" benches/s3_memory/*.c -o "$bin/s3_memory" -lpthread
"$CC" "${flags[@]}" -shared -fPIC benches/cufile_env.c -o "$bin/cufile_env.so" -ldl
# Stands in for 3FS's client and daemon.
CC=$CC sh tests/standin_hf3fs/build.sh "$bin/standin_hf3fs"
"$CC" "${flags[@]}" benches/load_time.c -o "$bin/load_time" -ldl

if [ "${1:-}" = --build ]; then
    echo "bench: built $bin/worker"
    exit 0
fi
exec python3 benches/bench.py "$@"
