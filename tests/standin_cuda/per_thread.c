/* The variants of calls for which the default stream is the calling thread's own. */

#include "internal.h"

static CUstream own(CUstream stream)
{
    return stream != NULL ? stream : CU_STREAM_PER_THREAD;
}

static uint64_t host(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

CUDA_API CUresult cuMemcpyHtoD_v2_ptds(CUdeviceptr to, const void *from, size_t bytes)
{
    return copy_call("cuMemcpyHtoD", COPY_H_TO_D, to, host(from), bytes, CU_STREAM_PER_THREAD, false);
}

CUDA_API CUresult cuMemcpyDtoH_v2_ptds(void *to, CUdeviceptr from, size_t bytes)
{
    return copy_call("cuMemcpyDtoH", COPY_D_TO_H, host(to), from, bytes, CU_STREAM_PER_THREAD, false);
}

CUDA_API CUresult cuMemcpyDtoD_v2_ptds(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return copy_call("cuMemcpyDtoD", COPY_D_TO_D, to, from, bytes, CU_STREAM_PER_THREAD, false);
}

CUDA_API CUresult cuMemcpy_ptds(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return copy_call("cuMemcpy", COPY_ANY, to, from, bytes, CU_STREAM_PER_THREAD, false);
}

CUDA_API CUresult cuMemcpyHtoDAsync_v2_ptsz(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyHtoDAsync", COPY_H_TO_D, to, host(from), bytes, own(stream), true);
}

CUDA_API CUresult cuMemcpyDtoHAsync_v2_ptsz(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyDtoHAsync", COPY_D_TO_H, host(to), from, bytes, own(stream), true);
}

CUDA_API CUresult cuMemcpyDtoDAsync_v2_ptsz(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyDtoDAsync", COPY_D_TO_D, to, from, bytes, own(stream), true);
}

CUDA_API CUresult cuMemcpyAsync_ptsz(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_call("cuMemcpyAsync", COPY_ANY, to, from, bytes, own(stream), true);
}

CUDA_API CUresult cuMemsetD8_v2_ptds(CUdeviceptr to, unsigned char value, size_t bytes)
{
    return set_call("cuMemsetD8", to, value, bytes, CU_STREAM_PER_THREAD, false);
}

CUDA_API CUresult cuMemsetD8Async_ptsz(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)
{
    return set_call("cuMemsetD8Async", to, value, bytes, own(stream), true);
}

/* The rest take a stream and hand it on. */
#define PER_THREAD(name, symbol, arguments, values)                 \
    CUresult name arguments;                                        \
    CUDA_API CUresult symbol arguments                              \
    {                                                               \
        return name values;                                         \
    }

PER_THREAD(cuStreamSynchronize, cuStreamSynchronize_ptsz, (CUstream stream), (own(stream)))
PER_THREAD(cuStreamQuery, cuStreamQuery_ptsz, (CUstream stream), (own(stream)))
PER_THREAD(cuStreamWaitEvent, cuStreamWaitEvent_ptsz, (CUstream stream, CUevent event, unsigned flags),
           (own(stream), event, flags))
PER_THREAD(cuEventRecord, cuEventRecord_ptsz, (CUevent event, CUstream stream), (event, own(stream)))
PER_THREAD(cuEventRecordWithFlags, cuEventRecordWithFlags_ptsz, (CUevent event, CUstream stream, unsigned flags),
           (event, own(stream), flags))
PER_THREAD(cuLaunchHostFunc, cuLaunchHostFunc_ptsz, (CUstream stream, CUhostFn function, void *data),
           (own(stream), function, data))
PER_THREAD(cuStreamGetCtx, cuStreamGetCtx_ptsz, (CUstream stream, CUcontext *context), (own(stream), context))
PER_THREAD(cuStreamGetCtx_v2, cuStreamGetCtx_v2_ptsz, (CUstream stream, CUcontext *context, void **green_context),
           (own(stream), context, green_context))
PER_THREAD(cuStreamGetFlags, cuStreamGetFlags_ptsz, (CUstream stream, unsigned *flags), (own(stream), flags))
PER_THREAD(cuStreamGetPriority, cuStreamGetPriority_ptsz, (CUstream stream, int *priority), (own(stream), priority))
PER_THREAD(cuStreamGetId, cuStreamGetId_ptsz, (CUstream stream, unsigned long long *id), (own(stream), id))
PER_THREAD(cuStreamIsCapturing, cuStreamIsCapturing_ptsz, (CUstream stream, CUstreamCaptureStatus *status),
           (own(stream), status))
PER_THREAD(cuStreamWaitValue32_v2, cuStreamWaitValue32_v2_ptsz,
           (CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags),
           (own(stream), address, value, flags))
PER_THREAD(cuStreamWaitValue64_v2, cuStreamWaitValue64_v2_ptsz,
           (CUstream stream, CUdeviceptr address, uint64_t value, unsigned flags),
           (own(stream), address, value, flags))
PER_THREAD(cuStreamWriteValue32_v2, cuStreamWriteValue32_v2_ptsz,
           (CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags),
           (own(stream), address, value, flags))
PER_THREAD(cuStreamWriteValue64_v2, cuStreamWriteValue64_v2_ptsz,
           (CUstream stream, CUdeviceptr address, uint64_t value, unsigned flags),
           (own(stream), address, value, flags))
PER_THREAD(cuMemAllocAsync, cuMemAllocAsync_ptsz, (CUdeviceptr * address, size_t bytes, CUstream stream),
           (address, bytes, own(stream)))
PER_THREAD(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync_ptsz,
           (CUdeviceptr * address, size_t bytes, CUmemoryPool pool, CUstream stream),
           (address, bytes, pool, own(stream)))
PER_THREAD(cuMemFreeAsync, cuMemFreeAsync_ptsz, (CUdeviceptr address, CUstream stream), (address, own(stream)))
PER_THREAD(cuLaunchKernel, cuLaunchKernel_ptsz,
           (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
            unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters,
            void **extra),
           (function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, own(stream), parameters,
            extra))
