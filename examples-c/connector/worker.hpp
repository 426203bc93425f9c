// The worker's side of the connector: blocks between the device and the store, in the order of the engine's stream.
//
// A block is one object, layer after layer, K before V. It becomes visible as a whole, is evicted as a whole, and needs
// one key. With an object for each layer there would be as many keys more, and a block could lose one of its layers.
//
// Loading is layer by layer all the same. A get can fetch a range, so the blocks are fetched in groups of layers: the
// first layers of all blocks come before the second ones of any. Within a group a get tells from the front how much has
// come, and the stream waits for just the layer that it computes next.
//
// Saving begins when the last layer was computed. An object is put as a whole, nobody waits for it, and a pass that reads
// blocks that are still loading must not be saved before these have come: a stream goes on whatever becomes of a get, and
// what was computed from a block that was not found is wrong.
#pragma once

#include "connector/types.hpp"

#include <map>
#include <set>
#include <utility>

namespace connector {

class Worker {
public:
    explicit Worker(const nixl_store::store &store) : store_(store) {}

    void register_kv_caches(KvCaches caches);

    void bind_connector_meta(Metadata metadata) { metadata_ = std::move(metadata); }

    // Before the forward pass. What the stream is still doing with the blocks is done before a byte comes.
    void start_load_kv(cuda_stream_t stream);

    // Just before the work of a layer is put on the stream. Does not wait on the host.
    void wait_for_layer_load(std::size_t layer, cuda_stream_t stream);

    // Just after the work of a layer was put on the stream.
    void save_kv_layer(std::size_t layer, cuda_stream_t stream);

    // At the end of the forward pass. Waits for what was being loaded, and for nothing that is saved.
    void wait_for_save(cuda_stream_t stream);

    // After that: blocks that were not there. If there are any, the pass computed nonsense and has to be repeated.
    // vLLM's connector has this call; TensorRT-LLM's has none.
    const std::vector<BlockId> &get_block_ids_with_load_errors() const { return load_errors_; }

    // Of the requests that finished generating, now or in an earlier call, those whose blocks are saved, so that their
    // memory may be used again; and those that were loaded without the pass waiting for them, which is none here.
    std::pair<std::vector<RequestId>, std::vector<RequestId>>
    get_finished(const std::vector<RequestId> &finished_gen_req_ids,
                 const std::vector<RequestId> &started_loading_req_ids);

    std::size_t layers_per_get() const { return layers_per_get_; }

private:
    // The gets of one group of layers, for all blocks of metadata_.load in that order.
    struct Load {
        nixl_store::ticket ticket;
        std::size_t first_layer;
        std::size_t end_layer;
    };

    // Appends where a block's layers lie to the item that was added last.
    template <class Batch>
    void append_layers(Batch &batch, BlockId block_id, std::size_t first_layer, std::size_t end_layer) const;
    void finish_loads();
    void submit_saves(cuda_stream_t stream);
    bool is_saved(RequestId request_id);

    const nixl_store::store &store_;
    KvCaches caches_{};
    std::size_t layers_per_get_ = 1;
    Metadata metadata_;
    nixl_store::get_batch gets_; // of the last group, kept for the memory that they have
    // Tickets wait when they go, so that the blocks' memory may go after the worker.
    std::vector<Load> loads_;
    std::map<RequestId, std::vector<nixl_store::ticket>> saves_;
    std::vector<BlockId> load_errors_;
    std::set<RequestId> finished_;
};

} // namespace connector
