// The constants of XXH3 and its default secret (xxHash specification, doc/xxhash_spec.md), and the mixing steps that
// its forms share.
#pragma once

#include "words.h"

namespace kernels {

constexpr u64 PRIME32_1 = 0x9E3779B1;
constexpr u64 PRIME32_2 = 0x85EBCA77;
constexpr u64 PRIME32_3 = 0xC2B2AE3D;
constexpr u64 PRIME64_1 = 0x9E3779B185EBCA87;
constexpr u64 PRIME64_2 = 0xC2B2AE3D27D4EB4F;
constexpr u64 PRIME64_3 = 0x165667B19E3779F9;
constexpr u64 PRIME64_4 = 0x85EBCA77C2B2AE63;
constexpr u64 PRIME64_5 = 0x27D4EB2F165667C5;
constexpr u64 PRIME_AVALANCHE = 0x165667919E3779F9;
constexpr u64 PRIME_SMALL = 0x9FB21C651E98DF25;

constexpr u32 SECRET_BYTES = 192;

/// The secret as little-endian words.
__constant__ const u64 SECRET[SECRET_BYTES / 8] = {
    0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072, 0x78e5c0cc4ee679cb,
    0x2172ffcc7dd05a82, 0x8e2443f7744608b8, 0x4c263a81e69035e0, 0xcb00c391bb52283c, 0xa32e531b8b65d088,
    0x4ef90da297486471, 0xd8acdea946ef1938, 0x3f349ce33f76faa8, 0x1d4f0bc7c7bbdcf9, 0x3159b4cd4be0518a,
    0x647378d9c97e9fc8, 0xc3ebd33483acc5ea, 0xeb6313faffa081c5, 0x49daf0b751dd0d17, 0x9e68d429265516d3,
    0xfca1477d58be162b, 0xce31d07ad1b8f88f, 0x280416958f3acb45, 0x7e404bbbcafbd7af,
};

/// The word of the secret that begins at any byte of it.
__device__ __forceinline__ u64 secret_word(u32 offset) {
    const u32 shift = offset % 8 * 8;
    const u64 low = SECRET[offset / 8];
    return shift == 0 ? low : low >> shift | SECRET[offset / 8 + 1] << (64 - shift);
}

/// The 8 bytes, little-endian, at an address that is aligned for `Word`.
template <typename Word>
__device__ __forceinline__ u64 read_word(u64 address) {
    u64 word = 0;
    NIXL_STORE_UNROLL
    for (u32 at = 0; at < 8; at += sizeof(Word)) {
        word |= static_cast<u64>(read<Word>(address + at)) << 8 * at;
    }
    return word;
}

__device__ __forceinline__ u64 folded_product(u64 a, u64 b) { return (a * b) ^ __umul64hi(a, b); }

__device__ __forceinline__ u64 avalanche(u64 sum) {
    sum = (sum ^ (sum >> 37)) * PRIME_AVALANCHE;
    return sum ^ (sum >> 32);
}

}  // namespace kernels
