#!/usr/bin/env bash
# Checks one way in which a project comes by nixl_store. Run by ctest, which says in the environment where the
# installed copy, the build tree and the tools are.
#
#   check.sh CASE WORK_DIR
set -euo pipefail

case_name=$1
work=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${CMAKE:?}" "${CC:?}" "${GENERATOR:?}" "${STAGE:?}" "${BUILD_TREE:?}" "${VERSION:?}" "${SONAME:?}" "${CARGO:?}"
rm -rf "$work"
mkdir -p "$work"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# configure DIR [ARGUMENT...]: configures the consumer; build_consumer DIR: builds it.
configure() {
    local dir=$1
    shift
    "$CMAKE" -S "$here" -B "$dir" -G "$GENERATOR" -DCMAKE_C_COMPILER="$CC" "$@" >"$work/configure.log" 2>&1
}
must_configure() {
    configure "$@" || { cat "$work/configure.log" >&2; fail "the consumer does not configure"; }
}
build_consumer() {
    "$CMAKE" --build "$1" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "the consumer does not build"; }
}

needed() { readelf -d "$1" | grep NEEDED; }

# The shared one must ask the loader for the soname, the static one must not ask for the library at all.
check_shared() {
    "$1" "$VERSION"
    needed "$1" | grep -qF "[$SONAME]" || fail "$1 does not need $SONAME"
}
check_static() {
    "$1" "$VERSION"
    if needed "$1" | grep -q nixl_store; then fail "$1 needs the shared library"; fi
}

find_package() {
    must_configure "$work/build" -DCMAKE_PREFIX_PATH="$STAGE"
    build_consumer "$work/build"
    check_shared "$work/build/consumer_shared"
    check_static "$work/build/consumer_static"
}

build_tree() {
    must_configure "$work/build" -Dnixl_store_DIR="$BUILD_TREE"
    build_consumer "$work/build"
    check_shared "$work/build/consumer_shared"
    check_static "$work/build/consumer_static"
}

# As with add_subdirectory or FetchContent.
subproject() {
    must_configure "$work/build" -DSUBPROJECT="$root" -DNIXL_STORE_CARGO="$CARGO"
    build_consumer "$work/build"
    check_shared "$work/build/consumer_shared"
    check_static "$work/build/consumer_static"
    if "$CMAKE" --install "$work/build" --prefix "$work/prefix" >/dev/null 2>&1 && [ -e "$work/prefix/include" ]; then
        fail "a subproject installs itself with its parent"
    fi
}

# Nothing in an installation may know where it was made: it is copied away, and the place it came from is not used.
moved_prefix() {
    local moved="$work/moved away/prefix"
    mkdir -p "$moved"
    cp -a "$STAGE/." "$moved"
    if grep -rIlF -e "$STAGE" -e "$root" "$moved"; then fail "these files name the place where they were made"; fi
    must_configure "$work/build" -DCMAKE_PREFIX_PATH="$moved"
    build_consumer "$work/build"
    check_shared "$work/build/consumer_shared"
    check_static "$work/build/consumer_static"
    # pkg-config quotes the space for a shell, so one reads its answer.
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$moved" -name nixl_store.pc)")
    eval "$CC -o '$work/consumer' '$here/consumer.c' $(pkg-config --cflags --libs nixl_store)"
    LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH") check_shared "$work/consumer"
}

pkg_config() {
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$STAGE" -name nixl_store.pc)")
    [ "$(pkg-config --modversion nixl_store)" = "$VERSION" ] || fail "the version is not $VERSION"
    local cflags libs static_libs static_all
    cflags=$(pkg-config --cflags nixl_store)
    libs=$(pkg-config --libs nixl_store)
    static_libs=$(pkg-config --variable=static_libs nixl_store)
    static_all=$(pkg-config --static --libs nixl_store)
    # shellcheck disable=SC2086 # flags are to be split
    {
        "$CC" -o "$work/shared" "$here/consumer.c" $cflags $libs
        "$CC" -o "$work/static" "$here/consumer.c" $cflags $static_libs
        # The other usual way: -static asks for what the static library needs, -Bstatic takes it.
        "$CC" -o "$work/static_too" "$here/consumer.c" $cflags ${static_all/-lnixl_store/-Wl,-Bstatic -lnixl_store -Wl,-Bdynamic}
    }
    LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH") check_shared "$work/shared"
    check_static "$work/static"
    check_static "$work/static_too"
}

version_refused() {
    must_configure "$work/same" -DCMAKE_PREFIX_PATH="$STAGE" -DREQUESTED_VERSION="${VERSION%.*}"
    if configure "$work/newer" -DCMAKE_PREFIX_PATH="$STAGE" -DREQUESTED_VERSION="${VERSION%%.*}.999"; then
        fail "a version that does not exist yet was found"
    fi
    grep -qF "$VERSION" "$work/configure.log" || fail "the refusal does not name the version that is there"
}

# Systems package the two libraries apart: what is there is offered, what is asked for and missing is named.
one_library_missing() {
    local prefix="$work/prefix"
    cp -a "$STAGE" "$prefix"
    find "$prefix" -name 'libnixl_store.a' -delete
    must_configure "$work/shared" -DCMAKE_PREFIX_PATH="$prefix" -DCOMPONENTS=shared
    build_consumer "$work/shared"
    check_shared "$work/shared/consumer_shared"
    if configure "$work/static" -DCMAKE_PREFIX_PATH="$prefix" -DCOMPONENTS=static; then
        fail "a static library that is not there was found"
    fi
    grep -q "component static is not in" "$work/configure.log" || fail "the refusal does not name the component"
    find "$prefix" -name 'libnixl_store.so*' -delete
    # Without any library there is nothing to find, whatever is asked for.
    if configure "$work/none" -DCMAKE_PREFIX_PATH="$prefix"; then fail "a package without any library was found"; fi
}

soname() {
    local library
    library=$(find "$STAGE" -name "libnixl_store.so.$VERSION")
    [ -f "$library" ] && [ ! -L "$library" ] || fail "libnixl_store.so.$VERSION is no file"
    readelf -d "$library" | grep SONAME | grep -qF "[$SONAME]" || fail "the soname is not $SONAME"
    cd "$(dirname "$library")"
    [ "$(readlink "$SONAME")" = "libnixl_store.so.$VERSION" ] || fail "$SONAME does not lead to the library"
    [ "$(readlink libnixl_store.so)" = "$SONAME" ] || fail "libnixl_store.so does not lead to $SONAME"
}

"$case_name"
echo "package: $case_name holds"
