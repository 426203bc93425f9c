/* cuGetProcAddress: every call that there is, since which CUDA version it has this form, and its per-thread variant. */

#include "internal.h"

#include <string.h>

typedef void (*entry_point)(void);

/* X(name, CUDA version, symbol, symbol for the per-thread default stream) */
/* clang-format off */
#define SYMBOLS(X) \
    X("cuInit", 2000, cuInit, cuInit) \
    X("cuDriverGetVersion", 2020, cuDriverGetVersion, cuDriverGetVersion) \
    X("cuGetErrorName", 6000, cuGetErrorName, cuGetErrorName) \
    X("cuGetErrorString", 6000, cuGetErrorString, cuGetErrorString) \
    X("cuDeviceGet", 2000, cuDeviceGet, cuDeviceGet) \
    X("cuDeviceGetCount", 2000, cuDeviceGetCount, cuDeviceGetCount) \
    X("cuDeviceGetName", 2000, cuDeviceGetName, cuDeviceGetName) \
    X("cuDeviceTotalMem", 3020, cuDeviceTotalMem_v2, cuDeviceTotalMem_v2) \
    X("cuDeviceGetAttribute", 2000, cuDeviceGetAttribute, cuDeviceGetAttribute) \
    X("cuDeviceComputeCapability", 2000, cuDeviceComputeCapability, cuDeviceComputeCapability) \
    X("cuDeviceGetUuid", 9020, cuDeviceGetUuid, cuDeviceGetUuid) \
    X("cuDeviceGetUuid", 11040, cuDeviceGetUuid_v2, cuDeviceGetUuid_v2) \
    X("cuDeviceGetPCIBusId", 4010, cuDeviceGetPCIBusId, cuDeviceGetPCIBusId) \
    X("cuDeviceGetByPCIBusId", 4010, cuDeviceGetByPCIBusId, cuDeviceGetByPCIBusId) \
    X("cuDeviceCanAccessPeer", 4000, cuDeviceCanAccessPeer, cuDeviceCanAccessPeer) \
    X("cuDeviceGetDefaultMemPool", 11020, cuDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool) \
    X("cuDeviceGetMemPool", 11020, cuDeviceGetMemPool, cuDeviceGetMemPool) \
    X("cuDeviceSetMemPool", 11020, cuDeviceSetMemPool, cuDeviceSetMemPool) \
    X("cuDevicePrimaryCtxRetain", 7000, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain) \
    X("cuDevicePrimaryCtxRelease", 11000, cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease_v2) \
    X("cuDevicePrimaryCtxReset", 11000, cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset_v2) \
    X("cuDevicePrimaryCtxGetState", 7000, cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState) \
    X("cuDevicePrimaryCtxSetFlags", 11000, cuDevicePrimaryCtxSetFlags_v2, cuDevicePrimaryCtxSetFlags_v2) \
    X("cuCtxCreate", 3020, cuCtxCreate_v2, cuCtxCreate_v2) \
    X("cuCtxCreate", 11040, cuCtxCreate_v3, cuCtxCreate_v3) \
    X("cuCtxCreate", 12050, cuCtxCreate_v4, cuCtxCreate_v4) \
    X("cuCtxDestroy", 4000, cuCtxDestroy_v2, cuCtxDestroy_v2) \
    X("cuCtxPushCurrent", 4000, cuCtxPushCurrent_v2, cuCtxPushCurrent_v2) \
    X("cuCtxPopCurrent", 4000, cuCtxPopCurrent_v2, cuCtxPopCurrent_v2) \
    X("cuCtxSetCurrent", 4000, cuCtxSetCurrent, cuCtxSetCurrent) \
    X("cuCtxGetCurrent", 4000, cuCtxGetCurrent, cuCtxGetCurrent) \
    X("cuCtxGetDevice", 2000, cuCtxGetDevice, cuCtxGetDevice) \
    X("cuCtxGetDevice", 13000, cuCtxGetDevice_v2, cuCtxGetDevice_v2) \
    X("cuCtxGetId", 12000, cuCtxGetId, cuCtxGetId) \
    X("cuCtxGetFlags", 7000, cuCtxGetFlags, cuCtxGetFlags) \
    X("cuCtxGetApiVersion", 3020, cuCtxGetApiVersion, cuCtxGetApiVersion) \
    X("cuCtxGetStreamPriorityRange", 5050, cuCtxGetStreamPriorityRange, cuCtxGetStreamPriorityRange) \
    X("cuCtxSynchronize", 2000, cuCtxSynchronize, cuCtxSynchronize) \
    X("cuCtxSynchronize", 13000, cuCtxSynchronize_v2, cuCtxSynchronize_v2) \
    X("cuMemAlloc", 3020, cuMemAlloc_v2, cuMemAlloc_v2) \
    X("cuMemFree", 3020, cuMemFree_v2, cuMemFree_v2) \
    X("cuMemAllocManaged", 6000, cuMemAllocManaged, cuMemAllocManaged) \
    X("cuMemHostAlloc", 2020, cuMemHostAlloc, cuMemHostAlloc) \
    X("cuMemAllocHost", 3020, cuMemAllocHost_v2, cuMemAllocHost_v2) \
    X("cuMemFreeHost", 2000, cuMemFreeHost, cuMemFreeHost) \
    X("cuMemHostRegister", 6050, cuMemHostRegister_v2, cuMemHostRegister_v2) \
    X("cuMemHostUnregister", 4000, cuMemHostUnregister, cuMemHostUnregister) \
    X("cuMemHostGetDevicePointer", 3020, cuMemHostGetDevicePointer_v2, cuMemHostGetDevicePointer_v2) \
    X("cuMemHostGetFlags", 2030, cuMemHostGetFlags, cuMemHostGetFlags) \
    X("cuMemGetInfo", 3020, cuMemGetInfo_v2, cuMemGetInfo_v2) \
    X("cuMemGetAddressRange", 3020, cuMemGetAddressRange_v2, cuMemGetAddressRange_v2) \
    X("cuPointerGetAttribute", 4000, cuPointerGetAttribute, cuPointerGetAttribute) \
    X("cuPointerGetAttributes", 7000, cuPointerGetAttributes, cuPointerGetAttributes) \
    X("cuPointerSetAttribute", 6000, cuPointerSetAttribute, cuPointerSetAttribute) \
    X("cuMemPoolCreate", 11020, cuMemPoolCreate, cuMemPoolCreate) \
    X("cuMemPoolDestroy", 11020, cuMemPoolDestroy, cuMemPoolDestroy) \
    X("cuMemPoolTrimTo", 11020, cuMemPoolTrimTo, cuMemPoolTrimTo) \
    X("cuMemPoolGetAttribute", 11020, cuMemPoolGetAttribute, cuMemPoolGetAttribute) \
    X("cuMemPoolSetAttribute", 11020, cuMemPoolSetAttribute, cuMemPoolSetAttribute) \
    X("cuMemAllocAsync", 11020, cuMemAllocAsync, cuMemAllocAsync_ptsz) \
    X("cuMemAllocFromPoolAsync", 11020, cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync_ptsz) \
    X("cuMemFreeAsync", 11020, cuMemFreeAsync, cuMemFreeAsync_ptsz) \
    X("cuMemGetAllocationGranularity", 10020, cuMemGetAllocationGranularity, cuMemGetAllocationGranularity) \
    X("cuMemAddressReserve", 10020, cuMemAddressReserve, cuMemAddressReserve) \
    X("cuMemAddressFree", 10020, cuMemAddressFree, cuMemAddressFree) \
    X("cuMemCreate", 10020, cuMemCreate, cuMemCreate) \
    X("cuMemRelease", 10020, cuMemRelease, cuMemRelease) \
    X("cuMemMap", 10020, cuMemMap, cuMemMap) \
    X("cuMemUnmap", 10020, cuMemUnmap, cuMemUnmap) \
    X("cuMemSetAccess", 10020, cuMemSetAccess, cuMemSetAccess) \
    X("cuMemGetAccess", 10020, cuMemGetAccess, cuMemGetAccess) \
    X("cuStreamCreate", 2000, cuStreamCreate, cuStreamCreate) \
    X("cuStreamCreateWithPriority", 5050, cuStreamCreateWithPriority, cuStreamCreateWithPriority) \
    X("cuStreamDestroy", 4000, cuStreamDestroy_v2, cuStreamDestroy_v2) \
    X("cuStreamSynchronize", 2000, cuStreamSynchronize, cuStreamSynchronize_ptsz) \
    X("cuStreamQuery", 2000, cuStreamQuery, cuStreamQuery_ptsz) \
    X("cuStreamGetCtx", 9020, cuStreamGetCtx, cuStreamGetCtx_ptsz) \
    X("cuStreamGetCtx", 12050, cuStreamGetCtx_v2, cuStreamGetCtx_v2_ptsz) \
    X("cuStreamGetFlags", 5050, cuStreamGetFlags, cuStreamGetFlags_ptsz) \
    X("cuStreamGetPriority", 5050, cuStreamGetPriority, cuStreamGetPriority_ptsz) \
    X("cuStreamGetId", 12000, cuStreamGetId, cuStreamGetId_ptsz) \
    X("cuStreamWaitEvent", 3020, cuStreamWaitEvent, cuStreamWaitEvent_ptsz) \
    X("cuStreamWaitValue32", 8000, cuStreamWaitValue32, cuStreamWaitValue32) \
    X("cuStreamWaitValue32", 11070, cuStreamWaitValue32_v2, cuStreamWaitValue32_v2_ptsz) \
    X("cuStreamWaitValue64", 9000, cuStreamWaitValue64, cuStreamWaitValue64) \
    X("cuStreamWaitValue64", 11070, cuStreamWaitValue64_v2, cuStreamWaitValue64_v2_ptsz) \
    X("cuStreamWriteValue32", 8000, cuStreamWriteValue32, cuStreamWriteValue32) \
    X("cuStreamWriteValue32", 11070, cuStreamWriteValue32_v2, cuStreamWriteValue32_v2_ptsz) \
    X("cuStreamWriteValue64", 9000, cuStreamWriteValue64, cuStreamWriteValue64) \
    X("cuStreamWriteValue64", 11070, cuStreamWriteValue64_v2, cuStreamWriteValue64_v2_ptsz) \
    X("cuStreamBeginCapture", 10000, cuStreamBeginCapture, cuStreamBeginCapture) \
    X("cuStreamBeginCapture", 10010, cuStreamBeginCapture_v2, cuStreamBeginCapture_v2) \
    X("cuStreamEndCapture", 10000, cuStreamEndCapture, cuStreamEndCapture) \
    X("cuStreamIsCapturing", 10000, cuStreamIsCapturing, cuStreamIsCapturing_ptsz) \
    X("cuStreamGetCaptureInfo", 10010, cuStreamGetCaptureInfo, cuStreamGetCaptureInfo) \
    X("cuStreamGetCaptureInfo", 11030, cuStreamGetCaptureInfo_v2, cuStreamGetCaptureInfo_v2) \
    X("cuStreamGetCaptureInfo", 12030, cuStreamGetCaptureInfo_v3, cuStreamGetCaptureInfo_v3) \
    X("cuThreadExchangeStreamCaptureMode", 10010, cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode) \
    X("cuGraphGetNodes", 10000, cuGraphGetNodes, cuGraphGetNodes) \
    X("cuGraphDestroy", 10000, cuGraphDestroy, cuGraphDestroy) \
    X("cuLaunchHostFunc", 10000, cuLaunchHostFunc, cuLaunchHostFunc_ptsz) \
    X("cuLaunchKernel", 4000, cuLaunchKernel, cuLaunchKernel_ptsz) \
    X("cuEventCreate", 2000, cuEventCreate, cuEventCreate) \
    X("cuEventDestroy", 4000, cuEventDestroy_v2, cuEventDestroy_v2) \
    X("cuEventRecord", 2000, cuEventRecord, cuEventRecord_ptsz) \
    X("cuEventRecordWithFlags", 11010, cuEventRecordWithFlags, cuEventRecordWithFlags_ptsz) \
    X("cuEventQuery", 2000, cuEventQuery, cuEventQuery) \
    X("cuEventSynchronize", 2000, cuEventSynchronize, cuEventSynchronize) \
    X("cuMemcpy", 4000, cuMemcpy, cuMemcpy_ptds) \
    X("cuMemcpyAsync", 4000, cuMemcpyAsync, cuMemcpyAsync_ptsz) \
    X("cuMemcpyHtoD", 3020, cuMemcpyHtoD_v2, cuMemcpyHtoD_v2_ptds) \
    X("cuMemcpyDtoH", 3020, cuMemcpyDtoH_v2, cuMemcpyDtoH_v2_ptds) \
    X("cuMemcpyDtoD", 3020, cuMemcpyDtoD_v2, cuMemcpyDtoD_v2_ptds) \
    X("cuMemcpyHtoDAsync", 3020, cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync_v2_ptsz) \
    X("cuMemcpyDtoHAsync", 3020, cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync_v2_ptsz) \
    X("cuMemcpyDtoDAsync", 3020, cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync_v2_ptsz) \
    X("cuMemsetD8", 3020, cuMemsetD8_v2, cuMemsetD8_v2_ptds) \
    X("cuMemsetD8Async", 3020, cuMemsetD8Async, cuMemsetD8Async_ptsz) \
    X("cuModuleLoadData", 2000, cuModuleLoadData, cuModuleLoadData) \
    X("cuModuleLoadDataEx", 2010, cuModuleLoadDataEx, cuModuleLoadDataEx) \
    X("cuModuleUnload", 2000, cuModuleUnload, cuModuleUnload) \
    X("cuModuleGetFunction", 2000, cuModuleGetFunction, cuModuleGetFunction) \
    X("cuEventElapsedTime", 2000, cuEventElapsedTime, cuEventElapsedTime) \
    X("cuMemcpyPeerAsync", 4000, cuMemcpyPeerAsync, cuMemcpyPeerAsync) \
    X("cuMemcpyPeer", 4000, cuMemcpyPeer, cuMemcpyPeer) \
    X("cuCtxEnablePeerAccess", 4000, cuCtxEnablePeerAccess, cuCtxEnablePeerAccess) \
    X("cuMemGetHandleForAddressRange", 11070, cuMemGetHandleForAddressRange, cuMemGetHandleForAddressRange) \
    X("cuIpcCloseMemHandle", 4010, cuIpcCloseMemHandle, cuIpcCloseMemHandle) \
    X("cuIpcOpenMemHandle", 11000, cuIpcOpenMemHandle_v2, cuIpcOpenMemHandle_v2) \
    X("cuIpcGetMemHandle", 4010, cuIpcGetMemHandle, cuIpcGetMemHandle) \
    X("cuIpcOpenEventHandle", 4010, cuIpcOpenEventHandle, cuIpcOpenEventHandle) \
    X("cuIpcGetEventHandle", 4010, cuIpcGetEventHandle, cuIpcGetEventHandle) \
    X("cuGetProcAddress", 11030, cuGetProcAddress, cuGetProcAddress) \
    X("cuGetProcAddress", 12000, cuGetProcAddress_v2, cuGetProcAddress_v2) \
    X("cuGetExportTable", 3000, cuGetExportTable, cuGetExportTable)
