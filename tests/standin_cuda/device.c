/* Devices: how many there are, what they say of themselves, the driver's version, and names of errors. */

#include "internal.h"

#include <stdio.h>
#include <string.h>

#define SM_MAJOR 9
#define SM_MINOR 0

enum {
    MAX_THREADS_PER_BLOCK = 1,
    MAX_BLOCK_DIM_X = 2,
    MAX_BLOCK_DIM_Z = 4,
    MAX_GRID_DIM_X = 5,
    MAX_GRID_DIM_Z = 7,
    MAX_SHARED_MEMORY_PER_BLOCK = 8,
    WARP_SIZE = 10,
    MULTIPROCESSOR_COUNT = 16,
    INTEGRATED = 18,
    CAN_MAP_HOST_MEMORY = 19,
    COMPUTE_MODE = 20,
    CONCURRENT_KERNELS = 31,
    PCI_BUS_ID = 33,
    PCI_DEVICE_ID = 34,
    ASYNC_ENGINE_COUNT = 40,
    UNIFIED_ADDRESSING = 41,
    PCI_DOMAIN_ID = 50,
    COMPUTE_CAPABILITY_MAJOR = 75,
    COMPUTE_CAPABILITY_MINOR = 76,
    STREAM_PRIORITIES_SUPPORTED = 78,
    MANAGED_MEMORY = 83,
    PAGEABLE_MEMORY_ACCESS = 88,
    CONCURRENT_MANAGED_ACCESS = 89,
    CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM = 91,
    CAN_USE_STREAM_MEM_OPS_V1 = 92,
    CAN_USE_64_BIT_STREAM_MEM_OPS_V1 = 93,
    CAN_USE_STREAM_WAIT_VALUE_NOR_V1 = 94,
    CAN_FLUSH_REMOTE_WRITES = 98,
    HOST_REGISTER_SUPPORTED = 99,
    PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES = 100,
    VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
    HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103,
    GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED = 110,
    READ_ONLY_HOST_REGISTER_SUPPORTED = 113,
    MEMORY_POOLS_SUPPORTED = 115,
    GPU_DIRECT_RDMA_SUPPORTED = 116,
    GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS = 117,
    GPU_DIRECT_RDMA_WRITES_ORDERING = 118,
    CAN_USE_64_BIT_STREAM_MEM_OPS = 122,
    CAN_USE_STREAM_WAIT_VALUE_NOR = 123,
    DMA_BUF_SUPPORTED = 124
};

