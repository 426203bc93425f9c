/* Kinds of memory, what they say of themselves, and their bounds. */

#include "self_test.h"

#include <sys/mman.h>

#define BYTES 100000u
#define MIB (1u << 20)
#define PAGE 4096u
#define UNTOUCHABLE(address) CHECK(touching_crashes(address))

static int int_attribute(int attribute, CUdeviceptr address)
{
    int value = -1;
    OK(cu.cuPointerGetAttribute(&value, attribute, address));
    return value;
}

static uint64_t word_attribute(int attribute, CUdeviceptr address)
{
    uint64_t value = 0;
    OK(cu.cuPointerGetAttribute(&value, attribute, address));
    return value;
}

/* What a library asks to learn what an address is. */
static void expect_kind(CUdeviceptr address, int type, int managed, CUcontext context)
{
    CHECK(int_attribute(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) == type);
    CHECK(int_attribute(CU_POINTER_ATTRIBUTE_IS_MANAGED, address) == managed);
    CHECK(int_attribute(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address) == 0);
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_CONTEXT, address) == (uint64_t)(uintptr_t)context);
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_DEVICE_POINTER, address) == address);
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_BUFFER_ID, address) != 0);
}

static void expect_range(CUdeviceptr inside, CUdeviceptr base, size_t bytes)
{
    CUdeviceptr got_base;
    size_t got_bytes;
    OK(cu.cuMemGetAddressRange(&got_base, &got_bytes, inside));
    CHECK(got_base == base && got_bytes == bytes);
}

static void round_trip(CUdeviceptr address, size_t bytes)
{
    unsigned char *out = malloc(bytes), *in = malloc(bytes);
    fill(out, bytes, (unsigned)address);
    OK(cu.cuMemcpyHtoD(address, out, bytes));
    memset(in, 0, bytes);
    OK(cu.cuMemcpyDtoH(in, address, bytes));
    CHECK(memcmp(in, out, bytes) == 0);
    free(out);
    free(in);
}

static void device_memory(void)
{
    CUdeviceptr address;
    void *host;
    CUcontext context = begin();
    OK(cu.cuMemAlloc(&address, BYTES));
    UNTOUCHABLE(address);
    UNTOUCHABLE(address + BYTES - 1);
    expect_kind(address + 7, CU_MEMORYTYPE_DEVICE, 0, context);
    expect_range(address + BYTES - 1, address, BYTES);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuPointerGetAttribute(&host, CU_POINTER_ATTRIBUTE_HOST_POINTER, address));
    round_trip(address, BYTES);
    round_trip(address + 13, 1000);
    OK(cu.cuMemFree(address));
    UNTOUCHABLE(address);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuPointerGetAttribute(&host, CU_POINTER_ATTRIBUTE_CONTEXT, address));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemAlloc(&address, 0));
    OK(cu.cuMemFree(0));
    finish();
}

static void small_allocations_are_not_pages(void)
{
    CUdeviceptr address[64];
    bool within_a_page = false;
    begin();
    for (int i = 0; i < 64; i++) {
        OK(cu.cuMemAlloc(&address[i], 1000));
        CHECK(address[i] % 256 == 0);
        within_a_page |= address[i] % PAGE != 0;
    }
    CHECK(within_a_page);
    for (int i = 0; i < 64; i++)
        OK(cu.cuMemFree(address[i]));
    finish();
}

static void managed_memory(void)
{
    CUdeviceptr address;
    CUcontext context = begin();
    OK(cu.cuMemAllocManaged(&address, BYTES, CU_MEM_ATTACH_GLOBAL));
    expect_kind(address, CU_MEMORYTYPE_DEVICE, 1, context);
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_HOST_POINTER, address + 5) == address + 5);
    round_trip(address, BYTES);
    *(volatile char *)(uintptr_t)address = 1;
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemAllocManaged(&address, BYTES, 0));
    OK(cu.cuMemFree(address));
    finish();
}

static void pinned_memory(void)
{
    void *pinned;
    CUdeviceptr address;
    CUcontext context = begin();
    OK(cu.cuMemHostAlloc(&pinned, BYTES, CU_MEMHOSTALLOC_PORTABLE));
    memset(pinned, 1, BYTES);
    OK(cu.cuMemHostGetDevicePointer(&address, pinned, 0));
    expect_kind(address, CU_MEMORYTYPE_HOST, 0, context);
    expect_range(address + 1, address, BYTES);
    OK(cu.cuMemFreeHost(pinned));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemHostAlloc(&pinned, BYTES, 0x100));
    finish();
}

