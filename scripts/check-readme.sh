#!/bin/sh
# Compiles every C block of the documents against the header, as C and as C++, every C++ block against nixl_store.hpp, and
# looks for every file that they link to. What is shown to a reader has to be true as it stands there, whichever of the two languages the engine is in.
#
# A block with a main() is a program of its own. Any other is a piece of one: the header and the standard headers that
# the README names are put in front of it.
set -eu
cd "$(dirname "$0")/.."

documents="README.md ARCHITECTURE.md CHANGELOG.md docs/*.md"
c_dialects="c99 c2x"
cpp_dialects="c++11 c++17 c++20 c++2b"
hpp_dialects="c++17 c++2b"
# Code is made, and thrown away: gcc looks for ignored statuses only then.
flags="-Wall -Wextra -Wpedantic -Werror -Iinclude -c -o /dev/null"

# first_of <commands>: the first that is there
first_of() {
    for candidate in "$@"; do
        command -v "$candidate" >/dev/null && echo "$candidate" && return
    done
    echo "none of these compilers was found: $*" >&2
    return 2
}
# shellcheck disable=SC2086 -- CC and CXX may be unset, or hold arguments
c_compiler=$(first_of ${CC:-} cc gcc clang)
# shellcheck disable=SC2086
cpp_compiler=$(first_of ${CXX:-} c++ g++ clang++)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

failed=0
compiled=0
compiled_hpp=0
# shellcheck disable=SC2086 -- a list of patterns, here and below
for document in $documents; do
    # One file per block, named after the line it starts in. `#line` makes the compiler speak of the document's lines.
    awk -v name="$work/$(basename "$document" .md)" -v document="$document" '
        /^```c$/ { file = name "-" NR ".c"; text = ""; line = NR + 1; next }
        /^```cpp$/ { file = name "-" NR ".cpp"; text = ""; line = NR + 1; next }
        /^```$/ && file {
            pieces = file ~ /pp$/ ? "nixl_store.hpp cstdio" : "nixl_store.h stdint.h stdio.h stdlib.h string.h"
            if (text !~ /int main\(/) {
                count = split(pieces, headers, " ")
                for (i = 1; i <= count; i++) print "#include <" headers[i] ">" > file
            }
            printf "#line %d \"%s\"\n%s", line, document, text > file
            close(file); file = ""; next
        }
        file { text = text $0 "\n" }
        END { if (file) { print document ":" line - 1 ": this block does not end" > "/dev/stderr"; exit 1 } }
    ' "$document" || failed=1
done

for block in "$work"/*.c; do
    [ -e "$block" ] || continue
    # shellcheck disable=SC2086 -- the flags are meant to be split
    for dialect in $c_dialects; do
        "$c_compiler" -x c -std="$dialect" $flags "$block" || failed=1
    done
    # shellcheck disable=SC2086
    for dialect in $cpp_dialects; do
        "$cpp_compiler" -x c++ -std="$dialect" $flags "$block" || failed=1
    done
    compiled=$((compiled + 1))
done
for block in "$work"/*.cpp; do
    [ -e "$block" ] || continue
    # shellcheck disable=SC2086
    for dialect in $hpp_dialects; do
        "$cpp_compiler" -x c++ -std="$dialect" $flags "$block" || failed=1
    done
    compiled_hpp=$((compiled_hpp + 1))
done
[ "$compiled_hpp" -ge 5 ] || { echo "only $compiled_hpp C++ blocks were found in $documents" >&2; exit 1; }
# A pattern that matches nothing would find nothing wrong.
[ "$compiled" -ge 10 ] || { echo "only $compiled C blocks were found in $documents" >&2; exit 1; }

links=0
for document in $documents; do
    for target in $(grep -o ']([^)#]*[^)]*)' "$document" | sed -e 's/^](//' -e 's/)$//' -e 's/#.*//'); do
        case $target in
        http://* | https://*) continue ;;
        esac
        links=$((links + 1))
        [ -e "$(dirname "$document")/$target" ] ||
            { echo "$document: links to $target, which is not there" >&2; failed=1; }
    done
done

[ "$failed" = 0 ] || exit 1
echo "$compiled blocks compile as C and as C++, $compiled_hpp as C++ alone, $links links lead somewhere"
