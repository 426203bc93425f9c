# What is installed, and the files by which others find it: a CMake package and a pkg-config file, both relative to
# where they lie. The build tree gets a CMake package of its own: -Dnixl_store_DIR=<build tree>.
include(CMakePackageConfigHelpers)

# Unless it is set, the documents' folder is called like the command and the Debian package, which must have it so. What
# GNUInstallDirs has made up for a project around this one is not set: its documents would be overwritten.
set(nixl_store_docdir_is_set TRUE)
if("${CMAKE_INSTALL_DOCDIR}" STREQUAL "" OR ("$CACHE{CMAKE_INSTALL_DOCDIR}" STREQUAL ""
        AND CMAKE_INSTALL_DOCDIR STREQUAL "${CMAKE_INSTALL_DATAROOTDIR}/doc/${CMAKE_PROJECT_NAME}"))
    set(nixl_store_docdir_is_set FALSE)
endif()
include(GNUInstallDirs)
if(NOT nixl_store_docdir_is_set)
    set(CMAKE_INSTALL_DOCDIR "${CMAKE_INSTALL_DATAROOTDIR}/doc/nixl-store")
    GNUInstallDirs_get_absolute_install_dir(CMAKE_INSTALL_FULL_DOCDIR CMAKE_INSTALL_DOCDIR DOCDIR)
endif()

