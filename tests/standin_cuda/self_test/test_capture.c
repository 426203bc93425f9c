/* What a stream capture takes, what it forbids, and to whom. */

#include "self_test.h"

#define BYTES 4096u

static CUstream stream, other;
static CUdeviceptr device;
static CUevent event;

static void set_up(void)
{
    begin();
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuMemAlloc(&device, BYTES));
    OK(cu.cuMemsetD8(device, 1, BYTES));
    OK(cu.cuCtxSynchronize());
}

static void tear_down(void)
{
    OK(cu.cuMemFree(device));
    OK(cu.cuEventDestroy(event));
    OK(cu.cuStreamDestroy(stream));
    OK(cu.cuStreamDestroy(other));
    finish();
}

static CUstreamCaptureStatus status_of(CUstream of)
{
    CUstreamCaptureStatus status;
    OK(cu.cuStreamIsCapturing(of, &status));
    return status;
}

static void end(CUstream of, CUresult expected)
{
    CUgraph graph = (CUgraph)(uintptr_t)1;
    EXPECT(expected, cu.cuStreamEndCapture(of, &graph));
    if (expected == CUDA_SUCCESS)
        OK(cu.cuGraphDestroy(graph));
    else
        CHECK(graph == NULL);
    CHECK(status_of(of) == CU_STREAM_CAPTURE_STATUS_NONE);
}

static void nothing_runs_in_a_capture(void)
{
    CUgraph graph;
    size_t nodes;
    unsigned char byte;
    set_up();
    CHECK(status_of(stream) == CU_STREAM_CAPTURE_STATUS_NONE);
    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    EXPECT(CUDA_ERROR_ILLEGAL_STATE, cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    CHECK(status_of(stream) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CHECK(status_of(other) == CU_STREAM_CAPTURE_STATUS_NONE);
    OK(cu.cuMemsetD8Async(device, 2, BYTES, stream));
    OK(cu.cuMemsetD8Async(device, 3, BYTES, stream));
    OK(cu.cuStreamEndCapture(stream, &graph));
    OK(cu.cuGraphGetNodes(graph, NULL, &nodes));
    CHECK(nodes == 2);
    OK(cu.cuGraphDestroy(graph));
    OK(cu.cuMemcpyDtoH(&byte, device, 1));
    CHECK(byte == 1);
    EXPECT(CUDA_ERROR_ILLEGAL_STATE, cu.cuStreamEndCapture(stream, &graph));
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL));
    tear_down();
}

static void asking_a_capturing_stream(void)
{
    set_up();
    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.cuStreamSynchronize(stream));
    CHECK(status_of(stream) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cu.cuMemsetD8Async(device, 2, BYTES, stream));
    end(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.cuStreamQuery(stream));
    end(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    tear_down();
}

static void captured_events(void)
{
    set_up();
    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuEventRecord(event, stream));
    EXPECT(CUDA_ERROR_CAPTURED_EVENT, cu.cuEventQuery(event));
    end(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cu.cuEventRecord(event, other));
    OK(cu.cuEventSynchronize(event));
    /* An event of outside may not be waited for inside. */
    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cu.cuStreamWaitEvent(stream, event, 0));
    end(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    tear_down();
}

static void fork_and_join(void)
{
    CUevent back;
    set_up();
    OK(cu.cuEventCreate(&back, 0));
    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuEventRecord(event, stream));
    OK(cu.cuStreamWaitEvent(other, event, 0));
    CHECK(status_of(other) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    OK(cu.cuMemsetD8Async(device, 2, BYTES, other));
    OK(cu.cuEventRecord(back, other));
    OK(cu.cuStreamWaitEvent(stream, back, 0));
    end(stream, CUDA_SUCCESS);
    CHECK(status_of(other) == CU_STREAM_CAPTURE_STATUS_NONE);

    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuEventRecord(event, stream));
    OK(cu.cuStreamWaitEvent(other, event, 0));
    end(stream, CUDA_ERROR_STREAM_CAPTURE_UNJOINED);

    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuStreamBeginCapture(other, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuEventRecord(event, stream));
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_MERGE, cu.cuStreamWaitEvent(other, event, 0));
    end(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    end(other, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuEventRecord(event, stream));
    OK(cu.cuStreamWaitEvent(other, event, 0));
    CUgraph graph;
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cu.cuStreamEndCapture(other, &graph));
    end(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cu.cuEventDestroy(back));
    tear_down();
}

