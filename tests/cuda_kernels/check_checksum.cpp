// The sums of the kernel beside those that the library's own XXH3 gave, sums.tsv.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "../../src/cuda/kernels/interface.h"
#include "check.h"
#include "device.h"
#include "launch.h"

using kernels::Block;
using test::Allocation;
using test::Array;
using test::u32;
using test::u64;
using test::u8;

namespace {

constexpr u64 GUARD = 0x6b6b6b6b6b6b6b6b;

struct Row {
    u64 seed;
    u64 bytes;
    u64 sum;
};

std::vector<Row> rows_of(const char *path) {
    std::vector<Row> rows;
    std::FILE *const file = std::fopen(path, "r");
    if (!EXPECT(file != nullptr)) {
        return rows;
    }
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr) {
        if (line[0] != '#') {
            Row row;
            EXPECT(std::sscanf(line, "%llu\t%llu\t%llx", &row.seed, &row.bytes, &row.sum) == 3);
            rows.push_back(row);
        }
    }
    std::fclose(file);
    return rows;
}

/// Sums the blocks of all rows in one launch, each block beginning `skewed` bytes behind an aligned address.
void compare(const std::vector<Row> &rows, u64 skewed, u32 grid, u32 threads) {
    constexpr u64 ALIGNMENT = 64;
    u64 bytes = 0;
    for (const Row &row : rows) {
        bytes += (skewed + row.bytes) / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    }
    Allocation data(bytes);
    std::vector<Block> blocks;
    u64 at = 0;
    for (const Row &row : rows) {
        test::fill(data.host() + at + skewed, row.bytes, row.seed);
        blocks.push_back({data.address() + at + skewed, row.bytes});
        at += (skewed + row.bytes) / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    }
    Array<Block> table(blocks);
    Array<u64> sums(std::vector<u64>(rows.size() + 2, GUARD));
    const u32 count = static_cast<u32>(rows.size());
    EXPECT(test::launch("nixl_store_checksum", grid, threads, table.address(), count, sums.address() + sizeof(u64)) ==
           STANDIN_KERNEL_OK);
    for (u32 row = 0; row < count; ++row) {
        if (!EXPECT(sums[row + 1] == rows[row].sum)) {
            std::fprintf(stderr, "  %llu bytes, %llu past an aligned address, grid of %u times %u\n", rows[row].bytes,
                         skewed, grid, threads);
        }
    }
    EXPECT(sums[0] == GUARD && sums[count + 1] == GUARD);
}

bool has_all_lengths(const std::vector<Row> &rows, u64 from, u64 to) {
    std::vector<bool> has(to + 1);
    for (const Row &row : rows) {
        if (row.bytes <= to) {
            has[row.bytes] = true;
        }
    }
    return std::all_of(has.begin() + static_cast<std::ptrdiff_t>(from), has.end(), [](bool is) { return is; });
}

}  // namespace

void test::check_checksum(const char *table_path) {
    const std::vector<Row> rows = rows_of(table_path);
    EXPECT(rows.size() > 2500 && has_all_lengths(rows, 0, 2100) && has_all_lengths(rows, 65500, 65600));
    for (const u64 skewed : {0, 1, 2, 4, 8, 12, 15}) {
        compare(rows, skewed, 40, 128);
    }
    // Every grid and block, with the lengths in between of every sort.
    std::vector<Row> some;
    for (std::size_t at = 0; at < rows.size(); at += 97) {
        some.push_back(rows[at]);
    }
    for (const u32 grid : {1, 2, 7, 1000}) {
        for (u32 threads = 32; threads <= kernels::BLOCK_THREADS_MAX; threads += 32) {
            compare(some, 0, grid, threads);
        }
    }
    compare({}, 0, 1, 32);
    std::printf("checksum: %zu lengths at 7 alignments, 16 grids\n", rows.size());
}
