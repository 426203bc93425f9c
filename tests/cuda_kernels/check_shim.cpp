// The shim itself: that it exchanges words as a warp does, and that it tells what a GPU would not forgive.
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "check.h"
#include "shim.h"

namespace {

using shim::Access;

/// One warp, which may touch nothing but what `memory` says.
const char *run_warp(const std::function<void()> &body, const shim::Memory &memory = {}) {
    return shim::run(1, shim::LANES, memory, body);
}

bool is(const char *fault, const char *expected) { return fault != nullptr && std::strcmp(fault, expected) == 0; }

void lanes_exchange_words() {
    bool right = true;
    const char *fault = shim::run(3, 2 * shim::LANES, {}, [&] {
        const unsigned lane = threadIdx.x % shim::LANES;
        for (unsigned distance = 0; distance < shim::LANES; ++distance) {
            // Two in a row: a lane that goes ahead must not change what another one is yet to receive.
            const int signed_distance = static_cast<int>(distance);
            const unsigned own = 1000 * blockIdx.x + threadIdx.x;
            const unsigned first = __shfl_xor_sync(shim::ALL_LANES, own, signed_distance);
            const unsigned long long second = __shfl_xor_sync(shim::ALL_LANES, ~0ull - lane, signed_distance);
            const unsigned other = lane ^ distance;
            right = right && first == own - lane + other && second == ~0ull - other;
        }
        right = right && blockDim.x == 2 * shim::LANES && gridDim.x == 3;
    });
    EXPECT(fault == nullptr && right);
}

/// Lanes that hand words over in memory see them all if they synchronise, and not if they forget to.
void a_missing_synchronisation_shows() {
    for (const bool synchronises : {true, false}) {
        unsigned words[shim::LANES] = {};
        unsigned seen = 0;
        const char *fault = run_warp([&] {
            words[threadIdx.x] = 1;
            if (synchronises) {
                __syncwarp();
            }
            seen += words[threadIdx.x ^ 1];
        });
        EXPECT(fault == nullptr && (seen == shim::LANES) == synchronises);
    }
    // The order of lanes changes, so that code which leans on either order fails in the other.
    std::vector<unsigned> order;
    EXPECT(run_warp([&] {
               order.push_back(threadIdx.x);
               __syncwarp();
               order.push_back(threadIdx.x);
           }) == nullptr);
    EXPECT(order.size() == 2 * shim::LANES && order[0] != order[shim::LANES]);
}

void lanes_that_part_ways_are_told() {
    EXPECT(is(run_warp([] {
                  if (threadIdx.x != 7) {
                      __shfl_xor_sync(shim::ALL_LANES, 1u, 1);
                  }
              }),
              "a lane ended while others wait for it"));
    EXPECT(is(run_warp([] {
                  if (threadIdx.x < 16) {
                      __syncwarp();
                  } else {
                      __shfl_xor_sync(shim::ALL_LANES, 1u, 1);
                  }
              }),
              "lanes wait for each other at different things"));
    EXPECT(is(run_warp([] { __shfl_xor_sync(0xffff, 1u, 1); }), "a mask leaves out lanes that take part"));
    EXPECT(is(run_warp([] { __syncwarp(1u << threadIdx.x); }), "a mask leaves out lanes that take part"));
    EXPECT(is(run_warp([] { __shfl_xor_sync(shim::ALL_LANES, 1u, threadIdx.x == 3 ? 1 : 2); }),
              "lanes do not agree with whom they exchange words"));
    EXPECT(is(run_warp([] { __shfl_xor_sync(shim::ALL_LANES, 1u, 32); }),
              "lanes do not agree with whom they exchange words"));
}

void accesses_are_looked_at() {
    alignas(16) unsigned char bytes[64] = {};
    shim::Memory memory;
    memory.allow(bytes + 16, 16, Access::READ);
    memory.allow(bytes + 32, 16, Access::READ);
    memory.allow(bytes + 48, 8, Access::WRITE);
    const auto load = [&](unsigned at) {
        return run_warp([&, at] { __ldg(reinterpret_cast<const unsigned long long *>(bytes + at)); }, memory);
    };
    const auto store = [&](unsigned at) {
        return run_warp([&, at] { __stcs(reinterpret_cast<unsigned long long *>(bytes + at), 1ull); }, memory);
    };
    EXPECT(load(16) == nullptr && load(24) == nullptr && load(40) == nullptr);
    EXPECT(is(load(8), "a load out of bounds") && is(load(48), "a load out of bounds"));
    EXPECT(is(load(20), "a load that is not aligned"));
    EXPECT(store(48) == nullptr);
    EXPECT(is(store(40), "a store out of bounds") && is(store(56), "a store out of bounds"));
    EXPECT(is(store(52), "a store that is not aligned"));
    // A load across two ranges that touch, and one within two that overlap.
    shim::Memory ranges;
    ranges.allow(bytes, 8, Access::READ);
    ranges.allow(bytes + 8, 8, Access::READ);
    EXPECT(ranges.allows(bytes, 8, Access::READ) && !ranges.allows(bytes, 16, Access::READ));
    ranges.allow(bytes + 24, 8, Access::READ);
    ranges.allow(bytes + 16, 8, Access::READ);
    EXPECT(ranges.allows(bytes + 16, 8, Access::READ) && !ranges.allows(bytes + 16, 16, Access::READ));
    ranges.allow(bytes + 4, 8, Access::READ);
    EXPECT(ranges.allows(bytes, 16, Access::READ) && !ranges.allows(bytes, 17, Access::READ));
}

void the_other_words_compute() {
    EXPECT(__umul64hi(~0ull, ~0ull) == ~0ull - 1 && __umul64hi(1ull << 32, 1ull << 33) == 2);
    EXPECT(__funnelshift_r(0x33221100, 0x77665544, 0) == 0x33221100);
    EXPECT(__funnelshift_r(0x33221100, 0x77665544, 8) == 0x44332211);
    EXPECT(__funnelshift_r(0x33221100, 0x77665544, 24) == 0x66554433);
}

}  // namespace

void test::check_shim() {
    lanes_exchange_words();
    a_missing_synchronisation_shows();
    lanes_that_part_ways_are_told();
    accesses_are_looked_at();
    the_other_words_compute();
    std::puts("shim: exchanges, lanes that part ways, accesses");
}
