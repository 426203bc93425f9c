#include "connector/worker.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

namespace connector {

namespace {

// A get of less costs more than its bytes. Groups of whole checksum blocks (64 KiB) read nothing twice.
constexpr std::size_t get_bytes_min = 128 * 1024;
// From then on computing a block is faster than waiting for a store that did not even begin with it.
constexpr std::chrono::seconds load_deadline{10};

nixl_store::submit_options after(cuda_stream_t stream)
{
    return nixl_store::submit_options().stream(stream, nixl_store::stream_order::after);
}

// A cache that fails must not fail the request: an error is said, and is a miss.
void complain(const char *what, const nixl_store::result<void> &result)
{
    if (result.is_error())
        std::fprintf(stderr, "kv_connector: %s: %s\n", what, result.describe().c_str());
}

} // namespace

void Worker::register_kv_caches(KvCaches caches)
{
    caches_ = std::move(caches);
    layers_per_get_ = std::clamp<std::size_t>((get_bytes_min + caches_.layer_bytes() - 1) / caches_.layer_bytes(), 1,
                                              caches_.layers.size());
}

template <class Batch>
void Worker::append_layers(Batch &batch, BlockId block_id, std::size_t first_layer, std::size_t end_layer) const
{
    const auto device = static_cast<unsigned>(caches_.device); // said, so that the driver need not be asked
    for (std::size_t layer = first_layer; layer < end_layer; ++layer) {
        for (const cuda_address_t plane : {caches_.layers[layer].k, caches_.layers[layer].v})
            batch.append(nixl_store::segment::cuda(plane + block_id * caches_.plane_bytes, caches_.plane_bytes, device));
    }
}

void Worker::start_load_kv(cuda_stream_t stream)
{
    load_errors_.clear();
    if (metadata_.load.empty())
        return;
    for (std::size_t first = 0; first < caches_.layers.size(); first += layers_per_get_) {
        const std::size_t end = std::min(first + layers_per_get_, caches_.layers.size());
        gets_.clear();
        for (const Chunk &chunk : metadata_.load) {
            gets_.add_range(chunk.key, first * caches_.layer_bytes(), nixl_store::get_flags::front);
            append_layers(gets_, chunk.block_id, first, end);
        }
        nixl_store::result<nixl_store::ticket> ticket = store_.submit_get(gets_, after(stream).deadline(load_deadline));
        if (!ticket) {
            complain("load", ticket);
            return; // finish_loads() finds that groups are missing
        }
        loads_.push_back({*std::move(ticket), first, end});
    }
}

void Worker::wait_for_layer_load(std::size_t layer, cuda_stream_t stream)
{
    for (const Load &load : loads_) {
        if (layer < load.first_layer || layer >= load.end_layer)
            continue;
        // The last layer of a group has come when the whole batch has: one wait for all blocks.
        if (layer + 1 == load.end_layer) {
            if (load.ticket.stream_wait_all(stream))
                return;
        }
        const std::uint64_t bytes = (layer + 1 - load.first_layer) * caches_.layer_bytes();
        for (std::size_t item = 0; item < metadata_.load.size(); ++item) {
            // Without a stream that can wait, because its device has no such operation or too many waits are under way,
            // this thread does. Any end will do: which one it was is looked at when the pass is over.
            if (!load.ticket.stream_wait(item, bytes, stream))
                (void)load.ticket.progress(item, bytes);
        }
    }
}

void Worker::finish_loads()
{
    std::vector<bool> failed(metadata_.load.size(), false);
    std::size_t layers = 0;
    std::vector<nixl_store::item_result> results;
    for (Load &load : loads_) {
        complain("load", load.ticket.wait(results));
        // An entry that nobody filled has a status of its own, which is not ok.
        for (std::size_t item = 0; item < failed.size(); ++item)
            failed[item] = failed[item] || !results[item].ok();
        layers += load.end_layer - load.first_layer;
    }
    loads_.clear();
    for (std::size_t item = 0; item < failed.size(); ++item) {
        if (failed[item] || layers != caches_.layers.size())
            load_errors_.push_back(metadata_.load[item].block_id);
    }
}

void Worker::save_kv_layer(std::size_t layer, cuda_stream_t stream)
{
    // A pass that loads nothing is right as soon as it is computed. Any other is saved by wait_for_save().
    if (layer + 1 == caches_.layers.size() && metadata_.load.empty())
        submit_saves(stream);
}

void Worker::wait_for_save(cuda_stream_t stream)
{
    if (metadata_.load.empty())
        return;
    finish_loads();
    if (load_errors_.empty())
        submit_saves(stream);
}

void Worker::submit_saves(cuda_stream_t stream)
{
    std::map<RequestId, std::vector<const Chunk *>> requests;
    for (const Chunk &chunk : metadata_.save)
        requests[chunk.request_id].push_back(&chunk);
    for (const auto &[request_id, chunks] : requests) {
        nixl_store::put_batch puts;
        for (const Chunk *chunk : chunks) {
            puts.add(chunk->key, nixl_store::put_flags::keep); // what has this key has these bytes
            append_layers(puts, chunk->block_id, 0, caches_.layers.size());
        }
        nixl_store::result<nixl_store::ticket> ticket = store_.submit_put(puts, after(stream));
        if (ticket)
            saves_[request_id].push_back(*std::move(ticket));
        else
            complain("save", ticket);
    }
}

bool Worker::is_saved(RequestId request_id)
{
    std::vector<nixl_store::ticket> &tickets = saves_[request_id];
    while (!tickets.empty()) {
        const nixl_store::result<void> ended = tickets.back().wait(nixl_store::timeout::none());
        if (ended.in_progress())
            return false;
        complain("save", ended);
        tickets.pop_back();
    }
    saves_.erase(request_id);
    return true;
}

std::pair<std::vector<RequestId>, std::vector<RequestId>>
Worker::get_finished(const std::vector<RequestId> &finished_gen_req_ids, const std::vector<RequestId> &)
{
    finished_.insert(finished_gen_req_ids.begin(), finished_gen_req_ids.end());
    std::vector<RequestId> saved;
    for (auto request = finished_.begin(); request != finished_.end();) {
        if (is_saved(*request)) {
            saved.push_back(*request);
            request = finished_.erase(request);
        } else {
            ++request;
        }
    }
    return {saved, {}};
}

} // namespace connector
