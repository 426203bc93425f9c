/* Modules and kernels. PTX is not run: a launch calls standin_kernel_launch, which whoever builds the stand-in may
 * link in, with the kernel's name and its parameters as they were when the call was made. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define SM 90
#define JIT_INFO_LOG_BUFFER 3
#define JIT_INFO_LOG_BUFFER_BYTES 4
#define JIT_ERROR_LOG_BUFFER 5
#define JIT_ERROR_LOG_BUFFER_BYTES 6
#define PARAMETER_ALIGNMENT 16u

/* 0, or why the kernel cannot be run. params[i] points to the value of parameter i. to_host gives the memory behind
 * a device address, or NULL unless all of the range is alive and within the device's reach. */
extern int standin_kernel_launch(const char *name, const unsigned grid[3], const unsigned block[3], void **params,
                                 void *(*to_host)(unsigned long long device_address, unsigned long long bytes))
    __attribute__((weak));

struct function {
    struct object object;
    struct module *module;
    const struct ptx_entry *entry;
    struct function *next;
};

struct module {
    struct object object;
    struct module *next;
    uint64_t context;
    CUdevice device;
    struct ptx_entry *entries;
    int entries_count;
    struct function *functions;
};

static struct module *modules;
static _Thread_local CUdevice launch_device;
static _Thread_local bool launch_strayed;

static void module_free(struct module *module)
{
    for (struct module **at = &modules; *at != NULL; at = &(*at)->next) {
        if (*at == module) {
            *at = module->next;
            break;
        }
    }
    while (module->functions != NULL) {
        struct function *function = module->functions;
        module->functions = function->next;
        handle_take(&function->object);
        free(function);
    }
    handle_take(&module->object);
    ptx_entries_free(module->entries, module->entries_count);
    free(module);
}

void modules_free_of_context(uint64_t context)
{
    for (struct module *at = modules; at != NULL;) {
        struct module *next = at->next;
        if (at->context == context)
            module_free(at);
        at = next;
    }
}

/* Of the options, the buffers for logs are known; nothing is written into them. */
static CUresult options_known(unsigned count, const int *options, void **values)
{
    for (unsigned i = 0; i < count; i++) {
        if (options == NULL || values == NULL)
            return CUDA_ERROR_INVALID_VALUE;
        switch (options[i]) {
        case JIT_INFO_LOG_BUFFER:
        case JIT_ERROR_LOG_BUFFER:
            if (values[i] != NULL)
                *(char *)values[i] = '\0';
            break;
        case JIT_INFO_LOG_BUFFER_BYTES:
        case JIT_ERROR_LOG_BUFFER_BYTES:
            values[i] = NULL;
            break;
        default:
            return refuse("JIT option", options[i]);
        }
    }
    return CUDA_SUCCESS;
}

static CUresult load(CUmodule *made, const void *image)
{
    if (made == NULL || image == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = capture_forbids_unsafe();
    if (result == CUDA_SUCCESS)
        result = ptx_check(image, settings.driver_version, SM);
    if (result != CUDA_SUCCESS)
        return result;
    count_allocation(call_context->device);
    struct module *module = calloc(1, sizeof *module);
    if (module == NULL)
        return CUDA_ERROR_OUT_OF_MEMORY;
    module->entries_count = ptx_entries(image, &module->entries);
    if (module->entries_count < 0) {
        free(module);
        return CUDA_ERROR_INVALID_PTX;
    }
    module->context = call_context->object.handle;
    module->device = call_context->device;
    module->next = modules;
    modules = module;
    handle_give(&module->object, HANDLE_MODULE);
    *made = (CUmodule)(uintptr_t)module->object.handle;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    CALL_BEGIN("cuModuleLoadData", NEED_CONTEXT);
    return call_end(load(module, image));
}

CUDA_API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options, void **values)
{
    CALL_BEGIN("cuModuleLoadDataEx", NEED_CONTEXT);
    CUresult result = options_known(count, options, values);
    return call_end(result == CUDA_SUCCESS ? load(module, image) : result);
}

