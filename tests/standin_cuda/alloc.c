/* cuMemAlloc and its kin: device memory, managed memory, pinned and registered host memory. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The driver promises 256 bytes and gives 512. */
#define SMALL_ALIGNMENT 512ull
#define LARGE_BYTES (1ull << 20)
/* Fresh memory holds somebody else's bytes. Larger allocations are filled up to here, to stay quick. */
#define POISON_BYTES_MAX (4ull << 20)
#define POISON 0xdb

static uint64_t page_span(uint64_t address, uint64_t bytes)
{
    return (address % PAGE_BYTES + bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

static void poison(char *at, uint64_t bytes)
{
    memset(at, POISON, bytes < POISON_BYTES_MAX ? bytes : POISON_BYTES_MAX);
}

struct sum {
    CUdevice device;
    uint64_t bytes;
};

static void add_bytes(struct allocation *allocation, void *argument)
{
    struct sum *sum = argument;
    bool on_device = allocation->kind != MEMORY_HOST && allocation->kind != MEMORY_REGISTERED;
    if (on_device && allocation->device == sum->device)
        sum->bytes += allocation->bytes;
}

uint64_t device_bytes_used(CUdevice device)
{
    struct sum sum = {.device = device};
    memory_each(add_bytes, &sum);
    return sum.bytes;
}

/* Device memory: an address that nobody can touch, and its shadow. */
CUresult device_allocate(enum memory_kind kind, CUdevice device, uint64_t context, uint64_t bytes,
                         struct allocation **made)
{
    if (bytes > settings.device_bytes || device_bytes_used(device) > settings.device_bytes - bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t address = arena_take(bytes, bytes < LARGE_BYTES ? SMALL_ALIGNMENT : GRANULARITY_BYTES);
    if (address == 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t span = page_span(address, bytes);
    char *map = memory_map(span);
    struct allocation *allocation = map != NULL ? memory_add(kind, address, bytes) : NULL;
    if (allocation == NULL) {
        if (map != NULL)
            munmap(map, span);
        arena_give(address);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    allocation->map = map;
    allocation->map_bytes = span;
    allocation->shadow = map + address % PAGE_BYTES;
    allocation->device = device;
    allocation->context = context;
    poison(allocation->shadow, bytes);
    *made = allocation;
    return CUDA_SUCCESS;
}

void allocation_free(struct allocation *allocation)
{
    memory_remove(allocation);
    unmapping_begin();
    if (allocation->map != NULL)
        munmap(allocation->map, allocation->map_bytes);
    unmapping_end();
    if (allocation->kind == MEMORY_DEVICE || allocation->kind == MEMORY_POOL)
        arena_give(allocation->address);
    free(allocation);
}

struct search {
    uint64_t context;
    struct allocation *found;
};

static void find_of_context(struct allocation *allocation, void *argument)
{
    struct search *search = argument;
    if (allocation->context == search->context)
        search->found = allocation;
}

/* One at a time: freeing lets go of the lock, and the table may change. */
void allocations_free_of_context(uint64_t context)
{
    for (;;) {
        struct search search = {.context = context};
        memory_each(find_of_context, &search);
        if (search.found == NULL)
            return;
        allocation_free(search.found);
    }
}

/* ---- the calls ---- */

static CUresult may_allocate(void)
{
    CUresult result = capture_forbids_unsafe();
    if (result == CUDA_SUCCESS)
        count_allocation(call_context->device);
    return result;
}

CUDA_API CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    CALL_BEGIN("cuMemAlloc", NEED_CONTEXT);
    struct allocation *allocation;
    if (address == NULL || bytes == 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    CUresult result = may_allocate();
    if (result == CUDA_SUCCESS)
        result = device_allocate(MEMORY_DEVICE, call_context->device, call_context->object.handle, bytes, &allocation);
    if (result == CUDA_SUCCESS)
        *address = allocation->address;
    return call_end(result);
}

/* Memory that the host may touch: its address is its own shadow. */
static CUresult host_allocate(enum memory_kind kind, size_t bytes, unsigned flags, uint64_t *address)
{
    CUresult result = may_allocate();
    if (result != CUDA_SUCCESS)
        return result;
    uint64_t span = page_span(0, bytes);
    char *map = span >= bytes ? memory_map(span) : NULL;
    struct allocation *allocation =
        map != NULL ? memory_add(kind, (uint64_t)(uintptr_t)map, bytes) : NULL;
    if (allocation == NULL) {
        if (map != NULL)
            munmap(map, span);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    allocation->map = map;
    allocation->map_bytes = span;
    allocation->shadow = map;
    allocation->device = call_context->device;
    allocation->context = call_context->object.handle;
    allocation->host_flags = flags;
    poison(map, bytes);
    *address = allocation->address;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned flags)
{
    CALL_BEGIN("cuMemAllocManaged", NEED_CONTEXT);
    uint64_t made;
    if (address == NULL || bytes == 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)
        return call_end(refuse("managed memory flags", flags));
    CUresult result = host_allocate(MEMORY_MANAGED, bytes, flags, &made);
    if (result == CUDA_SUCCESS)
        *address = made;
    return call_end(result);
}

static CUresult pinned(const char *name, void **address, size_t bytes, unsigned flags)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    uint64_t made;
    unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    if (address == NULL || bytes == 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if ((flags & ~known) != 0)
        return call_end(refuse("pinned memory flags", flags));
    CUresult result = host_allocate(MEMORY_HOST, bytes, flags, &made);
    if (result == CUDA_SUCCESS)
        *address = (void *)(uintptr_t)made;
    return call_end(result);
}

CUDA_API CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned flags)
{
    return pinned("cuMemHostAlloc", address, bytes, flags);
}

CUDA_API CUresult cuMemAllocHost_v2(void **address, size_t bytes)
{
    return pinned("cuMemAllocHost", address, bytes, 0);
}

/* Finds what begins at `address` and is of one of the kinds (bits), settles the device, and finds it again, since
 * the lock was let go meanwhile. */
static struct allocation *find_for_free(uint64_t address, unsigned kinds)
{
    for (int settled = 0;; settled = 1) {
        struct allocation *allocation = memory_find(address);
        if (allocation == NULL || allocation->address != address || (kinds >> allocation->kind & 1) == 0 ||
            allocation->free_queued) {
            bool again = allocation == NULL ? memory_was_freed(address) : allocation->free_queued;
            rule_broken("%s of 0x%llx, %s", call_name, (unsigned long long)address,
                        again ? "which was freed before" : "which no such call gave");
            return NULL;
        }
        if (settled)
            return allocation;
        const char *user = stream_user_of(allocation->buffer_id);
        if (user != NULL)
            rule_broken("%s of memory at 0x%llx that a queued %s uses", call_name, (unsigned long long)address, user);
        count_allocation(allocation->device);
        device_settle(allocation->device);
    }
}

static CUresult free_call(const char *name, uint64_t address, unsigned kinds, CUresult unknown)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    CUresult result = capture_forbids_unsafe();
    if (result != CUDA_SUCCESS)
        return call_end(result);
    struct allocation *allocation = find_for_free(address, kinds);
    call_name = name;
    if (allocation == NULL)
        return call_end(unknown);
    allocation_free(allocation);
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemFree_v2(CUdeviceptr address)
{
    if (address == 0) {
        CALL_BEGIN("cuMemFree", NEED_CONTEXT);
        return call_end(CUDA_SUCCESS);
    }
    return free_call("cuMemFree", address, 1u << MEMORY_DEVICE | 1u << MEMORY_POOL | 1u << MEMORY_MANAGED,
                     CUDA_ERROR_INVALID_VALUE);
}

CUDA_API CUresult cuMemFreeHost(void *address)
{
    return free_call("cuMemFreeHost", (uint64_t)(uintptr_t)address, 1u << MEMORY_HOST, CUDA_ERROR_INVALID_VALUE);
}

CUDA_API CUresult cuMemHostUnregister(void *address)
{
    return free_call("cuMemHostUnregister", (uint64_t)(uintptr_t)address, 1u << MEMORY_REGISTERED,
                     CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

#define RESIDENCE_PAGES 1024u

/* A page that is not mapped cannot be locked. */
static bool mapped(uint64_t address, uint64_t bytes)
{
    unsigned char residence[RESIDENCE_PAGES];
    uint64_t at = address & ~(PAGE_BYTES - 1);
    while (at < address + bytes) {
        uint64_t left = address + bytes - at;
        uint64_t step = left < RESIDENCE_PAGES * PAGE_BYTES ? left : RESIDENCE_PAGES * PAGE_BYTES;
        if (mincore((void *)(uintptr_t)at, step, residence) != 0)
            return false;
        at += step;
    }
    return true;
}

CUDA_API CUresult cuMemHostRegister_v2(void *pointer, size_t bytes, unsigned flags)
{
    CALL_BEGIN("cuMemHostRegister", NEED_CONTEXT);
    uint64_t address = (uint64_t)(uintptr_t)pointer;
    unsigned known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
    if (pointer == NULL || bytes == 0 || bytes > UINT64_MAX - address)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if ((flags & CU_MEMHOSTREGISTER_IOMEMORY) != 0)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    if ((flags & ~known) != 0)
        return call_end(refuse("registration flags", flags));
    CUresult result = may_allocate();
    if (result != CUDA_SUCCESS)
        return call_end(result);
    if (arena_owns(address))
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (memory_overlaps(address, bytes))
        return call_end(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    if (!mapped(address, bytes))
        return call_end(CUDA_ERROR_INVALID_VALUE);
    struct allocation *allocation = memory_add(MEMORY_REGISTERED, address, bytes);
    if (allocation == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    allocation->shadow = pointer;
    allocation->device = call_context->device;
    allocation->context = call_context->object.handle;
    allocation->host_flags = flags;
    return call_end(CUDA_SUCCESS);
}

static struct allocation *find_pinned(const void *pointer)
{
    struct allocation *allocation = memory_find((uint64_t)(uintptr_t)pointer);
    bool is_pinned =
        allocation != NULL && (allocation->kind == MEMORY_HOST || allocation->kind == MEMORY_REGISTERED);
    return is_pinned ? allocation : NULL;
}

CUDA_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *pointer, unsigned flags)
{
    CALL_BEGIN("cuMemHostGetDevicePointer", NEED_CONTEXT);
    if (address == NULL || flags != 0 || find_pinned(pointer) == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *address = (CUdeviceptr)(uintptr_t)pointer;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemHostGetFlags(unsigned *flags, void *pointer)
{
    CALL_BEGIN("cuMemHostGetFlags", NEED_CONTEXT);
    struct allocation *allocation = find_pinned(pointer);
    if (flags == NULL || allocation == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *flags = allocation->host_flags;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    CALL_BEGIN("cuMemGetInfo", NEED_CONTEXT);
    if (free_bytes == NULL || total_bytes == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *total_bytes = settings.device_bytes;
    *free_bytes = settings.device_bytes - device_bytes_used(call_context->device);
    return call_end(CUDA_SUCCESS);
}
