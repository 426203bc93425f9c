/* Copies and sets. What an asynchronous copy does with pageable memory is what a driver does: bytes to the device
 * are taken when the call is made, bytes from it make the call wait. Pinned memory is read and written when the
 * stream gets there. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* A device's side may be pinned memory too: it has a device address. */
static bool side_fits(enum copy_sides sides, const struct place *to, const struct place *from)
{
    switch (sides) {
    case COPY_H_TO_D:
        return to->kind != PLACE_PAGEABLE && from->kind != PLACE_DEVICE;
    case COPY_D_TO_H:
        return to->kind != PLACE_DEVICE && from->kind != PLACE_PAGEABLE;
    case COPY_D_TO_D:
        return to->kind != PLACE_PAGEABLE && from->kind != PLACE_PAGEABLE;
    default:
        return true;
    }
}

/* Takes the bytes now, so that the caller may change or free them. */
static CUresult stage(struct operation *operation)
{
    operation->staging = malloc(operation->bytes);
    if (operation->staging == NULL)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(operation->staging, (const void *)(uintptr_t)operation->from.address, operation->bytes);
    operation->from.address = (uint64_t)(uintptr_t)operation->staging;
    return CUDA_SUCCESS;
}

static CUresult push_and_wait(struct stream *stream, struct operation *operation, bool wait)
{
    uint64_t serial;
    CUresult result = stream_push(stream, operation, &serial);
    /* What went into a capture is not done here and now. */
    if (result != CUDA_SUCCESS || !wait || serial == 0)
        return result;
    count_sync();
    return stream_drain(stream, serial);
}

/* A synchronous copy between device addresses is ordered by the default stream and does not wait, unless asked to. */
static bool must_wait(const struct operation *operation, bool asynchronous)
{
    const struct place *to = &operation->to, *from = &operation->from;
    if (to->kind == PLACE_PAGEABLE)
        return true;
    if (asynchronous)
        return false;
    bool both_on_device = to->kind == PLACE_DEVICE && from->kind == PLACE_DEVICE;
    return !both_on_device || to->sync_memops || from->sync_memops;
}

CUresult copy_call(const char *name, enum copy_sides sides, uint64_t to, uint64_t from, size_t bytes, CUstream handle,
                   bool asynchronous)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    struct stream *stream;
    CUresult result = stream_of(handle, true, &stream);
    if (result == CUDA_SUCCESS && !asynchronous)
        result = capture_forbids_unsafe();
    if (result != CUDA_SUCCESS || bytes == 0)
        return call_end(result);
    struct operation *operation = operation_new(OPERATION_COPY, name);
    if (operation == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    operation->bytes = bytes;
    result = place_of(to, bytes, true, &operation->to);
    if (result == CUDA_SUCCESS)
        result = place_of(from, bytes, false, &operation->from);
    if (result == CUDA_SUCCESS && !side_fits(sides, &operation->to, &operation->from))
        result = CUDA_ERROR_INVALID_VALUE;
    bool wait = must_wait(operation, asynchronous);
    if (result == CUDA_SUCCESS && operation->from.kind == PLACE_PAGEABLE && !wait && stream->capture == NULL)
        result = stage(operation);
    if (result != CUDA_SUCCESS) {
        operation_free(operation);
        return call_end(result);
    }
    return call_end(push_and_wait(stream, operation, wait));
}

CUresult set_call(const char *name, uint64_t to, unsigned char value, size_t bytes, CUstream handle,
                  bool asynchronous)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    struct stream *stream;
    CUresult result = stream_of(handle, true, &stream);
    if (result == CUDA_SUCCESS && !asynchronous)
        result = capture_forbids_unsafe();
    if (result != CUDA_SUCCESS || bytes == 0)
        return call_end(result);
    struct operation *operation = operation_new(OPERATION_SET, name);
    if (operation == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    operation->bytes = bytes;
    operation->value = value;
    result = place_of(to, bytes, true, &operation->to);
    if (result == CUDA_SUCCESS && operation->to.kind == PLACE_PAGEABLE)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS) {
        operation_free(operation);
        return call_end(result);
    }
    /* Device memory is set in the default stream's order; only pinned memory makes the call wait. */
    bool wait = !asynchronous && (operation->to.kind != PLACE_DEVICE || operation->to.sync_memops);
    return call_end(push_and_wait(stream, operation, wait));
}

/* ---- the calls ---- */

static uint64_t host(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

CUDA_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
    return copy_call("cuMemcpyHtoD", COPY_H_TO_D, to, host(from), bytes, NULL, false);
}

CUDA_API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
    return copy_call("cuMemcpyDtoH", COPY_D_TO_H, host(to), from, bytes, NULL, false);
}

CUDA_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return copy_call("cuMemcpyDtoD", COPY_D_TO_D, to, from, bytes, NULL, false);
}

CUDA_API CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return copy_call("cuMemcpy", COPY_ANY, to, from, bytes, NULL, false);
}

CUDA_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyHtoDAsync", COPY_H_TO_D, to, host(from), bytes, stream, true);
}

CUDA_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyDtoHAsync", COPY_D_TO_H, host(to), from, bytes, stream, true);
}

CUDA_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyDtoDAsync", COPY_D_TO_D, to, from, bytes, stream, true);
}

CUDA_API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyAsync", COPY_ANY, to, from, bytes, stream, true);
}

CUDA_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes)
{
    return set_call("cuMemsetD8", to, value, bytes, NULL, false);
}

CUDA_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)
{
    return set_call("cuMemsetD8Async", to, value, bytes, stream, true);
}
