#!/usr/bin/env bash
# In place of the C compiler that rustc links with: links the same objects with each linker, to
# $LINKS_DIR/<linker>/libnixl_store.so, and does as it was told last. Where a linker is not there, a file `why` says so.
set -euo pipefail
: "${LINK_CC:?}" "${LINKS_DIR:?}"

# What rustc chose, and where the result is to go, are for each link to say.
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    -fuse-ld=*) ;;
    -B*gcc-ld) ;;
    -o) output=$2; shift ;;
    *) arguments+=("$1") ;;
    esac
    shift
done

# link NAME OPTION...
link() {
    local name=$1
    shift
    mkdir -p "$LINKS_DIR/$name"
    if ! version=$("$LINK_CC" "$@" -Wl,--version 2>&1); then
        head -n 1 <<<"$version" >"$LINKS_DIR/$name/why"
        return 0
    fi
    "$LINK_CC" "${arguments[@]}" "$@" -o "$LINKS_DIR/$name/libnixl_store.so"
    cp "$LINKS_DIR/$name/libnixl_store.so" "${output:?}"
}

rustlib=$(rustc --print target-libdir)/../bin/gcc-ld
link bfd -fuse-ld=bfd
link lld -fuse-ld=lld
if [ -x "$rustlib/ld.lld" ]; then
    link rust-lld -fuse-ld=lld "-B$rustlib"
else
    mkdir -p "$LINKS_DIR/rust-lld"
    echo "this Rust brings none" >"$LINKS_DIR/rust-lld/why"
fi