static void registered_memory(void)
{
    CUdeviceptr address;
    begin();
    char *host = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(host != MAP_FAILED);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemHostGetDevicePointer(&address, host, 0));
    OK(cu.cuMemHostRegister(host, MIB, 0));
    OK(cu.cuMemHostRegister(host + MIB, MIB, CU_MEMHOSTREGISTER_PORTABLE));
    EXPECT(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cu.cuMemHostRegister(host + MIB / 2, 2 * MIB, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemHostRegister(host, 0, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemHostRegister(host + 2 * MIB, MIB, 0x100));
    OK(cu.cuMemHostGetDevicePointer(&address, host + 100, 0));
    CHECK(address == (uintptr_t)host + 100);
    CHECK(int_attribute(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) == CU_MEMORYTYPE_HOST);

    /* A copy may not leave the registration that it begins in, nor run into one. */
    CUdeviceptr device;
    OK(cu.cuMemAlloc(&device, 4 * MIB));
    OK(cu.cuMemcpyHtoD(device, host, MIB));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(device, host + MIB / 2, MIB));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(device, host + MIB + MIB / 2, MIB));
    OK(cu.cuMemcpyHtoD(device, host + 2 * MIB, MIB));
    OK(cu.cuMemHostUnregister(host));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(device, host + MIB / 2, MIB));
    OK(cu.cuMemcpyHtoD(device, host, MIB));
    OK(cu.cuMemFree(device));
    OK(cu.cuMemHostUnregister(host + MIB));
    OK(cu.cuMemHostRegister(host, 4 * MIB, 0));
    OK(cu.cuMemHostUnregister(host));
    munmap(host, 4 * MIB);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemHostRegister(host, 4 * MIB, 0));
    finish();
}

static void unregistering_twice(void)
{
    static char host[2 * PAGE];
    begin();
    OK(cu.cuMemHostRegister(host, sizeof host, 0));
    OK(cu.cuMemHostUnregister(host));
    EXPECT(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cu.cuMemHostUnregister(host));
    expect_broken_rule("freed before");
    finish();
}

static void plain_memory_has_no_attributes(void)
{
    char host[16];
    int type = 99, managed = 99;
    uint64_t context = 99;
    CUdeviceptr address = (uintptr_t)host, base;
    size_t bytes;
    int attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED,
                        CU_POINTER_ATTRIBUTE_CONTEXT};
    void *out[] = {&type, &managed, &context};
    begin();
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address));
    CHECK(type == 99);
    OK(cu.cuPointerGetAttributes(3, attributes, out, address));
    CHECK(type == 0 && managed == 0 && context == 0);
    EXPECT(CUDA_ERROR_NOT_FOUND, cu.cuMemGetAddressRange(&base, &bytes, address));
    attributes[0] = 999;
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuPointerGetAttributes(3, attributes, out, address));
    finish();
}

static void attributes_all_at_once(void)
{
    CUdeviceptr address, start = 0;
    int type, ordinal;
    void *host = &address;
    int attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                        CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_HOST_POINTER};
    void *out[] = {&type, &ordinal, &start, &host};
    begin();
    OK(cu.cuMemAlloc(&address, BYTES));
    OK(cu.cuPointerGetAttributes(4, attributes, out, address + 1));
    CHECK(type == CU_MEMORYTYPE_DEVICE && ordinal == 0 && start == address && host == NULL);
    OK(cu.cuMemFree(address));
    finish();
}

static void bounds(void)
{
    CUdeviceptr a, b;
    static char host[BYTES + 1];
    begin();
    OK(cu.cuMemAlloc(&a, BYTES));
    OK(cu.cuMemAlloc(&b, BYTES));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(a, host, BYTES + 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH(host, a + BYTES - 10, 11));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(a + BYTES + 8, host, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoD(a, b + 1, BYTES));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD8(a + 1, 0, BYTES));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD8((uintptr_t)host, 0, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD((uintptr_t)host, host, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH(host, (uintptr_t)host, 1));
    OK(cu.cuMemcpyHtoD(a, host, 0));
    expect_no_broken_rule();
    OK(cu.cuMemFree(a));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(a, host, 1));
    expect_broken_rule("freed memory");
    OK(cu.cuMemFree(b));
    finish();
}

static void frees_that_are_wrong(void)
{
    CUdeviceptr address;
    void *pinned;
    begin();
    OK(cu.cuMemAlloc(&address, BYTES));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree(address + 512));
    expect_broken_rule("no such call");
    OK(cu.cuMemFree(address));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree(address));
    expect_broken_rule("freed before");
    OK(cu.cuMemHostAlloc(&pinned, BYTES, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree((uintptr_t)pinned));
    expect_broken_rule("no such call");
    OK(cu.cuMemFreeHost(pinned));
    finish();
}

