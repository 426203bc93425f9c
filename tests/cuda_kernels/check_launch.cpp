// What the stand-in's launch refuses, and that it then touches nothing.
#include <cstdio>
#include <cstring>
#include <vector>

#include "../../src/cuda/kernels/interface.h"
#include "check.h"
#include "device.h"
#include "launch.h"

using kernels::Block;
using kernels::Piece;
using test::Allocation;
using test::Array;
using test::u64;
using test::u8;

namespace {

constexpr u64 GUARD = 0x6b6b6b6b6b6b6b6b;

void names_and_shapes() {
    Allocation data(256);
    test::fill(data.host(), data.size(), 1);
    Array<Block> blocks({{data.address(), 256}});
    Array<u64> sums({GUARD});
    const auto shape = [&](test::u32 grid_x, test::u32 grid_y, test::u32 threads_x, test::u32 threads_z) {
        u64 table = blocks.address();
        test::u32 count = 1;
        u64 target = sums.address();
        const unsigned grid[3] = {grid_x, grid_y, 1};
        const unsigned block[3] = {threads_x, 1, threads_z};
        void *params[] = {&table, &count, &target};
        return standin_kernel_launch("nixl_store_checksum", grid, block, params, test::to_host);
    };
    EXPECT(test::launch("nixl_store_check", 1, 32, blocks.address(), 1, sums.address()) == STANDIN_KERNEL_UNKNOWN);
    EXPECT(shape(0, 1, 32, 1) == STANDIN_KERNEL_SHAPE);
    EXPECT(shape(1, 0, 32, 1) == STANDIN_KERNEL_SHAPE);
    EXPECT(shape(1, 2, 32, 1) == STANDIN_KERNEL_SHAPE);
    EXPECT(shape(1, 1, 0, 1) == STANDIN_KERNEL_SHAPE);
    EXPECT(shape(1, 1, 32, 2) == STANDIN_KERNEL_SHAPE);
    EXPECT(shape(1, 1, 48, 1) == STANDIN_KERNEL_SHAPE);
    EXPECT(shape(1, 1, 160, 1) == STANDIN_KERNEL_SHAPE);
    EXPECT(sums[0] == GUARD);
    EXPECT(shape(1, 1, 128, 1) == STANDIN_KERNEL_OK);
    EXPECT(sums[0] != GUARD);
}

void addresses_of_checksums() {
    Allocation data(1000);
    test::fill(data.host(), data.size(), 1);
    const auto sum = [&](u64 table_off, u64 sums_off, test::u32 count, u64 address, u64 bytes) {
        Array<Block> blocks({{data.address(), 1000}, {address, bytes}});
        Array<u64> sums({GUARD, GUARD});
        const int status = test::launch("nixl_store_checksum", 2, 32, blocks.address() + table_off, count,
                                        sums.address() + sums_off);
        EXPECT((sums[0] != GUARD) == (status == STANDIN_KERNEL_OK && count != 0));
        return status;
    };
    const u64 end = data.address() + data.size();
    EXPECT(sum(0, 0, 2, data.address() + 1, 999) == STANDIN_KERNEL_OK);
    EXPECT(sum(0, 0, 2, data.address() + 1, 1000) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(0, 0, 2, end, 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(0, 0, 2, 0, 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(0, 0, 2, ~0ull, 2) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(0, 0, 2, data.address(), ~0ull) == STANDIN_KERNEL_ADDRESS);
    // No bytes are at no address.
    EXPECT(sum(0, 0, 2, 0, 0) == STANDIN_KERNEL_OK);
    EXPECT(sum(0, 0, 0, 0, 1) == STANDIN_KERNEL_OK);
    EXPECT(sum(0, 0, 3, data.address(), 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(0, 0, ~0u, data.address(), 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(16, 8, 2, data.address(), 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(0, 4, 1, data.address(), 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(sum(0, 8, 2, data.address(), 1) == STANDIN_KERNEL_ADDRESS);

    // A descriptor that is right but for where it lies.
    for (const u64 at : {0, 8, 4}) {
        const Block block = {data.address(), 10};
        Allocation table(at + sizeof block);
        std::memcpy(table.host() + at, &block, sizeof block);
        Array<u64> sums({GUARD});
        const int status = test::launch("nixl_store_checksum", 1, 32, table.address() + at, 1, sums.address());
        EXPECT(status == (at == 4 ? STANDIN_KERNEL_ADDRESS : STANDIN_KERNEL_OK));
    }
}

void addresses_of_copies(const char *kernel) {
    Allocation memory(512);
    Allocation buffer(512);
    const auto copy = [&](u64 address, u64 offset, u64 bytes, u64 buffer_off = 0) {
        std::memset(memory.host(), 1, memory.size());
        std::memset(buffer.host(), 2, buffer.size());
        Array<Piece> pieces({{memory.address(), 0, 100}, {address, offset, bytes}});
        const int status = test::launch(kernel, 1, 64, pieces.address(), 2, buffer.address() + buffer_off);
        const bool is_copied = memory.host()[0] == buffer.host()[buffer_off];
        EXPECT(is_copied == (status == STANDIN_KERNEL_OK));
        return status;
    };
    const u64 half = memory.address() + 256;
    EXPECT(copy(half, 256, 256) == STANDIN_KERNEL_OK);
    EXPECT(copy(half, 255, 257) == STANDIN_KERNEL_ADDRESS);
    EXPECT(copy(half, 257, 256) == STANDIN_KERNEL_ADDRESS);
    EXPECT(copy(half, 256, 256, 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(copy(half, ~0ull, 2) == STANDIN_KERNEL_ADDRESS);
    EXPECT(copy(half, ~0ull - 1, 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(copy(~0ull, 256, 2) == STANDIN_KERNEL_ADDRESS);
    EXPECT(copy(0, 256, 1) == STANDIN_KERNEL_ADDRESS);
    EXPECT(copy(0, ~0ull, 0) == STANDIN_KERNEL_OK);
    // An offset that leads, round the end of the address space, to memory before the buffer.
    Array<Piece> before({{half, memory.address() - buffer.address(), 1}});
    EXPECT(test::launch(kernel, 1, 32, before.address(), 1, buffer.address()) == STANDIN_KERNEL_ADDRESS);
    EXPECT(test::launch(kernel, 1, 32, 0, 0, 0) == STANDIN_KERNEL_OK);
    EXPECT(test::launch(kernel, 1, 32, 0, 1, buffer.address()) == STANDIN_KERNEL_ADDRESS);
}

}  // namespace

void test::check_launch() {
    names_and_shapes();
    addresses_of_checksums();
    addresses_of_copies("nixl_store_gather");
    addresses_of_copies("nixl_store_scatter");
    std::puts("launch: names, shapes, addresses");
}
