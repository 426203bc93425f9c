# Tests what a stranger gets: everything here links an installed copy under the build tree, never the build itself.
set(NIXL_STORE_STAGE_DIR "${CMAKE_CURRENT_BINARY_DIR}/stage")

# DESTDIR is a packager's; it must not lead the staged copy astray.
add_custom_target(nixl_store_stage ALL
    COMMAND "${CMAKE_COMMAND}" -E rm -rf "${NIXL_STORE_STAGE_DIR}"
    COMMAND "${CMAKE_COMMAND}" -E env --unset=DESTDIR
        "${CMAKE_COMMAND}" --install "${CMAKE_CURRENT_BINARY_DIR}" --prefix "${NIXL_STORE_STAGE_DIR}"
    COMMENT "Installing to ${NIXL_STORE_STAGE_DIR}"
    VERBATIM)
add_dependencies(nixl_store_stage nixl_store_cargo)

# The driver that the CUDA examples are tested on: there is no GPU to count on, and one stand-in serves both linkages. It
# is built while cargo builds the library, and again only when its sources have changed.
set(NIXL_STORE_STANDIN_CUDA_DIR "${CMAKE_CURRENT_BINARY_DIR}/standin-cuda")
file(GLOB standin_sources CONFIGURE_DEPENDS
    "${CMAKE_CURRENT_SOURCE_DIR}/tests/standin_cuda/*.[ch]" "${CMAKE_CURRENT_SOURCE_DIR}/tests/standin_cuda/build.sh"
    "${CMAKE_CURRENT_SOURCE_DIR}/tests/cuda_kernels/*.cpp" "${CMAKE_CURRENT_SOURCE_DIR}/tests/cuda_kernels/*.h"
    "${CMAKE_CURRENT_SOURCE_DIR}/src/cuda/kernels/*")
add_custom_command(OUTPUT "${NIXL_STORE_STANDIN_CUDA_DIR}/libcuda.so.1"
    COMMAND "${CMAKE_COMMAND}" -E env "CC=${CMAKE_C_COMPILER}"
        sh "${CMAKE_CURRENT_SOURCE_DIR}/tests/standin_cuda/build.sh" "${NIXL_STORE_STANDIN_CUDA_DIR}"
    DEPENDS ${standin_sources}
    COMMENT "Building the stand-in for CUDA's driver"
    VERBATIM)
add_custom_target(nixl_store_standin_cuda ALL DEPENDS "${NIXL_STORE_STANDIN_CUDA_DIR}/libcuda.so.1")

# Each example is built twice, against the shared and the static library, by its own CMake project, from the sources that
# are installed. Its tests are read into this tree's ctest; they exist once the target is built.
set(NIXL_STORE_STAGE_DOC_DIR "${NIXL_STORE_STAGE_DIR}/${CMAKE_INSTALL_DOCDIR}")
set(test_lists "")
foreach(linkage IN ITEMS shared static)
    set(examples_dir "${CMAKE_CURRENT_BINARY_DIR}/examples-${linkage}")
    add_custom_target(nixl_store_examples_${linkage} ALL
        COMMAND "${CMAKE_COMMAND}" -S "${NIXL_STORE_STAGE_DOC_DIR}/examples" -B "${examples_dir}"
            -G "${CMAKE_GENERATOR}" "-DCMAKE_PREFIX_PATH=${NIXL_STORE_STAGE_DIR}"
            "-DCMAKE_C_COMPILER=${CMAKE_C_COMPILER}" -DCMAKE_BUILD_TYPE=Release
            -DNIXL_STORE_LINKAGE=${linkage} -DNIXL_STORE_EXAMPLES_WERROR=ON
            "-DNIXL_STORE_STANDIN_CUDA=${NIXL_STORE_STANDIN_CUDA_DIR}"
        COMMAND "${CMAKE_COMMAND}" --build "${examples_dir}"
        COMMENT "Building the examples against the installed ${linkage} library"
        VERBATIM)
    add_dependencies(nixl_store_examples_${linkage} nixl_store_stage)
    string(APPEND test_lists "subdirs([==[${examples_dir}]==])\n")
endforeach()
set(examples_tests_file "${CMAKE_CURRENT_BINARY_DIR}/examples-tests.cmake")
file(WRITE "${examples_tests_file}" "${test_lists}")
set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${examples_tests_file}")

