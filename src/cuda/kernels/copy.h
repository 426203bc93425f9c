// Copies of pieces of any length and alignment, by whole warps.
//
// A piece has a body of words that are aligned where they are written, 16 bytes each where both sides are aligned
// alike and 4 bytes each where they are not, and up to 15 bytes before and behind it that go one by one. Not a byte
// outside the piece is read: words there may be another allocation's.
#pragma once

#include "words.h"

namespace kernels {

/// Words of a tile that a lane has under way together.
constexpr u32 WORDS_AHEAD = 4;

/// The body is shared out in tiles to `parts` warps; this one is number `part` of them.
struct Share {
    u64 part;
    u64 parts;
    u32 lane;
};

/// Copies `count` bytes, at most one for each lane.
__device__ __forceinline__ void copy_bytes(u64 from, u64 to, u64 count, u32 lane) {
    if (lane < count) {
        write<u8>(to + lane, read<u8>(from + lane));
    }
}

/// 16 bytes of a source that is aligned as the words are.
struct AlignedWords {
    using Word = ulonglong2;
    u64 from;

    __device__ __forceinline__ Word load(u64 index) const { return read<Word>(from + index * sizeof(Word)); }
};

/// 4 bytes of a source of any alignment: of two aligned words, or of one where the source is aligned after all.
struct ShiftedWords {
    using Word = u32;
    u64 from;

    __device__ __forceinline__ Word load(u64 index) const {
        const u64 at = from + index * sizeof(Word);
        const u32 skipped = static_cast<u32>(at % sizeof(Word));
        const u64 low_at = at - skipped;
        const u32 low = read<u32>(low_at);
        const u32 high = skipped == 0 ? 0 : read<u32>(low_at + sizeof(Word));
        return __funnelshift_r(low, high, skipped * 8);
    }
};

template <typename Source>
__device__ __forceinline__ void copy_words(Source source, u64 to, u64 words, Share share) {
    using Word = typename Source::Word;
    constexpr u64 TILE_WORDS = WORDS_AHEAD * WARP_LANES;
    NIXL_STORE_NO_UNROLL
    for (u64 tile = share.part; tile * TILE_WORDS < words; tile += share.parts) {
        const u64 first = tile * TILE_WORDS + share.lane;
        Word word[WORDS_AHEAD] = {};
        NIXL_STORE_UNROLL
        for (u32 i = 0; i < WORDS_AHEAD; ++i) {
            if (first + i * WARP_LANES < words) {
                word[i] = source.load(first + i * WARP_LANES);
            }
        }
        NIXL_STORE_UNROLL
        for (u32 i = 0; i < WORDS_AHEAD; ++i) {
            if (first + i * WARP_LANES < words) {
                write<Word>(to + (first + i * WARP_LANES) * sizeof(Word), word[i]);
            }
        }
    }
}

__device__ __forceinline__ u64 smaller(u64 a, u64 b) { return a < b ? a : b; }

/// This warp's share of a copy.
__device__ __forceinline__ void copy_piece(u64 from, u64 to, u64 bytes, Share share) {
    u64 head;
    u64 body;
    if ((from ^ to) % sizeof(ulonglong2) == 0) {
        head = smaller((0 - to) % sizeof(ulonglong2), bytes);
        const u64 words = (bytes - head) / sizeof(ulonglong2);
        body = words * sizeof(ulonglong2);
        copy_words(AlignedWords{from + head}, to + head, words, share);
    } else {
        head = (0 - to) % sizeof(u32);
        const u64 skipped = (from + head) % sizeof(u32);
        // The first aligned word of the source may not begin before the source does, nor the last one end behind it.
        head += skipped > head ? sizeof(u32) : 0;
        head = smaller(head, bytes);
        const u64 readable = bytes - head + skipped;
        const u64 words = readable / sizeof(u32);
        const u64 whole = skipped == 0 || words == 0 ? words : words - 1;
        body = whole * sizeof(u32);
        copy_words(ShiftedWords{from + head}, to + head, whole, share);
    }
    if (share.part == 0) {
        copy_bytes(from, to, head, share.lane);
        copy_bytes(from + head + body, to + head + body, bytes - head - body, share.lane);
    }
}

/// All pieces to the buffer, or from it. With fewer pieces than warps several warps share one.
template <bool TO_BUFFER>
__device__ __forceinline__ void copy_pieces(const Piece *pieces, u32 count, u64 buffer) {
    if (count == 0) {
        return;
    }
    const Warp warp = this_warp();
    // In 32 bits, as a division in 64 is a call that costs registers. Warps beyond so many have nothing to do.
    const u32 warps = static_cast<u32>(smaller(warp.count, 0xffffffff));
    const u32 parts = warps > count ? warps / count : 1;
    for (u64 at = warp.index; at < static_cast<u64>(count) * parts; at += warp.count) {
        const u32 share = static_cast<u32>(at);
        const u32 piece = share / parts;
        const u64 descriptor = reinterpret_cast<u64>(pieces + piece);
        const u64 address = read<u64>(descriptor);
        const u64 in_buffer = buffer + read<u64>(descriptor + 8);
        const u64 bytes = read<u64>(descriptor + 16);
        copy_piece(TO_BUFFER ? address : in_buffer, TO_BUFFER ? in_buffer : address, bytes,
                   {share - piece * parts, parts, warp.lane});
    }
}

}  // namespace kernels
