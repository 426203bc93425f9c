#include "connector/engine.hpp"

#include "common/pattern.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

namespace connector {

namespace {

constexpr unsigned char wiped = 0xee;
constexpr std::size_t planes_per_block = 2 * layer_count;

llama_kv::Identity model()
{
    return llama_kv::Identity().add("model", "tiny-model").add("precision", "bf16");
}

// K or V of a block follows from all tokens up to its end, for which its key stands.
std::uint64_t content(const Digest &key, std::size_t plane)
{
    std::uint64_t id;
    static_assert(sizeof id <= sizeof(Digest));
    std::memcpy(&id, key.data(), sizeof id);
    return pattern_mix(id ^ plane);
}

// On the host: block after block.
std::size_t host_offset(std::size_t block, std::size_t plane) { return (block * planes_per_block + plane) * plane_bytes; }

} // namespace

Engine::Engine(const Gpu &gpu, const nixl_store::store &store)
    : gpu_(gpu), memory_(gpu, engine_blocks * block_bytes), computed_(gpu, engine_blocks * block_bytes),
      seen_(gpu, engine_blocks * block_bytes), stream_(gpu), first_layer_(gpu),
      caches_(caches_in(memory_, gpu->device)), scheduler_(store, model(), tokens_per_block), worker_(store)
{
    worker_.register_kv_caches(caches_);
}

// On the device: K of all blocks of layer 0, then V of them, then layer 1.
KvCaches Engine::caches_in(const DeviceMemory &memory, int device)
{
    KvCaches caches{{}, plane_bytes, device};
    for (std::size_t layer = 0; layer < layer_count; ++layer) {
        const cuda_address_t k = memory.address() + layer * engine_blocks * layer_bytes;
        caches.layers.push_back({k, k + engine_blocks * plane_bytes});
    }
    return caches;
}

cuda_address_t Engine::plane(BlockId block, std::size_t plane) const
{
    const KvCaches::Layer &layer = caches_.layers[plane / 2];
    return (plane % 2 == 0 ? layer.k : layer.v) + block * plane_bytes;
}

// What a block held before cannot pass for what is loaded. What its layers will compute is known beforehand.
void Engine::prepare(BlockId block, const Digest &key)
{
    for (std::size_t index = 0; index < planes_per_block; ++index) {
        gpu_.check("wipe", gpu_->cuMemsetD8Async(plane(block, index), wiped, plane_bytes, stream_));
        pattern_fill(computed_.bytes() + host_offset(block, index), plane_bytes, content(key, index));
    }
}

Served Engine::serve(RequestId request_id, const Tokens &tokens,
                     const std::function<void(const std::vector<Digest> &)> &before_load)
{
    const std::vector<Digest> keys = scheduler_.keys(tokens);
    if (keys.size() > engine_blocks)
        throw std::runtime_error("a prompt has more blocks than the engine");
    // The engine serves one request at a time, so all blocks are free, and the first ones serve.
    std::vector<BlockId> blocks(keys.size());
    std::iota(blocks.begin(), blocks.end(), 0);
    for (const BlockId block : blocks)
        prepare(block, keys[block]);
    stream_.synchronize();

    Served served;
    served.blocks = blocks.size();
    const Clock::time_point start = Clock::now();
    const std::size_t matched = scheduler_.get_num_new_matched_tokens(tokens, 0).first;
    if (before_load)
        before_load(keys);
    SchedulerOutput output;
    output.new_requests.push_back({request_id, tokens, blocks, matched});
    std::vector<BlockId> gone;
    do {
        gone = forward(scheduler_.build_connector_meta(output), keys, served, start);
        if (!gone.empty())
            scheduler_.handle_load_errors(request_id, gone);
        output = {{}, {request_id}};
    } while (!gone.empty());
    served.wrong = count_wrong(keys);
    finish(request_id);
    return served;
}

std::vector<BlockId> Engine::forward(const Metadata &metadata, const std::vector<Digest> &keys, Served &served,
                                     Clock::time_point start)
{
    const auto seconds = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    std::vector<bool> to_compute(keys.size(), false);
    for (const Chunk &chunk : metadata.save)
        to_compute[chunk.block_id] = true;
    std::memset(seen_.bytes(), 0, keys.size() * block_bytes);

    worker_.bind_connector_meta(metadata);
    worker_.start_load_kv(stream_);
    for (std::size_t layer = 0; layer < layer_count; ++layer) {
        worker_.wait_for_layer_load(layer, stream_);
        compute_layer(layer, to_compute);
        if (layer == 0)
            first_layer_.record(stream_);
        worker_.save_kv_layer(layer, stream_);
    }
    first_layer_.synchronize(); // for the table alone: an engine would go on with the next request
    if (served.passes++ == 0)
        served.first_layer_s = seconds();
    worker_.wait_for_save(stream_);
    stream_.synchronize();
    served.prefill_s = seconds();
    served.loaded += metadata.load.size() - worker_.get_block_ids_with_load_errors().size();
    served.computed = metadata.save.size();
    return worker_.get_block_ids_with_load_errors();
}

// One layer: K and V of the new blocks are written, then attention reads those of all blocks.
void Engine::compute_layer(std::size_t layer, const std::vector<bool> &to_compute)
{
    for (std::size_t index = 2 * layer; index < 2 * layer + 2; ++index) {
        for (std::size_t block = 0; block < to_compute.size(); ++block) {
            if (!to_compute[block])
                continue;
            gpu_.check("compute", gpu_->cuMemcpyHtoDAsync(plane(block, index),
                                                          computed_.bytes() + host_offset(block, index), plane_bytes,
                                                          stream_));
        }
        for (std::size_t block = 0; block < to_compute.size(); ++block)
            gpu_.check("attention", gpu_->cuMemcpyDtoHAsync(seen_.bytes() + host_offset(block, index),
                                                            plane(block, index), plane_bytes, stream_));
    }
}

std::size_t Engine::count_wrong(const std::vector<Digest> &keys) const
{
    std::size_t wrong = 0;
    for (std::size_t block = 0; block < keys.size(); ++block) {
        for (std::size_t index = 0; index < planes_per_block; ++index)
            wrong += pattern_first_wrong(seen_.bytes() + host_offset(block, index), plane_bytes,
                                         content(keys[block], index)) != plane_bytes;
    }
    return wrong;
}

// The request is done generating. Its blocks stay until they are saved; an engine asks once in each of its rounds.
void Engine::finish(RequestId request_id)
{
    if (!scheduler_.request_finished(request_id))
        return;
    std::vector<RequestId> saved = worker_.get_finished({request_id}, {}).first;
    while (saved.empty()) {
        std::this_thread::yield();
        saved = worker_.get_finished({}, {}).first;
    }
}

} // namespace connector
