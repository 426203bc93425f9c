#include "llama/block_store.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace llama_kv {

namespace {

// O_DIRECT and registered memory want pages.
constexpr std::size_t page_bytes = 4096;

// Blocks that are read with one ticket. A ticket tells when all of its blocks are there, so a smaller number starts
// the engine's own copying earlier, and a larger one costs fewer calls.
constexpr std::size_t blocks_per_ticket = 4;

std::size_t whole_pages(std::size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

std::string message(const char *what, nixl_store_status_t status)
{
    return std::string(what) + ": " + nixl_store_status_name(status) + ": " + nixl_store_error_message();
}

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
    const nixl_store_status_t status = nixl_store_open(config_path, nullptr, &store_);
    if (status < 0)
        throw std::runtime_error(message("open", status));
    nixl_store_capabilities_t capabilities{};
    capabilities.struct_size = sizeof capabilities;
    if (succeeded("capabilities", nixl_store_capabilities_read(store_, &capabilities)) &&
        capabilities.object_bytes_max != 0 && capabilities.object_bytes_max < stride_) {
        const std::string sizes = "a block of this model has " + std::to_string(stride_) + " bytes, a slot " +
                                  std::to_string(capabilities.object_bytes_max) +
                                  ": set nixl_store_chunk_bytes in the configuration";
        succeeded("close", nixl_store_close(store_));
        throw std::runtime_error(sizes);
    }
    // Worth having, not needed: an ordinary user may lock little memory.
    if (nixl_store_memory_register(store_, memory_.get(), memory_bytes) < 0)
        std::fprintf(stderr, "goes on with unregistered memory: %s\n", nixl_store_error_message());
}

BlockStore::~BlockStore()
{
    finish();
    succeeded("close", nixl_store_close(store_));
}

bool BlockStore::succeeded(const char *what, nixl_store_status_t status) const
{
    if (status < 0 && !complained_) {
        complained_ = true;
        std::fprintf(stderr, "goes on without what the store cannot do: %s\n", message(what, status).c_str());
    }
    return status >= 0;
}

nixl_store_item_t BlockStore::item(const std::vector<Digest> &keys, std::size_t index, nixl_store_segment_t &segment, std::uint32_t flags)
{
    segment = {};
    segment.address = memory(index);
    segment.length = stride_;
    segment.memory_kind = NIXL_STORE_MEMORY_HOST;
    nixl_store_item_t item{};
    item.key = keys[index].data();
    item.key_length = keys[index].size();
    item.segments = &segment;
    item.segment_count = 1;
    item.flags = flags;
    return item;
}

std::size_t BlockStore::match(const std::vector<Digest> &keys) const
{
    std::vector<nixl_store_key_t> chain;
    for (const Digest &key : keys) {
        nixl_store_key_t link{};
        link.key = key.data();
        link.key_length = key.size();
        chain.push_back(link);
    }
    std::size_t matched = 0;
    return succeeded("prefix match", nixl_store_prefix_match(store_, chain.data(), chain.size(), &matched)) ? matched
                                                                                                            : 0;
}

std::size_t BlockStore::restore(const std::vector<Digest> &keys, std::size_t count, const Consume &consume)
{
    finish();
    count = std::min({count, keys.size(), blocks_max_});

    struct Read {
        nixl_store_ticket_t ticket;
        std::size_t first, count;
    };
    std::vector<Read> reads;
    for (std::size_t first = 0; first < count; first += blocks_per_ticket) {
        nixl_store_segment_t segments[blocks_per_ticket];
        nixl_store_item_t items[blocks_per_ticket];
        Read read{0, first, std::min(blocks_per_ticket, count - first)};
        for (std::size_t at = 0; at < read.count; ++at)
            items[at] = item(keys, first + at, segments[at], NIXL_STORE_ITEM_EXACT);
        if (!succeeded("get", nixl_store_batch_get(store_, items, read.count, nullptr, &read.ticket)))
            break;
        reads.push_back(read);
    }

    std::size_t restored = 0;
    bool ended = false;
    for (const Read &read : reads) {
        // All tickets are waited for, whatever was found: until then the store may write to the memory.
        nixl_store_result_t results[blocks_per_ticket];
        std::size_t result_count = 0;
        const nixl_store_status_t status = nixl_store_ticket_wait(store_, read.ticket, NIXL_STORE_TIMEOUT_INFINITE,
                                                                  results, read.count, &result_count);
        ended = ended || !succeeded("get", status);
        for (std::size_t at = 0; at < result_count && !ended; ++at) {
            ended = results[at].status != NIXL_STORE_OK ||
                    !consume(read.first + at, memory(read.first + at));
            restored += ended ? 0 : 1;
        }
    }
    return restored;
}

void BlockStore::store(const std::vector<Digest> &keys, std::size_t first)
{
    finish();
    const std::size_t end = std::min(keys.size(), blocks_max_);
    std::vector<nixl_store_segment_t> segments(keys.size());
    std::vector<nixl_store_item_t> items;
    // Behind a gap there may be blocks that are as good as the new ones: a key stands for its content.
    for (std::size_t index = first; index < end; ++index)
        items.push_back(item(keys, index, segments[index], NIXL_STORE_ITEM_KEEP));
    if (!items.empty() &&
        succeeded("put", nixl_store_batch_put(store_, items.data(), items.size(), nullptr, &writing_)))
        blocks_writing_ = items.size();
}

BlockStore::Stored BlockStore::finish()
{
    Stored stored;
    if (writing_ == 0)
        return stored;
    std::vector<nixl_store_result_t> results(blocks_writing_);
    std::size_t result_count = 0;
    succeeded("put", nixl_store_ticket_wait(store_, writing_, NIXL_STORE_TIMEOUT_INFINITE, results.data(),
                                            results.size(), &result_count));
    results.resize(result_count);
    writing_ = 0;
    for (const nixl_store_result_t &result : results) {
        stored.failed += result.status < 0 ? 1 : 0;
        stored.written += result.status == NIXL_STORE_OK && result.bytes > 0 ? 1 : 0;
    }
    return stored;
}

bool BlockStore::contains(const Digest &key) const
{
    const nixl_store_status_t status = nixl_store_key_contains(store_, key.data(), key.size());
    return succeeded("contains", status) && status == NIXL_STORE_OK;
}

bool BlockStore::remove(const Digest &key)
{
    const nixl_store_status_t status = nixl_store_key_remove(store_, key.data(), key.size());
    return succeeded("remove", status) && status == NIXL_STORE_OK;
}

nixl_store_stats_t BlockStore::stats() const
{
    nixl_store_stats_t stats{};
    stats.struct_size = sizeof stats;
    succeeded("stats", nixl_store_stats_read(store_, &stats));
    return stats;
}

} // namespace llama_kv
