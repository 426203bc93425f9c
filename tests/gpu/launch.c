#include "launch.h"

#include <string.h>

/* A warp a block spreads sums over all processors of the device; copies take as many threads as the kernels allow. */
#define SUM_THREADS 32
#define COPY_THREADS 128
#define COPY_BLOCKS 32

void kernels_load(struct kernels *kernels, const char *ptx_path)
{
    char *const text = read_text(ptx_path);

    OK(cu.cuModuleLoadData(&kernels->module, text));
    free(text);
    OK(cu.cuModuleGetFunction(&kernels->checksum, kernels->module, "nixl_store_checksum"));
    OK(cu.cuModuleGetFunction(&kernels->gather, kernels->module, "nixl_store_gather"));
    OK(cu.cuModuleGetFunction(&kernels->scatter, kernels->module, "nixl_store_scatter"));
}

void kernels_unload(struct kernels *kernels)
{
    OK(cu.cuModuleUnload(kernels->module));
}

void kernels_sum(const struct kernels *kernels, CUstream stream, const struct block *blocks, unsigned count,
                 uint64_t *sums)
{
    void *arguments[] = {&blocks, &count, &sums};

    OK(cu.cuLaunchKernel(kernels->checksum, count, 1, 1, SUM_THREADS, 1, 1, 0, stream, arguments, NULL));
}

void kernels_copy(CUfunction copy, CUstream stream, const struct piece *pieces, unsigned count, CUdeviceptr buffer)
{
    void *arguments[] = {&pieces, &count, &buffer};

    OK(cu.cuLaunchKernel(copy, COPY_BLOCKS, 1, 1, COPY_THREADS, 1, 1, 0, stream, arguments, NULL));
}

void *pinned(size_t bytes)
{
    void *address;

    OK(cu.cuMemHostAlloc(&address, bytes, 0));
    return memset(address, 0, bytes);
}
