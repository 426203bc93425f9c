#!/usr/bin/env bash
# `make test-python`: builds the wheel of the Python package and runs its tests with every CPython from 3.9 on that is there.
# NIXL_STORE_PYTHONS names others, as a list of programs. Ends with ten seconds of random work by eight threads.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO=${CARGO:-cargo}
release_dir=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
out=build/python
SOAK_MINUTES=${SOAK_MINUTES:-0.17}

fail() { echo "test-python: $*" >&2; exit 1; }

bash scripts/python-wheel.sh "$out/wheels"
wheel=$(ls "$out"/wheels/nixl_store-*-cp39-abi3-*.whl)
[ "$(wc -l <<<"$wheel")" = 1 ] || fail "there is more than one wheel: $wheel"

# Its calls of the library must reach its own copy, and its signal handler must stay.
flags=$(readelf -dW "$release_dir/libnixl_store_python.so")
grep -q SYMBOLIC <<<"$flags" && grep -q NODELETE <<<"$flags" ||
    fail "the extension module was linked without -Bsymbolic or -z nodelete; see python/build.rs"

# Unpacked once and used by all: a wheel of the stable interface is the same for each of them.
rm -rf "$out/site"
mkdir -p "$out/site" "$out/data"
python3 -m zipfile -e "$wheel" "$out/site"

candidates=(${NIXL_STORE_PYTHONS:-python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 python3})
if [ -z "${NIXL_STORE_PYTHONS:-}" ]; then
    # pyenv's are only on PATH one at a time.
    for program in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        [ -x "$program" ] && candidates+=("$program")
    done
fi
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$PWD/$out/site NIXL_STORE_TEST_DIR=$PWD/$out/data
tested=
for program in "${candidates[@]}"; do
    version=$("$program" -c 'import sys
print("%d.%d" % sys.version_info[:2] if sys.implementation.name == "cpython" and sys.version_info >= (3, 9) else "")' \
        2>/dev/null) || continue
    case " $tested " in *" $version "*) continue ;; esac
    [ -n "$version" ] || continue
    echo "== Python $version"
    # Other backends are the library's matter: once is enough.
    pattern='test_[!b]*.py'
    [ -n "$tested" ] || pattern='test_*.py'
    tested="$tested $version"
    (cd python && python3 ../scripts/watch-test.py 300 "$program" -W error::ResourceWarning \
        -m unittest discover -t . -s tests -p "$pattern")
done
[ -n "$tested" ] || fail "no CPython of 3.9 or newer was found"
echo "== Eight threads at random"
(cd python && python3 -m tests.soak --minutes "$SOAK_MINUTES" --dir "$NIXL_STORE_TEST_DIR")
echo "test-python: the package works with Python$tested"