/* clang-format on */

/* Their true types are in their files; here only the addresses count. */
#define DECLARE(name, version, symbol, per_thread) \
    extern void declared_##symbol(void) __asm__(#symbol); \
    extern void own_##per_thread(void) __asm__(#per_thread);
SYMBOLS(DECLARE)

static const struct {
    const char *name;
    int version;
    entry_point symbol, per_thread;
} symbols[] = {
#define ENTRY(name, version, symbol, per_thread) {name, version, declared_##symbol, own_##per_thread},
    SYMBOLS(ENTRY)
};

/* Conversions between pointers to functions and to objects are not in the language; dlsym does the same. */
static void put(void **out, entry_point symbol)
{
    memcpy(out, &symbol, sizeof symbol);
}

static CUresult find(const char *name, void **out, int version, uint64_t flags, int *status)
{
    uint64_t known = CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    int best = 0;
    bool exists = false;
    if (name == NULL || out == NULL || version > settings.driver_version)
        return CUDA_ERROR_INVALID_VALUE;
    if ((flags & ~known) != 0)
        return refuse("cuGetProcAddress flags", (long long)flags);
    *out = NULL;
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        if (strcmp(symbols[i].name, name) != 0)
            continue;
        exists = true;
        if (symbols[i].version > version || symbols[i].version < best)
            continue;
        best = symbols[i].version;
        bool own = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0;
        put(out, own ? symbols[i].per_thread : symbols[i].symbol);
    }
    *status = best > 0 ? CU_GET_PROC_ADDRESS_SUCCESS
              : exists ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                       : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (best == 0)
        verbose_line("cuGetProcAddress: no %s for version %d", name, version);
    return CUDA_SUCCESS;
}

