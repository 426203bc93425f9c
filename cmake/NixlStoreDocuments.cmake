# Writes the documents for an installation. They lie there as in the source tree, but the examples are in `examples`, the
# header is in the folder of headers, and of the rest of the tree nothing is there: of a link to it the text stays.
file(RELATIVE_PATH up "/${CMAKE_INSTALL_FULL_DOCDIR}" "/${CMAKE_INSTALL_FULL_INCLUDEDIR}")
foreach(document IN LISTS NIXL_STORE_DOCUMENTS)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${document}")
    file(READ "${document}" text)
    # `root` leads from the document's folder to the top of the tree.
    set(root "")
    set(root_pattern "")
    if(document MATCHES "^docs/")
        set(root "../")
        set(root_pattern "\\.\\./")
    endif()
    string(REGEX REPLACE "\\]\\(${root_pattern}examples-c" "](${root}examples" text "${text}")
    string(REGEX REPLACE "\\]\\(${root_pattern}include/" "](${root}${up}/" text "${text}")
    string(REGEX REPLACE "\\[([^]\n]*)\\]\\(${root_pattern}(benches|cli|cmake|python|examples-python|scripts|src|tests)(/[^)\n]*)?\\)"
        "\\1" text "${text}")
    # A file that did not change keeps its time.
    file(CONFIGURE OUTPUT "${NIXL_STORE_GENERATED_DIR}/documents/${document}" CONTENT "@text@" @ONLY)
endforeach()
