/* The driver as a test calls it: loaded by dlopen, so that the same tests run over a real one, where those that ask
 * the stand-in itself are left out. */

#ifndef SELF_TEST_H
#define SELF_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cuda_api.h"
#include "../standin.h"

#define DRIVER_CALLS(X)                                                                                           \
    X(cuInit, cuInit, (unsigned))                                                                                 \
    X(cuDriverGetVersion, cuDriverGetVersion, (int *))                                                            \
    X(cuDeviceGet, cuDeviceGet, (CUdevice *, int))                                                                \
    X(cuDeviceGetCount, cuDeviceGetCount, (int *))                                                                \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, (int *, int, CUdevice))                                         \
    X(cuGetErrorName, cuGetErrorName, (CUresult, const char **))                                                  \
    X(cuGetProcAddress, cuGetProcAddress_v2, (const char *, void **, int, uint64_t, int *))                       \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice))                                        \
    X(cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, (CUdevice, unsigned *, int *))                      \
    X(cuCtxCreate, cuCtxCreate_v2, (CUcontext *, unsigned, CUdevice))                                             \
    X(cuCtxDestroy, cuCtxDestroy_v2, (CUcontext))                                                                 \
    X(cuCtxPushCurrent, cuCtxPushCurrent_v2, (CUcontext))                                                         \
    X(cuCtxPopCurrent, cuCtxPopCurrent_v2, (CUcontext *))                                                         \
    X(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext))                                                              \
    X(cuCtxGetCurrent, cuCtxGetCurrent, (CUcontext *))                                                            \
    X(cuCtxGetDevice, cuCtxGetDevice, (CUdevice *))                                                               \
    X(cuCtxGetId, cuCtxGetId, (CUcontext, unsigned long long *))                                                  \
    X(cuCtxSynchronize, cuCtxSynchronize, (void))                                                                 \
    X(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                         \
    X(cuMemFree, cuMemFree_v2, (CUdeviceptr))                                                                     \
    X(cuMemAllocManaged, cuMemAllocManaged, (CUdeviceptr *, size_t, unsigned))                                    \
    X(cuMemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))                                                \
    X(cuMemFreeHost, cuMemFreeHost, (void *))                                                                     \
    X(cuMemHostRegister, cuMemHostRegister_v2, (void *, size_t, unsigned))                                        \
    X(cuMemHostUnregister, cuMemHostUnregister, (void *))                                                         \
    X(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, (CUdeviceptr *, void *, unsigned))                 \
    X(cuMemGetInfo, cuMemGetInfo_v2, (size_t *, size_t *))                                                        \
    X(cuMemGetAddressRange, cuMemGetAddressRange_v2, (CUdeviceptr *, size_t *, CUdeviceptr))                      \
    X(cuPointerGetAttribute, cuPointerGetAttribute, (void *, int, CUdeviceptr))                                   \
    X(cuPointerGetAttributes, cuPointerGetAttributes, (unsigned, int *, void **, CUdeviceptr))                    \
    X(cuMemAllocAsync, cuMemAllocAsync, (CUdeviceptr *, size_t, CUstream))                                        \
    X(cuMemFreeAsync, cuMemFreeAsync, (CUdeviceptr, CUstream))                                                    \
    X(cuDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool, (CUmemoryPool *, CUdevice))                           \
    X(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync, (CUdeviceptr *, size_t, CUmemoryPool, CUstream))          \
    X(cuMemPoolCreate, cuMemPoolCreate, (CUmemoryPool *, const CUmemPoolProps *))                                 \
    X(cuMemPoolDestroy, cuMemPoolDestroy, (CUmemoryPool))                                                         \
    X(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity,                                               \
      (size_t *, const CUmemAllocationProp *, int))                                                               \
    X(cuMemAddressReserve, cuMemAddressReserve, (CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long)) \
    X(cuMemAddressFree, cuMemAddressFree, (CUdeviceptr, size_t))                                                  \
    X(cuMemCreate, cuMemCreate,                                                                                   \
      (CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long))                  \
    X(cuMemRelease, cuMemRelease, (CUmemGenericAllocationHandle))                                                 \
    X(cuMemMap, cuMemMap, (CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long))        \
    X(cuMemUnmap, cuMemUnmap, (CUdeviceptr, size_t))                                                              \
    X(cuMemSetAccess, cuMemSetAccess, (CUdeviceptr, size_t, const CUmemAccessDesc *, size_t))                     \
    X(cuMemcpyHtoD, cuMemcpyHtoD_v2, (CUdeviceptr, const void *, size_t))                                         \
    X(cuMemcpyDtoH, cuMemcpyDtoH_v2, (void *, CUdeviceptr, size_t))                                               \
    X(cuMemcpyDtoD, cuMemcpyDtoD_v2, (CUdeviceptr, CUdeviceptr, size_t))                                          \
    X(cuMemcpy, cuMemcpy, (CUdeviceptr, CUdeviceptr, size_t))                                                     \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream))                     \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream))                           \
    X(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr, CUdeviceptr, size_t, CUstream))                      \
    X(cuMemcpyAsync, cuMemcpyAsync, (CUdeviceptr, CUdeviceptr, size_t, CUstream))                                 \
    X(cuMemsetD8, cuMemsetD8_v2, (CUdeviceptr, unsigned char, size_t))                                            \
    X(cuMemsetD8Async, cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream))                           \
    X(cuStreamCreate, cuStreamCreate, (CUstream *, unsigned))                                                     \
    X(cuStreamDestroy, cuStreamDestroy_v2, (CUstream))                                                            \
    X(cuStreamSynchronize, cuStreamSynchronize, (CUstream))                                                       \
    X(cuStreamQuery, cuStreamQuery, (CUstream))                                                                   \
    X(cuStreamGetCtx, cuStreamGetCtx, (CUstream, CUcontext *))                                                    \
    X(cuStreamWaitEvent, cuStreamWaitEvent, (CUstream, CUevent, unsigned))                                        \
    X(cuStreamWaitValue32, cuStreamWaitValue32_v2, (CUstream, CUdeviceptr, uint32_t, unsigned))                   \
    X(cuStreamWaitValue64, cuStreamWaitValue64_v2, (CUstream, CUdeviceptr, uint64_t, unsigned))                   \
    X(cuStreamWriteValue32, cuStreamWriteValue32_v2, (CUstream, CUdeviceptr, uint32_t, unsigned))                 \
    X(cuStreamWriteValue64, cuStreamWriteValue64_v2, (CUstream, CUdeviceptr, uint64_t, unsigned))                 \
    X(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream, CUstreamCaptureMode))                             \
    X(cuStreamEndCapture, cuStreamEndCapture, (CUstream, CUgraph *))                                              \
    X(cuStreamIsCapturing, cuStreamIsCapturing, (CUstream, CUstreamCaptureStatus *))                              \
    X(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, (CUstreamCaptureMode *))              \
    X(cuGraphGetNodes, cuGraphGetNodes, (CUgraph, CUgraphNode *, size_t *))                                       \
    X(cuGraphDestroy, cuGraphDestroy, (CUgraph))                                                                  \
    X(cuLaunchHostFunc, cuLaunchHostFunc, (CUstream, CUhostFn, void *))                                           \
    X(cuLaunchKernel, cuLaunchKernel,                                                                             \
      (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **)) \
    X(cuModuleLoadData, cuModuleLoadData, (CUmodule *, const void *))                                             \
    X(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                           \
    X(cuModuleUnload, cuModuleUnload, (CUmodule))                                                                 \
    X(cuEventCreate, cuEventCreate, (CUevent *, unsigned))                                                        \
    X(cuEventDestroy, cuEventDestroy_v2, (CUevent))                                                               \
    X(cuEventRecord, cuEventRecord, (CUevent, CUstream))                                                          \
    X(cuEventQuery, cuEventQuery, (CUevent))                                                                      \
    X(cuEventSynchronize, cuEventSynchronize, (CUevent))

#define STANDIN_CALLS(X)                                                    \
    X(void, standin_reset, (void))                                          \
    X(unsigned, standin_broken_rules, (void))                               \
    X(int, standin_broken_rule, (unsigned, char *, size_t))                 \
    X(unsigned long, standin_live, (enum standin_kind))                     \
    X(unsigned long, standin_copies, (enum standin_copy, unsigned long long *)) \
    X(unsigned long, standin_calls, (const char *))                         \
    X(unsigned long, standin_sync_calls, (long))                            \
    X(unsigned long, standin_allocations_while_waiting, (void))             \
    X(int, standin_fail, (const char *, unsigned, int))                     \
    X(int, standin_hold_stream, (void *))                                   \
    X(int, standin_release_stream, (void *))                                \
    X(void, standin_hold_all, (void))                                       \
    X(void, standin_release_all, (void))                                    \
    X(unsigned long, standin_pending, (void *))                             \
    X(int, standin_waits_for_value, (void *))                               \
    X(void, standin_set_delay_us, (long))                                   \
    X(int, standin_read, (uint64_t, void *, size_t))                        \
    X(int, standin_write, (uint64_t, const void *, size_t))                 \
    X(unsigned, standin_context_depth, (void))                              \
    X(unsigned, standin_primary_references, (int))

struct driver {
#define MEMBER(name, symbol, arguments) CUresult(*name) arguments;
    DRIVER_CALLS(MEMBER)
#undef MEMBER
};

struct standin {
#define MEMBER(type, name, arguments) type(*name) arguments;
    STANDIN_CALLS(MEMBER)
#undef MEMBER
};

extern struct driver cu;
extern struct standin standin;

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#define EXPECT(code, call)                                                                                    \
    do {                                                                                                      \
        int expected_ = (code), got_ = (int)(call);                                                           \
        if (got_ != expected_) {                                                                              \
            fprintf(stderr, "%s:%d: %d and not %d from %s\n", __FILE__, __LINE__, got_, expected_, #call);     \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

#define OK(call) EXPECT(CUDA_SUCCESS, call)

/* Exactly these rules were broken since the last such check. */
void expect_broken_rule(const char *part_of_text);
void expect_no_broken_rule(void);

/* Initialises the driver and makes the primary context of device 0 current. */
CUcontext begin(void);
/* The end of a test that began so: nothing may live, no rule may be broken. */
void finish(void);
void fill(unsigned char *bytes, size_t count, unsigned seed);
CUstream new_stream(unsigned flags);
/* Of zeros. */
unsigned char *new_pinned(size_t bytes);
CUdeviceptr new_device(size_t bytes);
/* Runs `body` in a thread of its own and waits for it. */
void in_thread(void (*body)(void *), void *argument);
/* Whether touching that address kills a process. */
bool touching_crashes(uint64_t address);
/* Microseconds that a wait in a test may take before it counts as hanging. */
bool eventually(bool (*so)(void *), void *argument);

struct test {
    const char *name;
    void (*body)(void);
    bool asks_standin;
    const char *environment; /* "NAME=value NAME=value" */
};

extern const struct test device_tests[], memory_tests[], stream_tests[], value_tests[],
    capture_tests[], fault_tests[], life_tests[];
/* For a stand-in without kernels, and only when asked for by name. */
extern const struct test plain_tests[];

#endif
