// A thin C++ face for the parts of nixl_store that a paged KV cache needs. Errors become exceptions.
#pragma once

#include <nixl_store.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace paged {

inline void check(const char *what, nixl_store_status_t status)
{
    if (status < 0)
        throw std::runtime_error(std::string(what) + ": " + nixl_store_status_name(status) + ": " +
                                 nixl_store_error_message());
}

// A stretch of host memory. Cleared first: what is not named here has its default, in later versions too.
inline nixl_store_segment_t host_segment(void *address, std::size_t bytes)
{
    nixl_store_segment_t segment{};
    segment.address = address;
    segment.length = bytes;
    segment.memory_kind = NIXL_STORE_MEMORY_HOST;
    return segment;
}

// One object and where its bytes lie in memory.
struct Transfer {
    std::string key;
    std::vector<nixl_store_segment_t> segments;
};

class Store {
public:
    Store(const char *config_path, std::uint64_t chunk_bytes, const char *cache_namespace)
    {
        nixl_store_open_options_t options{};
        options.struct_size = sizeof options;
        options.chunk_bytes = chunk_bytes;
        options.cache_namespace = cache_namespace;
        check("open", nixl_store_open(config_path, &options, &store_));
    }

    // Waits for everything in flight: no byte of the engine's memory is touched after it.
    ~Store()
    {
        if (nixl_store_close(store_) < 0)
            std::fprintf(stderr, "paged_kv_cache: close: %s\n", nixl_store_error_message());
    }

    Store(const Store &) = delete;
    Store &operator=(const Store &) = delete;

    void register_memory(void *address, std::size_t bytes)
    {
        // Worth having, not needed: an ordinary user may lock little memory.
        if (nixl_store_memory_register(store_, address, bytes) < 0)
            std::fprintf(stderr, "paged_kv_cache: goes on with unregistered memory: %s\n", nixl_store_error_message());
    }

    // How many leading keys are stored: one call for the whole chain.
    std::size_t prefix_match(const std::vector<std::string> &keys, std::size_t first) const
    {
        std::vector<nixl_store_key_t> chain;
        for (std::size_t index = first; index < keys.size(); ++index)
            chain.push_back(link(keys[index]));
        std::size_t matched = 0;
        if (!chain.empty())
            check("prefix match", nixl_store_prefix_match(store_, chain.data(), chain.size(), &matched));
        return matched;
    }

    // flags: NIXL_STORE_ITEM_ADMIT for what must be stored; else a store with cache_policy REUSE may decline it.
    nixl_store_ticket_t put(const std::vector<Transfer> &transfers, std::uint32_t flags = 0)
    {
        return submit("put", nixl_store_batch_put, transfers, flags);
    }

    nixl_store_ticket_t get(const std::vector<Transfer> &transfers)
    {
        return submit("get", nixl_store_batch_get, transfers);
    }

    // Gets only the bytes from `offset` on, as many as the segments hold.
    nixl_store_ticket_t get_range(const Transfer &transfer, std::uint64_t offset)
    {
        nixl_store_item_t item = item_of(transfer);
        item.flags = NIXL_STORE_ITEM_RANGE;
        item.object_offset = offset;
        nixl_store_ticket_t ticket = 0;
        check("range get", nixl_store_batch_get(store_, &item, 1, nullptr, &ticket));
        return ticket;
    }

    bool is_finished(nixl_store_ticket_t ticket) const
    {
        return nixl_store_ticket_poll(store_, ticket) != NIXL_STORE_IN_PROGRESS;
    }

    std::vector<nixl_store_result_t> wait(nixl_store_ticket_t ticket, std::size_t item_count)
    {
        std::vector<nixl_store_result_t> results(item_count);
        std::size_t count = 0;
        check("wait", nixl_store_ticket_wait(store_, ticket, NIXL_STORE_TIMEOUT_INFINITE, results.data(), item_count,
                                             &count));
        results.resize(count);
        return results;
    }

    bool contains(const std::string &key) const
    {
        const nixl_store_status_t status = nixl_store_key_contains(store_, key.data(), key.size());
        check("contains", status);
        return status == NIXL_STORE_OK;
    }

    bool pin(const std::string &key)
    {
        const nixl_store_status_t status = nixl_store_key_pin(store_, key.data(), key.size());
        check("pin", status);
        return status == NIXL_STORE_OK;
    }

    nixl_store_stats_t stats() const
    {
        nixl_store_stats_t stats{};
        stats.struct_size = sizeof stats;
        check("stats", nixl_store_stats_read(store_, &stats));
        return stats;
    }

private:
    static nixl_store_key_t link(const std::string &text)
    {
        nixl_store_key_t key{};
        key.key = text.data();
        key.key_length = text.size();
        return key;
    }

    static nixl_store_item_t item_of(const Transfer &transfer)
    {
        nixl_store_item_t item{};
        item.key = transfer.key.data();
        item.key_length = transfer.key.size();
        item.segments = transfer.segments.data();
        item.segment_count = transfer.segments.size();
        return item;
    }

    template <typename Function>
    nixl_store_ticket_t submit(const char *what, Function function, const std::vector<Transfer> &transfers,
                               std::uint32_t flags = 0)
    {
        std::vector<nixl_store_item_t> items;
        for (const Transfer &transfer : transfers) {
            items.push_back(item_of(transfer));
            items.back().flags = flags;
        }
        nixl_store_ticket_t ticket = 0;
        check(what, function(store_, items.data(), items.size(), nullptr, &ticket));
        return ticket;
    }

    nixl_store_t *store_ = nullptr;
};

} // namespace paged
