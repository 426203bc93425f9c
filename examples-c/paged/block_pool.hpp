// The engine's side of a paged KV cache: fixed blocks of tokens, spread over one K and one V array per layer.
#pragma once

#include "store.hpp"

#include "../common/pattern.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace paged {

// A small model, so that the example runs in a second; the shape is that of a large one.
constexpr std::size_t layer_count = 8;
constexpr std::size_t tokens_per_block = 32;
constexpr std::size_t bytes_per_token = 2 /* heads */ * 64 /* dimensions */ * 2 /* bf16 */;
constexpr std::size_t segment_bytes = tokens_per_block * bytes_per_token; // of one block, in one layer, K or V
constexpr std::size_t segments_per_block = layer_count * 2;
constexpr std::size_t block_bytes = segments_per_block * segment_bytes;
constexpr std::size_t memory_alignment_bytes = 4096; // what O_DIRECT asks for

// What a block holds follows from the tokens before and in it, which is what its key is made of.
inline std::uint64_t segment_content(const std::string &key, std::size_t segment)
{
    std::uint64_t id = segment;
    for (const char byte : key)
        id = pattern_mix(id ^ static_cast<unsigned char>(byte));
    return id;
}

// K or V of one block in one layer.
inline nixl_store::segment host_segment(unsigned char *address)
{
    return nixl_store::segment::host({address, segment_bytes});
}

// Blocks are free, in use by a request, or resident: filled, idle, and reusable by key until their memory is needed.
class BlockPool {
public:
    using Block = std::size_t;

    explicit BlockPool(std::size_t block_count)
        : block_count_(block_count),
          memory_(static_cast<unsigned char *>(std::aligned_alloc(memory_alignment_bytes, block_count * block_bytes))),
          blocks_(block_count)
    {
        if (!memory_)
            throw std::bad_alloc();
        for (Block block = 0; block < block_count; ++block)
            free_.push_back(block);
    }

    nixl_store::mutable_bytes memory() { return {memory_.get(), block_count_ * block_bytes}; }
    std::size_t evictions() const { return evictions_; }

    // The block that holds `key`, now in use by one more.
    std::optional<Block> find(const std::string &key)
    {
        const auto found = by_key_.find(key);
        if (found == by_key_.end())
            return std::nullopt;
        hold(found->second);
        return found->second;
    }

    // A block to fill, in use. Takes a free one, else the one that has been idle for longest; none: all are in use.
    std::optional<Block> allocate(const std::string &key)
    {
        Block block;
        if (!free_.empty()) {
            block = free_.back();
            free_.pop_back();
        } else if (!idle_.empty()) {
            block = idle_.front();
            idle_.pop_front();
            by_key_.erase(blocks_[block].key);
            ++evictions_;
        } else {
            return std::nullopt;
        }
        blocks_[block] = {key, 1, {}};
        by_key_[key] = block;
        return block;
    }

    void hold(Block block)
    {
        if (blocks_[block].users++ == 0)
            idle_.erase(blocks_[block].idle_place);
    }

    void release(Block block)
    {
        if (--blocks_[block].users == 0)
            blocks_[block].idle_place = idle_.insert(idle_.end(), block);
    }

    // Where a block lies: K and V of each layer, in the order in which its bytes are stored.
    Transfer transfer(Block block) const
    {
        Transfer transfer{blocks_[block].key, {}};
        for (std::size_t segment = 0; segment < segments_per_block; ++segment)
            transfer.segments.push_back(host_segment(address(block, segment)));
        return transfer;
    }

    // Stands for the attention layers: computes K and V of the block's tokens.
    void prefill(Block block)
    {
        for (std::size_t segment = 0; segment < segments_per_block; ++segment)
            pattern_fill(address(block, segment), segment_bytes, segment_content(blocks_[block].key, segment));
    }

    // Wipes a block before it is loaded, so that what it held before cannot pass for what was loaded.
    void wipe(Block block)
    {
        for (std::size_t segment = 0; segment < segments_per_block; ++segment)
            std::memset(address(block, segment), 0, segment_bytes);
    }

    bool is_right(Block block) const
    {
        for (std::size_t segment = 0; segment < segments_per_block; ++segment) {
            const std::uint64_t content = segment_content(blocks_[block].key, segment);
            if (pattern_first_wrong(address(block, segment), segment_bytes, content) != segment_bytes)
                return false;
        }
        return true;
    }

private:
    struct State {
        std::string key;
        std::size_t users = 0;
        std::list<Block>::iterator idle_place; // valid while users is 0 and the block holds a key
    };

    struct Free {
        void operator()(unsigned char *memory) const { std::free(memory); }
    };

    // One array per layer and per K or V: segment 2 x layer is K, the next one V.
    unsigned char *address(Block block, std::size_t segment) const
    {
        return memory_.get() + (segment * block_count_ + block) * segment_bytes;
    }

    std::size_t block_count_;
    std::unique_ptr<unsigned char, Free> memory_;
    std::vector<State> blocks_;
    std::vector<Block> free_;
    std::list<Block> idle_; // longest idle first
    std::unordered_map<std::string, Block> by_key_;
    std::size_t evictions_ = 0;
};

} // namespace paged
