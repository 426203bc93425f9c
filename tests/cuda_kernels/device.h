// Memory of a device that is none: addresses that nothing on a CPU can follow, and where their bytes really are.
#pragma once

#include <cstddef>
#include <vector>

namespace test {

using u8 = unsigned char;
using u32 = unsigned;
using u64 = unsigned long long;

/// One allocation, aligned as the driver's are. It is known to to_host() while it lives.
class Allocation {
public:
    explicit Allocation(std::size_t bytes);
    ~Allocation();
    Allocation(const Allocation &) = delete;
    Allocation &operator=(const Allocation &) = delete;

    /// The device's address.
    u64 address() const { return base; }
    u8 *host() { return memory; }
    std::size_t size() const { return bytes; }

private:
    u64 base;
    u8 *memory;
    std::size_t bytes;
};

/// An allocation with the elements of `values`.
template <typename T>
class Array {
public:
    explicit Array(const std::vector<T> &values) : allocation(values.size() * sizeof(T)), count(values.size()) {
        for (std::size_t at = 0; at < count; ++at) {
            (*this)[at] = values[at];
        }
    }

    u64 address() const { return allocation.address(); }
    T &operator[](std::size_t at) { return reinterpret_cast<T *>(allocation.host())[at]; }

private:
    Allocation allocation;
    std::size_t count;
};

/// What a launch is given: nullptr for what is not within one allocation.
void *to_host(u64 address, u64 bytes);

/// The bytes that a seed stands for; tests/cuda_kernels/main.rs has the same.
void fill(u8 *bytes, std::size_t length, u64 seed);

/// A launch with the parameters that all three kernels have.
int launch(const char *kernel, u32 blocks, u32 threads, u64 table, u32 count, u64 target);

}  // namespace test
