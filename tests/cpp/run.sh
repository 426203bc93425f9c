#!/bin/sh
# Builds and runs the tests of nixl_store.hpp: parts of one program in different dialects, with and without exceptions,
# because engines are made so.
#
#   run.sh WORK_DIR [FLAG...]     FLAGS: where header and library are, such as -I... -L... -lnixl_store -Wl,-rpath,...
#
# CXX is the compiler, CXXFLAGS more flags for it, such as -fsanitize=address,undefined.
set -eu
work=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
CXX=${CXX:-c++}
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -O1 -g -pthread"
bare="-fno-exceptions -fno-rtti"
mkdir -p "$work"

# What finds the header is for the compiler, the rest for the linker alone.
includes=""
for flag in "$@"; do
    case $flag in -I*) includes="$includes $flag" ;; esac
done

# compile FILE FLAG...
compile() {
    file=$1
    shift
    # shellcheck disable=SC2086 -- flags are meant to be split
    "$CXX" $warnings ${CXXFLAGS:-} $includes "$@" -c -o "$work/$file.o" "$here/$file.cpp"
}
compile main -std=c++17
# shellcheck disable=SC2086
compile results_and_spans -std=c++17 $bare
# shellcheck disable=SC2086
compile owners -std=c++17 $bare
# shellcheck disable=SC2086
compile batches -std=c++20 $bare
compile throwing -std=c++20
# Of an inline function that several objects have, the linker takes the first: the one that an exception can pass through.
objects=""
for file in throwing main results_and_spans owners batches; do objects="$objects $work/$file.o"; done
# shellcheck disable=SC2086
"$CXX" ${CXXFLAGS:-} -pthread -o "$work/nixl_store_cpp_test" $objects "$@"
"$work/nixl_store_cpp_test"
