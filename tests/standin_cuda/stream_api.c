/* The calls on streams: make, destroy, ask, wait, and what goes into them that is not a copy. */

#include "internal.h"

#include <stdlib.h>

#define PRIORITY_GREATEST (-5)

static CUresult create(const char *name, CUstream *made, unsigned flags, int priority)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    if (made == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (flags != CU_STREAM_DEFAULT && flags != CU_STREAM_NON_BLOCKING)
        return call_end(refuse("stream flags", flags));
    priority = priority > 0 ? 0 : priority < PRIORITY_GREATEST ? PRIORITY_GREATEST : priority;
    struct stream *stream = stream_new(call_context, flags, priority);
    if (stream == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    handle_give(&stream->object, HANDLE_STREAM);
    *made = (CUstream)(uintptr_t)stream->object.handle;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuStreamCreate(CUstream *made, unsigned flags)
{
    return create("cuStreamCreate", made, flags, 0);
}

CUDA_API CUresult cuStreamCreateWithPriority(CUstream *made, unsigned flags, int priority)
{
    return create("cuStreamCreateWithPriority", made, flags, priority);
}

/* Returns at once; what was queued is still done. */
CUDA_API CUresult cuStreamDestroy_v2(CUstream handle)
{
    CALL_BEGIN("cuStreamDestroy", NEED_CONTEXT);
    struct stream *stream = handle_find(handle, HANDLE_STREAM);
    if (stream == NULL)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    stream_close(stream);
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuStreamSynchronize(CUstream handle)
{
    CALL_BEGIN("cuStreamSynchronize", NEED_CONTEXT);
    struct stream *stream;
    CUresult result = stream_of(handle, false, &stream);
    if (result == CUDA_SUCCESS)
        result = capture_forbids_asking(stream);
    if (result == CUDA_SUCCESS) {
        count_sync();
        result = stream_drain(stream, 0);
    }
    return call_end(result);
}

CUDA_API CUresult cuStreamQuery(CUstream handle)
{
    CALL_BEGIN("cuStreamQuery", NEED_CONTEXT);
    struct stream *stream;
    CUresult result = stream_of(handle, false, &stream);
    if (result == CUDA_SUCCESS)
        result = capture_forbids_asking(stream);
    if (result == CUDA_SUCCESS && !stream_idle(stream))
        result = CUDA_ERROR_NOT_READY;
    return call_end(result);
}

static CUresult look_up(const char *name, CUstream handle, void *out, struct stream **stream)
{
    CALL_BEGIN(name, NEED_INIT);
    CUresult result = out != NULL ? stream_of(handle, false, stream) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        call_end(result);
    return result;
}

/* Needs no current context for a stream that names one: this is how a caller finds it. */
CUDA_API CUresult cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    struct stream *stream;
    CUresult result = look_up("cuStreamGetCtx", handle, context, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *context = (CUcontext)(uintptr_t)stream->context->object.handle;
    return call_end(CUDA_SUCCESS);
}

/* What cuGetProcAddress gives since 12.5 for the same name: one argument more. No stream here is of a green context. */
CUDA_API CUresult cuStreamGetCtx_v2(CUstream handle, CUcontext *context, void **green_context)
{
    CUresult result = cuStreamGetCtx(handle, context);
    if (result == CUDA_SUCCESS && green_context != NULL)
        *green_context = NULL;
    return result;
}

CUDA_API CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    struct stream *stream;
    CUresult result = look_up("cuStreamGetFlags", handle, flags, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *flags = stream->flags;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    struct stream *stream;
    CUresult result = look_up("cuStreamGetPriority", handle, priority, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *priority = stream->priority;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuStreamGetId(CUstream handle, unsigned long long *id)
{
    struct stream *stream;
    CUresult result = look_up("cuStreamGetId", handle, id, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *id = stream->id;
    return call_end(CUDA_SUCCESS);
}

/* ---- host functions ---- */

CUDA_API CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data)
{
    CALL_BEGIN("cuLaunchHostFunc", NEED_CONTEXT);
    struct stream *stream;
    CUresult result = function != NULL ? stream_of(handle, true, &stream) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return call_end(result);
    struct operation *operation = operation_new(OPERATION_HOST_FUNCTION, "cuLaunchHostFunc");
    if (operation == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    operation->host_function = function;
    operation->host_data = data;
    return call_end(stream_push(stream, operation, NULL));
}

/* ---- values in memory ---- */

static CUresult value_push(enum operation_type type, CUstream handle, uint64_t address, uint64_t value, unsigned width,
                           unsigned flags)
{
    struct stream *stream;
    struct place place;
    CUresult result = stream_of(handle, true, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (address % width != 0)
        return CUDA_ERROR_INVALID_VALUE;
    result = place_of(address, width, type == OPERATION_WRITE_VALUE, &place);
    if (result != CUDA_SUCCESS)
        return result;
    /* Pageable memory is out of a device's reach. */
    if (place.kind == PLACE_PAGEABLE)
        return CUDA_ERROR_INVALID_VALUE;
    struct operation *operation = operation_new(type, call_name);
    if (operation == NULL)
        return CUDA_ERROR_OUT_OF_MEMORY;
    operation->to = place;
    operation->value = value;
    operation->width = width;
    operation->flags = flags;
    return stream_push(stream, operation, NULL);
}

static CUresult wait_value(const char *name, CUstream stream, uint64_t address, uint64_t value, unsigned width,
                           unsigned flags)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    /* No device here can flush remote writes, and says so. */
    if ((flags & CU_STREAM_WAIT_VALUE_FLUSH) != 0)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    if (flags > CU_STREAM_WAIT_VALUE_NOR)
        return call_end(refuse("wait flags", flags));
    return call_end(value_push(OPERATION_WAIT_VALUE, stream, address, value, width, flags));
}

static CUresult write_value(const char *name, CUstream stream, uint64_t address, uint64_t value, unsigned width,
                            unsigned flags)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    /* Version 2 of the call knows none. */
    if (flags != 0)
        return call_end(refuse("write flags", flags));
    return call_end(value_push(OPERATION_WRITE_VALUE, stream, address, value, width, flags));
}

CUDA_API CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags)
{
    return wait_value("cuStreamWaitValue32", stream, address, value, 4, flags);
}

CUDA_API CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr address, uint64_t value, unsigned flags)
{
    return wait_value("cuStreamWaitValue64", stream, address, value, 8, flags);
}

CUDA_API CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags)
{
    return write_value("cuStreamWriteValue32", stream, address, value, 4, flags);
}

CUDA_API CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr address, uint64_t value, unsigned flags)
{
    return write_value("cuStreamWriteValue64", stream, address, value, 8, flags);
}

/* Version 1 is off, as the attributes of the devices say. */
static CUresult version_1(const char *name)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    return call_end(CUDA_ERROR_NOT_SUPPORTED);
}

CUDA_API CUresult cuStreamWaitValue32(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags)
{
    (void)stream, (void)address, (void)value, (void)flags;
    return version_1("cuStreamWaitValue32");
}

CUDA_API CUresult cuStreamWaitValue64(CUstream stream, CUdeviceptr address, uint64_t value, unsigned flags)
{
    (void)stream, (void)address, (void)value, (void)flags;
    return version_1("cuStreamWaitValue64");
}

CUDA_API CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags)
{
    (void)stream, (void)address, (void)value, (void)flags;
    return version_1("cuStreamWriteValue32");
}

CUDA_API CUresult cuStreamWriteValue64(CUstream stream, CUdeviceptr address, uint64_t value, unsigned flags)
{
    (void)stream, (void)address, (void)value, (void)flags;
    return version_1("cuStreamWriteValue64");
}
