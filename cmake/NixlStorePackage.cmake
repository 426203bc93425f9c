# What is installed, and the files by which others find it: a CMake package and a pkg-config file, both relative to
# where they lie. The build tree gets a CMake package of its own: -Dnixl_store_DIR=<build tree>.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

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

# A program needs the first component, whoever compiles one the second too.
install(PROGRAMS "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_REAL_NAME}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT nixl_store_runtime)
install(FILES "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_SONAME}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT nixl_store_runtime)
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT nixl_store_runtime)

install(FILES include/nixl_store.h include/nixl_store.hpp
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT nixl_store_development)
install(FILES
        "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_SHARED_LINK_NAME}" "${NIXL_STORE_LIBRARY_DIR}/${NIXL_STORE_STATIC_NAME}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT nixl_store_development)
install(FILES
        "${NIXL_STORE_GENERATED_DIR}/nixl_store-config.cmake"
        "${NIXL_STORE_GENERATED_DIR}/nixl_store-config-version.cmake"
    DESTINATION "${NIXL_STORE_CMAKE_DIR}" COMPONENT nixl_store_development)
install(FILES "${NIXL_STORE_GENERATED_DIR}/nixl_store.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT nixl_store_development)
