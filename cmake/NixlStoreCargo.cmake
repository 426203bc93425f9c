# Lets cargo build the library and the command, and lays the result out under the build tree, with the links that the
# loader and the linker look for. Defines the target nixl_store_cargo, nixl_store::nixl_store and nixl_store::static for
# use in this tree, NIXL_STORE_LIBRARY_DIR, NIXL_STORE_COMMAND_DIR, and NIXL_STORE_SYSTEM_LIBRARIES, what the static
# library needs of the system.

# The cargo in PATH is the one to take. It may be outside of PATH, as for a desktop program or under sudo.
find_program(NIXL_STORE_CARGO cargo PATHS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin"
    DOC "cargo, the Rust build tool")
if(NOT NIXL_STORE_CARGO)
    message(FATAL_ERROR "cargo was not found: install Rust, or give its path with -DNIXL_STORE_CARGO=")
endif()
get_filename_component(NIXL_STORE_CARGO_BIN_DIR "${NIXL_STORE_CARGO}" DIRECTORY)
find_program(NIXL_STORE_RUSTC rustc HINTS "${NIXL_STORE_CARGO_BIN_DIR}" DOC "rustc, the Rust compiler")

execute_process(COMMAND "${NIXL_STORE_RUSTC}" -vV OUTPUT_VARIABLE rustc_version)
string(REGEX REPLACE ".*host: ([^\n]+).*" "\\1" NIXL_STORE_RUST_HOST "${rustc_version}")

set(NIXL_STORE_CARGO_FLAGS "--locked" CACHE STRING
    "Flags for cargo build, separated by semicolons, for example --locked;--offline")
set(NIXL_STORE_RUST_TARGET "$ENV{CARGO_BUILD_TARGET}" CACHE STRING
    "Target triple to build for; empty: this machine's")
# cargo does not look at CMake's toolchain, and would build for this machine without a word.
if(CMAKE_CROSSCOMPILING AND NOT NIXL_STORE_RUST_TARGET)
    message(FATAL_ERROR "this is a build for another machine (${CMAKE_SYSTEM_NAME}, ${CMAKE_SYSTEM_PROCESSOR}): say which one \
to cargo with -DNIXL_STORE_RUST_TARGET=, for example aarch64-unknown-linux-gnu; `rustc --print target-list` lists them")
endif()

