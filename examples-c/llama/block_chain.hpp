// Names for blocks of tokens: which keys a prompt has, and what makes two blocks the same one.
//
// key[i] = SHA-256(key[i - 1], tokens of block i), and key[-1] = SHA-256(identity). A key therefore stands for all
// tokens from position 0 to the end of its block, and for all else that the cached values depend on. Two blocks with
// equal keys may be exchanged for each other; that is the whole promise, and why nothing else is ever compared.
#pragma once

#include "llama/sha256.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace llama_kv {

using Token = std::int32_t;

// What the cached values of a block depend on beside the tokens: named values in a fixed order. Each is written with
// its length, so that no two lists come out alike.
class Identity {
public:
    Identity &add(std::string_view name, std::string_view value);
    Identity &add(std::string_view name, std::int64_t value);
    Identity &add(std::string_view name, float value); // bit by bit
    const std::string &text() const { return text_; }

private:
    std::string text_;
};

class BlockChain {
public:
    BlockChain(const Identity &identity, std::size_t tokens_per_block);

    std::size_t tokens_per_block() const { return tokens_per_block_; }

    // One key for each full block of the prompt; what is left over is in none.
    std::vector<Digest> keys(const std::vector<Token> &tokens) const;

private:
    std::size_t tokens_per_block_;
    Digest root_;
};

} // namespace llama_kv
