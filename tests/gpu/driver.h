/* CUDA's driver as the programs for a real GPU call it: loaded by dlopen, so that they are built where there is none. */
#ifndef GPU_DRIVER_H
#define GPU_DRIVER_H

#include <stdio.h>
#include <stdlib.h>

#include "../standin_cuda/cuda_api.h"

#define DRIVER_CALLS(X)                                                                                               \
    X(cuInit, cuInit, (unsigned))                                                                                     \
    X(cuDriverGetVersion, cuDriverGetVersion, (int *))                                                                \
    X(cuDeviceGetCount, cuDeviceGetCount, (int *))                                                                    \
    X(cuDeviceGetName, cuDeviceGetName, (char *, int, CUdevice))                                                      \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, (int *, int, CUdevice))                                             \
    X(cuGetErrorName, cuGetErrorName, (CUresult, const char **))                                                      \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                    \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice))                                            \
    X(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext))                                                                  \
    X(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                             \
    X(cuMemFree, cuMemFree_v2, (CUdeviceptr))                                                                         \
    X(cuMemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))                                                    \
    X(cuMemFreeHost, cuMemFreeHost, (void *))                                                                         \
    X(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, (CUdeviceptr *, void *, unsigned))                     \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream))                         \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream))                               \
    X(cuMemsetD8Async, cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream))                               \
    X(cuStreamCreate, cuStreamCreate, (CUstream *, unsigned))                                                         \
    X(cuStreamDestroy, cuStreamDestroy_v2, (CUstream))                                                                \
    X(cuStreamSynchronize, cuStreamSynchronize, (CUstream))                                                           \
    X(cuStreamWaitValue64, cuStreamWaitValue64_v2, (CUstream, CUdeviceptr, uint64_t, unsigned))                       \
    X(cuModuleLoadData, cuModuleLoadData, (CUmodule *, const void *))                                                 \
    X(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                               \
    X(cuModuleUnload, cuModuleUnload, (CUmodule))                                                                     \
    X(cuLaunchKernel, cuLaunchKernel,                                                                                 \
      (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **))

struct driver {
#define MEMBER(name, symbol, arguments) CUresult(*name) arguments;
    DRIVER_CALLS(MEMBER)
#undef MEMBER
};

extern struct driver cu;

/* Loads the driver and initialises it. Ends the program, with what is missing in one line, where that cannot be. */
void driver_load(void);

/* The primary context of device 0 is current from here on. */
void driver_begin(void);
void driver_end(void);

/* Ends the program with the driver's word for an error. */
void driver_check(CUresult code, const char *call, const char *file, int line);

#define OK(call) driver_check((call), #call, __FILE__, __LINE__)

/* A file as a string that ends with a NUL; ends the program if it cannot be read. */
char *read_text(const char *path);

#endif