CUDA_API CUresult cuModuleUnload(CUmodule handle)
{
    CALL_BEGIN("cuModuleUnload", NEED_CONTEXT);
    struct module *module = handle_find(handle, HANDLE_MODULE);
    if (module == NULL)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    device_settle(module->device);
    /* The lock was let go meanwhile. */
    module = handle_peek((uint64_t)(uintptr_t)handle, HANDLE_MODULE);
    if (module == NULL)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    module_free(module);
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuModuleGetFunction(CUfunction *made, CUmodule handle, const char *name)
{
    CALL_BEGIN("cuModuleGetFunction", NEED_CONTEXT);
    if (made == NULL || name == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    struct module *module = handle_find(handle, HANDLE_MODULE);
    if (module == NULL)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    for (struct function *at = module->functions; at != NULL; at = at->next) {
        if (strcmp(at->entry->name, name) == 0) {
            *made = (CUfunction)(uintptr_t)at->object.handle;
            return call_end(CUDA_SUCCESS);
        }
    }
    for (int i = 0; i < module->entries_count; i++) {
        if (strcmp(module->entries[i].name, name) != 0)
            continue;
        struct function *function = calloc(1, sizeof *function);
        if (function == NULL)
            return call_end(CUDA_ERROR_OUT_OF_MEMORY);
        function->module = module;
        function->entry = &module->entries[i];
        function->next = module->functions;
        module->functions = function;
        handle_give(&function->object, HANDLE_FUNCTION);
        *made = (CUfunction)(uintptr_t)function->object.handle;
        return call_end(CUDA_SUCCESS);
    }
    return call_end(CUDA_ERROR_NOT_FOUND);
}

/* ---- launches ---- */

void launch_free(struct launch *launch)
{
    free(launch->name);
    free(launch->values);
    free(launch);
}

static size_t aligned(size_t bytes)
{
    return (bytes + PARAMETER_ALIGNMENT - 1) / PARAMETER_ALIGNMENT * PARAMETER_ALIGNMENT;
}

/* The values in one block behind the pointers to them: the caller's may be gone when the stream gets here. */
static void **copy_parameters(const struct ptx_entry *entry, void **parameters)
{
    size_t pointers = aligned((entry->parameters + 1) * sizeof(void *));
    size_t bytes = pointers;
    for (unsigned i = 0; i < entry->parameters; i++)
        bytes += aligned(entry->parameter_bytes[i]);
    char *block = aligned_alloc(PARAMETER_ALIGNMENT, bytes);
    if (block == NULL)
        return NULL;
    void **values = (void **)(void *)block;
    char *at = block + pointers;
    for (unsigned i = 0; i < entry->parameters; i++) {
        memcpy(at, parameters[i], entry->parameter_bytes[i]);
        values[i] = at;
        at += aligned(entry->parameter_bytes[i]);
    }
    values[entry->parameters] = NULL;
    return values;
}

static struct launch *launch_new(const struct function *function, const unsigned grid[3], const unsigned block[3],
                                 void **parameters)
{
    struct launch *launch = calloc(1, sizeof *launch);
    if (launch == NULL)
        return NULL;
    launch->name = strdup(function->entry->name);
    launch->values = copy_parameters(function->entry, parameters);
    launch->device = function->module->device;
    memcpy(launch->grid, grid, sizeof launch->grid);
    memcpy(launch->block, block, sizeof launch->block);
    if (launch->name == NULL || launch->values == NULL) {
        launch_free(launch);
        return NULL;
    }
    return launch;
}

static CUresult launch_call(CUfunction handle, const unsigned grid[3], const unsigned block[3], CUstream stream_handle,
                            void **parameters, void **extra)
{
    struct stream *stream;
    struct function *function = handle_find(handle, HANDLE_FUNCTION);
    if (function == NULL || function->module->context != call_context->object.handle)
        return CUDA_ERROR_INVALID_HANDLE;
    if (extra != NULL)
        return CUDA_ERROR_NOT_SUPPORTED;
    for (int i = 0; i < 3; i++)
        if (grid[i] == 0 || block[i] == 0)
            return CUDA_ERROR_INVALID_VALUE;
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (threads > function->entry->threads_max || (parameters == NULL && function->entry->parameters > 0))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = stream_of(stream_handle, true, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (standin_kernel_launch == NULL)
        return CUDA_ERROR_NOT_FOUND;
    struct operation *operation = operation_new(OPERATION_LAUNCH, "cuLaunchKernel");
    if (operation == NULL)
        return CUDA_ERROR_OUT_OF_MEMORY;
    operation->launch = launch_new(function, grid, block, parameters);
    if (operation->launch == NULL) {
        operation_free(operation);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return stream_push(stream, operation, NULL);
}

CUDA_API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                 unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                                 CUstream stream, void **parameters, void **extra)
{
    CALL_BEGIN("cuLaunchKernel", NEED_CONTEXT);
    unsigned grid[3] = {grid_x, grid_y, grid_z};
    unsigned block[3] = {block_x, block_y, block_z};
    (void)shared_bytes;
    return call_end(launch_call(function, grid, block, stream, parameters, extra));
}

static void *to_host(unsigned long long address, unsigned long long bytes)
{
    lock();
    void *found = memory_bytes(address, bytes, launch_device);
    unlock();
    launch_strayed |= found == NULL;
    return found;
}

CUresult launch_run(const struct launch *launch, int *answer)
{
    launch_device = launch->device;
    launch_strayed = false;
    *answer = standin_kernel_launch(launch->name, launch->grid, launch->block, launch->values, to_host);
    if (launch_strayed)
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    return *answer == 0 ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED;
}
