// SHA-256 (FIPS 180-4). A key that two prompts share by accident, or by somebody's design, would answer one with the
// other's cache: block keys need a hash for which nobody can find such a pair.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace llama_kv {

using Digest = std::array<std::uint8_t, 32>;

class Sha256 {
public:
    Sha256 &update(const void *data, std::size_t length);
    Digest finish(); // once; the hash is used up by it

private:
    void compress(const std::uint8_t *block);

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> pending_{};
    std::uint64_t length_bytes_ = 0;
};

} // namespace llama_kv
