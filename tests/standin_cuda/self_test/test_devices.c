/* Devices, versions, entry points, contexts and their stacks. */

#include "self_test.h"

#define ATTRIBUTE_UNIFIED_ADDRESSING 41
#define ATTRIBUTE_STREAM_MEM_OPS_V1 92
#define ATTRIBUTE_UNKNOWN 9999
#define DESTROYED_TIMES 100

static void nothing_before_init(void)
{
    int count, version;
    CUcontext context;
    EXPECT(CUDA_ERROR_NOT_INITIALIZED, cu.cuDeviceGetCount(&count));
    EXPECT(CUDA_ERROR_NOT_INITIALIZED, cu.cuCtxGetCurrent(&context));
    OK(cu.cuDriverGetVersion(&version));
    CHECK(version >= 12000);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuInit(1));
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&count));
    CHECK(count >= 1);
}

static void two_devices(void)
{
    int count, value;
    CUdevice device;
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&count));
    CHECK(count == 2);
    OK(cu.cuDeviceGet(&device, 1));
    EXPECT(CUDA_ERROR_INVALID_DEVICE, cu.cuDeviceGet(&device, 2));
    OK(cu.cuDeviceGetAttribute(&value, ATTRIBUTE_UNIFIED_ADDRESSING, 1));
    CHECK(value == 1);
    OK(cu.cuDeviceGetAttribute(&value, ATTRIBUTE_STREAM_MEM_OPS_V1, 1));
    CHECK(value == 0);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuDeviceGetAttribute(&value, ATTRIBUTE_UNKNOWN, 0));
}

static void environment_rules(void)
{
    int count, version;
    OK(cu.cuDriverGetVersion(&version));
    CHECK(version == 12020);
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&count));
    CHECK(count == 5);
}

static void no_device(void)
{
    EXPECT(CUDA_ERROR_NO_DEVICE, cu.cuInit(0));
}

static void init_may_fail(void)
{
    EXPECT(999, cu.cuInit(0));
    EXPECT(CUDA_ERROR_NOT_INITIALIZED, cu.cuCtxSynchronize());
}

static void entry_points(void)
{
    void *old, *v2, *own, *found;
    int status, version;
    OK(cu.cuDriverGetVersion(&version));
    OK(cu.cuGetProcAddress("cuStreamWaitValue32", &old, 10000, 0, &status));
    OK(cu.cuGetProcAddress("cuStreamWaitValue32", &v2, 12000, 0, &status));
    CHECK(status == CU_GET_PROC_ADDRESS_SUCCESS && old != v2);
    OK(cu.cuGetProcAddress("cuMemcpyAsync", &found, 12000, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &status));
    OK(cu.cuGetProcAddress("cuMemcpyAsync", &own, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
    CHECK(found != NULL && own != NULL && found != own);
    OK(cu.cuGetProcAddress("cuMemAllocAsync", &found, 11010, 0, &status));
    CHECK(found == NULL && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    OK(cu.cuGetProcAddress("cuNothing", &found, 12000, 0, &status));
    CHECK(found == NULL && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuGetProcAddress("cuInit", &found, version + 1000, 0, &status));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuGetProcAddress("cuInit", &found, 12000, 64, &status));
    /* The same name, another form: who asks with a newer version must call it as that version does. */
    OK(cu.cuGetProcAddress("cuStreamGetCtx", &old, 12040, 0, &status));
    OK(cu.cuGetProcAddress("cuStreamGetCtx", &v2, 12050, 0, &status));
    CHECK(old != NULL && v2 != NULL && old != v2);
    expect_no_broken_rule();
}

static void calls_need_a_context(void)
{
    CUdeviceptr address;
    CUstream stream;
    CUcontext context;
    CUdevice device;
    OK(cu.cuInit(0));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuMemAlloc(&address, 16));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuStreamCreate(&stream, 0));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuStreamSynchronize(NULL));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxGetDevice(&device));
    OK(cu.cuCtxGetCurrent(&context));
    CHECK(context == NULL);
    expect_no_broken_rule();
}

static void pop_of_an_empty_stack(void)
{
    CUcontext context;
    OK(cu.cuInit(0));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxPopCurrent(&context));
    expect_broken_rule("empty stack");
}

static void primary_contexts_are_counted(void)
{
    CUcontext first, second, current;
    unsigned flags;
    int active;
    OK(cu.cuInit(0));
    OK(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
    CHECK(!active);
    OK(cu.cuDevicePrimaryCtxRetain(&first, 0));
    OK(cu.cuDevicePrimaryCtxRetain(&second, 0));
    CHECK(first == second);
    OK(cu.cuDevicePrimaryCtxRelease(0));
    OK(cu.cuCtxPushCurrent(first));
    OK(cu.cuCtxSynchronize());
    OK(cu.cuDevicePrimaryCtxRelease(0));
    EXPECT(CUDA_ERROR_CONTEXT_IS_DESTROYED, cu.cuCtxSynchronize());
    OK(cu.cuCtxPopCurrent(&current));
    CHECK(current == first);
    OK(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
    CHECK(!active);
    expect_no_broken_rule();
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuDevicePrimaryCtxRelease(0));
    expect_broken_rule("nobody retains");
}

/* A context that is made where one was destroyed may have its handle, and never its number. */
static void contexts_have_numbers(void)
{
    CUcontext first, second;
    unsigned long long ids[3];
    OK(cu.cuInit(0));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxGetId(NULL, &ids[0]));
    OK(cu.cuCtxCreate(&first, 0, 0));
    OK(cu.cuCtxGetId(first, &ids[0]));
    OK(cu.cuCtxGetId(NULL, &ids[1]));
    CHECK(ids[0] == ids[1]);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuCtxGetId(first, NULL));
    OK(cu.cuCtxCreate(&second, 0, 0));
    OK(cu.cuCtxGetId(second, &ids[1]));
    OK(cu.cuCtxDestroy(second));
    OK(cu.cuCtxCreate(&second, 0, 0));
    OK(cu.cuCtxGetId(second, &ids[2]));
    CHECK(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    OK(cu.cuCtxDestroy(second));
    OK(cu.cuCtxDestroy(first));
    expect_no_broken_rule();
}

