#!/bin/sh
# Makes include/nixl_store.h from src/capi, or with --check says whether it is up to date.
set -eu
cd "$(dirname "$0")/.."

# Another version formats differently, and the header would change without a reason.
wanted=0.29.4
header=include/nixl_store.h

if ! found=$(cbindgen --version 2>/dev/null) || [ "$found" != "cbindgen $wanted" ]; then
    echo "cbindgen $wanted is needed, found: ${found:-none}" >&2
    echo "install it with: cargo install cbindgen --version $wanted --locked" >&2
    exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fresh=$work/nixl_store.h
cbindgen --quiet --config cbindgen.toml --output "$work/generated.h"
# Bytes count, whichever awk and locale this is.
LC_ALL=C awk -f scripts/header.awk "$work/generated.h" >"$fresh"

if [ "${1:-}" = --check ]; then
    if ! diff -u "$header" "$fresh"; then
        echo "$header is not what src/capi says; run scripts/header.sh" >&2
        exit 1
    fi
    echo "$header is up to date"
else
    mkdir -p include
    cp "$fresh" "$header"
    chmod 644 "$header"
    echo "$header written"
fi
