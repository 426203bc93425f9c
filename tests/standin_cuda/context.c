/* Contexts: those that cuCtxCreate makes, the primary one of each device, and each thread's stack of them. */

#include "internal.h"

#include <stdlib.h>

#define STACK_MAX 128u
#define API_VERSION 3020u

struct primary {
    struct context *context;
    unsigned references;
    unsigned flags;
};

static struct primary primaries[DEVICES_MAX];
static uint64_t last_id;

/* Handles and not pointers: a context may be destroyed while it lies on a stack. */
static _Thread_local uint64_t stack[STACK_MAX];
static _Thread_local unsigned depth;

static bool device_known(CUdevice device)
{
    return device >= 0 && device < settings.devices;
}

void context_hold(struct context *context)
{
    context->references++;
}

void context_drop(struct context *context)
{
    if (--context->references == 0)
        free(context);
}

unsigned context_depth(void)
{
    return depth;
}

unsigned context_primary_references(CUdevice device)
{
    return device >= 0 && device < DEVICES_MAX ? primaries[device].references : 0;
}

CUresult context_enter(struct context **context)
{
    if (depth == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    *context = handle_peek(stack[depth - 1], HANDLE_CONTEXT);
    if (*context == NULL)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return (*context)->sticky;
}

static CUresult context_new(CUdevice device, unsigned flags, struct context **made)
{
    struct context *context = calloc(1, sizeof *context);
    if (context == NULL)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context->id = ++last_id;
    context->device = device;
    context->flags = flags;
    context->references = 1;
    context->legacy = stream_new(context, CU_STREAM_DEFAULT, 0);
    if (context->legacy == NULL) {
        free(context);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    context->legacy->legacy = true;
    handle_give(&context->object, HANDLE_CONTEXT);
    *made = context;
    return CUDA_SUCCESS;
}

/* Out of sight first, so that no call begins in it while its work is awaited. */
static void context_destroy(struct context *context)
{
    uint64_t handle = context->object.handle;
    handle_take(&context->object);
    streams_end(context);
    events_free_of_context(handle);
    modules_free_of_context(handle);
    allocations_free_of_context(handle);
    context_drop(context);
}

static CUresult push(uint64_t handle)
{
    if (depth == STACK_MAX)
        return refuse("depth of the context stack", depth);
    stack[depth++] = handle;
    return CUDA_SUCCESS;
}

static CUresult create(CUcontext *made, unsigned flags, CUdevice device)
{
    struct context *context;
    if (made == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    if ((flags & ~(unsigned)CU_CTX_FLAGS_MASK) != 0)
        return refuse("context flags", flags);
    if (!device_known(device))
        return CUDA_ERROR_INVALID_DEVICE;
    CUresult result = context_new(device, flags, &context);
    if (result == CUDA_SUCCESS)
        result = push(context->object.handle);
    if (result == CUDA_SUCCESS)
        *made = (CUcontext)(uintptr_t)context->object.handle;
    return result;
}

CUDA_API CUresult cuCtxCreate_v2(CUcontext *made, unsigned flags, CUdevice device)
{
    CALL_BEGIN("cuCtxCreate", NEED_INIT);
    return call_end(create(made, flags, device));
}

CUDA_API CUresult cuCtxCreate_v3(CUcontext *made, void *affinity, int count, unsigned flags, CUdevice device)
{
    CALL_BEGIN("cuCtxCreate", NEED_INIT);
    if (affinity != NULL || count != 0)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    return call_end(create(made, flags, device));
}

CUDA_API CUresult cuCtxCreate_v4(CUcontext *made, void *parameters, unsigned flags, CUdevice device)
{
    CALL_BEGIN("cuCtxCreate", NEED_INIT);
    if (parameters != NULL)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    return call_end(create(made, flags, device));
}

CUDA_API CUresult cuCtxDestroy_v2(CUcontext handle)
{
    CALL_BEGIN("cuCtxDestroy", NEED_INIT);
    struct context *context = handle_find(handle, HANDLE_CONTEXT);
    if (context == NULL)
        return call_end(CUDA_ERROR_INVALID_CONTEXT);
    if (context->primary)
        return call_end(CUDA_ERROR_INVALID_CONTEXT);
    if (depth > 0 && stack[depth - 1] == context->object.handle)
        depth--;
    context_destroy(context);
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuCtxPushCurrent_v2(CUcontext handle)
{
    CALL_BEGIN("cuCtxPushCurrent", NEED_INIT);
    struct context *context = handle_find(handle, HANDLE_CONTEXT);
    return call_end(context != NULL ? push(context->object.handle) : CUDA_ERROR_INVALID_CONTEXT);
}

CUDA_API CUresult cuCtxPopCurrent_v2(CUcontext *popped)
{
    CALL_BEGIN("cuCtxPopCurrent", NEED_INIT);
    if (depth == 0) {
        rule_broken("cuCtxPopCurrent on an empty stack");
        return call_end(CUDA_ERROR_INVALID_CONTEXT);
    }
    depth--;
    if (popped != NULL)
        *popped = (CUcontext)(uintptr_t)stack[depth];
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuCtxSetCurrent(CUcontext handle)
{
    CALL_BEGIN("cuCtxSetCurrent", NEED_INIT);
    if (handle == NULL) {
        depth -= depth > 0;
        return call_end(CUDA_SUCCESS);
    }
    struct context *context = handle_find(handle, HANDLE_CONTEXT);
    if (context == NULL)
        return call_end(CUDA_ERROR_INVALID_CONTEXT);
    depth -= depth > 0;
    return call_end(push(context->object.handle));
}

CUDA_API CUresult cuCtxGetCurrent(CUcontext *current)
{
    CALL_BEGIN("cuCtxGetCurrent", NEED_INIT);
    if (current == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *current = depth > 0 ? (CUcontext)(uintptr_t)stack[depth - 1] : NULL;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuCtxGetDevice(CUdevice *device)
{
    CALL_BEGIN("cuCtxGetDevice", NEED_CONTEXT);
    if (device == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *device = call_context->device;
    return call_end(CUDA_SUCCESS);
}

/* Since CUDA 13 by name; NULL is the current one. */
static CUresult enter_named(CUcontext handle)
{
    if (handle == NULL)
        return CUDA_SUCCESS;
    struct context *context = handle_find(handle, HANDLE_CONTEXT);
    if (context == NULL)
        return CUDA_ERROR_INVALID_CONTEXT;
    call_context = context;
    return context->sticky;
}

CUDA_API CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext handle)
{
    CALL_BEGIN("cuCtxGetDevice", handle == NULL ? NEED_CONTEXT : NEED_INIT);
    CUresult result = device != NULL ? enter_named(handle) : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *device = call_context->device;
    return call_end(result);
}

CUDA_API CUresult cuCtxGetId(CUcontext handle, unsigned long long *id)
{
    CALL_BEGIN("cuCtxGetId", handle == NULL ? NEED_CONTEXT : NEED_INIT);
    CUresult result = id != NULL ? enter_named(handle) : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *id = call_context->id;
    return call_end(result);
}

CUDA_API CUresult cuCtxGetFlags(unsigned *flags)
{
    CALL_BEGIN("cuCtxGetFlags", NEED_CONTEXT);
    if (flags == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *flags = call_context->flags;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuCtxGetApiVersion(CUcontext handle, unsigned *version)
{
    CALL_BEGIN("cuCtxGetApiVersion", NEED_INIT);
    if (version == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (handle != NULL && handle_find(handle, HANDLE_CONTEXT) == NULL)
        return call_end(CUDA_ERROR_INVALID_CONTEXT);
    *version = API_VERSION;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    CALL_BEGIN("cuCtxGetStreamPriorityRange", NEED_CONTEXT);
    if (least != NULL)
        *least = 0;
    if (greatest != NULL)
        *greatest = -5;
    return call_end(CUDA_SUCCESS);
}

static CUresult synchronize(void)
{
    CUresult result = capture_forbids_unsafe();
    if (result != CUDA_SUCCESS)
        return result;
    count_sync();
    return context_drain(call_context);
}

CUDA_API CUresult cuCtxSynchronize(void)
{
    CALL_BEGIN("cuCtxSynchronize", NEED_CONTEXT);
    return call_end(synchronize());
}

CUDA_API CUresult cuCtxSynchronize_v2(CUcontext handle)
{
    CALL_BEGIN("cuCtxSynchronize", handle == NULL ? NEED_CONTEXT : NEED_INIT);
    CUresult result = enter_named(handle);
    return call_end(result == CUDA_SUCCESS ? synchronize() : result);
}

/* ---- primary contexts ---- */

CUDA_API CUresult cuDevicePrimaryCtxRetain(CUcontext *retained, CUdevice device)
{
    CALL_BEGIN("cuDevicePrimaryCtxRetain", NEED_INIT);
    if (retained == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (!device_known(device))
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    struct primary *primary = &primaries[device];
    if (primary->context == NULL) {
        CUresult result = context_new(device, primary->flags, &primary->context);
        if (result != CUDA_SUCCESS)
            return call_end(result);
        primary->context->primary = true;
    }
    primary->references++;
    *retained = (CUcontext)(uintptr_t)primary->context->object.handle;
    return call_end(CUDA_SUCCESS);
}

static void primary_end(struct primary *primary)
{
    struct context *context = primary->context;
    primary->context = NULL;
    primary->references = 0;
    if (context != NULL)
        context_destroy(context);
}

CUDA_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    CALL_BEGIN("cuDevicePrimaryCtxRelease", NEED_INIT);
    if (!device_known(device))
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    struct primary *primary = &primaries[device];
    if (primary->references == 0) {
        rule_broken("cuDevicePrimaryCtxRelease of device %d, whose context nobody retains", device);
        return call_end(CUDA_ERROR_INVALID_CONTEXT);
    }
    if (--primary->references == 0)
        primary_end(primary);
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    CALL_BEGIN("cuDevicePrimaryCtxReset", NEED_INIT);
    if (!device_known(device))
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    primary_end(&primaries[device]);
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    CALL_BEGIN("cuDevicePrimaryCtxGetState", NEED_INIT);
    if (!device_known(device))
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    if (flags != NULL)
        *flags = primaries[device].flags;
    if (active != NULL)
        *active = primaries[device].context != NULL;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    CALL_BEGIN("cuDevicePrimaryCtxSetFlags", NEED_INIT);
    if (!device_known(device))
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    if ((flags & ~(unsigned)CU_CTX_FLAGS_MASK) != 0)
        return call_end(refuse("context flags", flags));
    primaries[device].flags = flags;
    if (primaries[device].context != NULL)
        primaries[device].context->flags = flags;
    return call_end(CUDA_SUCCESS);
}
