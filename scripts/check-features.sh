#!/bin/sh
# Compares which features the library with its command and the Python package ask for of the crates that both are made of. Where
# they differ, cargo builds those crates and all above them twice, which is minutes of every build that has both.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# crates NAME PACKAGE...: each crate with its features, in a file.
crates() {
    file=$1
    shift
    "${CARGO:-cargo}" tree --locked "$@" --edges normal,build --prefix none --no-dedupe --format '{p}|{f}' >"$work/tree"
    sed 's/ (\*)$//' "$work/tree" | sort -u >"$work/$file"
}
crates command --package nixl_store --package nixl_store_cli
crates python --package nixl_store_python
join -t '|' "$work/command" "$work/python" | awk -F '|' '$2 != $3' >"$work/differing"
if [ -s "$work/differing" ]; then
    echo "features differ between the command and the Python package (crate|command|Python):" >&2
    cat "$work/differing" >&2
    exit 1
fi
echo "$(join -t '|' "$work/command" "$work/python" | wc -l) crates have the same features for the command and for Python"
