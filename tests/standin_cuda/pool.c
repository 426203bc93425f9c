/* Memory pools: allocations and frees that lie in a stream's order. */

#include "internal.h"

#include <stdlib.h>

struct pool {
    struct object object;
    CUdevice device;
    uint64_t release_threshold;
    int reuse[3];
};

static uint64_t defaults[DEVICES_MAX], currents[DEVICES_MAX];

static struct pool *pool_new(CUdevice device)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->device = device;
    for (int i = 0; i < 3; i++)
        pool->reuse[i] = 1;
    handle_give(&pool->object, HANDLE_POOL);
    return pool;
}

/* Each device has one from the start; it is made when it is asked for, and stays. */
static uint64_t pool_default(CUdevice device)
{
    if (defaults[device] == 0) {
        struct pool *pool = pool_new(device);
        defaults[device] = pool != NULL ? pool->object.handle : 0;
    }
    return defaults[device];
}

static uint64_t pool_current(CUdevice device)
{
    if (handle_peek(currents[device], HANDLE_POOL) == NULL)
        currents[device] = pool_default(device);
    return currents[device];
}

unsigned long pools_live(void)
{
    unsigned long count = handle_count(HANDLE_POOL);
    for (int i = 0; i < DEVICES_MAX; i++)
        count -= defaults[i] != 0;
    return count;
}