static void pools(void)
{
    CUdeviceptr address, other;
    CUstream stream;
    CUmemoryPool pool;
    CUmemPoolProps properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    begin();
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuDeviceGetDefaultMemPool(&pool, 0));
    OK(cu.cuMemAllocAsync(&address, BYTES, stream));
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, address) == (uintptr_t)pool);
    OK(cu.cuStreamSynchronize(stream));
    UNTOUCHABLE(address);
    expect_range(address + 1, address, BYTES);
    round_trip(address, BYTES);
    OK(cu.cuMemPoolCreate(&pool, &properties));
    OK(cu.cuMemAllocFromPoolAsync(&other, BYTES, pool, stream));
    OK(cu.cuMemsetD8Async(other, 1, BYTES, stream));
    OK(cu.cuMemFreeAsync(other, stream));
    OK(cu.cuStreamSynchronize(stream));
    OK(cu.cuMemPoolDestroy(pool));
    OK(cu.cuMemFree(address));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

/* From the call on the memory is nobody's, though the stream is not there yet. */
static void freed_in_a_streams_order(void)
{
    CUdeviceptr address;
    CUstream stream;
    int value;
    begin();
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemAllocAsync(&address, BYTES, stream));
    CHECK(standin.standin_hold_stream(stream) == 0);
    OK(cu.cuMemsetD8Async(address, 1, BYTES, stream));
    OK(cu.cuMemFreeAsync(address, stream));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address));
    expect_no_broken_rule();
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD8Async(address, 1, BYTES, stream));
    expect_broken_rule("after its cuMemFreeAsync");
    CHECK(standin.standin_hold_stream(stream) == 0);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemFreeAsync(address, stream));
    expect_broken_rule("freed before");
    OK(cu.cuStreamSynchronize(stream));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

static void mapped_memory(void)
{
    CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, .flags = CU_MEM_ACCESS_READWRITE};
    CUmemGenericAllocationHandle physical[2];
    CUdeviceptr address;
    size_t unit;
    char byte = 0;
    begin();
    OK(cu.cuMemGetAllocationGranularity(&unit, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    OK(cu.cuMemAddressReserve(&address, 4 * unit, 0, 0, 0));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(address, &byte, 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemCreate(&physical[0], unit + 1, &properties, 0));
    for (int i = 0; i < 2; i++) {
        OK(cu.cuMemCreate(&physical[i], unit, &properties, 0));
        OK(cu.cuMemMap(address + (unsigned)i * unit, unit, 0, physical[i], 0));
        OK(cu.cuMemRelease(physical[i]));
    }
    UNTOUCHABLE(address);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(address, &byte, 1));
    OK(cu.cuMemSetAccess(address, 2 * unit, &access, 1));
    UNTOUCHABLE(address);
    /* Mappings that follow one another are one piece of memory, though each has a range of its own. */
    round_trip(address + unit - 5000, 10000);
    expect_range(address + unit + 1, address + unit, unit);
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, address + unit) == address);
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_RANGE_SIZE, address + unit) == 4 * unit);
    CHECK(word_attribute(CU_POINTER_ATTRIBUTE_CONTEXT, address) == 0);
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD8(address + unit, 0, unit + 1));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemUnmap(address, unit + unit / 2));
    EXPECT(CUDA_ERROR_INVALID_VALUE, cu.cuMemAddressFree(address, 4 * unit));
    OK(cu.cuMemUnmap(address, 2 * unit));
    OK(cu.cuMemAddressFree(address, 4 * unit));
    finish();
}

static void device_memory_runs_out(void)
{
    CUdeviceptr address, more;
    size_t free_bytes, total_bytes;
    begin();
    OK(cu.cuMemAlloc(&address, 10 * MIB));
    OK(cu.cuMemGetInfo(&free_bytes, &total_bytes));
    CHECK(total_bytes == 16 * MIB && free_bytes == 6 * MIB);
    EXPECT(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc(&more, 7 * MIB));
    OK(cu.cuMemFree(address));
    OK(cu.cuMemAlloc(&address, 16 * MIB));
    OK(cu.cuMemFree(address));
    finish();
}

const struct test memory_tests[] = {
    {"device_memory", device_memory, false, NULL},
    {"small_allocations_are_not_pages", small_allocations_are_not_pages, false, NULL},
    {"managed_memory", managed_memory, false, NULL},
    {"pinned_memory", pinned_memory, false, NULL},
    {"registered_memory", registered_memory, false, NULL},
    {"unregistering_twice", unregistering_twice, false, NULL},
    {"plain_memory_has_no_attributes", plain_memory_has_no_attributes, false, NULL},
    {"attributes_all_at_once", attributes_all_at_once, false, NULL},
    {"bounds", bounds, false, NULL},
    {"frees_that_are_wrong", frees_that_are_wrong, false, NULL},
    {"pools", pools, false, NULL},
    {"freed_in_a_streams_order", freed_in_a_streams_order, true, NULL},
    {"mapped_memory", mapped_memory, false, NULL},
    {"device_memory_runs_out", device_memory_runs_out, true, "STANDIN_CUDA_MEMORY_MIB=16"},
    {NULL, NULL, false, NULL},
};