static void on_another_thread(void *argument)
{
    CUcontext *contexts = argument, current;
    OK(cu.cuCtxGetCurrent(&current));
    CHECK(current == NULL);
    OK(cu.cuCtxPushCurrent(contexts[1]));
    OK(cu.cuCtxGetCurrent(&current));
    CHECK(current == contexts[1]);
    OK(cu.cuCtxPopCurrent(&current));
}

static void stacks_of_threads(void)
{
    CUcontext contexts[2], current;
    CUdevice device;
    OK(cu.cuInit(0));
    OK(cu.cuCtxCreate(&contexts[0], 0, 0));
    OK(cu.cuCtxCreate(&contexts[1], 0, 1));
    OK(cu.cuCtxGetDevice(&device));
    CHECK(device == 1);
    in_thread(on_another_thread, contexts);
    OK(cu.cuCtxPopCurrent(&current));
    CHECK(current == contexts[1]);
    OK(cu.cuCtxGetDevice(&device));
    CHECK(device == 0);
    OK(cu.cuCtxSetCurrent(contexts[1]));
    OK(cu.cuCtxGetCurrent(&current));
    CHECK(current == contexts[1]);
    OK(cu.cuCtxSetCurrent(NULL));
    OK(cu.cuCtxGetCurrent(&current));
    CHECK(current == NULL);
    OK(cu.cuCtxDestroy(contexts[0]));
    OK(cu.cuCtxDestroy(contexts[1]));
    expect_no_broken_rule();
}

static void destroyed_and_foreign_contexts(void)
{
    CUcontext context;
    OK(cu.cuInit(0));
    OK(cu.cuCtxCreate(&context, 0, 0));
    OK(cu.cuCtxDestroy(context));
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxPushCurrent(context));
    expect_broken_rule("destroyed context");
    EXPECT(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxSetCurrent((CUcontext)(uintptr_t)0x1230));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuCtxCreate(&context, 0x10000, 0));
    expect_no_broken_rule();
}

static void a_context_takes_what_is_its(void)
{
    OK(cu.cuInit(0));
    for (int i = 0; i < DESTROYED_TIMES; i++) {
        CUcontext context;
        CUdeviceptr address;
        CUstream stream;
        CUevent event;
        void *pinned;
        OK(cu.cuCtxCreate(&context, 0, 0));
        OK(cu.cuMemAlloc(&address, 1000));
        OK(cu.cuMemHostAlloc(&pinned, 1000, 0));
        OK(cu.cuStreamCreate(&stream, 0));
        OK(cu.cuEventCreate(&event, 0));
        OK(cu.cuMemcpyHtoDAsync(address, pinned, 1000, stream));
        OK(cu.cuEventRecord(event, stream));
        OK(cu.cuCtxDestroy(context));
    }
    CHECK(standin.standin_live(STANDIN_ALLOCATIONS) == 0);
    CHECK(standin.standin_live(STANDIN_STREAMS) == 0);
    CHECK(standin.standin_live(STANDIN_EVENTS) == 0);
    CHECK(standin.standin_live(STANDIN_CONTEXTS) == 0);
    expect_no_broken_rule();
}

static void errors_have_names(void)
{
    const char *name;
    OK(cu.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &name));
    CHECK(strcmp(name, "CUDA_ERROR_ILLEGAL_ADDRESS") == 0);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuGetErrorName((CUresult)12345, &name));
}

const struct test device_tests[] = {
    {"nothing_before_init", nothing_before_init, false, NULL},
    {"two_devices", two_devices, true, NULL},
    {"environment_rules", environment_rules, true, "STANDIN_CUDA_DEVICES=5 STANDIN_CUDA_VERSION=12020"},
    {"no_device", no_device, true, "STANDIN_CUDA_DEVICES=0"},
    {"init_may_fail", init_may_fail, true, "STANDIN_CUDA_INIT=999"},
    {"entry_points", entry_points, false, NULL},
    {"calls_need_a_context", calls_need_a_context, false, NULL},
    {"pop_of_an_empty_stack", pop_of_an_empty_stack, false, NULL},
    {"primary_contexts_are_counted", primary_contexts_are_counted, false, NULL},
    {"contexts_have_numbers", contexts_have_numbers, false, NULL},
    {"stacks_of_threads", stacks_of_threads, true, NULL},
    {"destroyed_and_foreign_contexts", destroyed_and_foreign_contexts, true, NULL},
    {"a_context_takes_what_is_its", a_context_takes_what_is_its, true, NULL},
    {"errors_have_names", errors_have_names, false, NULL},
    {NULL, NULL, false, NULL},
};
