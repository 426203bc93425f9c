// Loads, stores and lanes, in words that mean the same to CUDA C++ and, with tests/cuda_kernels/shim.h, to C++17.
//
// The kernels touch memory through read() and write() alone, so that the tests can look at each access.
#pragma once

#include "interface.h"

#ifdef __CUDACC__
// Full unrolling keeps an array that is indexed by the loop in registers.
#define NIXL_STORE_UNROLL _Pragma("unroll")
#define NIXL_STORE_NO_UNROLL _Pragma("unroll 1")
#else
#define NIXL_STORE_UNROLL
#define NIXL_STORE_NO_UNROLL
#endif

namespace kernels {

/// Mask of a shuffle that every lane of the warp takes part in.
constexpr u32 ALL_LANES = 0xffffffff;

/// A load past the coherent cache: nothing that a kernel here reads is written while it runs.
template <typename Word>
__device__ __forceinline__ Word read(u64 address) {
    return __ldg(reinterpret_cast<const Word *>(address));
}

/// A store that leaves the cache first: what a kernel here writes is read by others, and once.
template <typename Word>
__device__ __forceinline__ void write(u64 address, Word word) {
    __stcs(reinterpret_cast<Word *>(address), word);
}

/// The calling thread's warp among those of the grid, and its place in it.
struct Warp {
    u64 index;
    u64 count;
    u32 lane;
};

__device__ __forceinline__ Warp this_warp() {
    const u64 warps_per_block = blockDim.x / WARP_LANES;
    return {blockIdx.x * warps_per_block + threadIdx.x / WARP_LANES, gridDim.x * warps_per_block,
            threadIdx.x % WARP_LANES};
}

}  // namespace kernels
