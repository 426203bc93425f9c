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
: "${CARGO_TARGET_DIR:?}" "${OBJ:?}"
# To cargo another CC in the environment is a reason to compile anew what was compiled with it.
export -n CC
# Of the stripped shared library.
BYTES_MAX=13000000
BYTES_MAX_WITHOUT_OBJ=3500000
LOAD_SECONDS_MAX=0.010
LOADS=20
# Exit status by which ctest knows a test that was not run.
SKIPPED=77
links=$BUILD_TREE/package-links
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
    needed "$1" | grep -F "[$SONAME]" >/dev/null || fail "$1 does not need $SONAME"
}
check_static() {
    "$1" "$VERSION"
    if needed "$1" | grep nixl_store; then fail "$1 needs the shared library"; fi
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

# The C++ interface as it is installed, found by pkg-config, against the installed library.
cpp() {
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$STAGE" -name nixl_store.pc)")
    # shellcheck disable=SC2046 # flags are to be split
    TMPDIR=$work sh "$root/tests/cpp/run.sh" "$work/objects" $(pkg-config --cflags --libs nixl_store) \
        "-Wl,-rpath,$(pkg-config --variable=libdir nixl_store)"
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
    readelf -d "$library" | grep SONAME | grep -F "[$SONAME]" >/dev/null || fail "the soname is not $SONAME"
    cd "$(dirname "$library")"
    [ "$(readlink "$SONAME")" = "libnixl_store.so.$VERSION" ] || fail "$SONAME does not lead to the library"
    [ "$(readlink libnixl_store.so)" = "$SONAME" ] || fail "libnixl_store.so does not lead to $SONAME"
}

# under_limit LIBRARY BYTES_MAX
under_limit() {
    strip -o "$work/stripped" "$1"
    local bytes
    bytes=$(stat -c %s "$work/stripped")
    echo "package: $(basename "$1") has $bytes bytes stripped, at most $2 are allowed"
    [ "$bytes" -le "$2" ] || fail "$1 is too large"
}

# loads LIBRARY: in time, and with nothing but the C runtime. The best of several tries: what a busy machine adds is
# not the library's.
loads() {
    "$CC" -O2 -D_GNU_SOURCE -o "$work/load_time" "$root/benches/load_time.c" -ldl
    local best="" seconds object
    for _ in $(seq "$LOADS"); do
        "$work/load_time" "$1" >"$work/loaded"
        seconds=$(head -n 1 "$work/loaded")
        best=$(printf '%s\n' $best "$seconds" | sort -g | sed -n 1p)
    done
    echo "package: $(basename "$1") loads in $best s"
    awk -v seconds="$best" -v most="$LOAD_SECONDS_MAX" 'BEGIN { exit !(seconds < most) }' || fail "$1 loads too slowly"
    while read -r object; do
        case $(basename "$object") in
        libc.so.* | libm.so.* | libgcc_s.so.* | ld-linux* | "$(basename "$1")") ;;
        *) fail "$1 brings $object" ;;
        esac
    done < <(tail -n +2 "$work/loaded")
}

size_and_load_time() {
    local library
    library=$(find "$STAGE" -name "libnixl_store.so.$VERSION")
    under_limit "$library" "$([ "$OBJ" = ON ] && echo "$BYTES_MAX" || echo "$BYTES_MAX_WITHOUT_OBJ")"
    loads "$library"
}

# A build without OBJ is small, and says that it has none. A target directory of its own, because cargo keeps one
# libnixl_store in each.
without_obj() {
    must_configure "$work/build" -DSUBPROJECT="$root" -DNIXL_STORE_CARGO="$CARGO" -DNIXL_STORE_OBJ=OFF \
        -DNIXL_STORE_CARGO_TARGET_DIR="$CARGO_TARGET_DIR/without-obj"
    build_consumer "$work/build"
    check_shared "$work/build/consumer_shared"
    check_static "$work/build/consumer_static"
    local library
    library=$(find "$work/build" -name "libnixl_store.so.$VERSION")
    sh "$root/scripts/check-symbols.sh" "$library" "$(find "$work/build" -name libnixl_store.a)"
    under_limit "$library" "$BYTES_MAX_WITHOUT_OBJ"
    loads "$library"
    cat >"$work/obj.yaml" <<'YAML'
extra_config:
  enable_nixl_storage: true
  nixl_backend: OBJ
  nixl_pool_size: 0
  nixl_backend_params: {bucket: chunks}
YAML
    local refusal
    refusal=$("$work/build/consumer_shared" "$VERSION" "$work/obj.yaml")
    grep -q "OBJ is not part of this build of nixl_store, which was made without the feature" <<<"$refusal" || fail "OBJ is refused without saying why: $refusal"
    grep -q "POSIX" <<<"$refusal" || fail "the refusal does not say what there is: $refusal"
}

# The promises about symbols, size and loading hold whichever linker rustc is told to use. It is told to use a script
# that links the same objects with each, so that they are compiled once; the tests after this one look at what it made.
# Cargo is asked for what it is always asked for, or it would choose other features and compile every dependency anew; the
# wrapper, which it runs for crates of this workspace alone, says the linker.
link_with_each() {
    local features=()
    [ "$OBJ" = ON ] || features=(--no-default-features)
    export LINKS_DIR=$links LINK_CC=$CC LINKER=$here/link-with-each.sh RUSTC_WORKSPACE_WRAPPER=$here/rustc-with-linker.sh
    rm -rf "$LINKS_DIR"
    mkdir -p "$LINKS_DIR"
    "$CARGO" build --release --lib --locked --manifest-path "$root/Cargo.toml" \
        --target-dir "$CARGO_TARGET_DIR" "${features[@]}" \
        >"$work/cargo.log" 2>&1 || { cat "$work/cargo.log" >&2; fail "the library cannot be linked"; }
}

# linked_by LINKER
linked_by() {
    local library=$links/$1/libnixl_store.so
    if [ ! -e "$library" ]; then
        echo "package: SKIPPED, there is no $1: $(cat "$links/$1/why")"
        exit $SKIPPED
    fi
    sh "$root/scripts/check-symbols.sh" "$library"
    under_limit "$library" "$([ "$OBJ" = ON ] && echo "$BYTES_MAX" || echo "$BYTES_MAX_WITHOUT_OBJ")"
    loads "$library"
}
linked_by_rust_lld() { linked_by rust-lld; }
linked_by_lld() { linked_by lld; }
linked_by_bfd() { linked_by bfd; }

"$case_name"
echo "package: $case_name holds"
