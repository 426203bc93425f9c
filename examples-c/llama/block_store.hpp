// The engine's second tier: blocks of KV cache in a nixl_store, in memory that is registered with it once.
//
// Nothing here knows llama.cpp. A cache that fails must not fail the request: after open, an error of the store is
// said once on stderr and counts as a miss.
#pragma once

#include "llama/sha256.hpp"

#include <nixl_store.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace llama_kv {

class BlockStore {
public:
    // Looks at block `index`, which lies in memory for the time of the call. Returns false if it is of no use.
    using Consume = std::function<bool(std::size_t index, const std::uint8_t *bytes)>;

    // config_path: the LMCache YAML file; nullptr: $LMCACHE_CONFIG_FILE. block_bytes: bytes of every block.
    // blocks_max: most blocks of a prompt, which is how much memory is taken. Throws std::runtime_error.
    BlockStore(const char *config_path, std::size_t block_bytes, std::size_t blocks_max);
    ~BlockStore();

    BlockStore(const BlockStore &) = delete;
    BlockStore &operator=(const BlockStore &) = delete;

    // How many of the leading keys are stored.
    std::size_t match(const std::vector<Digest> &keys) const;

    // Reads the blocks of the first `count` keys and hands them on in order, each as soon as it and all before it are
    // there, while the later ones are still on their way. Ends at the first that is not there, is damaged, has another
    // length or is refused. Returns how many were handed on and accepted. Waits for what is being stored.
    std::size_t restore(const std::vector<Digest> &keys, std::size_t count, const Consume &consume);

    // Where the bytes of block `index` have to be when store() is called. finish() has to come before they change.
    std::uint8_t *memory(std::size_t index) { return memory_.get() + index * stride_; }

    // Stores the blocks from `first` on that are not stored yet, behind the caller's back.
    void store(const std::vector<Digest> &keys, std::size_t first);

    struct Stored {
        std::size_t written = 0; // blocks that were not there before
        std::size_t failed = 0;  // not those that the store declined
    };

    // Waits until what is being stored is stored.
    Stored finish();

    bool contains(const Digest &key) const;
    bool remove(const Digest &key);
    nixl_store::stats stats() const;

private:
    struct Free {
        void operator()(std::uint8_t *memory) const;
    };

    // Where block `index` lies.
    nixl_store::segment block(std::size_t index) { return nixl_store::segment::host({memory(index), stride_}); }
    bool succeeded(const char *what, const nixl_store::result<void> &result) const;

    std::size_t stride_; // of a block in memory, and its length in the store: whole pages, which need no copy
    std::size_t blocks_max_;
    // What goes first waits for the transfers: the ticket, then the registration, then the store; then the memory goes.
    std::unique_ptr<std::uint8_t[], Free> memory_;
    nixl_store::store store_;
    nixl_store::registration registration_;
    nixl_store::ticket writing_;
    mutable bool complained_ = false;
};

} // namespace llama_kv
