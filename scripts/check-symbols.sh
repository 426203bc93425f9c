#!/bin/sh
# Says whether a built libnixl_store.so exports what the header declares and nothing else, carries its soname, and
# needs no library but those of the C runtime. With a second argument also whether the static library that is installed
# has the same global symbols and no other.
set -eu
library=${1:?usage: check-symbols.sh <libnixl_store.so> [<libnixl_store.a>]}
static=${2:-}
header=$(dirname "$0")/../include/nixl_store.h

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Comments name functions too, so they go first.
sed 's|/\*.*\*/||; /\/\*/,/\*\//d' "$header" | grep -oE '\bnixl_store_[a-z_]+\(' | tr -d '(' | sort -u >"$work/declared"

# same_as_declared <file of names> <what they are> <where to look when they are not>
same_as_declared() {
    if diff -u "$work/declared" "$1"; then
        echo "$2: the $(wc -l <"$work/declared") functions of the header"
    else
        echo "$2 differ from the header (-: declared, +: found); see $3" >&2
        failed=1
    fi
}

nm -D --defined-only "$library" | awk '{ print $NF }' | sort -u >"$work/exported"
same_as_declared "$work/exported" exports src/capi/exports.rs
if [ -n "$static" ]; then
    # Lines of three fields are symbols; others name the members.
    nm -g --defined-only "$static" | awk 'NF == 3 { print $3 }' | sort -u >"$work/global"
    same_as_declared "$work/global" "global symbols of the static library" cmake/NixlStoreStatic.cmake
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
