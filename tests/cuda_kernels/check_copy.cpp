// Gather and scatter beside a plain copy, in memory whose every other byte is looked at too.
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "../../src/cuda/kernels/interface.h"
#include "check.h"
#include "device.h"
#include "launch.h"

using kernels::Piece;
using test::Allocation;
using test::Array;
using test::u32;
using test::u64;
using test::u8;

namespace {

/// Numbers that look random, the same in each run.
class Numbers {
public:
    explicit Numbers(u64 seed) : state(seed) {}

    u64 below(u64 bound) {
        state = state * 6364136223846793005 + 1442695040888963407;
        return (state >> 33) % bound;
    }

private:
    u64 state;
};

/// Where a piece lies: in the memory of pieces, and in the buffer.
struct Place {
    u64 at;
    u64 offset;
    u64 bytes;
};

/// Gathers the pieces of one memory in a buffer, then scatters those of the buffer, filled anew, in the memory.
void compare(const std::vector<Place> &places, u64 memory_bytes, u64 buffer_bytes, u64 buffer_skew, u32 grid,
             u32 threads) {
    Allocation memory(memory_bytes);
    Allocation buffer(buffer_skew + buffer_bytes);
    std::vector<Piece> pieces;
    for (const Place &place : places) {
        pieces.push_back({memory.address() + place.at, place.offset, place.bytes});
    }
    Array<Piece> table(pieces);
    const u32 count = static_cast<u32>(places.size());
    const u64 address = buffer.address() + buffer_skew;

    test::fill(memory.host(), memory.size(), 1);
    test::fill(buffer.host(), buffer.size(), 2);
    std::vector<u8> memory_before(memory.host(), memory.host() + memory.size());
    std::vector<u8> expected(buffer.host(), buffer.host() + buffer.size());
    for (const Place &place : places) {
        std::memcpy(expected.data() + buffer_skew + place.offset, memory.host() + place.at, place.bytes);
    }
    EXPECT(test::launch("nixl_store_gather", grid, threads, table.address(), count, address) == STANDIN_KERNEL_OK);
    EXPECT(std::memcmp(buffer.host(), expected.data(), expected.size()) == 0);
    EXPECT(std::memcmp(memory.host(), memory_before.data(), memory.size()) == 0);

    test::fill(buffer.host(), buffer.size(), 3);
    std::vector<u8> buffer_before(buffer.host(), buffer.host() + buffer.size());
    for (const Place &place : places) {
        std::memcpy(memory_before.data() + place.at, buffer.host() + buffer_skew + place.offset, place.bytes);
    }
    EXPECT(test::launch("nixl_store_scatter", grid, threads, table.address(), count, address) == STANDIN_KERNEL_OK);
    EXPECT(std::memcmp(memory.host(), memory_before.data(), memory.size()) == 0);
    EXPECT(std::memcmp(buffer.host(), buffer_before.data(), buffer.size()) == 0);
}

/// Every alignment of one side beside every one of the other, with every length around that of a word, a head and a
/// tail.
void every_alignment() {
    constexpr u64 BYTES_MAX = 52;
    constexpr u64 ROOM = 96;
    std::vector<Place> places;
    for (u64 bytes = 0; bytes <= BYTES_MAX; ++bytes) {
        for (u64 skews = 0; skews < 256; ++skews) {
            const u64 room = places.size() * ROOM;
            places.push_back({room + 16 + skews % 16, room + 16 + skews / 16, bytes});
        }
    }
    compare(places, places.size() * ROOM, places.size() * ROOM, 0, 20, 128);
}

/// Pieces of any length in any place, in an order that is not that of the buffer.
void random_pieces(u64 seed) {
    Numbers numbers(seed);
    std::vector<Place> places(1 + numbers.below(300));
    u64 memory_bytes = 0;
    u64 buffer_bytes = 0;
    for (Place &place : places) {
        const u64 longest[] = {1, 40, 700, 5000, 60000};
        place.bytes = numbers.below(longest[numbers.below(5)] + 1);
        place.at = memory_bytes + numbers.below(40);
        memory_bytes = place.at + place.bytes + numbers.below(3);
    }
    for (std::size_t at = places.size(); at > 1; --at) {
        std::swap(places[at - 1], places[numbers.below(at)]);
    }
    for (Place &place : places) {
        // Half of the pieces follow each other without a gap.
        place.offset = buffer_bytes + numbers.below(2) * numbers.below(40);
        buffer_bytes = place.offset + place.bytes;
    }
    const u32 grid = static_cast<u32>(1 + numbers.below(60));
    const u32 threads = static_cast<u32>(32 * (1 + numbers.below(4)));
    compare(places, memory_bytes + 16, buffer_bytes + 16, numbers.below(32), grid, threads);
}

/// Fewer pieces than warps: several warps copy one, each a part of its body, wherever the words end.
void shared_pieces() {
    for (const u32 grid : {1, 2, 3, 5, 64}) {
        for (const u64 skew : {0, 1, 4}) {
            for (const u64 bytes : {0, 1, 2047, 2048, 2049, 2081, 513, 40000}) {
                std::vector<Place> places = {{skew, 0, bytes}, {50000, 41000, bytes + 3}};
                compare(places, 100000, 90000, 0, grid, 96);
            }
        }
    }
}

}  // namespace

void test::check_copy() {
    constexpr u64 ROUNDS = 60;
    every_alignment();
    for (u64 seed = 1; seed <= ROUNDS; ++seed) {
        random_pieces(seed);
    }
    shared_pieces();
    std::printf("gather, scatter: every alignment, %llu random sets of pieces, shared pieces\n", ROUNDS);
}
