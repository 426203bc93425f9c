/* What a pointer is: cuPointerGetAttribute(s) and cuMemGetAddressRange. */

#include "internal.h"

#include <string.h>

static bool on_host(const struct allocation *allocation)
{
    return allocation->kind == MEMORY_HOST || allocation->kind == MEMORY_REGISTERED;
}

static CUresult put_int(void *out, int value)
{
    memcpy(out, &value, sizeof value);
    return CUDA_SUCCESS;
}

static CUresult put_word(void *out, uint64_t value)
{
    memcpy(out, &value, sizeof value);
    return CUDA_SUCCESS;
}

static CUresult attribute_of(const struct allocation *allocation, uint64_t address, int attribute, void *out)
{
    bool host = on_host(allocation);
    bool managed = allocation->kind == MEMORY_MANAGED;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        /* A pool is a device's, though what lies in it ends with the context. */
        return put_word(out, allocation->kind == MEMORY_POOL ? 0 : allocation->context);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        return put_int(out, host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        return put_word(out, address);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        return host || managed ? put_word(out, address) : CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
        return put_int(out, allocation->sync_memops);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
        return put_word(out, allocation->buffer_id);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        return put_int(out, managed);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        return put_int(out, allocation->device);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
        return put_int(out, allocation->kind == MEMORY_DEVICE);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        return put_word(out, reservation_address(allocation));
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        return put_word(out, reservation_bytes(allocation));
    case CU_POINTER_ATTRIBUTE_MAPPED:
        return put_int(out, 1);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
        return put_word(out, CU_MEM_HANDLE_TYPE_NONE);
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
        return put_int(out, 0);
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        return put_int(out, CU_MEM_ACCESS_READWRITE);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        return put_word(out, allocation->pool);
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
        return put_word(out, allocation->bytes);
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        return put_word(out, allocation->address);
    default:
        return refuse("pointer attribute", attribute);
    }
}

/* What cuPointerGetAttributes puts where there is nothing to say. */
static CUresult put_nothing(int attribute, void *out)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_MAPPED:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        return put_int(out, 0);
    case CU_POINTER_ATTRIBUTE_CONTEXT:
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        return put_word(out, 0);
    default:
        return refuse("pointer attribute", attribute);
    }
}

static struct allocation *find(uint64_t address)
{
    struct allocation *allocation = memory_find(address);
    return allocation != NULL && !allocation->free_queued ? allocation : NULL;
}

CUDA_API CUresult cuPointerGetAttribute(void *out, int attribute, CUdeviceptr address)
{
    CALL_BEGIN("cuPointerGetAttribute", NEED_INIT);
    struct allocation *allocation = find(address);
    if (out == NULL || allocation == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER) {
        CUresult result = context_enter(&call_context);
        if (result != CUDA_SUCCESS)
            return call_end(result);
    }
    return call_end(attribute_of(allocation, address, attribute, out));
}

CUDA_API CUresult cuPointerGetAttributes(unsigned count, int *attributes, void **out, CUdeviceptr address)
{
    CALL_BEGIN("cuPointerGetAttributes", NEED_INIT);
    if (count == 0 || attributes == NULL || out == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    struct allocation *allocation = find(address);
    for (unsigned i = 0; i < count; i++) {
        if (out[i] == NULL)
            return call_end(CUDA_ERROR_INVALID_VALUE);
        CUresult result = put_nothing(attributes[i], out[i]);
        if (result != CUDA_SUCCESS)
            return call_end(result);
        /* One that this memory lacks, as the host pointer of device memory, stays nothing. */
        if (allocation != NULL)
            attribute_of(allocation, address, attributes[i], out[i]);
    }
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuPointerSetAttribute(const void *value, int attribute, CUdeviceptr address)
{
    CALL_BEGIN("cuPointerSetAttribute", NEED_INIT);
    struct allocation *allocation = find(address);
    if (value == NULL || allocation == NULL || on_host(allocation))
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
        return call_end(refuse("pointer attribute to set", attribute));
    unsigned on;
    memcpy(&on, value, sizeof on);
    allocation->sync_memops = on != 0;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
    CALL_BEGIN("cuMemGetAddressRange", NEED_CONTEXT);
    struct allocation *allocation = find(address);
    if (allocation == NULL)
        return call_end(CUDA_ERROR_NOT_FOUND);
    if (base != NULL)
        *base = allocation->address;
    if (bytes != NULL)
        *bytes = allocation->bytes;
    return call_end(CUDA_SUCCESS);
}
