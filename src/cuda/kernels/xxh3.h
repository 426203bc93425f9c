// XXH3 (64 bit, seed 0, default secret) of one block by one warp. The function is that of the xxHash specification,
// doc/xxhash_spec.md, to the last bit.
//
// Inputs of more than 240 bytes are summed into eight accumulators of 64 bits: in rounds of 16 stripes of 64 bytes,
// after each of which the accumulators are scrambled. Within a round the order of additions does not matter, so a
// round is shared out: a lane takes the 16 bytes of two accumulators (its column, of 4) in two stripes (its row, of
// 8, and the one 8 further down), and the warp reads 512 contiguous bytes at once. What the rows of a column found is
// then added up, and every row goes on with the same accumulators, so that nothing has to be handed round after a
// scramble.
#pragma once

#include "xxh3_common.h"
#include "words.h"
#include "xxh3_short.h"

namespace kernels {

constexpr u32 STRIPE_BYTES = 64;
constexpr u32 ROUND_BYTES = 1024;
/// Bytes that a lane reads at once, and the warp.
constexpr u32 PAIR_BYTES = 16;
constexpr u32 WARP_BYTES = WARP_LANES * PAIR_BYTES;
constexpr u32 COLUMNS = STRIPE_BYTES / PAIR_BYTES;
constexpr u32 ROWS = WARP_LANES / COLUMNS;
/// Bytes by which the secret moves on from stripe to stripe.
constexpr u32 SECRET_STEP = 8;
/// Where in the secret begin the keys of the scramble, of the last stripe, and of the merge.
constexpr u32 SECRET_SCRAMBLE = SECRET_BYTES - STRIPE_BYTES;
constexpr u32 SECRET_LAST = SECRET_BYTES - STRIPE_BYTES - 7;
constexpr u32 SECRET_MERGE = 11;
/// Rounds whose loads are under way together, where a load brings 16 bytes: as many as find registers without spilling,
/// since memory takes several rounds of arithmetic to answer.
constexpr u32 ROUNDS_AHEAD = 8;

static_assert(ROUND_BYTES == 2 * WARP_BYTES, "a lane has two stripes of a round");

__constant__ const u64 ACCUMULATORS[8] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3,
                                          PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};

/// Two neighbouring words of the input or the secret, or two neighbouring accumulators.
struct Pair {
    u64 low;
    u64 high;
};

__device__ __forceinline__ Pair secret_pair(u32 offset) { return {secret_word(offset), secret_word(offset + 8)}; }

/// The 16 bytes at an address that is aligned for `Word`.
template <typename Word>
__device__ __forceinline__ Pair read_pair(u64 address) {
    return {read_word<Word>(address), read_word<Word>(address + 8)};
}

template <>
__device__ __forceinline__ Pair read_pair<ulonglong2>(u64 address) {
    const ulonglong2 pair = read<ulonglong2>(address);
    return {pair.x, pair.y};
}

__device__ __forceinline__ u64 product_of_halves(u64 word) {
    return static_cast<u64>(static_cast<u32>(word)) * static_cast<u32>(word >> 32);
}

__device__ __forceinline__ void accumulate(Pair &sums, Pair data, Pair key) {
    sums.low += product_of_halves(data.low ^ key.low) + data.high;
    sums.high += product_of_halves(data.high ^ key.high) + data.low;
}

__device__ __forceinline__ Pair add(Pair a, Pair b) { return {a.low + b.low, a.high + b.high}; }

__device__ __forceinline__ u64 scramble(u64 sum, u64 key) { return ((sum ^ (sum >> 47)) ^ key) * PRIME32_1; }

/// The sum of what all rows have, in every row.
__device__ __forceinline__ Pair add_rows(Pair part) {
    NIXL_STORE_UNROLL
    for (u32 distance = COLUMNS; distance < WARP_LANES; distance *= 2) {
        part.low += __shfl_xor_sync(ALL_LANES, part.low, static_cast<int>(distance));
        part.high += __shfl_xor_sync(ALL_LANES, part.high, static_cast<int>(distance));
    }
    return part;
}

/// The sum of what all columns have, in every column.
__device__ __forceinline__ u64 add_columns(u64 part) {
    NIXL_STORE_UNROLL
    for (u32 distance = 1; distance < COLUMNS; distance *= 2) {
        part += __shfl_xor_sync(ALL_LANES, part, static_cast<int>(distance));
    }
    return part;
}

