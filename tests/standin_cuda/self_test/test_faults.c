/* Faults of the caller that show later, faults that a test asks for, and kernels. */

#include "self_test.h"

#define BYTES 4096u
#define KERNEL_BYTES 1000u

static const char ptx[] = "// A comment first.\n"
                          ".version 8.0\n.target sm_80\n.address_size 64\n"
                          ".visible .entry add(\n"
                          "  .param .u64 .ptr .global .align 1 add_param_0,\n"
                          "  .param .u32 add_param_1,\n"
                          "  .param .align 4 .b8 add_param_2[3]\n"
                          ")\n{ ret; }\n"
                          ".visible .entry nothing()\n.maxntid 32, 2, 1\n{ ret; }\n";

/* The fault stays until the context goes, and then a new one works. */
static void expect_sticky(CUresult code, CUstream stream)
{
    CUdeviceptr address;
    CUcontext context;
    EXPECT(code, cu.cuStreamSynchronize(stream));
    EXPECT(code, cu.cuCtxSynchronize());
    EXPECT(code, cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuCtxPopCurrent(&context));
    OK(cu.cuDevicePrimaryCtxRelease(0));
    CHECK(standin.standin_live(STANDIN_ALLOCATIONS) == 0);
    begin();
    OK(cu.cuCtxSynchronize());
    finish();
}

static void freed_while_it_is_queued(void)
{
    CUdeviceptr address;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuMemAlloc(&address, BYTES));
    CHECK(standin.standin_hold_stream(stream) == 0);
    OK(cu.cuMemsetD8Async(address, 1, BYTES, stream));
    OK(cu.cuStreamDestroy(stream));
    /* It waits for the stream, which is held: for as long as patience has it. */
    OK(cu.cuMemFree(address));
    char text[256];
    CHECK(standin.standin_broken_rules() == 2);
    CHECK(standin.standin_broken_rule(0, text, sizeof text) && strstr(text, "a queued cuMemsetD8Async uses") != NULL);
    CHECK(standin.standin_broken_rule(1, text, sizeof text) && strstr(text, "cuMemFree waited longer") != NULL);
    CHECK(!standin.standin_broken_rule(2, text, sizeof text));
    standin.standin_reset();
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuCtxSynchronize());
    expect_broken_rule("cuMemsetD8Async ran on memory");
    expect_sticky(CUDA_ERROR_ILLEGAL_ADDRESS, NULL);
}

static void unregistered_while_it_is_queued(void)
{
    static char host[BYTES];
    CUdeviceptr address;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuMemHostRegister(host, BYTES, 0));
    CHECK(standin.standin_hold_stream(stream) == 0);
    OK(cu.cuMemcpyHtoDAsync(address, host, BYTES, stream));
    OK(cu.cuMemHostUnregister(host));
    CHECK(standin.standin_broken_rules() == 2);
    standin.standin_reset();
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuStreamSynchronize(stream));
    expect_broken_rule("cuMemcpyHtoDAsync ran on memory");
    expect_sticky(CUDA_ERROR_ILLEGAL_ADDRESS, stream);
}

static void pool_memory_before_its_time(void)
{
    CUdeviceptr address;
    begin();
    CUstream first = new_stream(CU_STREAM_NON_BLOCKING), second = new_stream(CU_STREAM_NON_BLOCKING);
    CHECK(standin.standin_hold_stream(first) == 0);
    OK(cu.cuMemAllocAsync(&address, BYTES, first));
    OK(cu.cuMemsetD8Async(address, 1, BYTES, second));
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuStreamSynchronize(second));
    expect_broken_rule("not been reached");
    expect_sticky(CUDA_ERROR_ILLEGAL_ADDRESS, first);
}

static void freeing_waits_for_the_device(void)
{
    CUdeviceptr address, other;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuMemAlloc(&other, BYTES));
    OK(cu.cuMemFree(other));
    CHECK(standin.standin_sync_calls(0) == 0);
    for (int i = 0; i < 20; i++)
        OK(cu.cuMemsetD8Async(address, 1, BYTES, stream));
    OK(cu.cuMemAlloc(&other, BYTES));
    OK(cu.cuMemFree(other));
    CHECK(standin.standin_pending(stream) == 0);
    CHECK(standin.standin_sync_calls(0) == 1);
    OK(cu.cuMemFree(address));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