# cargo's own default, so that cmake and a plain cargo build share one target directory and build once.
set(NIXL_STORE_CARGO_TARGET_DIR_DEFAULT "${CMAKE_CURRENT_SOURCE_DIR}/target")
if(DEFINED ENV{CARGO_TARGET_DIR})
    get_filename_component(NIXL_STORE_CARGO_TARGET_DIR_DEFAULT "$ENV{CARGO_TARGET_DIR}" ABSOLUTE
        BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
endif()
set(NIXL_STORE_CARGO_TARGET_DIR "${NIXL_STORE_CARGO_TARGET_DIR_DEFAULT}" CACHE PATH
    "Where cargo builds; set it elsewhere if the source tree is read-only")

set(NIXL_STORE_CARGO_ARGUMENTS
    build --release --lib --manifest-path "${CMAKE_CURRENT_SOURCE_DIR}/Cargo.toml"
    --target-dir "${NIXL_STORE_CARGO_TARGET_DIR}" ${NIXL_STORE_CARGO_FLAGS})
# One cargo builds both, so that their dependencies are compiled once.
if(NIXL_STORE_CLI)
    list(APPEND NIXL_STORE_CARGO_ARGUMENTS --bin nixl-store)
endif()
if(NOT NIXL_STORE_OBJ)
    list(APPEND NIXL_STORE_CARGO_ARGUMENTS --no-default-features)
endif()
set(NIXL_STORE_RUSTC_ARGUMENTS --crate-name probe --crate-type staticlib --print native-static-libs)
set(NIXL_STORE_CARGO_OUTPUT_DIR "${NIXL_STORE_CARGO_TARGET_DIR}/release")
if(NIXL_STORE_RUST_TARGET)
    list(APPEND NIXL_STORE_CARGO_ARGUMENTS --target "${NIXL_STORE_RUST_TARGET}")
    list(APPEND NIXL_STORE_RUSTC_ARGUMENTS --target "${NIXL_STORE_RUST_TARGET}")
    set(NIXL_STORE_CARGO_OUTPUT_DIR "${NIXL_STORE_CARGO_TARGET_DIR}/${NIXL_STORE_RUST_TARGET}/release")
endif()

set(NIXL_STORE_LIBRARY_DIR "${CMAKE_CURRENT_BINARY_DIR}/lib")
set(NIXL_STORE_SHARED_REAL_NAME "libnixl_store.so.${PROJECT_VERSION}")
set(NIXL_STORE_SHARED_SONAME "libnixl_store.so.${NIXL_STORE_ABI_VERSION}")
set(NIXL_STORE_SHARED_LINK_NAME "libnixl_store.so")
set(NIXL_STORE_STATIC_NAME "libnixl_store.a")
file(MAKE_DIRECTORY "${NIXL_STORE_LIBRARY_DIR}")

# The command, and beside it the completions and the manual pages, which it prints itself. What is built for another
# machine does not run on this one, so a cross build has neither.
set(NIXL_STORE_COMMAND_DIR "${CMAKE_CURRENT_BINARY_DIR}/command")
set(NIXL_STORE_COMMAND_STEPS "")
set(NIXL_STORE_COMMAND_RUNS OFF)
if(NIXL_STORE_CLI)
    file(MAKE_DIRECTORY "${NIXL_STORE_COMMAND_DIR}")
    list(APPEND NIXL_STORE_COMMAND_STEPS
        COMMAND "${CMAKE_COMMAND}" -E copy_if_different
            "${NIXL_STORE_CARGO_OUTPUT_DIR}/nixl-store" "${NIXL_STORE_COMMAND_DIR}/nixl-store")
    if(NOT CMAKE_CROSSCOMPILING AND (NOT NIXL_STORE_RUST_TARGET OR NIXL_STORE_RUST_TARGET STREQUAL NIXL_STORE_RUST_HOST))
        set(NIXL_STORE_COMMAND_RUNS ON)
        list(APPEND NIXL_STORE_COMMAND_STEPS
            COMMAND "${CMAKE_COMMAND}" "-DCOMMAND=${NIXL_STORE_COMMAND_DIR}/nixl-store"
                "-DOUT=${NIXL_STORE_COMMAND_DIR}" -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/NixlStoreManual.cmake")
    endif()
endif()

# The static library is made of cargo's with the tools of the C compiler.
foreach(tool IN ITEMS OBJCOPY AR)
    if(NOT CMAKE_${tool})
        message(FATAL_ERROR "${tool} was not found: install the binary utilities of the C compiler")
    endif()
endforeach()

# One compiler may make code for many machines, and is told for which.
set(NIXL_STORE_C_COMMAND "${CMAKE_C_COMPILER}")
if(CMAKE_C_COMPILER_TARGET AND CMAKE_C_COMPILE_OPTIONS_TARGET)
    list(APPEND NIXL_STORE_C_COMMAND "${CMAKE_C_COMPILE_OPTIONS_TARGET}${CMAKE_C_COMPILER_TARGET}")
endif()
if(CMAKE_SYSROOT AND CMAKE_C_COMPILE_OPTIONS_SYSROOT)
    list(APPEND NIXL_STORE_C_COMMAND "${CMAKE_C_COMPILE_OPTIONS_SYSROOT}${CMAKE_SYSROOT}")
endif()

# cargo alone knows when something changed, so it is asked every time, which takes no time when nothing did; making or
# copying only what differs keeps what depends on the libraries from being linked again.
add_custom_target(nixl_store_cargo ALL
    COMMAND "${NIXL_STORE_CARGO}" ${NIXL_STORE_CARGO_ARGUMENTS}
    COMMAND "${CMAKE_COMMAND}" -E copy_if_different
        "${NIXL_STORE_CARGO_OUTPUT_DIR}/${NIXL_STORE_SHARED_LINK_NAME}"
        "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_REAL_NAME}"
    COMMAND "${CMAKE_COMMAND}" -E create_symlink
        "${NIXL_STORE_SHARED_REAL_NAME}" "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_SONAME}"
    COMMAND "${CMAKE_COMMAND}" -E create_symlink
        "${NIXL_STORE_SHARED_SONAME}" "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_LINK_NAME}"
    COMMAND "${CMAKE_COMMAND}"
        "-DIN=${NIXL_STORE_CARGO_OUTPUT_DIR}/${NIXL_STORE_STATIC_NAME}"
        "-DOUT=${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_STATIC_NAME}"
        "-DHEADER=${CMAKE_CURRENT_SOURCE_DIR}/include/nixl_store.h"
        "-DCC=${NIXL_STORE_C_COMMAND}" "-DOBJCOPY=${CMAKE_OBJCOPY}" "-DAR=${CMAKE_AR}"
        -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/NixlStoreStatic.cmake"
    COMMAND "${CMAKE_COMMAND}"
        "-DCARGO=${NIXL_STORE_CARGO}" "-DARGUMENTS=${NIXL_STORE_CARGO_ARGUMENTS}"
        "-DOUT=${CMAKE_CURRENT_BINARY_DIR}/copyright"
        -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/NixlStoreCopyright.cmake"
    ${NIXL_STORE_COMMAND_STEPS}
    BYPRODUCTS
        "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_REAL_NAME}"
        "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_STATIC_NAME}"
    COMMENT "Building nixl_store with cargo (the first time takes some minutes)"
    USES_TERMINAL
    VERBATIM)

# A Rust static library leaves the system libraries to whoever links it. Which ones is rustc's to say; an empty crate
# has the same answer as ours, because no dependency of ours brings a library of its own. Who has set them is not asked;
# what rustc said holds for the target that it was asked about.
if(NOT DEFINED CACHE{NIXL_STORE_SYSTEM_LIBRARIES} OR (DEFINED CACHE{NIXL_STORE_SYSTEM_LIBRARIES_ARE_OF}
        AND NOT "$CACHE{NIXL_STORE_SYSTEM_LIBRARIES_ARE_OF}" STREQUAL "${NIXL_STORE_RUST_TARGET}"))
    set(probe_dir "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/nixl_store_probe")
    file(MAKE_DIRECTORY "${probe_dir}")
    file(WRITE "${probe_dir}/probe.rs" "")
    execute_process(
        COMMAND "${NIXL_STORE_RUSTC}" ${NIXL_STORE_RUSTC_ARGUMENTS} --out-dir "${probe_dir}" "${probe_dir}/probe.rs"
        OUTPUT_VARIABLE probe_output ERROR_VARIABLE probe_output RESULT_VARIABLE probe_result)
    if(NOT probe_result EQUAL 0 OR NOT probe_output MATCHES "native-static-libs: *([^\n]*)")
        message(FATAL_ERROR "rustc does not say which system libraries a static library needs:\n${probe_output}")
    endif()
    string(REGEX MATCHALL "-l[^ ]+" probe_flags "${CMAKE_MATCH_1}")
    list(TRANSFORM probe_flags REPLACE "^-l" "")
    list(REMOVE_DUPLICATES probe_flags)
    # Every C compiler links its own unwinder by itself. Named here, the shared one would make `-static` fail.
    list(REMOVE_ITEM probe_flags gcc_s)
    set(NIXL_STORE_SYSTEM_LIBRARIES "${probe_flags}" CACHE STRING "System libraries that the static library needs" FORCE)
    set(NIXL_STORE_SYSTEM_LIBRARIES_ARE_OF "${NIXL_STORE_RUST_TARGET}" CACHE INTERNAL "")
    mark_as_advanced(NIXL_STORE_SYSTEM_LIBRARIES)
endif()

add_library(nixl_store::nixl_store SHARED IMPORTED GLOBAL)
set_target_properties(nixl_store::nixl_store PROPERTIES
    IMPORTED_LOCATION "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_REAL_NAME}"
    IMPORTED_SONAME "${NIXL_STORE_SHARED_SONAME}"
    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_SOURCE_DIR}/include")
add_dependencies(nixl_store::nixl_store nixl_store_cargo)

add_library(nixl_store::static STATIC IMPORTED GLOBAL)
set_target_properties(nixl_store::static PROPERTIES
    IMPORTED_LOCATION "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_STATIC_NAME}"
    INTERFACE_LINK_LIBRARIES "${NIXL_STORE_SYSTEM_LIBRARIES}"
    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_SOURCE_DIR}/include")
add_dependencies(nixl_store::static nixl_store_cargo)
