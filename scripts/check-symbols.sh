#!/bin/sh
# Says whether a built libnixl_store.so exports what the header declares and nothing else, carries its soname, and
# needs no library but those of the C runtime.
set -eu
library=${1:?usage: check-symbols.sh <libnixl_store.so>}
header=$(dirname "$0")/../include/nixl_store.h

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Comments name functions too, so they go first.
sed 's|/\*.*\*/||; /\/\*/,/\*\//d' "$header" | grep -oE '\bnixl_store_[a-z_]+\(' | tr -d '(' | sort -u >"$work/declared"
nm -D --defined-only "$library" | awk '{ print $NF }' | sort -u >"$work/exported"
if diff -u "$work/declared" "$work/exported"; then
    echo "exports: the $(wc -l <"$work/declared") functions of the header"
else
    echo "exports differ from the header (-: declared, +: exported)" >&2
    failed=1
fi

dynamic=$(readelf -dW "$library")
abi=$(sed -n 's/^#define NIXL_STORE_ABI_VERSION \([0-9]*\)$/\1/p' "$header")
soname=$(printf '%s\n' "$dynamic" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
if [ "$soname" = "libnixl_store.so.$abi" ]; then
    echo "soname: $soname"
else
    echo "soname is '$soname', not libnixl_store.so.$abi" >&2
    failed=1
fi

for needed in $(printf '%s\n' "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    case $needed in
    libc.so.* | libm.so.* | libgcc_s.so.* | ld-linux*.so.*) echo "needs: $needed" ;;
    *)
        echo "needs $needed, which is not of the C runtime" >&2
        failed=1
        ;;
    esac
done
exit $failed
