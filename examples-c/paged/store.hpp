// The engine's store, opened for blocks of one size. Errors become exceptions.
#pragma once

#include <nixl_store.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace paged {

// One object and where its bytes lie in memory.
struct Transfer {
    std::string key;
    std::vector<nixl_store::segment> segments;
};

class Store {
public:
    Store(const char *config_path, std::uint64_t chunk_bytes, const char *cache_namespace)
        : store_(nixl_store::store::open(
                     config_path, nixl_store::open_options().chunk_bytes(chunk_bytes).cache_namespace(cache_namespace))
                     .or_throw())
    {
    }

    // Waits for everything in flight: no byte of the engine's memory is touched after it.
    ~Store()
    {
        const nixl_store::result<void> closed = store_.close();
        if (closed.is_error())
            std::fprintf(stderr, "paged_kv_cache: close: %s\n", closed.message().c_str());
    }

    Store(const Store &) = delete;
    Store &operator=(const Store &) = delete;

    void register_memory(nixl_store::mutable_bytes memory)
    {
        nixl_store::result<nixl_store::registration> registered = store_.register_memory(memory);
        // Worth having, not needed: an ordinary user may lock little memory.
        if (!registered)
            std::fprintf(stderr, "paged_kv_cache: goes on with unregistered memory: %s\n", registered.message().c_str());
        else
            memory_ = *std::move(registered);
    }

    // How many keys from `first` on are stored: one call for the whole chain.
    std::size_t prefix_match(const std::vector<std::string> &keys, std::size_t first) const
    {
        nixl_store::keys chain;
        for (std::size_t index = first; index < keys.size(); ++index)
            chain.add(keys[index]);
        return store_.prefix_match(chain).or_throw();
    }

    // flags: `admit` for what must be stored; else a store with cache_policy REUSE may decline it.
    nixl_store::ticket put(const std::vector<Transfer> &transfers, nixl_store::put_flags flags)
    {
        nixl_store::put_batch puts;
        for (const Transfer &transfer : transfers)
            puts.add(transfer.key, transfer.segments, flags);
        return store_.submit_put(puts).or_throw();
    }

    // One result for each, of which some may be not_found.
    std::vector<nixl_store::item_result> get(const std::vector<Transfer> &transfers)
    {
        nixl_store::get_batch gets;
        for (const Transfer &transfer : transfers)
            gets.add(transfer.key, transfer.segments);
        return wait(gets);
    }

    // Gets only the bytes from `offset` on, as many as the segments hold.
    nixl_store::item_result get_range(const Transfer &transfer, std::uint64_t offset)
    {
        nixl_store::get_batch gets;
        gets.add_range(transfer.key, offset, transfer.segments);
        return wait(gets)[0];
    }

    // Keeps those of the keys that are stored, for as long as what this gives lives.
    nixl_store::pinned_keys pin(const std::vector<std::string> &keys)
    {
        return store_.pin(nixl_store::keys(keys)).or_throw();
    }

    nixl_store::stats stats() const { return store_.stats().or_throw(); }

private:
    std::vector<nixl_store::item_result> wait(const nixl_store::get_batch &gets)
    {
        std::vector<nixl_store::item_result> results;
        store_.submit_get(gets).or_throw().wait(results).or_throw();
        return results;
    }

    nixl_store::store store_;
    nixl_store::registration memory_;
};

} // namespace paged
