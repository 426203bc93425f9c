#include "launch.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "../../src/cuda/kernels/interface.h"
#include "memory.h"
#include "warp.h"

using kernels::Block;
using kernels::Piece;

extern "C" void nixl_store_checksum(const Block *blocks, unsigned count, unsigned long long *sums);
extern "C" void nixl_store_gather(const Piece *pieces, unsigned count, unsigned char *buffer);
extern "C" void nixl_store_scatter(const Piece *pieces, unsigned count, const unsigned char *buffer);

namespace {

using u64 = unsigned long long;
using ToHost = void *(*)(u64 device_address, u64 bytes);

u64 number(const void *address) { return reinterpret_cast<std::uintptr_t>(address); }

template <typename T>
T *pointer(u64 address) {
    return reinterpret_cast<T *>(static_cast<std::uintptr_t>(address));
}

template <typename T>
T parameter(void *const *params, unsigned at) {
    T value;
    std::memcpy(&value, params[at], sizeof value);
    return value;
}

/// Takes the addresses of one launch to this process, and notes what the kernel may touch. Once an address was refused
/// nothing that it returns is to be used.
class Translation {
public:
    explicit Translation(ToHost to_host) : to_host(to_host) {}

    /// Where the bytes at a device's address are here; 0 for no bytes.
    u64 translate(u64 address, u64 bytes, shim::Access access) {
        const u64 here = look_up(address, bytes);
        if (ok) {
            memory.allow(pointer<void>(here), bytes, access);
        }
        return here;
    }

    /// As translate(), for bytes of which the kernel may touch only a part.
    u64 look_up(u64 address, u64 bytes) {
        if (bytes == 0 || !ok) {
            return 0;
        }
        void *const here = address + bytes < address ? nullptr : to_host(address, bytes);
        ok = here != nullptr;
        return number(here);
    }

    /// A copy of an array of descriptors, which the kernel may read, and whose addresses are still the device's.
    template <typename T>
    std::vector<T> table(u64 address, u64 count) {
        expect(address % 8 == 0);
        const u64 here = look_up(address, count * sizeof(T));
        if (here == 0) {
            return {};
        }
        std::vector<T> table(count);
        std::memcpy(table.data(), pointer<void>(here), count * sizeof(T));
        memory.allow(table.data(), count * sizeof(T), shim::Access::READ);
        return table;
    }

    void expect(bool is_right) { ok = ok && is_right; }

    const ToHost to_host;
    shim::Memory memory;
    bool ok = true;
};

int run(const char *name, unsigned blocks, unsigned threads, const Translation &translation,
        const std::function<void()> &body) {
    if (!translation.ok) {
        return STANDIN_KERNEL_ADDRESS;
    }
    const char *const fault = shim::run(blocks, threads, translation.memory, body);
    if (fault != nullptr) {
        std::fprintf(stderr, "%s: %s\n", name, fault);
        return STANDIN_KERNEL_FAULT;
    }
    return STANDIN_KERNEL_OK;
}

int checksum(unsigned grid, unsigned threads, void *const *params, ToHost to_host) {
    Translation translation(to_host);
    const unsigned count = parameter<unsigned>(params, 1);
    const u64 device_sums = parameter<u64>(params, 2);
    std::vector<Block> blocks = translation.table<Block>(parameter<u64>(params, 0), count);
    for (Block &block : blocks) {
        block.address = translation.translate(block.address, block.bytes, shim::Access::READ);
    }
    translation.expect(device_sums % sizeof(u64) == 0);
    auto *const sums = pointer<u64>(translation.translate(device_sums, count * sizeof(u64), shim::Access::WRITE));
    return run("nixl_store_checksum", grid, threads, translation,
               [&] { nixl_store_checksum(blocks.data(), count, sums); });
}

int copy(bool to_buffer, unsigned grid, unsigned threads, void *const *params, ToHost to_host) {
    Translation translation(to_host);
    const unsigned count = parameter<unsigned>(params, 1);
    const u64 device_buffer = parameter<u64>(params, 2);
    std::vector<Piece> pieces = translation.table<Piece>(parameter<u64>(params, 0), count);
    // The part of the buffer that is used. Between the pieces it may be neither read nor written.
    u64 first = UINT64_MAX;
    u64 end = 0;
    for (const Piece &piece : pieces) {
        if (piece.bytes != 0) {
            translation.expect(piece.offset + piece.bytes > piece.offset);
            first = std::min<u64>(first, piece.offset);
            end = std::max<u64>(end, piece.offset + piece.bytes);
        }
    }
    const u64 used = end > first ? end - first : 0;
    translation.expect(used == 0 || device_buffer + first >= device_buffer);
    // Where the buffer would begin; it need not, as the device's need not.
    const u64 buffer = translation.look_up(device_buffer + first, used) - first;
    for (Piece &piece : pieces) {
        const auto at_piece = to_buffer ? shim::Access::READ : shim::Access::WRITE;
        const auto in_buffer = to_buffer ? shim::Access::WRITE : shim::Access::READ;
        piece.address = translation.translate(piece.address, piece.bytes, at_piece);
        if (translation.ok) {
            translation.memory.allow(pointer<void>(buffer + piece.offset), piece.bytes, in_buffer);
        }
    }
    if (to_buffer) {
        return run("nixl_store_gather", grid, threads, translation,
                   [&] { nixl_store_gather(pieces.data(), count, pointer<unsigned char>(buffer)); });
    }
    return run("nixl_store_scatter", grid, threads, translation,
               [&] { nixl_store_scatter(pieces.data(), count, pointer<const unsigned char>(buffer)); });
}

bool is_shape(const unsigned grid[3], const unsigned block[3]) {
    return grid[0] >= 1 && grid[1] == 1 && grid[2] == 1 && block[0] >= 1 && block[1] == 1 && block[2] == 1 &&
           block[0] <= kernels::BLOCK_THREADS_MAX && block[0] % kernels::WARP_LANES == 0;
}

}  // namespace

extern "C" int standin_kernel_launch(const char *name, const unsigned grid[3], const unsigned block[3], void **params,
                                     void *(*to_host)(unsigned long long device_address, unsigned long long bytes)) {
    const bool is_checksum = std::strcmp(name, "nixl_store_checksum") == 0;
    const bool is_gather = std::strcmp(name, "nixl_store_gather") == 0;
    if (!is_checksum && !is_gather && std::strcmp(name, "nixl_store_scatter") != 0) {
        return STANDIN_KERNEL_UNKNOWN;
    }
    if (!is_shape(grid, block)) {
        return STANDIN_KERNEL_SHAPE;
    }
    return is_checksum ? checksum(grid[0], block[0], params, to_host)
                       : copy(is_gather, grid[0], block[0], params, to_host);
}
