// The kernels of the library, for memory that the CPU does not see. README.md here says how they become kernels.ptx.
//
// Any grid does: each warp takes the next block or piece that is its own by number until there are none. Warps share
// nothing. The arrays of descriptors and sums lie in memory that the device reaches, pinned host memory included,
// aligned to 8 bytes; what a kernel reads must not be written while it runs.

#include "copy.h"
#include "interface.h"
#include "words.h"
#include "xxh3.h"

/// `sums[i]` becomes the XXH3 of `blocks[i]`; a warp takes a block. Meant for blocks of up to 64 KiB, right for any.
extern "C" __global__ void __launch_bounds__(kernels::BLOCK_THREADS_MAX)
nixl_store_checksum(const kernels::Block *blocks, unsigned int count, unsigned long long *sums) {
    using namespace kernels;
    const Warp warp = this_warp();
    for (u64 at = warp.index; at < count; at += warp.count) {
        const u64 descriptor = reinterpret_cast<u64>(blocks + at);
        const Block block = {read<u64>(descriptor), read<u64>(descriptor + 8)};
        const u64 sum = sum_of(block, warp.lane);
        if (warp.lane == 0) {
            write<u64>(reinterpret_cast<u64>(sums + at), sum);
        }
    }
}

/// Copies each piece to its offset in the buffer. Pieces do not overlap there, and the buffer overlaps with none of
/// them.
extern "C" __global__ void __launch_bounds__(kernels::BLOCK_THREADS_MAX)
nixl_store_gather(const kernels::Piece *pieces, unsigned int count, unsigned char *buffer) {
    kernels::copy_pieces<true>(pieces, count, reinterpret_cast<kernels::u64>(buffer));
}

/// Copies each piece from its offset in the buffer. Pieces do not overlap with each other, nor the buffer with any.
extern "C" __global__ void __launch_bounds__(kernels::BLOCK_THREADS_MAX)
nixl_store_scatter(const kernels::Piece *pieces, unsigned int count, const unsigned char *buffer) {
    kernels::copy_pieces<false>(pieces, count, reinterpret_cast<kernels::u64>(buffer));
}