static CUresult give_pool(const char *name, CUmemoryPool *out, CUdevice device, uint64_t (*which)(CUdevice))
{
    CALL_BEGIN(name, NEED_INIT);
    if (out == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (device < 0 || device >= settings.devices)
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    uint64_t handle = which(device);
    *out = (CUmemoryPool)(uintptr_t)handle;
    return call_end(handle != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUDA_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device)
{
    return give_pool("cuDeviceGetDefaultMemPool", pool, device, pool_default);
}

CUDA_API CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device)
{
    return give_pool("cuDeviceGetMemPool", pool, device, pool_current);
}

CUDA_API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool handle)
{
    CALL_BEGIN("cuDeviceSetMemPool", NEED_INIT);
    struct pool *pool = handle_find(handle, HANDLE_POOL);
    if (device < 0 || device >= settings.devices)
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    if (pool == NULL || pool->device != device)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    currents[device] = pool->object.handle;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *properties)
{
    CALL_BEGIN("cuMemPoolCreate", NEED_INIT);
    if (out == NULL || properties == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (properties->type != CU_MEM_ALLOCATION_TYPE_PINNED || properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return call_end(refuse("pool type or location", properties->type));
    if (properties->handle_types != CU_MEM_HANDLE_TYPE_NONE)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    CUdevice device = properties->location.id;
    if (device < 0 || device >= settings.devices)
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    struct pool *pool = pool_new(device);
    if (pool == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    *out = (CUmemoryPool)(uintptr_t)pool->object.handle;
    return call_end(CUDA_SUCCESS);
}

/* What was allocated from it lives on. */
CUDA_API CUresult cuMemPoolDestroy(CUmemoryPool handle)
{
    CALL_BEGIN("cuMemPoolDestroy", NEED_INIT);
    struct pool *pool = handle_find(handle, HANDLE_POOL);
    if (pool == NULL || pool->object.handle == defaults[pool->device])
        return call_end(CUDA_ERROR_INVALID_VALUE);
    handle_take(&pool->object);
    free(pool);
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep_bytes)
{
    CALL_BEGIN("cuMemPoolTrimTo", NEED_INIT);
    (void)keep_bytes;
    return call_end(handle_find(handle, HANDLE_POOL) != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

/* ---- attributes ---- */

struct use {
    uint64_t pool, bytes;
};

static void add_use(struct allocation *allocation, void *argument)
{
    struct use *use = argument;
    if (allocation->pool == use->pool)
        use->bytes += allocation->bytes;
}

CUDA_API CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    CALL_BEGIN("cuMemPoolGetAttribute", NEED_INIT);
    struct pool *pool = handle_find(handle, HANDLE_POOL);
    if (pool == NULL || value == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    struct use use = {.pool = pool->object.handle};
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        *(int *)value = pool->reuse[attribute - 1];
        return call_end(CUDA_SUCCESS);
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        *(uint64_t *)value = pool->release_threshold;
        return call_end(CUDA_SUCCESS);
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        memory_each(add_use, &use);
        *(uint64_t *)value = use.bytes;
        return call_end(CUDA_SUCCESS);
    default:
        return call_end(refuse("pool attribute", attribute));
    }
}

CUDA_API CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    CALL_BEGIN("cuMemPoolSetAttribute", NEED_INIT);
    struct pool *pool = handle_find(handle, HANDLE_POOL);
    if (pool == NULL || value == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        pool->reuse[attribute - 1] = *(int *)value;
        return call_end(CUDA_SUCCESS);
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        pool->release_threshold = *(uint64_t *)value;
        return call_end(CUDA_SUCCESS);
    default:
        return call_end(refuse("pool attribute to set", attribute));
    }
}

/* ---- allocations in a stream's order ---- */

static CUresult allocate(const char *name, CUdeviceptr *address, size_t bytes, uint64_t pool_handle, CUstream handle)
{
    struct stream *stream;
    struct allocation *allocation;
    if (address == NULL || bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = stream_of(handle, true, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    /* As a node of a graph the driver would allow it; graphs do not run here. */
    if (stream->capture != NULL)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (pool_handle == 0)
        pool_handle = pool_current(stream->context->device);
    struct pool *pool = handle_find((void *)(uintptr_t)pool_handle, HANDLE_POOL);
    if (pool == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    result = device_allocate(MEMORY_POOL, pool->device, stream->context->object.handle, bytes, &allocation);
    if (result != CUDA_SUCCESS)
        return result;
    allocation->pool = pool->object.handle;
    allocation->unreached = true;
    uint64_t made = allocation->address;
    struct operation *operation = operation_new(OPERATION_POOL_ALLOC, name);
    if (operation == NULL)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS) {
        operation->value = allocation->buffer_id;
        result = stream_push(stream, operation, NULL);
    }
    if (result != CUDA_SUCCESS)
        allocation_free(allocation);
    else
        *address = made;
    return result;
}

CUDA_API CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream)
{
    CALL_BEGIN("cuMemAllocAsync", NEED_CONTEXT);
    return call_end(allocate("cuMemAllocAsync", address, bytes, 0, stream));
}

CUDA_API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    CALL_BEGIN("cuMemAllocFromPoolAsync", NEED_CONTEXT);
    if (handle_find(pool, HANDLE_POOL) == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    return call_end(allocate("cuMemAllocFromPoolAsync", address, bytes, (uint64_t)(uintptr_t)pool, stream));
}

CUDA_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle)
{
    CALL_BEGIN("cuMemFreeAsync", NEED_CONTEXT);
    struct stream *stream;
    CUresult result = stream_of(handle, true, &stream);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    if (stream->capture != NULL)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    struct allocation *allocation = memory_find(address);
    bool known = allocation != NULL && allocation->address == address && allocation->kind == MEMORY_POOL;
    if (!known || allocation->free_queued) {
        bool again = known || (allocation == NULL && memory_was_freed(address));
        rule_broken("cuMemFreeAsync of 0x%llx, %s", address, again ? "which was freed before" : "which no pool gave");
        return call_end(CUDA_ERROR_INVALID_VALUE);
    }
    struct operation *operation = operation_new(OPERATION_POOL_FREE, "cuMemFreeAsync");
    if (operation == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    operation->value = allocation->buffer_id;
    result = stream_push(stream, operation, NULL);
    allocation->free_queued = result == CUDA_SUCCESS;
    return call_end(result);
}
