#include "connector/worker.hpp"

#include <algorithm>
#include <cstdio>

namespace connector {

namespace {

// A get of less costs more than its bytes. Groups of whole checksum blocks (64 KiB) read nothing twice.
constexpr std::size_t get_bytes_min = 128 * 1024;
// From then on computing a block is faster than waiting for a store that did not even begin with it.
constexpr std::uint64_t load_deadline_ms = 10'000;

nixl_store_submit_options_t after(cuda_stream_t stream)
{
    nixl_store_submit_options_t options{};
    options.struct_size = sizeof options;
    options.flags = NIXL_STORE_SUBMIT_AFTER_STREAM;
    options.cuda_stream = stream;
    return options;
}

// A cache that fails must not fail the request: an error is said, and is a miss.
void complain(const char *what, nixl_store_status_t status)
{
    std::fprintf(stderr, "kv_connector: %s: %s: %s\n", what, nixl_store_status_name(status),
                 nixl_store_error_message());
}

} // namespace

Worker::~Worker()
{
    finish_loads();
    for (const auto &[request_id, tickets] : saves_) {
        for (const nixl_store_ticket_t ticket : tickets) {
            const nixl_store_status_t status =
                nixl_store_ticket_wait(store_, ticket, NIXL_STORE_TIMEOUT_INFINITE, nullptr, 0, nullptr);
            if (status < 0)
                complain("save", status);
        }
    }
}

void Worker::register_kv_caches(KvCaches caches)
{
    caches_ = std::move(caches);
    layers_per_get_ = std::clamp<std::size_t>((get_bytes_min + caches_.layer_bytes() - 1) / caches_.layer_bytes(), 1,
                                              caches_.layers.size());
}

std::vector<nixl_store_segment_t> Worker::segments(BlockId block_id, std::size_t first_layer,
                                                   std::size_t end_layer) const
{
    std::vector<nixl_store_segment_t> segments;
    for (std::size_t layer = first_layer; layer < end_layer; ++layer) {
        for (const cuda_address_t plane : {caches_.layers[layer].k, caches_.layers[layer].v}) {
            nixl_store_segment_t segment{};
            const cuda_address_t address = plane + block_id * caches_.plane_bytes;
            segment.address = reinterpret_cast<void *>(static_cast<std::uintptr_t>(address));
            segment.length = caches_.plane_bytes;
            segment.memory_kind = NIXL_STORE_MEMORY_CUDA;
            segment.cuda_device = static_cast<std::uint32_t>(caches_.device) + 1; // saves asking the driver for it
            segments.push_back(segment);
        }
    }
    return segments;
}

void Worker::start_load_kv(cuda_stream_t stream)
{
    load_errors_.clear();
    if (metadata_.load.empty())
        return;
    nixl_store_submit_options_t options = after(stream);
    options.deadline_ms = load_deadline_ms;
    for (std::size_t first = 0; first < caches_.layers.size(); first += layers_per_get_) {
        const std::size_t end = std::min(first + layers_per_get_, caches_.layers.size());
        std::vector<std::vector<nixl_store_segment_t>> places;
        std::vector<nixl_store_item_t> items;
        for (const Chunk &chunk : metadata_.load) {
            places.push_back(segments(chunk.block_id, first, end));
            nixl_store_item_t item{};
            item.key = chunk.key.data();
            item.key_length = chunk.key.size();
            item.segments = places.back().data();
            item.segment_count = places.back().size();
            item.object_offset = first * caches_.layer_bytes();
            item.flags = NIXL_STORE_ITEM_RANGE | NIXL_STORE_ITEM_FRONT;
            items.push_back(item);
        }
        nixl_store_ticket_t ticket = 0;
        const nixl_store_status_t status =
            nixl_store_batch_get(store_, items.data(), items.size(), &options, &ticket);
        if (status != NIXL_STORE_OK) {
            complain("load", status);
            return; // finish_loads() finds that groups are missing
        }
        loads_.push_back({ticket, first, end});
    }
}

void Worker::wait_for_layer_load(std::size_t layer, cuda_stream_t stream)
{
    for (const Load &load : loads_) {
        if (layer < load.first_layer || layer >= load.end_layer)
            continue;
        // The last layer of a group has come when the whole batch has: one wait for all blocks.
        if (layer + 1 == load.end_layer) {
            if (nixl_store_stream_wait(store_, load.ticket, NIXL_STORE_ITEMS_ALL, 0, stream) == NIXL_STORE_OK)
                return;
        }
        const std::uint64_t bytes = (layer + 1 - load.first_layer) * caches_.layer_bytes();
        for (std::size_t item = 0; item < metadata_.load.size(); ++item) {
            if (nixl_store_stream_wait(store_, load.ticket, item, bytes, stream) != NIXL_STORE_OK)
                wait_here(load, item, bytes);
        }
    }
}

// In the place of a stream that cannot wait, because its device has no such operation or too many waits are under way.
void Worker::wait_here(const Load &load, std::size_t item, std::uint64_t bytes) const
{
    std::uint64_t there = 0;
    // Any end will do: which one it was is looked at when the pass is over.
    (void)!nixl_store_ticket_progress(store_, load.ticket, item, bytes, NIXL_STORE_TIMEOUT_INFINITE, &there);
}

void Worker::finish_loads()
{
    std::vector<bool> failed(metadata_.load.size(), false);
    std::size_t layers = 0;
    for (const Load &load : loads_) {
        std::vector<nixl_store_result_t> results(failed.size());
        std::size_t count = 0;
        const nixl_store_status_t status = nixl_store_ticket_wait(store_, load.ticket, NIXL_STORE_TIMEOUT_INFINITE,
                                                                  results.data(), results.size(), &count);
        if (status < 0)
            complain("load", status);
        // An entry that nobody filled has a status of its own, which is not OK.
        for (std::size_t item = 0; item < failed.size(); ++item)
            failed[item] = failed[item] || results[item].status != NIXL_STORE_OK;
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
    const nixl_store_submit_options_t options = after(stream);
    for (const auto &[request_id, chunks] : requests) {
        std::vector<std::vector<nixl_store_segment_t>> places;
        std::vector<nixl_store_item_t> items;
        for (const Chunk *chunk : chunks) {
            places.push_back(segments(chunk->block_id, 0, caches_.layers.size()));
            nixl_store_item_t item{};
            item.key = chunk->key.data();
            item.key_length = chunk->key.size();
            item.segments = places.back().data();
            item.segment_count = places.back().size();
            item.flags = NIXL_STORE_ITEM_KEEP; // what has this key has these bytes
            items.push_back(item);
        }
        nixl_store_ticket_t ticket = 0;
        const nixl_store_status_t status =
            nixl_store_batch_put(store_, items.data(), items.size(), &options, &ticket);
        if (status == NIXL_STORE_OK)
            saves_[request_id].push_back(ticket);
        else
            complain("save", status);
    }
}

bool Worker::is_saved(RequestId request_id)
{
    std::vector<nixl_store_ticket_t> &tickets = saves_[request_id];
    while (!tickets.empty()) {
        const nixl_store_status_t status = nixl_store_ticket_wait(store_, tickets.back(), 0, nullptr, 0, nullptr);
        if (status == NIXL_STORE_IN_PROGRESS)
            return false;
        if (status < 0)
            complain("save", status);
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
