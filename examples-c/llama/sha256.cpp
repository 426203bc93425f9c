#include "llama/sha256.hpp"

#include <algorithm>
#include <cstring>

namespace llama_kv {

namespace {

constexpr std::size_t block_bytes = 64;
constexpr std::size_t length_field_bytes = 8;

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
constexpr std::uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint32_t rotate(std::uint32_t word, unsigned bits) { return word >> bits | word << (32 - bits); }

} // namespace

void Sha256::compress(const std::uint8_t *block)
{
    std::uint32_t schedule[64];
    for (std::size_t index = 0; index < 16; ++index, block += 4) {
        schedule[index] = std::uint32_t{block[0]} << 24 | std::uint32_t{block[1]} << 16 |
                          std::uint32_t{block[2]} << 8 | std::uint32_t{block[3]};
    }
    for (std::size_t index = 16; index < 64; ++index) {
        const std::uint32_t early = schedule[index - 15], late = schedule[index - 2];
        schedule[index] = schedule[index - 16] + (rotate(early, 7) ^ rotate(early, 18) ^ early >> 3) +
                          schedule[index - 7] + (rotate(late, 17) ^ rotate(late, 19) ^ late >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t index = 0; index < 64; ++index) {
        const std::uint32_t first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) +
                                    round_constants[index] + schedule[index];
        const std::uint32_t second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    const std::uint32_t sums[8] = {a, b, c, d, e, f, g, h};
    for (std::size_t index = 0; index < state_.size(); ++index)
        state_[index] += sums[index];
}

Sha256 &Sha256::update(const void *data, std::size_t length)
{
    const auto *bytes = static_cast<const std::uint8_t *>(data);
    std::size_t pending = length_bytes_ % block_bytes;
    length_bytes_ += length;
    while (length > 0) {
        if (pending == 0 && length >= block_bytes) {
            compress(bytes);
            bytes += block_bytes, length -= block_bytes;
            continue;
        }
        const std::size_t taken = std::min(length, block_bytes - pending);
        std::memcpy(pending_.data() + pending, bytes, taken);
        bytes += taken, length -= taken, pending += taken;
        if (pending == block_bytes) {
            compress(pending_.data());
            pending = 0;
        }
    }
    return *this;
}

Digest Sha256::finish()
{
    std::uint64_t length_bits = length_bytes_ * 8;
    std::uint8_t tail[length_field_bytes];
    for (std::size_t index = length_field_bytes; index-- > 0; length_bits >>= 8)
        tail[index] = static_cast<std::uint8_t>(length_bits);
    const std::uint8_t end_mark = 0x80, zero = 0;
    update(&end_mark, 1);
    while (length_bytes_ % block_bytes != block_bytes - length_field_bytes)
        update(&zero, 1);
    update(tail, sizeof tail);
    Digest digest;
    for (std::size_t index = 0; index < digest.size(); ++index)
        digest[index] = static_cast<std::uint8_t>(state_[index / 4] >> (24 - 8 * (index % 4)));
    return digest;
}

} // namespace llama_kv