static void calls_fail_when_asked_to(void)
{
    CUdeviceptr address;
    begin();
    CHECK(standin.standin_fail("cuMemAlloc", 2, CUDA_ERROR_OUT_OF_MEMORY) == 0);
    OK(cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuMemFree(address));
    EXPECT(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuMemFree(address));
    CHECK(standin.standin_fail("cuMemAlloc", 1, CUDA_ERROR_OUT_OF_MEMORY) == 0);
    standin.standin_reset();
    OK(cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuMemFree(address));
    CHECK(standin.standin_calls("cuMemAlloc") == 1);
    finish();
}

static void operations_fail_when_asked_to(void)
{
    CUdeviceptr address;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuMemAlloc(&address, BYTES));
    CHECK(standin.standin_fail("cuMemsetD8Async:run", 2, 719) == 0);
    OK(cu.cuMemsetD8Async(address, 1, BYTES, stream));
    OK(cu.cuStreamSynchronize(stream));
    OK(cu.cuMemsetD8Async(address, 2, BYTES, stream));
    unsigned char byte;
    EXPECT(719, cu.cuStreamSynchronize(stream));
    CHECK(standin.standin_read(address, &byte, 1) == 0 && byte == 1);
    expect_sticky(719, stream);
}

static void tests_see_memory(void)
{
    CUdeviceptr address;
    unsigned char out[BYTES], in[BYTES];
    begin();
    OK(cu.cuMemAlloc(&address, BYTES));
    fill(out, BYTES, 1);
    CHECK(standin.standin_write(address, out, BYTES) == 0);
    OK(cu.cuMemcpyDtoH(in, address, BYTES));
    CHECK(memcmp(in, out, BYTES) == 0);
    CHECK(standin.standin_read(address + 1, in, BYTES) == -1);
    CHECK(standin.standin_read((uintptr_t)out, in, 1) == -1);
    OK(cu.cuMemFree(address));
    CHECK(standin.standin_read(address, in, 1) == -1);
    finish();
}

/* ---- kernels ---- */

static void modules_are_checked(void)
{
    CUmodule module;
    CUfunction function;
    begin();
    EXPECT(CUDA_ERROR_INVALID_IMAGE, cu.cuModuleLoadData(&module, "int main(void) {}"));
    EXPECT(CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
           cu.cuModuleLoadData(&module, ".version 8.3\n.target sm_80\n.address_size 64\n"));
    EXPECT(CUDA_ERROR_NO_BINARY_FOR_GPU,
           cu.cuModuleLoadData(&module, ".version 8.0\n.target sm_100\n.address_size 64\n"));
    OK(cu.cuModuleLoadData(&module, ptx));
    OK(cu.cuModuleGetFunction(&function, module, "nothing"));
    EXPECT(CUDA_ERROR_NOT_FOUND, cu.cuModuleGetFunction(&function, module, "add_param_0"));
    OK(cu.cuModuleUnload(module));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleUnload(module));
    expect_broken_rule("destroyed module");
    finish();
}

static CUresult launch_add(CUfunction function, CUdeviceptr address, unsigned count, unsigned blocks, CUstream stream)
{
    unsigned char table[3] = {1, 2, 3};
    void *parameters[] = {&address, &count, table};
    CUresult result = cu.cuLaunchKernel(function, blocks, 1, 1, 256, 1, 1, 0, stream, parameters, NULL);
    /* What the launch was given may be gone when it runs. */
    memset(table, 9, sizeof table);
    address = 0;
    count = 0;
    return result;
}

