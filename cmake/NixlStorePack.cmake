# `cpack`: an archive, and a Debian package where Debian's tools are. One package holds all: who installs it on a server
# wants the command, and whoever links the library wants the version that is there, not one more to keep in step.
set(CPACK_PACKAGE_NAME nixl-store)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_DESCRIPTION "A C library that keeps KV-cache chunks on files, in S3 or in memory for inference engines,
configured by LMCache's NIXL YAML: shared and static library, headers, CMake package, pkg-config file, examples, and the
command nixl-store.")
set(CPACK_PACKAGE_VENDOR nixl-store)
set(CPACK_SYSTEM_NAME "${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_PACKAGE_CONTACT "The authors of nixl-store <root@localhost>" CACHE STRING
    "Who maintains the packages that cpack makes, as NAME <ADDRESS>")
set(CPACK_RESOURCE_FILE_LICENSE "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE")
set(CPACK_RESOURCE_FILE_README "${CMAKE_CURRENT_SOURCE_DIR}/README.md")
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_MONOLITHIC_INSTALL ON)
# What is packaged does not depend on the umask of whoever makes it.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_GENERATOR TGZ)
find_program(NIXL_STORE_DPKG_SHLIBDEPS dpkg-shlibdeps DOC "Tool of dpkg-dev that finds what a package depends on")
if(NIXL_STORE_DPKG_SHLIBDEPS)
    set(CPACK_GENERATOR DEB TGZ)
endif()

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
# Dependencies from what the files need; `shlibs` for the packages of those who link the library. Until 1.0 those need
# this very version.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY "=")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "gcc | c-compiler, libc6-dev | libc-dev, cmake (>= 3.20), pkg-config")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

# Debian wants the copyright file in the folder that is called like the package, wherever the documents are.
if(NOT CMAKE_INSTALL_DOCDIR STREQUAL "${CMAKE_INSTALL_DATAROOTDIR}/doc/nixl-store")
    install(FILES "${CMAKE_CURRENT_BINARY_DIR}/copyright/copyright"
        DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/doc/nixl-store" COMPONENT nixl_store_runtime)
endif()
include(CPack)
