/* Calls that libraries must find and that are not modelled: they say so. */

#include "internal.h"

static CUresult refused(const char *name)
{
    CALL_BEGIN(name, NEED_INIT);
    return call_end(CUDA_ERROR_NOT_SUPPORTED);
}

/* Sharing with other processes. Handles are structures of 64 bytes, which nobody gets to read here. */
struct ipc_handle {
    char reserved[64];
};

CUDA_API CUresult cuIpcGetEventHandle(struct ipc_handle *handle, CUevent event)
{
    (void)handle, (void)event;
    return refused("cuIpcGetEventHandle");
}

CUDA_API CUresult cuIpcOpenEventHandle(CUevent *event, struct ipc_handle handle)
{
    (void)event, (void)handle;
    return refused("cuIpcOpenEventHandle");
}

CUDA_API CUresult cuIpcGetMemHandle(struct ipc_handle *handle, CUdeviceptr address)
{
    (void)handle, (void)address;
    return refused("cuIpcGetMemHandle");
}

CUDA_API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *address, struct ipc_handle handle, unsigned flags)
{
    (void)address, (void)handle, (void)flags;
    return refused("cuIpcOpenMemHandle");
}

CUDA_API CUresult cuIpcCloseMemHandle(CUdeviceptr address)
{
    (void)address;
    return refused("cuIpcCloseMemHandle");
}

CUDA_API CUresult cuMemGetHandleForAddressRange(void *handle, CUdeviceptr address, size_t bytes, int type,
                                                unsigned long long flags)
{
    (void)handle, (void)address, (void)bytes, (void)type, (void)flags;
    return refused("cuMemGetHandleForAddressRange");
}

/* Peers: no device here reaches another, as cuDeviceCanAccessPeer says. */
CUDA_API CUresult cuCtxEnablePeerAccess(CUcontext context, unsigned flags)
{
    (void)context, (void)flags;
    return refused("cuCtxEnablePeerAccess");
}

CUDA_API CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                               size_t bytes)
{
    (void)to, (void)to_context, (void)from, (void)from_context, (void)bytes;
    return refused("cuMemcpyPeer");
}

CUDA_API CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                                    size_t bytes, CUstream stream)
{
    (void)to, (void)to_context, (void)from, (void)from_context, (void)bytes, (void)stream;
    return refused("cuMemcpyPeerAsync");
}

/* Times of a stand-in would mean nothing. */
CUDA_API CUresult cuEventElapsedTime(float *milliseconds, CUevent begin, CUevent end)
{
    (void)milliseconds, (void)begin, (void)end;
    return refused("cuEventElapsedTime");
}
