#!/usr/bin/env bash
# Builds the wheel of the Python package: python-wheel.sh FOLDER. One for every CPython from 3.9 on. The folder then has no other
# wheel of the package's.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:?usage: python-wheel.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
PATH=$PWD/.venv/bin:$PATH
command -v maturin >/dev/null ||
    { echo "python-wheel: maturin is missing; make setup installs it" >&2; exit 1; }
rm -f "$folder"/nixl_store-*.whl
cd python
maturin build --quiet --release --locked --out "$folder"
ls "$folder"/nixl_store-*.whl
