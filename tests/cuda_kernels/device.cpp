#include "device.h"

#include <cstdlib>
#include <map>
#include <new>

#include "check.h"
#include "launch.h"

namespace test {
namespace {

/// No address of a process begins like this, so one that is followed without translation ends the test.
constexpr u64 FIRST_ADDRESS = 0x5a00000000000000;
constexpr u64 ALIGNMENT = 256;

std::map<u64, Allocation *> allocations;
u64 next_address = FIRST_ADDRESS;

}  // namespace

Allocation::Allocation(std::size_t bytes) : base(next_address), bytes(bytes) {
    const std::size_t rounded = (bytes / ALIGNMENT + 1) * ALIGNMENT;
    memory = static_cast<u8 *>(std::aligned_alloc(ALIGNMENT, rounded));
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    next_address += rounded + ALIGNMENT;
    allocations[base] = this;
}

Allocation::~Allocation() {
    allocations.erase(base);
    std::free(memory);
}

void *to_host(u64 address, u64 bytes) {
    // A driver's stand-in adds the two.
    EXPECT(bytes != 0 && address + bytes >= address);
    auto behind = allocations.upper_bound(address);
    if (behind == allocations.begin()) {
        return nullptr;
    }
    Allocation &allocation = *(--behind)->second;
    const u64 at = address - allocation.address();
    const bool is_inside = at <= allocation.size() && bytes <= allocation.size() - at;
    return is_inside ? allocation.host() + at : nullptr;
}

void fill(u8 *bytes, std::size_t length, u64 seed) {
    u64 state = seed;
    for (std::size_t at = 0; at < length; ++at) {
        state = state * 6364136223846793005 + 1442695040888963407;
        bytes[at] = static_cast<u8>(state >> 56);
    }
}

int launch(const char *kernel, u32 blocks, u32 threads, u64 table, u32 count, u64 target) {
    const unsigned grid[3] = {blocks, 1, 1};
    const unsigned block[3] = {threads, 1, 1};
    void *params[] = {&table, &count, &target};
    return standin_kernel_launch(kernel, grid, block, params, to_host);
}

}  // namespace test
