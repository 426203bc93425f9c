/* The few functions of CUDA's driver that the examples call, loaded when the program runs: so they build without CUDA's
 * toolkit, and say what is missing where there is no GPU. A program that has the toolkit includes <cuda.h> and calls
 * functions of these names. */
#ifndef NIXL_STORE_EXAMPLES_CUDA_DRIVER_H
#define NIXL_STORE_EXAMPLES_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA_TEXT_BYTES_MAX 512

/* In cuda.h: CUdeviceptr, CUstream, CUevent. The store takes an address as void *, and a stream as it is. */
typedef unsigned long long cuda_address_t;
typedef void *cuda_stream_t;
typedef void *cuda_event_t;

enum { CUDA_STREAM_NON_BLOCKING = 1, CUDA_EVENT_DISABLE_TIMING = 2 };

typedef struct {
    int (*cuInit)(unsigned flags);
    int (*cuDriverGetVersion)(int *version_out);
    int (*cuDeviceGetCount)(int *count_out);
    int (*cuDeviceGetName)(char *name_out, int bytes, int device);
    int (*cuGetErrorName)(int code, const char **name_out);
    int (*cuDevicePrimaryCtxRetain)(void **context_out, int device);
    int (*cuDevicePrimaryCtxRelease)(int device);
    int (*cuCtxSetCurrent)(void *context);
    int (*cuMemAlloc)(cuda_address_t *address_out, size_t bytes);
    int (*cuMemFree)(cuda_address_t address);
    int (*cuMemHostAlloc)(void **address_out, size_t bytes, unsigned flags);
    int (*cuMemFreeHost)(void *address);
    int (*cuMemcpyHtoDAsync)(cuda_address_t to, const void *from, size_t bytes, cuda_stream_t stream);
    int (*cuMemcpyDtoHAsync)(void *to, cuda_address_t from, size_t bytes, cuda_stream_t stream);
    int (*cuMemsetD8Async)(cuda_address_t to, unsigned char value, size_t bytes, cuda_stream_t stream);
    int (*cuStreamCreate)(cuda_stream_t *stream_out, unsigned flags);
    int (*cuStreamDestroy)(cuda_stream_t stream);
    int (*cuStreamSynchronize)(cuda_stream_t stream);
    int (*cuEventCreate)(cuda_event_t *event_out, unsigned flags);
    int (*cuEventDestroy)(cuda_event_t event);
    int (*cuEventRecord)(cuda_event_t event, cuda_stream_t stream);
    int (*cuEventSynchronize)(cuda_event_t event);

    int device;
    int version; /* 1000 x major + 10 x minor */
    char device_name[128];
} cuda_driver_t;

/* Loads the driver and makes the primary context of the first device current on this thread. Returns 0, or -1 with the
 * reason in one line: then there is nothing to close. */
int cuda_driver_open(cuda_driver_t *cuda, char why[CUDA_TEXT_BYTES_MAX]);

/* Gives the context back. The driver itself stays loaded, as it does not like to be unloaded. */
void cuda_driver_close(cuda_driver_t *cuda);

/* "CUDA_ERROR_...", for messages. */
const char *cuda_error_name(const cuda_driver_t *cuda, int code);

#ifdef __cplusplus
}
#endif

#endif
