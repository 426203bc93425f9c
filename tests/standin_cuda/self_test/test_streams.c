/* Order within streams and none between them, events, when host memory is looked at, and handles. */

#include "self_test.h"

#include <pthread.h>
#include <time.h>

#define BYTES 4096u
#define ROUNDS 50
#define LATE_US 10000
/* Far below what so many delays of up to LATE_US come to, and far above what the operations take. */
#define LATE_MS_LEAST 30

static void order_within_a_stream(void)
{
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr device = new_device(BYTES);
    unsigned char *pinned = new_pinned(BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        OK(cu.cuMemsetD8Async(device, (unsigned char)i, BYTES, stream));
        OK(cu.cuMemcpyDtoHAsync(pinned, device, BYTES, stream));
        OK(cu.cuMemsetD8Async(device, 0xff, BYTES, stream));
        OK(cu.cuStreamSynchronize(stream));
        CHECK(pinned[0] == i && pinned[BYTES - 1] == i);
    }
    OK(cu.cuStreamQuery(stream));
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFreeHost(pinned));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

/* A copy that is not ordered behind what it needs comes too early, and one that is does not. */
static void no_order_between_streams(void)
{
    CUevent event;
    begin();
    CUstream first = new_stream(CU_STREAM_NON_BLOCKING), second = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr device = new_device(BYTES);
    unsigned char *pinned = new_pinned(BYTES);
    OK(cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuMemsetD8Async(device, 1, BYTES, first));
    OK(cu.cuStreamSynchronize(first));

    CHECK(standin.standin_hold_stream(first) == 0);
    OK(cu.cuMemsetD8Async(device, 2, BYTES, first));
    OK(cu.cuEventRecord(event, first));
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuEventQuery(event));
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(first));
    CHECK(standin.standin_pending(first) == 2);
    OK(cu.cuMemcpyDtoHAsync(pinned, device, BYTES, second));
    OK(cu.cuStreamSynchronize(second));
    CHECK(pinned[0] == 1);

    OK(cu.cuStreamWaitEvent(second, event, 0));
    OK(cu.cuMemcpyDtoHAsync(pinned, device, BYTES, second));
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(second));
    CHECK(standin.standin_release_stream(first) == 0);
    OK(cu.cuStreamSynchronize(second));
    CHECK(pinned[0] == 2);
    OK(cu.cuEventQuery(event));
    OK(cu.cuEventDestroy(event));
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFreeHost(pinned));
    OK(cu.cuStreamDestroy(first));
    OK(cu.cuStreamDestroy(second));
    finish();
}

static void an_event_keeps_its_last_record(void)
{
    CUevent event;
    begin();
    CUstream first = new_stream(CU_STREAM_NON_BLOCKING), second = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr device = new_device(BYTES);
    OK(cu.cuEventCreate(&event, 0));
    OK(cu.cuEventQuery(event));
    OK(cu.cuEventSynchronize(event));
    OK(cu.cuStreamWaitEvent(second, event, 0));
    CHECK(standin.standin_hold_stream(first) == 0);
    OK(cu.cuMemsetD8Async(device, 2, BYTES, first));
    OK(cu.cuEventRecord(event, first));
    OK(cu.cuStreamWaitEvent(second, event, 0));
    /* Recorded anew elsewhere and destroyed: who waits, waits for what it was. */
    OK(cu.cuEventRecord(event, NULL));
    OK(cu.cuEventSynchronize(event));
    OK(cu.cuEventDestroy(event));
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(second));
    CHECK(standin.standin_release_stream(first) == 0);
    OK(cu.cuStreamSynchronize(second));
    OK(cu.cuMemFree(device));
    OK(cu.cuStreamDestroy(first));
    OK(cu.cuStreamDestroy(second));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cu.cuEventQuery(event));
    expect_broken_rule("destroyed event");
    finish();
}

static void the_default_stream_orders_blocking_ones(void)
{
    begin();
    CUstream blocking = new_stream(CU_STREAM_DEFAULT), free_running = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr device = new_device(BYTES);
    CHECK(standin.standin_hold_stream(blocking) == 0);
    OK(cu.cuMemsetD8Async(device, 7, BYTES, blocking));
    OK(cu.cuMemsetD8Async(device, 8, BYTES, NULL));
    OK(cu.cuMemsetD8Async(device + 1, 9, 1, free_running));
    OK(cu.cuStreamSynchronize(free_running));
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(NULL));
    CHECK(standin.standin_release_stream(blocking) == 0);
    OK(cu.cuStreamSynchronize(NULL));
    unsigned char byte;
    CHECK(standin.standin_read(device, &byte, 1) == 0 && byte == 8);

    CHECK(standin.standin_hold_stream(NULL) == 0);
    OK(cu.cuMemsetD8Async(device, 1, BYTES, NULL));
    OK(cu.cuMemsetD8Async(device, 2, BYTES, blocking));
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(blocking));
    CHECK(standin.standin_release_stream(NULL) == 0);
    OK(cu.cuCtxSynchronize());
    CHECK(standin.standin_read(device, &byte, 1) == 0 && byte == 2);
    OK(cu.cuMemFree(device));
    OK(cu.cuStreamDestroy(blocking));
    OK(cu.cuStreamDestroy(free_running));
    finish();
}

