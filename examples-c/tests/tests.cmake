# Each example is a test; beside them, the parts of the examples that judge others are put to the test themselves.
set(prefix examples.${NIXL_STORE_LINKAGE})
set(data_dir "${CMAKE_CURRENT_SOURCE_DIR}/data")
set(trace "${data_dir}/conversation_trace_500.jsonl")

# The configuration that a user of LMCache would have, with a directory and slots for a test.
set(store_dir "${CMAKE_CURRENT_BINARY_DIR}/store")
file(MAKE_DIRECTORY "${store_dir}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS lmcache.yaml)
file(READ lmcache.yaml configuration)
string(REPLACE "/mnt/nixl/cache/" "\"${store_dir}\"" configuration "${configuration}")
string(REPLACE "33554432" "1048576" configuration "${configuration}")
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/lmcache.yaml" "${configuration}")

add_test(NAME ${prefix}.quickstart COMMAND quickstart "${CMAKE_CURRENT_BINARY_DIR}/lmcache.yaml")
add_test(NAME ${prefix}.quickstart_finds_its_configuration_in_the_environment COMMAND quickstart)
set_tests_properties(${prefix}.quickstart_finds_its_configuration_in_the_environment PROPERTIES
    ENVIRONMENT "LMCACHE_CONFIG_FILE=${CMAKE_CURRENT_BINARY_DIR}/lmcache.yaml")
add_test(NAME ${prefix}.quickstart_cpp COMMAND quickstart_cpp "${CMAKE_CURRENT_BINARY_DIR}/lmcache.yaml")
# One pool has one owner at a time.
set_tests_properties(${prefix}.quickstart ${prefix}.quickstart_finds_its_configuration_in_the_environment
    ${prefix}.quickstart_cpp PROPERTIES RESOURCE_LOCK "${store_dir}")
add_test(NAME ${prefix}.quickstart_names_a_missing_configuration COMMAND quickstart /nowhere/lmcache.yaml)
set_tests_properties(${prefix}.quickstart_names_a_missing_configuration PROPERTIES
    PASS_REGULAR_EXPRESSION "quickstart: open: .*/nowhere/lmcache\\.yaml")
add_test(NAME ${prefix}.quickstart_cpp_names_a_missing_configuration COMMAND quickstart_cpp /nowhere/lmcache.yaml)
set_tests_properties(${prefix}.quickstart_cpp_names_a_missing_configuration PROPERTIES
    PASS_REGULAR_EXPRESSION "quickstart: NIXL_STORE_ERROR_CONFIG: .*/nowhere/lmcache\\.yaml")

add_test(NAME ${prefix}.async_batch COMMAND async_batch)
set_tests_properties(${prefix}.async_batch PROPERTIES
    PASS_REGULAR_EXPRESSION "512 chunks of 256 KiB put and 512 got back.*every byte right")
add_test(NAME ${prefix}.chain_lookup COMMAND chain_lookup)
set_tests_properties(${prefix}.chain_lookup PROPERTIES
    PASS_REGULAR_EXPRESSION "96 of a chain of 128 chunks are stored, 1572864 bytes.*32 more would be stored.*96 were pinned.*97 removed")
add_test(NAME ${prefix}.paged_kv_cache COMMAND paged_kv_cache)
set_tests_properties(${prefix}.paged_kv_cache PROPERTIES
    PASS_REGULAR_EXPRESSION "12 blocks pinned.*every byte of [0-9]+ blocks compared, 0 wrong")

# A pool of 64 slots against 2,000 blocks: nearly everything is evicted, and at the end the pool is full.
set(replay_arguments --trace "${trace}" --requests 80 --block-bytes 128K --pool-slots 64)
add_test(NAME ${prefix}.trace_replay COMMAND trace_replay ${replay_arguments})
add_test(NAME ${prefix}.trace_replay_direct COMMAND trace_replay ${replay_arguments} --direct
    --temp-dir "${CMAKE_CURRENT_BINARY_DIR}")
foreach(policy IN ITEMS LFU FIFO MRU REUSE)
    add_test(NAME ${prefix}.trace_replay_${policy} COMMAND trace_replay ${replay_arguments} --policy ${policy})
endforeach()
add_test(NAME ${prefix}.trace_replay_counts_what_is_declined COMMAND trace_replay ${replay_arguments} --policy REUSE)
set_tests_properties(${prefix}.trace_replay_counts_what_is_declined PROPERTIES
    PASS_REGULAR_EXPRESSION "puts declined +[1-9].*wrong blocks +0 of ")
# A size that no alignment likes, and a pool that holds everything, so that it hits all that can be hit.
add_test(NAME ${prefix}.trace_replay_hits_all_that_an_unbounded_cache_could COMMAND trace_replay
    --trace "${trace}" --block-bytes 1001 --pool-slots 12000)
set_tests_properties(${prefix}.trace_replay_hits_all_that_an_unbounded_cache_could PROPERTIES
    PASS_REGULAR_EXPRESSION "blocks hit +16\\.1 % \\(a cache that never evicts: 16\\.1 %\\).*evictions +0.*0 of 14,162 ")
# Two processes on one dynamic store, one after the other: what the second finds of the first is a fact of the trace.
set(shared_dir "${CMAKE_CURRENT_BINARY_DIR}/shared-store")
string(REPLACE "\"${store_dir}\"" "\"${shared_dir}\"" shared_configuration "${configuration}")
string(REPLACE "nixl_pool_size: 64 " "nixl_pool_size: 0 " shared_configuration "${shared_configuration}")
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/shared.yaml" "${shared_configuration}")
set(share [==[rm -rf "$1" && mkdir "$1" && shift && "$@" --share 1/2 && "$@" --share 2/2]==])
add_test(NAME ${prefix}.trace_replay_hits_what_another_process_put COMMAND sh -c "${share}" sh "${shared_dir}"
    $<TARGET_FILE:trace_replay> --trace "${trace}" --requests 200 --block-bytes 4K
    --config "${CMAKE_CURRENT_BINARY_DIR}/shared.yaml")
set_tests_properties(${prefix}.trace_replay_hits_what_another_process_put PROPERTIES
    PASS_REGULAR_EXPRESSION "blocks referenced +3,191.*49 of them put by another process.*wrong blocks +0 of ")
add_test(NAME ${prefix}.trace_replay_refuses_what_is_no_trace COMMAND trace_replay --trace "${data_dir}/README.md")
set_tests_properties(${prefix}.trace_replay_refuses_what_is_no_trace PROPERTIES
    PASS_REGULAR_EXPRESSION "README\\.md: line 1, column 1: expected {")

add_executable(trace_reader_test tests/trace_reader_test.c common/trace.c)
add_test(NAME ${prefix}.trace_reader COMMAND trace_reader_test "${trace}")

# A store that hands out one wrong bit, by a library that is loaded in front of the shared one.
if(NIXL_STORE_LINKAGE STREQUAL "shared")
    add_library(flip_bit MODULE tests/flip_bit.c)
    target_include_directories(flip_bit PRIVATE
        $<TARGET_PROPERTY:nixl_store::nixl_store,INTERFACE_INCLUDE_DIRECTORIES>)
    target_link_libraries(flip_bit PRIVATE ${CMAKE_DL_LIBS})
    set(flipped_async_batch "")
    set(flipped_paged_kv_cache "")
    set(flipped_trace_replay ${replay_arguments})
    # The exit status tells a program, the message tells a person: both must.
    set(expect_failure [==[said=$("$@" 2>&1); code=$?; echo "$said"; [ $code = 1 ] && echo "$said" | grep -qi wrong]==])
    foreach(example IN ITEMS async_batch paged_kv_cache trace_replay)
        add_test(NAME ${prefix}.${example}_notices_one_wrong_bit
            COMMAND sh -c "${expect_failure}" sh $<TARGET_FILE:${example}> ${flipped_${example}})
        set_tests_properties(${prefix}.${example}_notices_one_wrong_bit PROPERTIES
            ENVIRONMENT "LD_PRELOAD=$<TARGET_FILE:flip_bit>")
    endforeach()
endif()
