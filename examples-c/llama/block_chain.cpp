#include "llama/block_chain.hpp"

#include <cstring>
#include <stdexcept>

namespace llama_kv {

namespace {

void append_sized(std::string &text, std::string_view part)
{
    text += std::to_string(part.size());
    text += ':';
    text += part;
}

} // namespace

Identity &Identity::add(std::string_view name, std::string_view value)
{
    append_sized(text_, name);
    append_sized(text_, value);
    return *this;
}

Identity &Identity::add(std::string_view name, std::int64_t value) { return add(name, std::to_string(value)); }

Identity &Identity::add(std::string_view name, float value)
{
    std::uint32_t bits;
    static_assert(sizeof bits == sizeof value);
    std::memcpy(&bits, &value, sizeof bits);
    return add(name, std::int64_t{bits});
}

BlockChain::BlockChain(const Identity &identity, std::size_t tokens_per_block) : tokens_per_block_(tokens_per_block)
{
    if (tokens_per_block == 0)
        throw std::invalid_argument("a block has to have tokens");
    Identity whole = identity;
    whole.add("tokens per block", static_cast<std::int64_t>(tokens_per_block));
    root_ = Sha256().update(whole.text().data(), whole.text().size()).finish();
}

std::vector<Digest> BlockChain::keys(const std::vector<Token> &tokens) const
{
    std::vector<Digest> keys;
    std::vector<std::uint8_t> bytes(tokens_per_block_ * sizeof(Token));
    Digest parent = root_;
    for (std::size_t start = 0; tokens.size() - start >= tokens_per_block_; start += tokens_per_block_) {
        // Little-endian on every machine: a store may be shared.
        for (std::size_t index = 0; index < bytes.size(); ++index) {
            const auto token = static_cast<std::uint32_t>(tokens[start + index / sizeof(Token)]);
            bytes[index] = static_cast<std::uint8_t>(token >> (8 * (index % sizeof(Token))));
        }
        parent = Sha256().update(parent.data(), parent.size()).update(bytes.data(), bytes.size()).finish();
        keys.push_back(parent);
    }
    return keys;
}

} // namespace llama_kv
