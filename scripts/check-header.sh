#!/bin/sh
# Compiles the header, its examples and its assertions in every dialect that is promised, with every compiler at hand.
set -eu
cd "$(dirname "$0")/.."

c_dialects="c99 c11 c17 c2x"
cpp_dialects="c++11 c++17 c++20 c++2b"
warnings="-Wall -Wextra -Wpedantic -Werror -Iinclude"
flags="$warnings -fsyntax-only"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The program in the header's own text has to work as it stands there.
sed -n '/^ \* QUICKSTART$/,/^ \* WHAT IS PROMISED$/s/^ \*     //p' include/nixl_store.h >"$work/quickstart.c"
if ! grep -q 'int main(void)' "$work/quickstart.c"; then
    echo "no quickstart found in include/nixl_store.h" >&2
    exit 1
fi

compiled=0
compilers=0
# compile <compiler> <language> <dialects>
compile() {
    if ! command -v "$1" >/dev/null; then
        echo "$1: not found, skipped"
        return
    fi
    compilers=$((compilers + 1))
    for dialect in $3; do
        for file in tests/header/*.c "$work/quickstart.c"; do
            # shellcheck disable=SC2086 -- the flags are meant to be split
            "$1" -x "$2" -std="$dialect" $flags "$file"
            compiled=$((compiled + 1))
        done
    done
    echo "$1: $3"
}

compile gcc c "$c_dialects"
compile clang c "$c_dialects"
compile g++ c++ "$cpp_dialects"
compile clang++ c++ "$cpp_dialects"

if [ "$compilers" = 0 ]; then
    echo "no compiler found" >&2
    exit 2
fi

# Every function that returns a status says that it must be looked at; that this works is tried on one of them.
for function in $(sed -n 's/^nixl_store_status_t \(nixl_store_[a-z_]*\)(.*/\1/p' include/nixl_store.h); do
    if ! grep -B 1 "^nixl_store_status_t $function(" include/nixl_store.h | grep -qx NIXL_STORE_NODISCARD; then
        echo "$function: its status may be ignored without a warning" >&2
        exit 1
    fi
done

# A status that nobody looks at has to warn, in every dialect, unless that was switched off.
cat >"$work/ignored.c" <<'END'
#include <nixl_store.h>
int ignore(nixl_store_t *store);
int ignore(nixl_store_t *store) {
    nixl_store_close(store);
    return 0;
}
END
# ignores <compiler> <language> <dialects>; gcc looks for ignored results only when it makes code.
ignores() {
    command -v "$1" >/dev/null || return 0
    for dialect in $3; do
        # shellcheck disable=SC2086
        if "$1" -x "$2" -std="$dialect" $warnings -c -o "$work/ignored.o" "$work/ignored.c" 2>/dev/null; then
            echo "$1 -std=$dialect: an ignored status is not warned of" >&2
            exit 1
        fi
        # shellcheck disable=SC2086
        "$1" -x "$2" -std="$dialect" $warnings -DNIXL_STORE_NODISCARD= -c -o "$work/ignored.o" "$work/ignored.c"
    done
}
ignores gcc c "$c_dialects"
ignores clang c "$c_dialects"
ignores g++ c++ "$cpp_dialects"
ignores clang++ c++ "$cpp_dialects"

# The assertions have to be able to fail: with one number changed, they must.
sed 's/^SIZE(nixl_store_item_t, 64);/SIZE(nixl_store_item_t, 65);/' tests/header/layout.c >"$work/wrong.c"
for compiler in gcc clang; do
    if command -v "$compiler" >/dev/null; then
        # shellcheck disable=SC2086
        if "$compiler" -x c -std=c99 $flags "$work/wrong.c" 2>/dev/null; then
            echo "$compiler: a wrong layout was not noticed" >&2
            exit 1
        fi
    fi
done

echo "$compiled compilations without a warning"
