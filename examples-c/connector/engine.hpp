// A simulated engine with a paged KV cache on the device, which drives the connector as a runtime would.
//
// Its layers compute nothing. Writing K and V of a block is a copy of known bytes to the device; attention, which reads K
// and V of all blocks of the request, is a copy of them to the host, at the place in the stream where a kernel would
// read them. So what is compared in the end is what the kernels would have seen.
#pragma once

#include "connector/gpu.hpp"
#include "connector/scheduler.hpp"
#include "connector/worker.hpp"

#include <chrono>
#include <functional>

namespace connector {

constexpr std::size_t layer_count = 8;
constexpr std::size_t tokens_per_block = 32;
constexpr std::size_t plane_bytes = tokens_per_block * 4 /* heads */ * 128 /* dimensions */ * 2 /* bf16 */;
constexpr std::size_t layer_bytes = 2 * plane_bytes;
constexpr std::size_t block_bytes = layer_count * layer_bytes;
constexpr std::size_t engine_blocks = 16; // as many as the longest prompt of the example has, and some

// How one request went.
struct Served {
    std::size_t blocks = 0, loaded = 0, computed = 0, passes = 0, wrong = 0;
    double first_layer_s = 0, prefill_s = 0; // from the first pass' begin
};

class Engine {
public:
    Engine(const Gpu &gpu, const nixl_store::store &store);

    // Prefill of one prompt: loads what is stored, computes and saves the rest. before_load is called between match
    // and load, with the keys of the prompt's blocks.
    Served serve(RequestId request_id, const Tokens &tokens,
                 const std::function<void(const std::vector<Digest> &)> &before_load = {});

    std::size_t layers_per_get() const { return worker_.layers_per_get(); }

private:
    using Clock = std::chrono::steady_clock;

    static KvCaches caches_in(const DeviceMemory &memory, int device);
    cuda_address_t plane(BlockId block, std::size_t plane) const;
    void prepare(BlockId block, const Digest &key);
    std::vector<BlockId> forward(const Metadata &metadata, const std::vector<Digest> &keys, Served &served,
                                 Clock::time_point start);
    void compute_layer(std::size_t layer, const std::vector<bool> &to_compute);
    std::size_t count_wrong(const std::vector<Digest> &keys) const;
    void finish(RequestId request_id);

    const Gpu &gpu_;
    DeviceMemory memory_;
    PinnedMemory computed_, seen_; // what the layers write, and what attention reads
    Stream stream_;
    Event first_layer_;
    KvCaches caches_;
    Scheduler scheduler_;
    Worker worker_;
};

} // namespace connector