static void kernels_run_in_the_streams_order(void)
{
    CUmodule module;
    CUfunction function;
    CUdeviceptr address;
    unsigned char bytes[KERNEL_BYTES];
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuMemAlloc(&address, KERNEL_BYTES));
    OK(cu.cuModuleLoadData(&module, ptx));
    OK(cu.cuModuleGetFunction(&function, module, "add"));
    OK(cu.cuMemsetD8Async(address, 10, KERNEL_BYTES, stream));
    OK(launch_add(function, address, KERNEL_BYTES, 4, stream));
    OK(cu.cuMemcpyDtoHAsync(bytes, address, KERNEL_BYTES, stream));
    for (unsigned i = 0; i < KERNEL_BYTES; i++)
        CHECK(bytes[i] == 11 + i % 3);
    EXPECT(CUDA_ERROR_INVALID_VALUE, launch_add(function, address, KERNEL_BYTES, 0, stream));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(function, 1, 1, 1, 1025, 1, 1, 0, stream, NULL, NULL));
    CUfunction nothing;
    OK(cu.cuModuleGetFunction(&nothing, module, "nothing"));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(nothing, 1, 1, 1, 65, 1, 1, 0, stream, NULL, NULL));
    EXPECT(CUDA_ERROR_INVALID_HANDLE, launch_add((CUfunction)(uintptr_t)16, address, KERNEL_BYTES, 4, stream));
    OK(cu.cuModuleUnload(module));
    OK(cu.cuMemFree(address));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

static void a_kernel_that_strays(void)
{
    CUmodule module;
    CUfunction function;
    CUdeviceptr address;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuMemAlloc(&address, KERNEL_BYTES));
    OK(cu.cuModuleLoadData(&module, ptx));
    OK(cu.cuModuleGetFunction(&function, module, "add"));
    OK(launch_add(function, address, KERNEL_BYTES + 1, 4, stream));
    EXPECT(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuStreamSynchronize(stream));
    expect_broken_rule("kernel add");
    expect_sticky(CUDA_ERROR_ILLEGAL_ADDRESS, stream);
}

static void a_kernel_that_cannot_run(void)
{
    CUmodule module;
    CUfunction function;
    CUdeviceptr address;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuMemAlloc(&address, KERNEL_BYTES));
    OK(cu.cuModuleLoadData(&module, ptx));
    OK(cu.cuModuleGetFunction(&function, module, "add"));
    OK(launch_add(function, address, KERNEL_BYTES, 1, stream));
    EXPECT(CUDA_ERROR_LAUNCH_FAILED, cu.cuStreamSynchronize(stream));
    expect_broken_rule("answered 1");
    expect_sticky(CUDA_ERROR_LAUNCH_FAILED, stream);
}

/* For a build that has none. */
static void launches_without_kernels(void)
{
    CUmodule module;
    CUfunction function;
    begin();
    CUstream stream = new_stream(CU_STREAM_NON_BLOCKING);
    OK(cu.cuModuleLoadData(&module, ptx));
    OK(cu.cuModuleGetFunction(&function, module, "nothing"));
    EXPECT(CUDA_ERROR_NOT_FOUND, cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, stream, NULL, NULL));
    OK(cu.cuModuleUnload(module));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

const struct test plain_tests[] = {
    {"launches_without_kernels", launches_without_kernels, true, NULL},
    {NULL, NULL, false, NULL},
};

const struct test fault_tests[] = {
    {"freed_while_it_is_queued", freed_while_it_is_queued, true, "STANDIN_CUDA_PATIENCE_MS=50"},
    {"unregistered_while_it_is_queued", unregistered_while_it_is_queued, true, "STANDIN_CUDA_PATIENCE_MS=50"},
    {"pool_memory_before_its_time", pool_memory_before_its_time, true, NULL},
    {"freeing_waits_for_the_device", freeing_waits_for_the_device, true, NULL},
    {"calls_fail_when_asked_to", calls_fail_when_asked_to, true, NULL},
    {"operations_fail_when_asked_to", operations_fail_when_asked_to, true, NULL},
    {"tests_see_memory", tests_see_memory, true, NULL},
    {"modules_are_checked", modules_are_checked, true, "STANDIN_CUDA_VERSION=12020"},
    {"kernels_run_in_the_streams_order", kernels_run_in_the_streams_order, true, NULL},
    {"a_kernel_that_strays", a_kernel_that_strays, true, NULL},
    {"a_kernel_that_cannot_run", a_kernel_that_cannot_run, true, NULL},
    {NULL, NULL, false, NULL},
};