/* The first form says so by its result, the second by its status. */
CUDA_API CUresult cuGetProcAddress(const char *name, void **out, int version, uint64_t flags)
{
    CALL_BEGIN("cuGetProcAddress", NEED_NOTHING);
    int status = CU_GET_PROC_ADDRESS_SUCCESS;
    CUresult result = find(name, out, version, flags, &status);
    if (result == CUDA_SUCCESS && status != CU_GET_PROC_ADDRESS_SUCCESS)
        result = CUDA_ERROR_NOT_FOUND;
    return call_end(result);
}

CUDA_API CUresult cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status)
{
    CALL_BEGIN("cuGetProcAddress", NEED_NOTHING);
    int found = CU_GET_PROC_ADDRESS_SUCCESS;
    CUresult result = find(name, out, version, flags, &found);
    if (result == CUDA_SUCCESS && status != NULL)
        *status = found;
    else if (result == CUDA_SUCCESS && found != CU_GET_PROC_ADDRESS_SUCCESS)
        result = CUDA_ERROR_NOT_FOUND;
    return call_end(result);
}

/* Tables that are nobody's business but the vendor's own libraries'. */
CUDA_API CUresult cuGetExportTable(const void **table, const CUuuid *id)
{
    CALL_BEGIN("cuGetExportTable", NEED_NOTHING);
    (void)id;
    if (table != NULL)
        *table = NULL;
    return call_end(CUDA_ERROR_INVALID_VALUE);
}
