#!/usr/bin/env bash
# Checks what is installed beside the libraries, how, and further ways to link them. Run by ctest, which says in the
# environment where the installed copy, the build tree and the tools are.
#
#   installed.sh CASE WORK_DIR
set -euo pipefail

case_name=$1
work=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${CMAKE:?}" "${CC:?}" "${GENERATOR:?}" "${STAGE:?}" "${BUILD_TREE:?}" "${VERSION:?}" "${CARGO:?}" "${DOC_DIR:?}"
: "${LIBRARY_DIR:?}" "${SYSTEM_LIBRARIES:?}" "${CLI:?}" "${OBJ:?}" "${CARGO_TARGET_DIR:?}"
# To cargo another CC in the environment is a reason to compile anew what was compiled with it.
export -n CC
# What is installed is where it was said, whatever a packager has set.
unset DESTDIR
# Exit status by which ctest knows a test that was not run.
SKIPPED=77
rm -rf "$work"
mkdir -p "$work"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
cargo_options=(-DNIXL_STORE_CARGO="$CARGO" -DNIXL_STORE_CARGO_TARGET_DIR="$CARGO_TARGET_DIR" -DNIXL_STORE_OBJ="$OBJ")
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }; }

# has_lines FILE: whether a debugger finds lines in it. All of readelf's answer is read, or it would end as failed.
has_lines() { readelf -SW "$1" | grep '\.debug_line' >/dev/null; }

# What a debugger alone needs is not installed. What linker and loader need is: other tests link and run both.
stripped() {
    local file
    for file in "$LIBRARY_DIR/libnixl_store.so.$VERSION" "$LIBRARY_DIR/libnixl_store.a" "$STAGE/bin/nixl-store"; do
        [ "$CLI" = 1 ] || [ "$file" != "$STAGE/bin/nixl-store" ] || continue
        if has_lines "$file"; then fail "$file is not stripped"; fi
    done
    # Else the test before would hold whatever is done.
    has_lines "$BUILD_TREE/lib/libnixl_store.so" || fail "the build tree has no line tables either"
}

# A distribution keeps the symbols, in packages of their own, and strips by itself; cmake --strip works all the same.
symbols_kept() {
    quietly "$CMAKE" -S "$root" -B "$work/build" -G "$GENERATOR" "${cargo_options[@]}" -DNIXL_STORE_CLI="$CLI" \
        -DNIXL_STORE_STRIP=OFF
    # The same libraries, so that they need not be made again.
    cp -a "$BUILD_TREE/lib/." "$work/build/lib"
    quietly "$CMAKE" --build "$work/build"
    local installed
    quietly "$CMAKE" --install "$work/build" --prefix "$work/prefix"
    installed=$(find "$work/prefix" -name libnixl_store.so)
    has_lines "$installed" || fail "the symbols are gone though NIXL_STORE_STRIP is OFF"
    quietly "$CMAKE" --install "$work/build" --prefix "$work/prefix" --strip
    if has_lines "$installed"; then fail "cmake --install --strip does not strip"; fi
}