static void the_default_stream_collides(void)
{
    CUstream blocking;
    CUstreamCaptureStatus status;
    set_up();
    OK(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    OK(cu.cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cu.cuStreamIsCapturing(NULL, &status));
    CHECK(status_of(blocking) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cu.cuMemsetD8Async(device, 2, BYTES, NULL));
    CHECK(status_of(blocking) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    end(blocking, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cu.cuStreamDestroy(blocking));
    tear_down();
}

/* Calls that a capture cannot see: the first of them spoils it. */
static CUresult unsafe(int which)
{
    CUdeviceptr address;
    unsigned char byte = 0;
    switch (which) {
    case 0:
        return cu.cuMemcpyHtoD(device, &byte, 1);
    case 1:
        return cu.cuMemAlloc(&address, BYTES);
    case 2:
        return cu.cuEventQuery(event);
    case 3:
        return cu.cuStreamSynchronize(other);
    case 4:
        return cu.cuMemHostRegister(&byte, 1, 0);
    default:
        return cu.cuCtxSynchronize();
    }
}

#define UNSAFE_CALLS 6

static void unsafe_calls(void)
{
    set_up();
    for (int i = 0; i < UNSAFE_CALLS; i++) {
        OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        EXPECT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, unsafe(i));
        end(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    tear_down();
}

struct attempt {
    CUstreamCaptureMode mode;
    CUresult expected;
};

static void attempt(void *argument)
{
    struct attempt *attempt = argument;
    CUcontext context;
    OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
    OK(cu.cuCtxPushCurrent(context));
    OK(cu.cuThreadExchangeStreamCaptureMode(&attempt->mode));
    CHECK(attempt->mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
    EXPECT(attempt->expected, cu.cuEventQuery(event));
    OK(cu.cuCtxPopCurrent(&context));
    OK(cu.cuDevicePrimaryCtxRelease(0));
}

/* A library's thread that asks an event of its own spoils the capture of an engine's thread, unless it says that it
 * knows what it does or the engine captures for its own thread alone. */
static void captures_of_other_threads(void)
{
    static const struct {
        CUstreamCaptureMode engine, library;
        CUresult expected;
    } cases[] = {
        {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_GLOBAL, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
        {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CUDA_SUCCESS},
        {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_SUCCESS},
        {CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_GLOBAL, CUDA_SUCCESS},
        {CU_STREAM_CAPTURE_MODE_RELAXED, CU_STREAM_CAPTURE_MODE_GLOBAL, CUDA_SUCCESS},
    };
    set_up();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct attempt one = {cases[i].library, cases[i].expected};
        OK(cu.cuStreamBeginCapture(stream, cases[i].engine));
        in_thread(attempt, &one);
        end(stream, cases[i].expected == CUDA_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    tear_down();
}

static void end_elsewhere(void *argument)
{
    CUcontext context = argument;
    CUgraph graph;
    OK(cu.cuCtxPushCurrent(context));
    EXPECT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, cu.cuStreamEndCapture(stream, &graph));
    OK(cu.cuCtxPopCurrent(&context));
}

static void the_wrong_thread_ends(void)
{
    CUcontext context;
    set_up();
    OK(cu.cuCtxGetCurrent(&context));
    OK(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    in_thread(end_elsewhere, context);
    end(stream, CUDA_SUCCESS);
    tear_down();
}

static void a_capturing_stream_is_destroyed(void)
{
    set_up();
    CUstream third;
    OK(cu.cuStreamCreate(&third, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamBeginCapture(third, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cu.cuStreamDestroy(third));
    OK(cu.cuCtxSynchronize());
    tear_down();
}

const struct test capture_tests[] = {
    {"nothing_runs_in_a_capture", nothing_runs_in_a_capture, false, NULL},
    {"asking_a_capturing_stream", asking_a_capturing_stream, false, NULL},
    {"captured_events", captured_events, false, NULL},
    {"fork_and_join", fork_and_join, false, NULL},
    {"the_default_stream_collides", the_default_stream_collides, false, NULL},
    {"unsafe_calls", unsafe_calls, false, NULL},
    {"captures_of_other_threads", captures_of_other_threads, false, NULL},
    {"the_wrong_thread_ends", the_wrong_thread_ends, false, NULL},
    {"a_capturing_stream_is_destroyed", a_capturing_stream_is_destroyed, true, NULL},
    {NULL, NULL, false, NULL},
};
