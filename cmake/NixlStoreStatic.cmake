# Makes the static library for users out of cargo's, run as a script at build time:
#
#   cmake -DIN=<cargo's archive> -DOUT=<archive> -DHEADER=<nixl_store.h> -DCC=<command;...> -DOBJCOPY=.. -DAR=.. -P
#     NixlStoreStatic.cmake
#
# Cargo's archive holds the Rust standard library and every dependency with thousands of global symbols, which would
# meet those of another Rust library, of another copy of ring, or of the program itself. Here all of it becomes one
# object in which only the functions of the header are global, without what none of them reaches.
cmake_minimum_required(VERSION 3.20)
foreach(variable IN ITEMS IN OUT HEADER CC OBJCOPY AR)
    if(NOT ${variable})
        message(FATAL_ERROR "NixlStoreStatic.cmake: ${variable} is not set")
    endif()
endforeach()

# Told by size and time rather than by which is newer: an archive of another set of features may be the older one.
file(SIZE "${IN}" size)
file(TIMESTAMP "${IN}" time "%s" UTC)
file(SHA256 "${HEADER}" header)
file(SHA256 "${CMAKE_CURRENT_LIST_FILE}" script)
set(made_from "${IN} ${size} ${time} ${header} ${script} ${CC} ${OBJCOPY} ${AR}")
set(stamp "${OUT}.made-from")
if(EXISTS "${OUT}" AND EXISTS "${stamp}")
    file(READ "${stamp}" made_before)
    if(made_before STREQUAL made_from)
        return()
    endif()
endif()

# Declarations begin at the start of a line; what comments name does not.
file(STRINGS "${HEADER}" declarations REGEX "^[a-z].*[ *]nixl_store_[a-z_]+\\(")
set(roots "")
set(keep "")
foreach(declaration IN LISTS declarations)
    string(REGEX MATCH "nixl_store_[a-z_]+\\(" function "${declaration}")
    string(REPLACE "(" "" function "${function}")
    list(APPEND roots "-Wl,-u,${function}")
    list(APPEND keep "--keep-global-symbol=${function}")
endforeach()
if(NOT roots)
    message(FATAL_ERROR "no function is declared in ${HEADER}")
endif()

function(run)
    execute_process(COMMAND ${ARGV} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
        list(JOIN ARGV " " command)
        message(FATAL_ERROR "${command}\n${output}")
    endif()
endfunction()

get_filename_component(directory "${OUT}" DIRECTORY)
set(object "${directory}/nixl_store.o")
file(REMOVE "${OUT}" "${stamp}" "${object}")
run(${CC} -nostdlib -r -o "${object}" -Wl,--gc-sections ${roots} -Wl,--whole-archive "${IN}" -Wl,--no-whole-archive)
# The three sections are notes of LLVM's for itself; the last of them counts symbols by their number, which changes.
run("${OBJCOPY}" ${keep} -R .llvmbc -R .llvmcmd -R .llvm_addrsig "${object}")
run("${AR}" qcs "${OUT}" "${object}")
file(REMOVE "${object}")
file(WRITE "${stamp}" "${made_from}")
