#include "cuda_driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* A member of cuda_driver_t and the symbol behind it: the driver keeps old forms of a function under its plain name, and
 * <cuda.h> asks for the newest by the same names as these. */
typedef struct {
    size_t offset;
    const char *symbol;
} entry_t;

#define ENTRY(member, symbol) {offsetof(cuda_driver_t, member), symbol}

static const entry_t ENTRIES[] = {
    ENTRY(cuInit, "cuInit"),
    ENTRY(cuDriverGetVersion, "cuDriverGetVersion"),
    ENTRY(cuDeviceGetCount, "cuDeviceGetCount"),
    ENTRY(cuDeviceGetName, "cuDeviceGetName"),
    ENTRY(cuGetErrorName, "cuGetErrorName"),
    ENTRY(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain"),
    ENTRY(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2"),
    ENTRY(cuCtxSetCurrent, "cuCtxSetCurrent"),
    ENTRY(cuMemAlloc, "cuMemAlloc_v2"),
    ENTRY(cuMemFree, "cuMemFree_v2"),
    ENTRY(cuMemHostAlloc, "cuMemHostAlloc"),
    ENTRY(cuMemFreeHost, "cuMemFreeHost"),
    ENTRY(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2"),
    ENTRY(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2"),
    ENTRY(cuMemsetD8Async, "cuMemsetD8Async"),
    ENTRY(cuStreamCreate, "cuStreamCreate"),
    ENTRY(cuStreamDestroy, "cuStreamDestroy_v2"),
    ENTRY(cuStreamSynchronize, "cuStreamSynchronize"),
    ENTRY(cuEventCreate, "cuEventCreate"),
    ENTRY(cuEventDestroy, "cuEventDestroy_v2"),
    ENTRY(cuEventRecord, "cuEventRecord"),
    ENTRY(cuEventSynchronize, "cuEventSynchronize"),
};

static int resolve(cuda_driver_t *cuda, void *library, char why[CUDA_TEXT_BYTES_MAX])
{
    size_t index;

    for (index = 0; index < sizeof ENTRIES / sizeof *ENTRIES; index++) {
        void *const address = dlsym(library, ENTRIES[index].symbol);
        if (address == NULL) {
            snprintf(why, CUDA_TEXT_BYTES_MAX, "libcuda.so.1 has no %s", ENTRIES[index].symbol);
            return -1;
        }
        /* ISO C has no cast from an address of data to one of a function; POSIX says that they are alike. */
        memcpy((char *)cuda + ENTRIES[index].offset, &address, sizeof address);
    }
    return 0;
}

static int refused(const cuda_driver_t *cuda, const char *call, int code, char why[CUDA_TEXT_BYTES_MAX])
{
    if (code != 0)
        snprintf(why, CUDA_TEXT_BYTES_MAX, "%s: %s", call, cuda_error_name(cuda, code));
    return code != 0;
}

static int begin(cuda_driver_t *cuda, char why[CUDA_TEXT_BYTES_MAX])
{
    void *context = NULL;
    int count = 0;

    if (refused(cuda, "cuInit", cuda->cuInit(0), why) ||
        refused(cuda, "cuDeviceGetCount", cuda->cuDeviceGetCount(&count), why))
        return -1;
    if (count == 0) {
        snprintf(why, CUDA_TEXT_BYTES_MAX, "the driver sees no GPU");
        return -1;
    }
    if (refused(cuda, "cuDriverGetVersion", cuda->cuDriverGetVersion(&cuda->version), why) ||
        refused(cuda, "cuDeviceGetName",
                cuda->cuDeviceGetName(cuda->device_name, sizeof cuda->device_name, cuda->device), why) ||
        refused(cuda, "cuDevicePrimaryCtxRetain", cuda->cuDevicePrimaryCtxRetain(&context, cuda->device), why))
        return -1;
    if (refused(cuda, "cuCtxSetCurrent", cuda->cuCtxSetCurrent(context), why)) {
        cuda->cuDevicePrimaryCtxRelease(cuda->device);
        return -1;
    }
    return 0;
}

int cuda_driver_open(cuda_driver_t *cuda, char why[CUDA_TEXT_BYTES_MAX])
{
    void *const library = dlopen("libcuda.so.1", RTLD_NOW);

    memset(cuda, 0, sizeof *cuda);
    if (library == NULL) {
        snprintf(why, CUDA_TEXT_BYTES_MAX, "there is no CUDA driver: %s", dlerror());
        return -1;
    }
    return resolve(cuda, library, why) != 0 ? -1 : begin(cuda, why);
}

void cuda_driver_close(cuda_driver_t *cuda)
{
    cuda->cuCtxSetCurrent(NULL);
    cuda->cuDevicePrimaryCtxRelease(cuda->device);
}

const char *cuda_error_name(const cuda_driver_t *cuda, int code)
{
    const char *name = NULL;

    return cuda->cuGetErrorName(code, &name) == 0 && name != NULL ? name : "an error without a name";
}
