#include "llama/block_store.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace llama_kv {

namespace {

// O_DIRECT and registered memory want pages.
constexpr std::size_t page_bytes = 4096;

// Blocks that are read with one ticket. A ticket tells when all of its blocks are there, so a smaller number starts
// the engine's own copying earlier, and a larger one costs fewer calls.
constexpr std::size_t blocks_per_ticket = 4;

std::size_t whole_pages(std::size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

} // namespace

void BlockStore::Free::operator()(std::uint8_t *memory) const { std::free(memory); }

BlockStore::BlockStore(const char *config_path, std::size_t block_bytes, std::size_t blocks_max)
    : stride_(whole_pages(block_bytes)), blocks_max_(blocks_max)
{
    const std::size_t memory_bytes = stride_ * std::max<std::size_t>(blocks_max, 1);
    memory_.reset(static_cast<std::uint8_t *>(std::aligned_alloc(page_bytes, memory_bytes)));
    if (memory_ == nullptr)
        throw std::runtime_error("no memory for the blocks of a prompt");
    // The end of each last page is stored with its block, and touching memory now keeps that out of the first request.
    std::memset(memory_.get(), 0, memory_bytes);

    // No options: what a slot holds is said by the configuration, because models with blocks of different sizes may
    // share one pool.
    store_ = nixl_store::store::open(config_path).or_throw();
    const nixl_store::result<nixl_store::capabilities> capabilities = store_.capabilities();
    if (succeeded("capabilities", capabilities) && capabilities->object_bytes_max != 0 &&
        capabilities->object_bytes_max < stride_) {
        throw std::runtime_error("a block of this model has " + std::to_string(stride_) + " bytes, a slot " +
                                 std::to_string(capabilities->object_bytes_max) +
                                 ": set nixl_store_chunk_bytes in the configuration");
    }
    nixl_store::result<nixl_store::registration> registered = store_.register_memory({memory_.get(), memory_bytes});
    // Worth having, not needed: an ordinary user may lock little memory.
    if (registered)
        registration_ = *std::move(registered);
    else
        std::fprintf(stderr, "goes on with unregistered memory: %s\n", registered.message().c_str());
}

BlockStore::~BlockStore()
{
    finish();
    succeeded("close", store_.close());
}

bool BlockStore::succeeded(const char *what, const nixl_store::result<void> &result) const
{
    if (result.is_error() && !complained_) {
        complained_ = true;
        std::fprintf(stderr, "goes on without what the store cannot do: %s: %s\n", what, result.describe().c_str());
    }
    return !result.is_error();
}

std::size_t BlockStore::match(const std::vector<Digest> &keys) const
{
    const nixl_store::result<std::size_t> matched = store_.prefix_match(nixl_store::keys(keys));
    return succeeded("prefix match", matched) ? matched.value_or(0U) : 0;
}

std::size_t BlockStore::restore(const std::vector<Digest> &keys, std::size_t count, const Consume &consume)
{
    finish();
    count = std::min({count, keys.size(), blocks_max_});

    // All tickets are waited for, whatever was found and however this ends: until then the store may write to the memory.
    std::vector<nixl_store::ticket> reads;
    nixl_store::get_batch gets;
    for (std::size_t first = 0; first < count; first += blocks_per_ticket) {
        gets.clear();
        for (std::size_t index = first; index < std::min(first + blocks_per_ticket, count); ++index)
            gets.add(keys[index], block(index), nixl_store::get_flags::exact);
        nixl_store::result<nixl_store::ticket> ticket = store_.submit_get(gets);
        if (!succeeded("get", ticket))
            break;
        reads.push_back(*std::move(ticket));
    }

    std::size_t restored = 0;
    std::vector<nixl_store::item_result> results;
    for (nixl_store::ticket &read : reads) {
        if (!succeeded("get", read.wait(results)))
            return restored;
        for (const nixl_store::item_result &result : results) {
            if (!result.ok() || !consume(restored, memory(restored)))
                return restored;
            ++restored;
        }
    }
    return restored;
}

void BlockStore::store(const std::vector<Digest> &keys, std::size_t first)
{
    finish();
    const std::size_t end = std::min(keys.size(), blocks_max_);
    nixl_store::put_batch puts;
    // Behind a gap there may be blocks that are as good as the new ones: a key stands for its content.
    for (std::size_t index = first; index < end; ++index)
        puts.add(keys[index], block(index), nixl_store::put_flags::keep);
    if (puts.empty())
        return;
    nixl_store::result<nixl_store::ticket> ticket = store_.submit_put(puts);
    if (succeeded("put", ticket))
        writing_ = *std::move(ticket);
}

BlockStore::Stored BlockStore::finish()
{
    Stored stored;
    if (!writing_)
        return stored;
    std::vector<nixl_store::item_result> results;
    succeeded("put", writing_.wait(results));
    for (const nixl_store::item_result &result : results) {
        stored.failed += result.is_error() ? 1 : 0;
        stored.written += result.bytes() > 0 ? 1 : 0;
    }
    return stored;
}

bool BlockStore::contains(const Digest &key) const
{
    const nixl_store::result<void> stored = store_.contains(key);
    return succeeded("contains", stored) && stored.ok();
}

bool BlockStore::remove(const Digest &key)
{
    const nixl_store::result<void> removed = store_.remove(key);
    return succeeded("remove", removed) && removed.ok();
}

nixl_store::stats BlockStore::stats() const
{
    const nixl_store::result<nixl_store::stats> stats = store_.stats();
    return succeeded("stats", stats) ? *stats : nixl_store::stats{};
}

} // namespace llama_kv
