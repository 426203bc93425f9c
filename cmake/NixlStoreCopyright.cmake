# Writes the copyright file of what is installed, run as a script at build time: the libraries and the command contain
# crates of others, and which ones is cargo's to say.
#
#   cmake -DCARGO=<cargo> -DARGUMENTS=<tree;...> -DOUT=<file> -P NixlStoreCopyright.cmake
cmake_minimum_required(VERSION 3.20)
foreach(variable IN ITEMS CARGO ARGUMENTS OUT)
    if(NOT ${variable})
        message(FATAL_ERROR "NixlStoreCopyright.cmake: ${variable} is not set")
    endif()
endforeach()

# {l} is empty where a crate names a file instead of a licence.
execute_process(COMMAND "${CARGO}" ${ARGUMENTS} --edges normal --prefix none --format "{p}: {l}"
    RESULT_VARIABLE result OUTPUT_VARIABLE tree ERROR_VARIABLE error)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "cargo does not say which crates there are:\n${error}")
endif()
string(REGEX MATCHALL "[^\n]+" lines "${tree}")
# What was listed before is marked, and crates of this project have a path behind their version.
list(TRANSFORM lines REPLACE " \\(\\*\\)$" "")
list(TRANSFORM lines REPLACE " \\(proc-macro\\)" "")
list(FILTER lines EXCLUDE REGEX "^$|\\(/")
list(REMOVE_DUPLICATES lines)
list(SORT lines)
list(TRANSFORM lines PREPEND " ")
list(JOIN lines "\n" crates)

file(CONFIGURE OUTPUT "${OUT}" @ONLY CONTENT [==[
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: nixl-store

Files: *
Copyright: the authors of nixl-store
License: Apache-2.0
Comment: The libraries and the command contain code of these crates, each under its own licence:
@crates@

License: Apache-2.0
 Licensed under the Apache License, Version 2.0. The text is in the file LICENSE, and on Debian systems in
 /usr/share/common-licenses/Apache-2.0.
]==])