# One test per way in which a project can come by the library, and per promise about what it comes by.
foreach(case IN ITEMS
        find_package build_tree subproject moved_prefix pkg_config version_refused one_library_missing soname
        cpp size_and_load_time without_obj
        link_with_each linked_by_rust_lld linked_by_lld linked_by_bfd)
    add_test(NAME package.${case}
        COMMAND bash "${CMAKE_CURRENT_SOURCE_DIR}/tests/package/check.sh" ${case}
            "${CMAKE_CURRENT_BINARY_DIR}/package-${case}")
    set_tests_properties(package.${case} PROPERTIES ENVIRONMENT
        "CMAKE=${CMAKE_COMMAND};CC=${CMAKE_C_COMPILER};GENERATOR=${CMAKE_GENERATOR};STAGE=${NIXL_STORE_STAGE_DIR};\
BUILD_TREE=${CMAKE_CURRENT_BINARY_DIR};VERSION=${PROJECT_VERSION};SONAME=${NIXL_STORE_SHARED_SONAME};\
CARGO=${NIXL_STORE_CARGO};CARGO_TARGET_DIR=${NIXL_STORE_CARGO_TARGET_DIR};OBJ=$<IF:$<BOOL:${NIXL_STORE_OBJ}>,ON,OFF>")
endforeach()
# What is installed beside the libraries, and other ways to link them.
foreach(case IN ITEMS
        stripped symbols_kept documents_lead_somewhere command_and_its_pages headers fully_static destination
        licences_of_others settings_are_heeded documents_of_a_part cargo_that_was_chosen another_machine
        fetch_content nothing_is_built_twice)
    add_test(NAME package.${case}
        COMMAND bash "${CMAKE_CURRENT_SOURCE_DIR}/tests/package/installed.sh" ${case}
            "${CMAKE_CURRENT_BINARY_DIR}/package-${case}")
    set_tests_properties(package.${case} PROPERTIES ENVIRONMENT
        "CMAKE=${CMAKE_COMMAND};CC=${CMAKE_C_COMPILER};GENERATOR=${CMAKE_GENERATOR};STAGE=${NIXL_STORE_STAGE_DIR};\
BUILD_TREE=${CMAKE_CURRENT_BINARY_DIR};VERSION=${PROJECT_VERSION};CARGO=${NIXL_STORE_CARGO};\
DOC_DIR=${NIXL_STORE_STAGE_DOC_DIR};LIBRARY_DIR=${NIXL_STORE_STAGE_DIR}/${CMAKE_INSTALL_LIBDIR};\
SYSTEM_LIBRARIES=${NIXL_STORE_PC_SYSTEM_LIBS};CLI=$<BOOL:${NIXL_STORE_CLI}>;OBJ=$<BOOL:${NIXL_STORE_OBJ}>;\
CARGO_TARGET_DIR=${NIXL_STORE_CARGO_TARGET_DIR}"
        SKIP_RETURN_CODE 77)
endforeach()
set_tests_properties(package.symbols_kept package.settings_are_heeded package.fetch_content package.nothing_is_built_twice
    PROPERTIES RUN_SERIAL ON)

add_test(NAME package.debian_package_on_a_bare_system
    COMMAND bash "${CMAKE_CURRENT_SOURCE_DIR}/tests/package/debian.sh" "${CMAKE_CURRENT_BINARY_DIR}/package-debian")
set_tests_properties(package.debian_package_on_a_bare_system PROPERTIES RUN_SERIAL ON SKIP_RETURN_CODE 77 ENVIRONMENT
    "CMAKE=${CMAKE_COMMAND};CPACK=${CMAKE_CPACK_COMMAND};CC=${CMAKE_C_COMPILER};GENERATOR=${CMAKE_GENERATOR};\
BUILD_TREE=${CMAKE_CURRENT_BINARY_DIR};VERSION=${PROJECT_VERSION};CLI=$<BOOL:${NIXL_STORE_CLI}>;\
OBJ=$<BOOL:${NIXL_STORE_OBJ}>;CARGO=${NIXL_STORE_CARGO};CARGO_TARGET_DIR=${NIXL_STORE_CARGO_TARGET_DIR}")

# These have cargo compile, on all cores.
set_tests_properties(package.subproject package.without_obj package.link_with_each PROPERTIES RUN_SERIAL ON)
# This one leaves another library in cargo's folder than the others expect there.
set_tests_properties(package.link_with_each PROPERTIES FIXTURES_SETUP nixl_store_links DEPENDS
    "package.subproject;package.symbols_kept;package.settings_are_heeded;package.fetch_content;package.nothing_is_built_twice;\
package.debian_package_on_a_bare_system")
set_tests_properties(package.linked_by_rust_lld package.linked_by_lld package.linked_by_bfd PROPERTIES
    FIXTURES_REQUIRED nixl_store_links SKIP_RETURN_CODE 77)

add_test(NAME package.exports_what_the_header_declares
    COMMAND sh "${CMAKE_CURRENT_SOURCE_DIR}/scripts/check-symbols.sh"
        "${NIXL_STORE_STAGE_DIR}/${CMAKE_INSTALL_LIBDIR}/${NIXL_STORE_SHARED_REAL_NAME}"
        "${NIXL_STORE_STAGE_DIR}/${CMAKE_INSTALL_LIBDIR}/${NIXL_STORE_STATIC_NAME}")
