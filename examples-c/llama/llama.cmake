# llama_kv_reuse, where llama.cpp is found, and the test of its logic, which needs no llama.cpp.
set(llama_logic llama/block_chain.cpp llama/block_store.cpp llama/sha256.cpp)

add_executable(block_prefix_test llama/block_prefix_test.cpp ${llama_logic} common/temp_store.c)
target_include_directories(block_prefix_test PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(block_prefix_test PRIVATE ${library})
add_test(NAME ${prefix}.block_prefix COMMAND block_prefix_test)

# Beside the usual places: LLAMA_CPP_ROOT, and where `make demo-llama` has put it.
file(GLOB llama_hints "${CMAKE_CURRENT_SOURCE_DIR}/../.venv-llama/lib/python3*/site-packages")
find_path(LLAMA_CPP_INCLUDE_DIR llama.h HINTS ${LLAMA_CPP_ROOT} ${llama_hints} PATH_SUFFIXES include)
find_library(LLAMA_CPP_LIBRARY llama HINTS ${LLAMA_CPP_ROOT} ${llama_hints} PATH_SUFFIXES llama_cpp/lib lib)
if(NOT LLAMA_CPP_INCLUDE_DIR OR NOT LLAMA_CPP_LIBRARY)
    message(STATUS "llama_kv_reuse: not built, llama.cpp was not found (set LLAMA_CPP_ROOT, or run `make demo-llama`)")
    return()
endif()

# llama.cpp's API moves; one that is too old or too new is no reason not to build the rest.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_INCLUDES "${LLAMA_CPP_INCLUDE_DIR}")
set(CMAKE_REQUIRED_LIBRARIES "${LLAMA_CPP_LIBRARY}")
check_cxx_source_compiles("
    #include <llama.h>
    int main()
    {
        llama_context_params settings = llama_context_default_params();
        settings.swa_full = settings.kv_unified = true;
        settings.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        llama_memory_seq_cp(nullptr, 0, 1, 0, 1);
        llama_version();
        return LLAMA_STATE_SEQ_VERSION + static_cast<int>(llama_state_seq_get_size(nullptr, 0));
    }" LLAMA_CPP_FITS)
unset(CMAKE_REQUIRED_INCLUDES)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT LLAMA_CPP_FITS)
    message(STATUS "llama_kv_reuse: not built, ${LLAMA_CPP_LIBRARY} has another interface than this example needs")
    return()
endif()

message(STATUS "llama_kv_reuse: built with ${LLAMA_CPP_LIBRARY}")
add_executable(llama_kv_reuse llama_kv_reuse.cpp llama/engine.cpp llama/options.cpp llama/verify.cpp ${llama_logic})
target_include_directories(llama_kv_reuse PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_include_directories(llama_kv_reuse SYSTEM PRIVATE ${LLAMA_CPP_INCLUDE_DIR})
target_link_libraries(llama_kv_reuse PRIVATE ${library} ${LLAMA_CPP_LIBRARY})
add_test(NAME ${prefix}.llama_kv_reuse_names_a_missing_model
    COMMAND llama_kv_reuse --model /nowhere/model.gguf --document ${CMAKE_CURRENT_SOURCE_DIR}/data/README.md)
set_tests_properties(${prefix}.llama_kv_reuse_names_a_missing_model PROPERTIES
    PASS_REGULAR_EXPRESSION "llama_kv_reuse: .*/nowhere/model\\.gguf")
