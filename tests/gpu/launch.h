/* Launches of the library's kernels; src/cuda/kernels/interface.h says what they take. */
#ifndef GPU_LAUNCH_H
#define GPU_LAUNCH_H

#include <stdint.h>

#include "driver.h"

struct block {
    uint64_t address, bytes;
};

struct piece {
    uint64_t address, offset, bytes;
};

struct kernels {
    CUmodule module;
    CUfunction checksum, gather, scatter;
};

void kernels_load(struct kernels *kernels, const char *ptx_path);
void kernels_unload(struct kernels *kernels);

/* Descriptors and sums may lie in pinned memory, as here. They stay until the stream has come past the launch. */
void kernels_sum(const struct kernels *kernels, CUstream stream, const struct block *blocks, unsigned count,
                 uint64_t *sums);
/* `copy` is gather or scatter. */
void kernels_copy(CUfunction copy, CUstream stream, const struct piece *pieces, unsigned count, CUdeviceptr buffer);

/* Pinned memory of zeros. */
void *pinned(size_t bytes);

#endif