/* Pageable bytes are taken when the call is made, pinned ones when the stream gets there. */
static void when_host_memory_is_read(void)
{
    static unsigned char pageable[BYTES];
    unsigned char byte;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr device = new_device(BYTES);
    unsigned char *pinned = new_pinned(BYTES);
    CHECK(standin.standin_hold_stream(stream) == 0);
    memset(pageable, 1, BYTES);
    memset(pinned, 1, BYTES);
    OK(cu.cuMemcpyHtoDAsync(device, pageable, 100, stream));
    OK(cu.cuMemcpyHtoDAsync(device + 100, pinned, 100, stream));
    memset(pageable, 2, BYTES);
    memset(pinned, 2, BYTES);
    CHECK(standin.standin_sync_calls(0) == 0);
    CHECK(standin.standin_release_stream(stream) == 0);
    OK(cu.cuStreamSynchronize(stream));
    CHECK(standin.standin_read(device, &byte, 1) == 0 && byte == 1);
    CHECK(standin.standin_read(device + 100, &byte, 1) == 0 && byte == 2);
    /* To pageable memory the call waits. */
    memset(pageable, 0, BYTES);
    OK(cu.cuMemcpyDtoHAsync(pageable, device, 100, stream));
    CHECK(pageable[0] == 1 && pageable[99] == 1);
    CHECK(standin.standin_sync_calls(0) == 2);
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFreeHost(pinned));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

static void what_waits_and_what_does_not(void)
{
    unsigned char byte;
    begin();
    CUdeviceptr device = new_device(BYTES), other = new_device(BYTES);
    CHECK(standin.standin_hold_stream(NULL) == 0);
    OK(cu.cuMemsetD8(device, 5, BYTES));
    OK(cu.cuMemcpyDtoD(other, device, BYTES));
    CHECK(standin.standin_sync_calls(0) == 0);
    CHECK(standin.standin_release_stream(NULL) == 0);
    OK(cu.cuMemcpyDtoH(&byte, other, 1));
    CHECK(byte == 5);
    OK(cu.cuMemcpy(device, (uintptr_t)&byte, 1));
    CHECK(standin.standin_sync_calls(0) == 2 && standin.standin_sync_calls(-1) == 2);
    CHECK(standin.standin_sync_calls(1) == 0);
    unsigned long long bytes;
    CHECK(standin.standin_copies(STANDIN_DEVICE_TO_DEVICE, &bytes) == 1 && bytes == BYTES);
    CHECK(standin.standin_copies(STANDIN_DEVICE_TO_HOST, &bytes) == 1 && bytes == 1);
    CHECK(standin.standin_copies(STANDIN_HOST_TO_DEVICE, &bytes) == 1 && bytes == 1);
    CHECK(standin.standin_copies(STANDIN_SET, &bytes) == 1 && bytes == BYTES);
    CHECK(standin.standin_calls("cuMemcpyDtoH") == 1);
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFree(other));
    finish();
}

static void copy_kinds_are_checked(void)
{
    begin();
    CUdeviceptr device = new_device(BYTES);
    CUstream stream = new_stream(0);
    unsigned char *pinned = new_pinned(BYTES);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(device, (void *)(uintptr_t)device, 16));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH((void *)(uintptr_t)device, device, 16));
    OK(cu.cuMemcpyAsync(device, (uintptr_t)pinned, 16, stream));
    OK(cu.cuMemcpyAsync((uintptr_t)pinned, device, 16, stream));
    OK(cu.cuMemcpyDtoDAsync(device, (uintptr_t)pinned, 16, stream));
    OK(cu.cuStreamSynchronize(stream));
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFreeHost(pinned));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

