# Writes the copyright file of what is installed, and the licences that have to come with it, run as a script at build time:
# the libraries and the command contain crates of others, and which ones is cargo's to say.
#
#   cmake -DCARGO=<cargo> -DARGUMENTS=<build;...> -DOUT=<folder> -P NixlStoreCopyright.cmake
#
# ARGUMENTS are those of the build that was just made, so that cargo compiles nothing and needs nothing more for its answer.
cmake_minimum_required(VERSION 3.20)
foreach(variable IN ITEMS CARGO ARGUMENTS OUT)
    if(NOT ${variable})
        message(FATAL_ERROR "NixlStoreCopyright.cmake: ${variable} is not set")
    endif()
endforeach()

# Whoever builds may have asked for messages of another form; cargo takes one.
list(FILTER ARGUMENTS EXCLUDE REGEX "^--message-format=")
file(MAKE_DIRECTORY "${OUT}")
execute_process(COMMAND "${CARGO}" ${ARGUMENTS} --message-format=json
    RESULT_VARIABLE result OUTPUT_FILE "${OUT}/cargo.json" ERROR_VARIABLE error)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "cargo does not say which crates there are:\n${error}")
endif()
file(STRINGS "${OUT}/cargo.json" artifacts REGEX "\"reason\":\"compiler-artifact\"")
file(REMOVE "${OUT}/cargo.json")

# An entry is "name version|folder". Crates of this project have the path of their folder as identifier.
set(crates "")
foreach(artifact IN LISTS artifacts)
    string(JSON identifier GET "${artifact}" package_id)
    if(identifier MATCHES "^path[+]")
        continue()
    endif()
    string(JSON manifest GET "${artifact}" manifest_path)
    get_filename_component(folder "${manifest}" DIRECTORY)
    if(identifier MATCHES "#([^@]+)@(.+)$")
        list(APPEND crates "${CMAKE_MATCH_1} ${CMAKE_MATCH_2}|${folder}")
    else()
        list(APPEND crates "${identifier}|${folder}")
    endif()
endforeach()
list(REMOVE_DUPLICATES crates)
list(SORT crates)
if(NOT crates)
    message(FATAL_ERROR "cargo names no crate: its messages have another form than NixlStoreCopyright.cmake knows")
endif()

file(SHA256 "${CMAKE_CURRENT_LIST_FILE}" script)
set(made_from "${script} ${crates}")
if(EXISTS "${OUT}/made-from" AND EXISTS "${OUT}/copyright" AND EXISTS "${OUT}/LICENSES-OF-CRATES.txt")
    file(READ "${OUT}/made-from" made_before)
    if(made_before STREQUAL made_from)
        return()
    endif()
endif()

# Names of licences and notices, in whatever case, also of what a crate brings in folders of its own.
set(patterns [Ll][Ii][Cc][Ee][Nn][CcSs][Ee]* [Cc][Oo][Pp][Yy][Ii][Nn][Gg]* [Nn][Oo][Tt][Ii][Cc][Ee]*
    [Cc][Oo][Pp][Yy][Rr][Ii][Gg][Hh][Tt]* [Uu][Nn][Ll][Ii][Cc][Ee][Nn][Ss][Ee]*)

# collect(NAME FOLDER): takes the texts in the folder down as those of NAME. A text that several have is kept once: text_<sum>,
# and owners_<sum> are who has it.
set(sums "")
set(without "")
function(collect name folder)
    list(TRANSFORM patterns PREPEND "${folder}/" OUTPUT_VARIABLE globs)
    file(GLOB_RECURSE files LIST_DIRECTORIES FALSE ${globs})
    list(FILTER files EXCLUDE REGEX "[.](rs|c|h|S|py|sh|toml|json|html)$")
    foreach(file IN LISTS files)
        file(READ "${file}" text)
        string(REGEX REPLACE "\r" "" text "${text}")
        string(STRIP "${text}" stripped)
        if(stripped STREQUAL "")
            continue()
        endif()
        string(SHA256 sum "${stripped}")
        list(APPEND sums "${sum}")
        set(text_${sum} "${text}" PARENT_SCOPE)
        list(APPEND owners_${sum} "${name}")
        list(REMOVE_DUPLICATES owners_${sum})
        set(owners_${sum} "${owners_${sum}}" PARENT_SCOPE)
    endforeach()
    if(NOT files)
        list(APPEND without "${name}")
    endif()
    list(REMOVE_DUPLICATES sums)
    set(sums "${sums}" PARENT_SCOPE)
    set(without "${without}" PARENT_SCOPE)
endfunction()

set(list "")
foreach(crate IN LISTS crates)
    string(REGEX MATCH "^(.*)[|](.*)$" crate "${crate}")
    set(name "${CMAKE_MATCH_1}")
    set(folder "${CMAKE_MATCH_2}")
    # A crate may name a file instead of a licence.
    file(STRINGS "${folder}/Cargo.toml" licence REGEX "^license *= *\"" LIMIT_COUNT 1)
    string(REGEX REPLACE "^license *= *\"([^\"]*)\".*" "\\1" licence "${licence}")
    string(APPEND list " ${name}: ${licence}\n")
    collect("${name}" "${folder}")
endforeach()

set(texts "nixl-store contains code of the crates that stand above each text, or was built with them. Their licences by name are in\n\
the file copyright.\n")
foreach(sum IN LISTS sums)
    list(JOIN owners_${sum} ", " owners)
    string(APPEND texts "\n======== ${owners}\n\n${text_${sum}}\n")
endforeach()
if(without)
    list(JOIN without ", " without)
    string(APPEND texts "\n======== These bring no text of the licence that they name: ${without}\n")
endif()
file(WRITE "${OUT}/LICENSES-OF-CRATES.txt" "${texts}")

file(WRITE "${OUT}/copyright" "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: nixl-store

Files: *
Copyright: the authors of nixl-store
License: Apache-2.0
Comment: The libraries and the command contain code of the Rust standard library (MIT OR Apache-2.0; here the latter) and of
 these crates, or were built with them, each under its own licence. The texts are in the file LICENSES-OF-CRATES.txt.
${list}
License: Apache-2.0
 Licensed under the Apache License, Version 2.0. The text is in the file LICENSE, and on Debian systems in
 /usr/share/common-licenses/Apache-2.0.
")
file(WRITE "${OUT}/made-from" "${made_from}")
