// What a launcher and the kernels agree on: the layout of descriptors, and the shape of a launch.
//
// This header is read by NVRTC, which has no standard library, and as C++17 by the tests.
#pragma once

namespace kernels {

using u8 = unsigned char;
using u32 = unsigned int;
using u64 = unsigned long long;

/// Threads of a CUDA block at most; their number is a multiple of `WARP_LANES`, in x alone. The registers of a
/// processor are shared out among so many: with more of them each would have too few for the sums.
constexpr u32 BLOCK_THREADS_MAX = 128;
constexpr u32 WARP_LANES = 32;

/// A checksum block of a record: contiguous, of any length and alignment.
struct Block {
    u64 address;
    u64 bytes;
};

/// A piece of memory of any length and alignment, and where its bytes lie in the contiguous buffer.
struct Piece {
    u64 address;
    u64 offset;
    u64 bytes;
};

static_assert(sizeof(Block) == 16 && sizeof(Piece) == 24, "descriptors are packed words of 8 bytes");

}  // namespace kernels