/// XXH3 of more than `SHORT_BYTES_MAX` bytes at an address that is aligned for `Word`, with the loads of `AHEAD` rounds
/// under way together.
template <typename Word, u32 AHEAD>
__device__ __forceinline__ u64 long_sum(u64 address, u64 bytes, u32 lane) {
    const u32 column = lane % COLUMNS;
    const u32 row = lane / COLUMNS;
    const Pair near_key = secret_pair(row * SECRET_STEP + column * PAIR_BYTES);
    const Pair far_key = secret_pair((row + ROWS) * SECRET_STEP + column * PAIR_BYTES);
    const Pair scramble_key = secret_pair(SECRET_SCRAMBLE + column * PAIR_BYTES);
    Pair sums = {ACCUMULATORS[2 * column], ACCUMULATORS[2 * column + 1]};

    // The last stripe is taken from the end, so the rounds and stripes before it leave at least a byte.
    const u64 rounds = (bytes - 1) / ROUND_BYTES;
    const u64 mine = address + lane * PAIR_BYTES;
    NIXL_STORE_NO_UNROLL
    for (u64 first = 0; first < rounds; first += AHEAD) {
        Pair near[AHEAD];
        Pair far[AHEAD];
        NIXL_STORE_UNROLL
        for (u32 i = 0; i < AHEAD; ++i) {
            // Where fewer rounds are left the last one is read again: then no load waits for a branch.
            const u64 round = first + i < rounds ? first + i : rounds - 1;
            near[i] = read_pair<Word>(mine + round * ROUND_BYTES);
            far[i] = read_pair<Word>(mine + round * ROUND_BYTES + WARP_BYTES);
        }
        Pair part[AHEAD];
        NIXL_STORE_UNROLL
        for (u32 i = 0; i < AHEAD; ++i) {
            Pair both = {0, 0};
            accumulate(both, near[i], near_key);
            accumulate(both, far[i], far_key);
            part[i] = add_rows(both);
        }
        NIXL_STORE_UNROLL
        for (u32 i = 0; i < AHEAD; ++i) {
            const Pair next = add(sums, part[i]);
            const bool is_round = first + i < rounds;
            sums.low = is_round ? scramble(next.low, scramble_key.low) : sums.low;
            sums.high = is_round ? scramble(next.high, scramble_key.high) : sums.high;
        }
    }

    // What is left: up to 15 stripes, and the last 64 bytes, whose alignment is any. Row 7 has no use for its second
    // stripe, the 16th, and takes those.
    const u64 stripes = (bytes - 1) % ROUND_BYTES / STRIPE_BYTES;
    const u64 rest = mine + rounds * ROUND_BYTES;
    Pair part = {0, 0};
    if (row < stripes) {
        accumulate(part, read_pair<Word>(rest), near_key);
    }
    if (row + ROWS < stripes) {
        accumulate(part, read_pair<Word>(rest + WARP_BYTES), far_key);
    }
    if (row == ROWS - 1) {
        const u64 last = address + bytes - STRIPE_BYTES + column * PAIR_BYTES;
        accumulate(part, read_pair<u8>(last), secret_pair(SECRET_LAST + column * PAIR_BYTES));
    }
    sums = add(sums, add_rows(part));

    const Pair merge_key = secret_pair(SECRET_MERGE + column * PAIR_BYTES);
    const u64 folded = folded_product(sums.low ^ merge_key.low, sums.high ^ merge_key.high);
    return avalanche(bytes * PRIME64_1 + add_columns(folded));
}

/// XXH3 of a block of any length and alignment, in every lane. All lanes of the warp have to come here together.
__device__ __forceinline__ u64 sum_of(Block block, u32 lane) {
    if (block.bytes <= SHORT_BYTES_MAX) {
        return short_sum(block.address, block.bytes);
    }
    if (block.address % sizeof(ulonglong2) == 0) {
        return long_sum<ulonglong2, ROUNDS_AHEAD>(block.address, block.bytes, lane);
    }
    // Narrow loads are several for each 16 bytes: one round of them is as many as can be under way.
    if (block.address % sizeof(u32) == 0) {
        return long_sum<u32, 1>(block.address, block.bytes, lane);
    }
    return long_sum<u8, 1>(block.address, block.bytes, lane);
}

}  // namespace kernels
