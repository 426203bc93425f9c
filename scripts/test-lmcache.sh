#!/usr/bin/env bash
# `make test-lmcache`: LMCache's own adapter interface is driven over the Python package, then SOAK_MINUTES (half a minute) of
# random work by eight threads over each of the two adapters. Needs an environment with LMCache in it: `make bench-peers` or
# `make demo-lmcache` makes one in build/peers, BENCH_PEERS names another.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${BENCH_PEERS:-build/peers}/bin/python
out=build/python
SOAK_MINUTES=${SOAK_MINUTES:-0.5}

"$python" -c 'import lmcache' 2>/dev/null || {
    echo "test-lmcache: $python has no LMCache; make demo-lmcache or make bench-peers installs it" >&2
    exit 1
}
python=$(cd "$(dirname "$python")" && pwd)/python
bash scripts/python-wheel.sh "$out/wheels"
rm -rf "$out/site"
mkdir -p "$out/site" "$out/data"
python3 -m zipfile -e "$out"/wheels/nixl_store-*.whl "$out/site"
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$PWD/$out/site NIXL_STORE_TEST_DIR=$PWD/$out/data LMCACHE_LOG_LEVEL=ERROR
cd python
"$python" -W ignore -m unittest discover -t . -s tests -p 'test_lmcache_*.py'
for options in '' --dynamic --adapter '--adapter --dynamic'; do
    echo "== Eight threads at random, $SOAK_MINUTES minutes $options"
    # shellcheck disable=SC2086
    "$python" -W ignore -m tests.soak --minutes "$SOAK_MINUTES" $options --dir "$NIXL_STORE_TEST_DIR"
done
echo "test-lmcache: LMCache's adapter interface works over both adapters"
