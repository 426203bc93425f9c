// What engine, scheduler and worker tell each other. The names are those of TensorRT-LLM's KvCacheConnector.
#pragma once

#include "common/cuda_driver.h"
#include "llama/block_chain.hpp"

#include <nixl_store.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace connector {

using llama_kv::Digest;
using llama_kv::Token;
using Tokens = std::vector<Token>;
using RequestId = std::uint64_t;
using BlockId = std::size_t; // a place in the engine's paged cache

// Where the engine keeps K and V: for each layer two arrays of blocks on the device.
struct KvCaches {
    struct Layer {
        cuda_address_t k, v;
    };
    std::vector<Layer> layers;
    std::size_t plane_bytes; // of K or of V of one block in one layer
    int device;

    std::size_t layer_bytes() const { return 2 * plane_bytes; }
    std::size_t block_bytes() const { return layers.size() * layer_bytes(); }
};

// A request that is scheduled for the next forward pass for the first time.
struct RequestData {
    RequestId request_id;
    Tokens new_tokens;
    std::vector<BlockId> new_block_ids;
    std::size_t computed_position; // the first token that has to be computed
};

struct SchedulerOutput {
    std::vector<RequestData> new_requests;
    std::vector<RequestId> cached_requests; // these were new in an earlier pass
};

// One block: its name in the store and its place on the device.
struct Chunk {
    RequestId request_id;
    Digest key;
    BlockId block_id;
};

// What the worker has to do in the next forward pass.
struct Metadata {
    std::vector<Chunk> load;
    std::vector<Chunk> save;
};

} // namespace connector