static long milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void operations_are_late(void)
{
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr device = new_device(BYTES);
    standin.standin_set_delay_us(LATE_US);
    long before = milliseconds();
    for (int i = 0; i < ROUNDS; i++)
        OK(cu.cuMemsetD8Async(device, 1, BYTES, stream));
    CHECK(standin.standin_pending(stream) > 0);
    OK(cu.cuStreamSynchronize(stream));
    CHECK(milliseconds() - before >= LATE_MS_LEAST);
    OK(cu.cuMemFree(device));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

/* ---- handles ---- */

static void default_streams_of_threads(void)
{
    CUresult (*own_set)(CUdeviceptr, unsigned char, size_t, CUstream);
    unsigned char byte;
    void *address;
    int status;
    begin();
    CUdeviceptr device = new_device(BYTES);
    OK(cu.cuGetProcAddress("cuMemsetD8Async", &address, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
    memcpy(&own_set, &address, sizeof address);
    CHECK(standin.standin_hold_stream(CU_STREAM_PER_THREAD) == 0);
    OK(own_set(device, 6, BYTES, NULL));
    CHECK(standin.standin_pending(CU_STREAM_PER_THREAD) == 1 && standin.standin_pending(NULL) == 0);
    EXPECT(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(CU_STREAM_PER_THREAD));
    CHECK(standin.standin_release_stream(CU_STREAM_PER_THREAD) == 0);
    /* The legacy default stream waits for it. */
    OK(cu.cuMemcpyDtoH(&byte, device, 1));
    CHECK(byte == 6);
    OK(cu.cuMemFree(device));
    finish();
}

static void a_destroyed_stream_finishes_its_work(void)
{
    unsigned char byte;
    begin();
    CUstream stream = new_stream(CU_STREAM_DEFAULT);
    CUdeviceptr device = new_device(BYTES);
    CHECK(standin.standin_hold_stream(stream) == 0);
    OK(cu.cuMemsetD8Async(device, 4, BYTES, stream));
    OK(cu.cuStreamDestroy(stream));
    CHECK(standin.standin_live(STANDIN_OPERATIONS) == 1);
    standin.standin_release_all();
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamQuery(stream));
    expect_broken_rule("destroyed stream");
    OK(cu.cuMemcpyDtoH(&byte, device, 1));
    CHECK(byte == 4);
    OK(cu.cuMemFree(device));
    finish();
}

static void handles_of_other_contexts(void)
{
    CUcontext first = begin(), second, found;
    CUstream stream = new_stream(0);
    CUdeviceptr device = new_device(BYTES);
    CUevent event;
    OK(cu.cuEventCreate(&event, 0));
    OK(cu.cuCtxCreate(&second, 0, 1));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cu.cuMemsetD8Async(device, 0, BYTES, stream));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cu.cuEventRecord(event, NULL));
    OK(cu.cuStreamGetCtx(stream, &found));
    CHECK(found == first);
    OK(cu.cuStreamGetCtx(NULL, &found));
    CHECK(found == second);
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamQuery((CUstream)(uintptr_t)0x7777));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamQuery((CUstream)event));
    /* Waiting may cross contexts. */
    OK(cu.cuStreamWaitEvent(NULL, event, 0));
    OK(cu.cuStreamSynchronize(stream));
    OK(cu.cuCtxDestroy(second));
    OK(cu.cuEventDestroy(event));
    OK(cu.cuStreamDestroy(stream));
    OK(cu.cuMemFree(device));
    finish();
}

static void submit_and_wait(void *argument)
{
    CUcontext context = argument;
    OK(cu.cuCtxPushCurrent(context));
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr device = new_device(BYTES);
    unsigned char *pinned = new_pinned(BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        memset(pinned, i, BYTES);
        OK(cu.cuMemcpyHtoDAsync(device, pinned, BYTES, stream));
        OK(cu.cuStreamSynchronize(stream));
        memset(pinned, 0xff, BYTES);
        OK(cu.cuMemcpyDtoHAsync(pinned, device, BYTES, stream));
        OK(cu.cuStreamSynchronize(stream));
        CHECK(pinned[BYTES / 2] == i);
        /* Waits for the others' streams too, and takes nothing of theirs. */
        OK(cu.cuMemFree(new_device(BYTES)));
    }
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFreeHost(pinned));
    OK(cu.cuStreamDestroy(stream));
    OK(cu.cuCtxPopCurrent(&context));
}

static void *submit_thread(void *argument)
{
    submit_and_wait(argument);
    return NULL;
}

static void many_threads(void)
{
    pthread_t threads[4];
    CUcontext context = begin();
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, submit_thread, context) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    finish();
}

const struct test stream_tests[] = {
    {"order_within_a_stream", order_within_a_stream, false, NULL},
    {"no_order_between_streams", no_order_between_streams, true, NULL},
    {"an_event_keeps_its_last_record", an_event_keeps_its_last_record, true, NULL},
    {"the_default_stream_orders_blocking_ones", the_default_stream_orders_blocking_ones, true, NULL},
    {"when_host_memory_is_read", when_host_memory_is_read, true, NULL},
    {"what_waits_and_what_does_not", what_waits_and_what_does_not, true, NULL},
    {"copy_kinds_are_checked", copy_kinds_are_checked, false, NULL},
    {"operations_are_late", operations_are_late, true, NULL},
    {"default_streams_of_threads", default_streams_of_threads, true, NULL},
    {"a_destroyed_stream_finishes_its_work", a_destroyed_stream_finishes_its_work, true, NULL},
    {"handles_of_other_contexts", handles_of_other_contexts, true, NULL},
    {"many_threads", many_threads, false, NULL},
    {NULL, NULL, false, NULL},
};
