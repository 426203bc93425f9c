// CUDA's words for a C++17 compiler, so that the kernels' own source runs on a CPU. It is put before the source with
// `-include`; what the kernels do not use is not here, so that a new word is a compiler's error and not a guess.
//
// The lanes of a warp are 32 fibers (warp.h). Loads and stores are looked at: each has to be aligned as a GPU wants
// it, and to lie within what the launch may touch (memory.h). A fault ends the launch.
#pragma once

#include <cstring>

#include "memory.h"
#include "warp.h"

#define __global__
#define __device__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct alignas(16) ulonglong2 {
    unsigned long long x;
    unsigned long long y;
};

#define threadIdx (shim::place().thread)
#define blockIdx (shim::place().block)
#define blockDim (shim::place().threads)
#define gridDim (shim::place().blocks)

template <typename Word>
Word __ldg(const Word *from) {
    shim::check_access(from, sizeof(Word), shim::Access::READ);
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

template <typename Word>
void __stcs(Word *to, Word word) {
    shim::check_access(to, sizeof(Word), shim::Access::WRITE);
    std::memcpy(to, &word, sizeof word);
}

template <typename Word>
Word __shfl_xor_sync(unsigned mask, Word word, int distance) {
    static_assert(sizeof(Word) <= sizeof(unsigned long long), "a shuffle moves 4 or 8 bytes");
    return static_cast<Word>(shim::exchange(mask, word, static_cast<unsigned>(distance)));
}

inline void __syncwarp(unsigned mask = shim::ALL_LANES) { shim::synchronise(mask); }

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}

inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both >> (shift & 31));
}
