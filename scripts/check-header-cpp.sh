#!/bin/sh
# Compiles nixl_store.hpp, the programs in its own text and its tests in every dialect that is promised, with every
# compiler at hand, with exceptions and RTTI and without; and sees that what has to be refused is refused.
set -eu
cd "$(dirname "$0")/.."

# What a compiler does not know yet is left out.
dialects="c++17 c++20 c++2b c++2c"
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -Iinclude"
bare="-fno-exceptions -fno-rtti"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The programs in the header's own text have to work as they stand there. The second is a piece: with a frame around it.
awk -v whole="$work/quickstart.cpp" -v piece="$work/piece.txt" '
    /^\/\/ QUICKSTART$/ { on = 1 }
    /^\/\/ COMMON RULES/ { exit }
    on && /^\/\/     / { sub(/^\/\/     /, ""); print > (blocks ? piece : whole); next }
    on && /^\/\/ Many objects at once/ { blocks = 1 }
    on && /^\/\/$/ { print "" > (blocks ? piece : whole) }
' include/nixl_store.hpp
{
    echo '#include <nixl_store.hpp>'
    echo 'struct Block { std::vector<unsigned char> hash; std::vector<float> k, v; };'
    echo 'void complain(const std::string &message); void compute(); void use(const Block &block);'
    echo 'void piece(nixl_store::store &store, std::vector<Block> &blocks);'
    echo 'void piece(nixl_store::store &store, std::vector<Block> &blocks) {'
    cat "$work/piece.txt"
    echo '}'
} >"$work/piece.cpp"
grep -q 'int main()' "$work/quickstart.cpp" && grep -q submit_get "$work/piece.cpp" ||
    { echo "no programs found in the text of include/nixl_store.hpp" >&2; exit 1; }

# Nobody has to go down to C: every function, status and flag of nixl_store.h is used by nixl_store.hpp.
words="OK|IN_PROGRESS|PINNED|NOT_[A-Z]+|(ERROR|ITEM|SUBMIT|LOG|MEMORY)_[A-Z_]+"
for word in $(sed -nE -e 's/^[a-z].*(nixl_store_[a-z_]+)\(.*/\1/p' \
    -e "s/^#define NIXL_STORE_($words) .*/NIXL_STORE_\1/p" include/nixl_store.h); do
    grep -qw "$word" include/nixl_store.hpp ||
        { echo "include/nixl_store.hpp does not have $word of include/nixl_store.h" >&2; exit 1; }
done

# Classes of versions that differ must not meet in one process, so their names have the version.
version=$(sed -nE 's/^version *= *"([0-9]+)\.([0-9]+)\..*/v\1_\2/p' Cargo.toml | head -n 1)
grep -qx "inline namespace ${version:?} {" include/nixl_store.hpp ||
    { echo "include/nixl_store.hpp is not of the version in Cargo.toml: it has no inline namespace $version" >&2; exit 1; }

# In one piece each, because reading the standard headers takes the most time.
{
    printf '#include "%s"\n' "$work/quickstart.cpp" tests/cpp/throwing.cpp
} >"$work/throwing.cpp"
{
    printf '#define UNIT\n'
    printf '#include "%s"\n' "$work/piece.cpp" tests/cpp/alone.cpp tests/cpp/batches.cpp tests/cpp/owners.cpp \
        tests/cpp/results_and_spans.cpp
} >"$work/bare.cpp"

compilers=0
compiled=0
refused=0
for compiler in g++ clang++; do
    if ! command -v "$compiler" >/dev/null; then
        echo "$compiler: not found, skipped"
        continue
    fi
    known=""
    for dialect in $dialects; do
        echo 'int main() {}' >"$work/empty.cpp"
        "$compiler" -std="$dialect" -fsyntax-only "$work/empty.cpp" 2>/dev/null || continue
        known="$known $dialect"
        # shellcheck disable=SC2086 -- flags are meant to be split, here and below
        "$compiler" -std="$dialect" $warnings -I. -fsyntax-only "$work/throwing.cpp"
        # shellcheck disable=SC2086
        "$compiler" -std="$dialect" $warnings $bare -I. -fsyntax-only "$work/bare.cpp"
        compiled=$((compiled + 2))
    done
    echo "$compiler:$known"

    # Two objects that include it, of different dialects, one without exceptions, are one program. No call of it needs
    # the library, so none is linked.
    # shellcheck disable=SC2086
    "$compiler" -std=c++17 $warnings $bare -DUNIT -c -o "$work/unit.o" tests/cpp/alone.cpp
    # shellcheck disable=SC2086
    "$compiler" -std=c++20 $warnings -c -o "$work/alone.o" tests/cpp/alone.cpp
    if nm "$work/unit.o" "$work/alone.o" | grep -E '_ZN?K?[A-Za-z]*10nixl_store' | grep -v "10nixl_store4$version"; then
        echo "$compiler: these symbols do not have the version in their names" >&2
        exit 1
    fi
    "$compiler" -o "$work/alone" "$work/unit.o" "$work/alone.o"
    "$work/alone"

    # What has to be refused is refused for the reason that its file names, and what it should have been is not. gcc
    # looks for ignored results only when it makes code.
    for file in tests/cpp/refused/*.cpp; do
        reason=$(sed -n '1s/^\/\/ refused: //p' "$file")
        # shellcheck disable=SC2086
        [ "$compilers" -gt 0 ] || "$compiler" -std=c++17 $warnings $bare -c -o "$work/refused.o" "$file"
        # shellcheck disable=SC2086
        if "$compiler" -std=c++17 $warnings $bare -DREFUSED -c -o "$work/refused.o" "$file" 2>"$work/why"; then
            echo "$compiler: $file is not refused" >&2
            exit 1
        fi
        grep -Eq -- "$reason" "$work/why" ||
            { cat "$work/why" >&2; echo "$compiler: $file is refused for another reason than: $reason" >&2; exit 1; }
        refused=$((refused + 1))
    done
    compilers=$((compilers + 1))
done
[ "$compilers" -gt 0 ] || { echo "no compiler found" >&2; exit 2; }
echo "nixl_store.hpp: $compiled compilations without a warning, $refused times what is refused"