/* What a PCIe data-centre device of compute capability 9.0 would answer, less what is not modelled here. */
static const struct {
    int attribute, value;
} attributes[] = {
    {MAX_THREADS_PER_BLOCK, 1024},
    {MAX_BLOCK_DIM_X, 1024},
    {MAX_BLOCK_DIM_X + 1, 1024},
    {MAX_BLOCK_DIM_Z, 64},
    {MAX_GRID_DIM_X, 2147483647},
    {MAX_GRID_DIM_X + 1, 65535},
    {MAX_GRID_DIM_Z, 65535},
    {MAX_SHARED_MEMORY_PER_BLOCK, 49152},
    {WARP_SIZE, 32},
    {MULTIPROCESSOR_COUNT, 2},
    {INTEGRATED, 0},
    {CAN_MAP_HOST_MEMORY, 1},
    {COMPUTE_MODE, 0},
    {CONCURRENT_KERNELS, 1},
    {PCI_DEVICE_ID, 0},
    {ASYNC_ENGINE_COUNT, 3},
    {UNIFIED_ADDRESSING, 1},
    {PCI_DOMAIN_ID, 0},
    {COMPUTE_CAPABILITY_MAJOR, SM_MAJOR},
    {COMPUTE_CAPABILITY_MINOR, SM_MINOR},
    {STREAM_PRIORITIES_SUPPORTED, 1},
    {MANAGED_MEMORY, 1},
    {PAGEABLE_MEMORY_ACCESS, 0},
    {CONCURRENT_MANAGED_ACCESS, 1},
    {CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1},
    /* The first version of the calls is off unless a module parameter turns it on. */
    {CAN_USE_STREAM_MEM_OPS_V1, 0},
    {CAN_USE_64_BIT_STREAM_MEM_OPS_V1, 0},
    {CAN_USE_STREAM_WAIT_VALUE_NOR_V1, 0},
    {CAN_FLUSH_REMOTE_WRITES, 0},
    {HOST_REGISTER_SUPPORTED, 1},
    {PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES, 0},
    {VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
    {HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 0},
    {GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, 1},
    {READ_ONLY_HOST_REGISTER_SUPPORTED, 1},
    {MEMORY_POOLS_SUPPORTED, 1},
    {GPU_DIRECT_RDMA_SUPPORTED, 0},
    {GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS, 0},
    {GPU_DIRECT_RDMA_WRITES_ORDERING, 0},
    {CAN_USE_64_BIT_STREAM_MEM_OPS, 1},
    {CAN_USE_STREAM_WAIT_VALUE_NOR, 1},
    {DMA_BUF_SUPPORTED, 0},
};

static CUresult known(CUdevice device)
{
    return device >= 0 && device < settings.devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUDA_API CUresult cuInit(unsigned flags)
{
    CALL_BEGIN("cuInit", NEED_NOTHING);
    if (flags != 0)
        return call_end(refuse("cuInit flags", flags));
    if (settings.init_result != CUDA_SUCCESS)
        return call_end((CUresult)settings.init_result);
    if (settings.devices == 0)
        return call_end(CUDA_ERROR_NO_DEVICE);
    driver_initialised = true;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDriverGetVersion(int *version)
{
    CALL_BEGIN("cuDriverGetVersion", NEED_NOTHING);
    if (version == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *version = settings.driver_version;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDeviceGetCount(int *count)
{
    CALL_BEGIN("cuDeviceGetCount", NEED_INIT);
    if (count == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *count = settings.devices;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CALL_BEGIN("cuDeviceGet", NEED_INIT);
    if (device == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (known(ordinal) != CUDA_SUCCESS)
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    *device = ordinal;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    CALL_BEGIN("cuDeviceGetName", NEED_INIT);
    if (name == NULL || bytes <= 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    CUresult result = known(device);
    if (result == CUDA_SUCCESS)
        snprintf(name, (size_t)bytes, "Stand-in device");
    return call_end(result);
}

CUDA_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    CALL_BEGIN("cuDeviceTotalMem", NEED_INIT);
    if (bytes == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *bytes = settings.device_bytes;
    return call_end(known(device));
}

CUDA_API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    CALL_BEGIN("cuDeviceGetAttribute", NEED_INIT);
    if (value == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (known(device) != CUDA_SUCCESS)
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    if (attribute == PCI_BUS_ID) {
        *value = device + 1;
        return call_end(CUDA_SUCCESS);
    }
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        if (attributes[i].attribute == attribute) {
            *value = attributes[i].value;
            return call_end(CUDA_SUCCESS);
        }
    }
    return call_end(refuse("device attribute", attribute));
}

CUDA_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    CALL_BEGIN("cuDeviceComputeCapability", NEED_INIT);
    if (major == NULL || minor == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *major = SM_MAJOR;
    *minor = SM_MINOR;
    return call_end(known(device));
}

static CUresult uuid(const char *name, CUuuid *uuid, CUdevice device)
{
    CALL_BEGIN(name, NEED_INIT);
    if (uuid == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    memset(uuid->bytes, 0x5d, sizeof uuid->bytes);
    uuid->bytes[0] = (char)device;
    return call_end(known(device));
}

CUDA_API CUresult cuDeviceGetUuid(CUuuid *out, CUdevice device)
{
    return uuid("cuDeviceGetUuid", out, device);
}

CUDA_API CUresult cuDeviceGetUuid_v2(CUuuid *out, CUdevice device)
{
    return uuid("cuDeviceGetUuid", out, device);
}

CUDA_API CUresult cuDeviceGetPCIBusId(char *text, int bytes, CUdevice device)
{
    CALL_BEGIN("cuDeviceGetPCIBusId", NEED_INIT);
    if (text == NULL || bytes <= 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    CUresult result = known(device);
    if (result == CUDA_SUCCESS)
        snprintf(text, (size_t)bytes, "0000:%02x:00.0", (unsigned)device + 1);
    return call_end(result);
}

CUDA_API CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *text)
{
    CALL_BEGIN("cuDeviceGetByPCIBusId", NEED_INIT);
    unsigned bus, slot;
    if (device == NULL || text == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    const char *rest = strncmp(text, "0000:", 5) == 0 ? text + 5 : text;
    if (sscanf(rest, "%x:%x", &bus, &slot) != 2 || slot != 0 || known((CUdevice)bus - 1) != CUDA_SUCCESS)
        return call_end(CUDA_ERROR_INVALID_DEVICE);
    *device = (CUdevice)bus - 1;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    CALL_BEGIN("cuDeviceCanAccessPeer", NEED_INIT);
    if (can == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *can = 0;
    return call_end(known(device) != CUDA_SUCCESS ? CUDA_ERROR_INVALID_DEVICE : known(peer));
}

/* ---- names of errors: no CUDA call in the sense of the rules, and allowed before cuInit ---- */

#define ERROR_NAMES(X)                                                                                           \
    X(CUDA_SUCCESS)                                                                                              \
    X(CUDA_ERROR_INVALID_VALUE)                                                                                  \
    X(CUDA_ERROR_OUT_OF_MEMORY)                                                                                  \
    X(CUDA_ERROR_NOT_INITIALIZED)                                                                                \
    X(CUDA_ERROR_NO_DEVICE)                                                                                      \
    X(CUDA_ERROR_INVALID_DEVICE)                                                                                 \
    X(CUDA_ERROR_INVALID_IMAGE)                                                                                  \
    X(CUDA_ERROR_INVALID_CONTEXT)                                                                                \
    X(CUDA_ERROR_NO_BINARY_FOR_GPU)                                                                              \
    X(CUDA_ERROR_INVALID_PTX)                                                                                    \
    X(CUDA_ERROR_UNSUPPORTED_PTX_VERSION)                                                                        \
    X(CUDA_ERROR_INVALID_HANDLE)                                                                                 \
    X(CUDA_ERROR_ILLEGAL_STATE)                                                                                  \
    X(CUDA_ERROR_NOT_FOUND)                                                                                      \
    X(CUDA_ERROR_NOT_READY)                                                                                      \
    X(CUDA_ERROR_ILLEGAL_ADDRESS)                                                                                \
    X(CUDA_ERROR_LAUNCH_TIMEOUT)                                                                                 \
    X(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE)                                                                         \
    X(CUDA_ERROR_CONTEXT_IS_DESTROYED)                                                                           \
    X(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED)                                                                 \
    X(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED)                                                                     \
    X(CUDA_ERROR_MISALIGNED_ADDRESS)                                                                             \
    X(CUDA_ERROR_LAUNCH_FAILED)                                                                                  \
    X(CUDA_ERROR_NOT_PERMITTED)                                                                                  \
    X(CUDA_ERROR_NOT_SUPPORTED)                                                                                  \
    X(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)                                                                     \
    X(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)                                                                     \
    X(CUDA_ERROR_STREAM_CAPTURE_MERGE)                                                                           \
    X(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED)                                                                       \
    X(CUDA_ERROR_STREAM_CAPTURE_UNJOINED)                                                                        \
    X(CUDA_ERROR_STREAM_CAPTURE_ISOLATION)                                                                       \
    X(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)                                                                        \
    X(CUDA_ERROR_CAPTURED_EVENT)                                                                                 \
    X(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD)                                                                    \
    X(CUDA_ERROR_UNKNOWN)

CUDA_API CUresult cuGetErrorName(CUresult code, const char **name)
{
    if (name == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    switch (code) {
#define ERROR_CASE(error) \
    case error:           \
        *name = #error;   \
        return CUDA_SUCCESS;
        ERROR_NAMES(ERROR_CASE)
    }
    *name = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUDA_API CUresult cuGetErrorString(CUresult code, const char **text)
{
    return cuGetErrorName(code, text);
}