# Every document is there, and every link in it leads to something.
documents_lead_somewhere() {
    local document target links=0
    for document in "$root"/{README,CHANGELOG,ARCHITECTURE,LICENSE}* "$root"/docs/*; do
        [ -f "$DOC_DIR/${document#"$root/"}" ] || fail "${document#"$root/"} is not installed"
    done
    while read -r document; do
        for target in $(grep -o ']([^)#]*[^)]*)' "$document" | sed -e 's/^](//' -e 's/)$//' -e 's/#.*//'); do
            case $target in
            http://* | https://*) continue ;;
            esac
            links=$((links + 1))
            [ -e "$(dirname "$document")/$target" ] || fail "$document links to $target, which is not there"
            # What leads out of the installation would be there by chance.
            case $(realpath "$(dirname "$document")/$target") in
            "$(realpath "$STAGE")"/*) ;;
            *) fail "$document links to $target, which is outside" ;;
            esac
        done
    done < <(find "$DOC_DIR" -name '*.md')
    [ "$links" -ge 50 ] || fail "only $links links were found"
    echo "package: $links links lead somewhere"
}

# The command runs, and is told of where a shell and man look.
command_and_its_pages() {
    if [ "$CLI" != 1 ]; then
        echo "package: SKIPPED, this build has no command (NIXL_STORE_CLI)"
        exit $SKIPPED
    fi
    local command=$STAGE/bin/nixl-store name
    [ "$("$command" --version)" = "nixl-store $VERSION" ] || fail "$("$command" --version) is not version $VERSION"
    for name in share/bash-completion/completions/nixl-store share/zsh/site-functions/_nixl-store \
        share/fish/vendor_completions.d/nixl-store.fish share/man/man1/nixl-store.1; do
        [ -s "$STAGE/$name" ] || fail "$name is not installed"
    done
    # A page for each subcommand that the command itself has.
    "$command" man --directory "$work" && rm -f "$work/log"
    diff -r "$work" "$STAGE/share/man/man1" || fail "the pages are not those of the command"
    bash -c '. "$1" && complete -p nixl-store' bash "$STAGE/share/bash-completion/completions/nixl-store" >/dev/null ||
        fail "bash does not complete"
}

headers() {
    diff -r "$root/include" "$STAGE/include" || fail "the headers are not those of the source tree"
}

# Into a program without any shared library, position-independent too. The C library says that names of hosts and users
# need its shared version at run time, so such a program is for stores that need neither.
fully_static() {
    local option
    for option in -static -static-pie; do
        # shellcheck disable=SC2086 # flags are to be split
        "$CC" $option -o "$work/consumer" "$here/consumer.c" "-I$STAGE/include" "$LIBRARY_DIR/libnixl_store.a" \
            $SYSTEM_LIBRARIES 2>"$work/log" || { cat "$work/log" >&2; fail "$option does not link"; }
        if readelf -dW "$work/consumer" 2>/dev/null | grep NEEDED; then fail "$option needs shared libraries"; fi
        "$work/consumer" "$VERSION"
    done
}

# DESTDIR goes in front of the prefix, also of one that is not absolute and has a space in it.
destination() {
    DESTDIR=$work/root quietly "$CMAKE" --install "$BUILD_TREE" --prefix /opt/nixl
    [ -e "$work/root/opt/nixl/include/nixl_store.h" ] || fail "DESTDIR is not heeded"
    if has_lines "$(find "$work/root" -name libnixl_store.so)"; then fail "not stripped below DESTDIR"; fi
    cd "$work"
    quietly "$CMAKE" --install "$BUILD_TREE" --prefix "relative prefix"
    if has_lines "$(find "$work/relative prefix" -name libnixl_store.so)"; then fail "not stripped in a relative prefix"; fi
    diff -r "$work/root/opt/nixl" "$work/relative prefix" || fail "what is installed depends on where"
}

# The licences of the crates ask for their notices and texts beside what contains them.
licences_of_others() {
    local crates crate
    [ -s "$DOC_DIR/LICENSE" ] || fail "there is no licence"
    mapfile -t crates < <(sed -nE 's/^ ([^ ]+ [0-9][^ :]*): .*/\1/p' "$DOC_DIR/copyright")
    [ ${#crates[@]} -ge 20 ] || fail "only ${#crates[@]} crates are named"
    for crate in "${crates[@]}"; do
        grep -E '^======== ' "$DOC_DIR/LICENSES-OF-CRATES.txt" | grep -F " $crate" >/dev/null ||
            fail "of $crate there is neither a text nor a word that it has none"
    done
    grep -q "Permission is hereby granted" "$DOC_DIR/LICENSES-OF-CRATES.txt" || fail "the texts are not there"
    # Most of them are the same.
    [ "$(stat -c %s "$DOC_DIR/LICENSES-OF-CRATES.txt")" -le 1000000 ] || fail "texts are there more than once"
    echo "package: licences of ${#crates[@]} crates"
}

# What cargo build takes, no other command has to take, and the documents go where somebody has said.
settings_are_heeded() {
    quietly "$CMAKE" -S "$root" -B "$work/build" -G "$GENERATOR" "${cargo_options[@]}" -DNIXL_STORE_CLI="$CLI" \
        "-DNIXL_STORE_CARGO_FLAGS=--locked;-j2;-v;--message-format=short" -DCMAKE_INSTALL_DOCDIR=share/doc/elsewhere
    cp -a "$BUILD_TREE/lib/." "$work/build/lib"
    quietly "$CMAKE" --build "$work/build"
    quietly "$CMAKE" --install "$work/build" --prefix "$work/prefix"
    [ -e "$work/prefix/share/doc/elsewhere/docs/CPP.md" ] && [ -e "$work/prefix/share/doc/elsewhere/examples/quickstart.c" ] ||
        fail "CMAKE_INSTALL_DOCDIR is not heeded"
    [ "$(ls "$work/prefix/share/doc/nixl-store")" = copyright ] || fail "documents are where they were not wanted"
}

# With a project around this one: where that one says, and else not among its own documents.
documents_of_a_part() {
    local said expected
    for said in share/doc/said ""; do
        expected=${said:-share/doc/nixl-store}
        rm -rf "$work/build"
        quietly "$CMAKE" -S "$here" -B "$work/build" -G "$GENERATOR" -DCMAKE_C_COMPILER="$CC" "${cargo_options[@]}" \
            -DSUBPROJECT="$root" -DNIXL_STORE_INSTALL=ON -DDOCUMENTS="$said"
        grep -F -A 4 "$expected\"" "$work/build/nixl_store/cmake_install.cmake" | grep -F LICENSES-OF-CRATES.txt >/dev/null ||
            fail "the licences are not in $expected"
        if grep -F '/share/doc/' "$work/build/nixl_store/cmake_install.cmake" | grep -vF "$expected"; then
            fail "these are not in $expected"
        fi
    done
}

# The cargo in PATH is the user's choice, and one that make is given goes before it.
cargo_that_was_chosen() {
    mkdir "$work/bin"
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v "$CARGO")" >"$work/bin/cargo"
    chmod +x "$work/bin/cargo"
    PATH=$work/bin:$PATH quietly "$CMAKE" -S "$root" -B "$work/build" -G "$GENERATOR"
    grep -qxF "NIXL_STORE_CARGO:FILEPATH=$work/bin/cargo" "$work/build/CMakeCache.txt" || fail "another cargo than the one in PATH"
    make -n -C "$root" install CARGO=/a/cargo | grep -F -- "-DNIXL_STORE_CARGO=/a/cargo" >/dev/null || fail "make hands CARGO to nobody"
}

# Nothing here says to cargo what CMake's toolchain is, so it has to be said.
another_machine() {
    printf 'set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR another)\nset(CMAKE_SYSROOT /)\n' >"$work/toolchain.cmake"
    local configure=("$CMAKE" -S "$root" -B "$work/build" -G "$GENERATOR" "${cargo_options[@]}"
        -DCMAKE_TOOLCHAIN_FILE="$work/toolchain.cmake")
    if "${configure[@]}" >"$work/log" 2>&1; then fail "a build for another machine is made for this one"; fi
    grep -q -- "-DNIXL_STORE_RUST_TARGET=" "$work/log" || { cat "$work/log" >&2; fail "the refusal does not say what to do"; }
    # This machine's serves for another's: its libraries are there to be asked about.
    local target
    target=$(rustc -vV | sed -n 's/^host: //p')
    rm -rf "$work/build"
    quietly "${configure[@]}" -DNIXL_STORE_RUST_TARGET="$target"
    grep -rqF -- "--sysroot=/" "$work/build" --include=build.make --include=build.ninja || fail "the sysroot is not passed on"
    # What is known of one target does not hold for the next.
    sed -i -e 's/^\(NIXL_STORE_SYSTEM_LIBRARIES_ARE_OF:[^=]*=\).*/\1before/' \
        -e 's/^\(NIXL_STORE_SYSTEM_LIBRARIES:[^=]*=\).*/\1of_before/' "$work/build/CMakeCache.txt"
    quietly "${configure[@]}" -DNIXL_STORE_RUST_TARGET="$target"
    if grep '=of_before$' "$work/build/CMakeCache.txt"; then fail "these libraries are another target's"; fi
}

# FetchContent is told to take this source tree, which it would fetch otherwise; what cargo has built there serves.
fetch_content() {
    quietly "$CMAKE" -S "$here/fetch_content" -B "$work/a build" -G "$GENERATOR" -DCMAKE_C_COMPILER="$CC" \
        "${cargo_options[@]}" -DFETCHCONTENT_SOURCE_DIR_NIXL_STORE="$root"
    quietly "$CMAKE" --build "$work/a build" --parallel
    local program
    for program in shared static; do
        [ "$("$work/a build/$program")" = "newcomer: nixl_store $VERSION" ] || fail "$program does not run"
    done
    # Who builds again waits for no compiler and no linker.
    touch "$work/built"
    quietly "$CMAKE" --build "$work/a build"
    if find "$work/a build" -type f -newer "$work/built" \( -name '*.so*' -o -name '*.a' -o -name shared -o -name static \) |
        grep .; then fail "a second build makes these anew"; fi
}

# The command comes with the library's own features, so cargo compiles neither the library nor what is below it twice:
# what the tests of this tree have built is fresh, with and without the command.
nothing_is_built_twice() {
    local selection
    for selection in "--lib" "--lib --bin nixl-store"; do
        # shellcheck disable=SC2086 # options are to be split
        "$CARGO" build --release --locked $selection --manifest-path "$root/Cargo.toml" \
            --target-dir "$CARGO_TARGET_DIR" $([ "$OBJ" = 1 ] || echo --no-default-features) \
            >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "cargo does not build"; }
        if grep -E '^ *Compiling' "$work/log"; then fail "cargo build $selection compiles these again"; fi
    done
}

"$case_name"
echo "package: $case_name holds"
