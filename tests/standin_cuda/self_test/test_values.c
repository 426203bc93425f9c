/* Words in memory that streams wait for and write, waits without end, and host functions. */

#include "self_test.h"

#define BYTES 4096u
#define ROUNDS 50

static bool waits(void *stream)
{
    return standin.standin_waits_for_value(stream);
}

static void values(void)
{
    CUdeviceptr words;
    begin();
    CUstream first = new_stream(CU_STREAM_NON_BLOCKING), second = new_stream(CU_STREAM_NON_BLOCKING);
    unsigned char *pinned = new_pinned(BYTES);
    CUdeviceptr device = new_device(BYTES);
    uint32_t *word = (uint32_t *)(void *)pinned;
    OK(cu.cuMemHostGetDevicePointer(&words, pinned, 0));

    /* The processor writes, the stream waits. */
    OK(cu.cuStreamWaitValue32(first, words, 3, CU_STREAM_WAIT_VALUE_GEQ));
    OK(cu.cuStreamWriteValue32(first, words + 4, 7, 0));
    CHECK(eventually(waits, first));
    __atomic_store_n(word, 2, __ATOMIC_RELEASE);
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(first));
    __atomic_store_n(word, 3, __ATOMIC_RELEASE);
    OK(cu.cuStreamSynchronize(first));
    CHECK(__atomic_load_n(word + 1, __ATOMIC_ACQUIRE) == 7);

    /* A counter wraps around: what lies little behind is reached, what lies little ahead is not. */
    OK(cu.cuStreamWaitValue32(first, words, 0xfffffff0u, CU_STREAM_WAIT_VALUE_GEQ));
    OK(cu.cuStreamSynchronize(first));
    __atomic_store_n(word, 0xfffffffeu, __ATOMIC_RELEASE);
    OK(cu.cuStreamWaitValue32(first, words, 1, CU_STREAM_WAIT_VALUE_GEQ));
    CHECK(eventually(waits, first));
    __atomic_store_n(word, 2, __ATOMIC_RELEASE);
    OK(cu.cuStreamSynchronize(first));

    /* Stream to stream, in device memory and 64 bits. */
    OK(cu.cuMemsetD8Async(device, 0, BYTES, second));
    OK(cu.cuStreamSynchronize(second));
    OK(cu.cuStreamWaitValue64(first, device + 8, 1ull << 40, CU_STREAM_WAIT_VALUE_EQ));
    OK(cu.cuStreamWriteValue64(second, device + 8, 1ull << 40, 0));
    OK(cu.cuStreamSynchronize(first));
    OK(cu.cuStreamWaitValue64(first, device + 8, 1ull << 40, CU_STREAM_WAIT_VALUE_AND));
    OK(cu.cuStreamWaitValue64(first, device + 8, 1, CU_STREAM_WAIT_VALUE_NOR));
    OK(cu.cuStreamSynchronize(first));

    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWaitValue32(first, words + 2, 1, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWaitValue32(first, words, 1, 9));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWriteValue32(first, words, 1, 1));
    EXPECT(CUDA_ERROR_NOT_SUPPORTED, cu.cuStreamWaitValue32(first, words, 1, CU_STREAM_WAIT_VALUE_FLUSH));
    static uint32_t pageable;
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWaitValue32(first, (uintptr_t)&pageable, 1, 0));
    OK(cu.cuMemFreeHost(pinned));
    OK(cu.cuMemFree(device));
    OK(cu.cuStreamDestroy(first));
    OK(cu.cuStreamDestroy(second));
    finish();
}

static void allocations_while_a_stream_waits(void)
{
    CUdeviceptr words;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    unsigned char *pinned = new_pinned(BYTES);
    OK(cu.cuMemHostGetDevicePointer(&words, pinned, 0));
    OK(cu.cuMemFree(new_device(BYTES)));
    CHECK(standin.standin_allocations_while_waiting() == 0);
    OK(cu.cuStreamWaitValue32(stream, words, 1, CU_STREAM_WAIT_VALUE_EQ));
    CHECK(eventually(waits, stream));
    CUdeviceptr device = new_device(BYTES);
    CHECK(standin.standin_allocations_while_waiting() == 1);
    __atomic_store_n((uint32_t *)(void *)pinned, 1, __ATOMIC_RELEASE);
    OK(cu.cuStreamSynchronize(stream));
    CHECK(!waits(stream));
    OK(cu.cuMemFree(device));
    CHECK(standin.standin_allocations_while_waiting() == 1);
    OK(cu.cuMemFreeHost(pinned));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

/* A wait without end is a broken rule and no hanging test. */
static void waiting_for_ever(void)
{
    CUdeviceptr words;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    unsigned char *pinned = new_pinned(BYTES);
    OK(cu.cuMemHostGetDevicePointer(&words, pinned, 0));
    OK(cu.cuStreamWaitValue32(stream, words, 1, CU_STREAM_WAIT_VALUE_EQ));
    EXPECT(CUDA_ERROR_LAUNCH_TIMEOUT, cu.cuStreamSynchronize(stream));
    expect_broken_rule("waited longer than 50 ms");
    OK(cu.cuDevicePrimaryCtxRelease(0));
    expect_broken_rule("waited longer than 50 ms");
    CHECK(standin.standin_live(STANDIN_STREAMS) == 0);
}

/* ---- host functions ---- */

static void count_up(void *data)
{
    __atomic_fetch_add((int *)data, 1, __ATOMIC_ACQ_REL);
}

static void host_functions(void)
{
    int count = 0;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    for (int i = 0; i < ROUNDS; i++)
        OK(cu.cuLaunchHostFunc(stream, count_up, &count));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchHostFunc(stream, NULL, NULL));
    OK(cu.cuStreamSynchronize(stream));
    CHECK(count == ROUNDS);
    OK(cu.cuStreamDestroy(stream));
    finish();
}

static void call_the_driver(void *data)
{
    CUcontext context;
    *(int *)data = (int)cu.cuCtxGetCurrent(&context);
}

static void no_calls_in_host_functions(void)
{
    int result = 0;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuLaunchHostFunc(stream, call_the_driver, &result));
    OK(cu.cuStreamSynchronize(stream));
    CHECK(result == CUDA_ERROR_NOT_PERMITTED);
    expect_broken_rule("cuCtxGetCurrent was called in a host function");
    OK(cu.cuStreamDestroy(stream));
    finish();
}

const struct test value_tests[] = {
    {"values", values, true, NULL},
    {"allocations_while_a_stream_waits", allocations_while_a_stream_waits, true, NULL},
    {"waiting_for_ever", waiting_for_ever, true, "STANDIN_CUDA_PATIENCE_MS=50"},
    {"host_functions", host_functions, false, NULL},
    {"no_calls_in_host_functions", no_calls_in_host_functions, false, NULL},
    {NULL, NULL, false, NULL},
};
