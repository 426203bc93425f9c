# The examples for CUDA: on this machine, which need not have a GPU, and on a stand-in for the driver, where they must run.
# A program that has nothing to do ends well, so what it says is looked at too.
set(says [==[said=$("$@" 2>&1); code=$?; echo "$said"
    [ $code = 0 ] && echo "$said" | grep -Eq "$SAYS" && ! echo "$said" | grep -q "broken rule"]==])
set(nothing_done "nothing was done: (there is no CUDA driver|cuInit: |the driver sees no GPU)")
set(right_cuda_offload "every byte of 128 stretches compared, 0 wrong")
set(right_kv_connector "43 blocks, 26 of them loaded, 0 planes wrong")
set(standin "LD_LIBRARY_PATH=${NIXL_STORE_STANDIN_CUDA}")
foreach(example IN ITEMS cuda_offload kv_connector)
    add_test(NAME ${prefix}.${example} COMMAND sh -c "${says}" sh $<TARGET_FILE:${example}>)
    set_tests_properties(${prefix}.${example} PROPERTIES ENVIRONMENT "SAYS=${nothing_done}|${right_${example}}")
    if(NIXL_STORE_STANDIN_CUDA)
        add_test(NAME ${prefix}.${example}_on_a_standin COMMAND sh -c "${says}" sh $<TARGET_FILE:${example}>)
        set_tests_properties(${prefix}.${example}_on_a_standin PROPERTIES ENVIRONMENT
            "SAYS=${right_${example}};${standin};STANDIN_CUDA_VERBOSE=1")
        add_test(NAME ${prefix}.${example}_without_a_gpu COMMAND sh -c "${says}" sh $<TARGET_FILE:${example}>)
        set_tests_properties(${prefix}.${example}_without_a_gpu PROPERTIES ENVIRONMENT
            "SAYS=nothing was done: cuInit: CUDA_ERROR_NO_DEVICE;${standin};STANDIN_CUDA_DEVICES=0")
    endif()
endforeach()
