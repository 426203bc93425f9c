// XXH3 of up to 240 bytes, which has a form of its own for each range of lengths.
//
// Only the last block of a record can be so short, so nothing is gained by sharing the work out: every lane computes
// the same, from the same bytes.
#pragma once

#include "xxh3_common.h"
#include "words.h"

namespace kernels {

constexpr u64 SHORT_BYTES_MAX = 240;
/// Inputs of more bytes than this are mixed from front to back, shorter ones from both ends.
constexpr u64 BOTH_ENDS_BYTES_MAX = 128;

__device__ __forceinline__ u64 read_u64(u64 address) { return read_word<u8>(address); }

__device__ __forceinline__ u64 read_u32(u64 address) {
    u64 word = 0;
    NIXL_STORE_UNROLL
    for (u32 at = 0; at < 4; ++at) {
        word |= static_cast<u64>(read<u8>(address + at)) << 8 * at;
    }
    return word;
}

/// The avalanche of XXH64, which the shortest inputs have.
__device__ __forceinline__ u64 old_avalanche(u64 sum) {
    sum = (sum ^ (sum >> 33)) * PRIME64_2;
    sum = (sum ^ (sum >> 29)) * PRIME64_3;
    return sum ^ (sum >> 32);
}

__device__ __forceinline__ u64 rotated(u64 word, u32 bits) { return word << bits | word >> (64 - bits); }

__device__ __forceinline__ u64 bytes_reversed(u64 word) {
    word = (word & 0x00ff00ff00ff00ff) << 8 | (word >> 8 & 0x00ff00ff00ff00ff);
    word = (word & 0x0000ffff0000ffff) << 16 | (word >> 16 & 0x0000ffff0000ffff);
    return rotated(word, 32);
}

__device__ __forceinline__ u64 sum_up_to_3(u64 address, u64 bytes) {
    if (bytes == 0) {
        return old_avalanche(secret_word(56) ^ secret_word(64));
    }
    const u64 first = read<u8>(address);
    const u64 middle = read<u8>(address + bytes / 2);
    const u64 last = read<u8>(address + bytes - 1);
    const u64 key = (secret_word(0) ^ secret_word(4)) & 0xffffffff;
    return old_avalanche((first << 16 | middle << 24 | last | bytes << 8) ^ key);
}

__device__ __forceinline__ u64 sum_4_to_8(u64 address, u64 bytes) {
    const u64 word = read_u32(address + bytes - 4) + (read_u32(address) << 32);
    u64 sum = word ^ secret_word(8) ^ secret_word(16);
    sum = (sum ^ rotated(sum, 49) ^ rotated(sum, 24)) * PRIME_SMALL;
    sum = (sum ^ ((sum >> 35) + bytes)) * PRIME_SMALL;
    return sum ^ (sum >> 28);
}

__device__ __forceinline__ u64 sum_9_to_16(u64 address, u64 bytes) {
    const u64 low = read_u64(address) ^ secret_word(24) ^ secret_word(32);
    const u64 high = read_u64(address + bytes - 8) ^ secret_word(40) ^ secret_word(48);
    return avalanche(bytes + bytes_reversed(low) + high + folded_product(low, high));
}

__device__ __forceinline__ u64 mix(u64 address, u32 secret_offset) {
    return folded_product(read_u64(address) ^ secret_word(secret_offset),
                          read_u64(address + 8) ^ secret_word(secret_offset + 8));
}

__device__ __forceinline__ u64 sum_17_to_128(u64 address, u64 bytes) {
    u64 sum = bytes * PRIME64_1;
    const u32 pairs = static_cast<u32>((bytes + 31) / 32);
    NIXL_STORE_NO_UNROLL
    for (u32 i = 0; i < pairs; ++i) {
        sum += mix(address + 16 * i, 32 * i);
        sum += mix(address + bytes - 16 * (i + 1), 32 * i + 16);
    }
    return avalanche(sum);
}

__device__ __forceinline__ u64 sum_129_to_240(u64 address, u64 bytes) {
    constexpr u32 FIRST_MIXES = 8;
    // Where in the secret the later mixes begin, and the last one.
    constexpr u32 SECRET_LATER = 3;
    constexpr u32 SECRET_END = 136 - 17;
    u64 sum = bytes * PRIME64_1;
    const u32 mixes = static_cast<u32>(bytes / 16);
    NIXL_STORE_NO_UNROLL
    for (u32 i = 0; i < mixes; ++i) {
        if (i == FIRST_MIXES) {
            sum = avalanche(sum);
        }
        sum += mix(address + 16 * i, i < FIRST_MIXES ? 16 * i : 16 * (i - FIRST_MIXES) + SECRET_LATER);
    }
    if (mixes == FIRST_MIXES) {
        sum = avalanche(sum);
    }
    return avalanche(sum + mix(address + bytes - 16, SECRET_END));
}

/// XXH3 of up to `SHORT_BYTES_MAX` bytes at any address.
__device__ __forceinline__ u64 short_sum(u64 address, u64 bytes) {
    if (bytes <= 3) {
        return sum_up_to_3(address, bytes);
    }
    if (bytes <= 8) {
        return sum_4_to_8(address, bytes);
    }
    if (bytes <= 16) {
        return sum_9_to_16(address, bytes);
    }
    return bytes <= BOTH_ENDS_BYTES_MAX ? sum_17_to_128(address, bytes) : sum_129_to_240(address, bytes);
}

}  // namespace kernels