set(NIXL_STORE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/nixl_store")
set(NIXL_STORE_GENERATED_DIR "${CMAKE_CURRENT_BINARY_DIR}/installed")

# Before 1.0 a minor version may change the interface.
set(NIXL_STORE_COMPATIBILITY SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
    set(NIXL_STORE_COMPATIBILITY SameMinorVersion)
endif()

# The package of an installation: its directories are relative to the prefix, unless a distribution made them absolute.
set(NIXL_STORE_CONFIG_INCLUDE_DIR "${CMAKE_INSTALL_INCLUDEDIR}")
set(NIXL_STORE_CONFIG_LIBRARY_DIR "${CMAKE_INSTALL_LIBDIR}")
configure_package_config_file(
    cmake/nixl_store-config.cmake.in "${NIXL_STORE_GENERATED_DIR}/nixl_store-config.cmake"
    INSTALL_DESTINATION "${NIXL_STORE_CMAKE_DIR}"
    PATH_VARS NIXL_STORE_CONFIG_INCLUDE_DIR NIXL_STORE_CONFIG_LIBRARY_DIR
    NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(
    "${NIXL_STORE_GENERATED_DIR}/nixl_store-config-version.cmake" COMPATIBILITY ${NIXL_STORE_COMPATIBILITY})

# The package of the build tree.
set(NIXL_STORE_CONFIG_INCLUDE_DIR "${CMAKE_CURRENT_SOURCE_DIR}/include")
set(NIXL_STORE_CONFIG_LIBRARY_DIR "${NIXL_STORE_LIBRARY_DIR}")
configure_package_config_file(
    cmake/nixl_store-config.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/nixl_store-config.cmake"
    INSTALL_DESTINATION "${CMAKE_CURRENT_BINARY_DIR}"
    INSTALL_PREFIX "${CMAKE_CURRENT_BINARY_DIR}"
    PATH_VARS NIXL_STORE_CONFIG_INCLUDE_DIR NIXL_STORE_CONFIG_LIBRARY_DIR
    NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(
    "${CMAKE_CURRENT_BINARY_DIR}/nixl_store-config-version.cmake" COMPATIBILITY ${NIXL_STORE_COMPATIBILITY})

# pkg-config: the prefix is found from the file's own place, and is as many folders up as the library directory is deep.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(NIXL_STORE_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
    set(NIXL_STORE_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
else()
    file(RELATIVE_PATH NIXL_STORE_UP "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
    string(REGEX REPLACE "/$" "" NIXL_STORE_UP "${NIXL_STORE_UP}")
    set(NIXL_STORE_PC_PREFIX "\${pcfiledir}/${NIXL_STORE_UP}")
    set(NIXL_STORE_PC_LIBDIR "\${exec_prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
set(NIXL_STORE_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(NIXL_STORE_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
endif()
list(TRANSFORM NIXL_STORE_SYSTEM_LIBRARIES PREPEND "-l" OUTPUT_VARIABLE NIXL_STORE_PC_SYSTEM_LIBS)
list(JOIN NIXL_STORE_PC_SYSTEM_LIBS " " NIXL_STORE_PC_SYSTEM_LIBS)
configure_file(nixl_store.pc.in "${NIXL_STORE_GENERATED_DIR}/nixl_store.pc" @ONLY)

# Three components: what a program needs to run, what whoever compiles one needs beside it, and the command.
install(PROGRAMS "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_REAL_NAME}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT nixl_store_runtime)
install(FILES "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_SONAME}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT nixl_store_runtime)
# The licences of the crates ask for their texts beside what is made of them.
install(FILES LICENSE
        "${CMAKE_CURRENT_BINARY_DIR}/copyright/copyright" "${CMAKE_CURRENT_BINARY_DIR}/copyright/LICENSES-OF-CRATES.txt"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT nixl_store_runtime)

install(DIRECTORY include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT nixl_store_development
    FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES
        "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_LINK_NAME}" "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_STATIC_NAME}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT nixl_store_development)
install(FILES
        "${NIXL_STORE_GENERATED_DIR}/nixl_store-config.cmake"
        "${NIXL_STORE_GENERATED_DIR}/nixl_store-config-version.cmake"
    DESTINATION "${NIXL_STORE_CMAKE_DIR}" COMPONENT nixl_store_development)
install(FILES "${NIXL_STORE_GENERATED_DIR}/nixl_store.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT nixl_store_development)

if(NIXL_STORE_CLI)
    install(PROGRAMS "${NIXL_STORE_COMMAND_DIR}/nixl-store"
        DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT nixl_store_command)
endif()
if(NIXL_STORE_COMMAND_RUNS)
    install(DIRECTORY "${NIXL_STORE_COMMAND_DIR}/man1"
        DESTINATION "${CMAKE_INSTALL_MANDIR}" COMPONENT nixl_store_command)
    foreach(place IN ITEMS bash:bash-completion/completions zsh:zsh/site-functions fish:fish/vendor_completions.d)
        string(REGEX MATCH "^(.*):(.*)$" place "${place}")
        install(DIRECTORY "${NIXL_STORE_COMMAND_DIR}/completions/${CMAKE_MATCH_1}/"
            DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/${CMAKE_MATCH_2}" COMPONENT nixl_store_command)
    endforeach()
endif()

# The examples build by themselves with the installed package. Debian expects them where the documents are.
install(DIRECTORY examples-c/ DESTINATION "${CMAKE_INSTALL_DOCDIR}/examples" COMPONENT nixl_store_development)
install(DIRECTORY docs DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT nixl_store_development
    FILES_MATCHING PATTERN "*.svg" PATTERN "*.png" PATTERN "*.json")
# The texts are written to the build tree when it is configured, with links that fit the installation.
file(GLOB NIXL_STORE_DOCUMENTS RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" CONFIGURE_DEPENDS
    README.md CHANGELOG.md ARCHITECTURE.md docs/*.md)
include(cmake/NixlStoreDocuments.cmake)
install(DIRECTORY "${NIXL_STORE_GENERATED_DIR}/documents/"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT nixl_store_development)

# CMake strips only what it has linked itself, so what cargo has is stripped here: by default, and with
# `cmake --install --strip` in any case. The shared library and the command keep what the loader reads; the static
# library keeps its symbols and loses the line tables, as every linker needs it.
set(strip_always FALSE)
if(NIXL_STORE_STRIP)
    set(strip_always TRUE)
endif()
foreach(part IN ITEMS
        "nixl_store_runtime|--strip-unneeded|${CMAKE_INSTALL_LIBDIR}/${NIXL_STORE_SHARED_REAL_NAME}"
        "nixl_store_development|--strip-debug|${CMAKE_INSTALL_LIBDIR}/${NIXL_STORE_STATIC_NAME}"
        "nixl_store_command|--strip-all|${CMAKE_INSTALL_BINDIR}/nixl-store")
    string(REGEX MATCH "^(.*)[|](.*)[|](.*)$" part "${part}")
    if(CMAKE_MATCH_1 STREQUAL "nixl_store_command" AND NOT NIXL_STORE_CLI)
        continue()
    endif()
    string(CONFIGURE [==[
        set(strip @strip_always@)
        if(strip OR CMAKE_INSTALL_DO_STRIP)
            set(file "@CMAKE_MATCH_3@")
            cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
            execute_process(COMMAND "@CMAKE_STRIP@" @CMAKE_MATCH_2@ "$ENV{DESTDIR}${file}" RESULT_VARIABLE result)
            if(NOT result EQUAL 0)
                message(FATAL_ERROR "$ENV{DESTDIR}${file} was not stripped; -DNIXL_STORE_STRIP=OFF leaves it as it is")
            endif()
        endif()]==] strip_step @ONLY)
    install(CODE "${strip_step}" COMPONENT ${CMAKE_MATCH_1})
endforeach()
