#include "connector/scheduler.hpp"

#include <algorithm>

namespace connector {

Scheduler::Scheduler(const nixl_store::store &store, const llama_kv::Identity &identity, std::size_t tokens_per_block)
    : store_(store), chain_(identity, tokens_per_block)
{
}

std::pair<std::size_t, bool> Scheduler::get_num_new_matched_tokens(const Tokens &tokens,
                                                                   std::size_t num_computed_tokens) const
{
    const std::size_t block = chain_.tokens_per_block();
    // A prompt that ends within what is on the device shares a block with it, which cannot be loaded in part.
    if (num_computed_tokens % block != 0 || tokens.empty())
        return {0, false};
    const std::vector<Digest> keys = chain_.keys(tokens);
    // The last token has to be computed in any case: the next one follows from it.
    const std::size_t loadable = std::min(keys.size(), (tokens.size() - 1) / block);
    nixl_store::keys chain;
    for (std::size_t index = num_computed_tokens / block; index < loadable; ++index)
        chain.add(keys[index]);
    return {store_.prefix_match(chain).or_throw() * block, false};
}

Metadata Scheduler::build_connector_meta(const SchedulerOutput &output)
{
    Metadata all;
    const auto add = [&all](const Metadata &one) {
        all.load.insert(all.load.end(), one.load.begin(), one.load.end());
        all.save.insert(all.save.end(), one.save.begin(), one.save.end());
    };
    for (const RequestData &request : output.new_requests) {
        const std::vector<Digest> keys = chain_.keys(request.new_tokens);
        const std::size_t stored = request.computed_position / chain_.tokens_per_block();
        Metadata &mine = requests_[request.request_id];
        // A block that is not full yet has no key.
        for (std::size_t index = 0; index < std::min(keys.size(), request.new_block_ids.size()); ++index)
            (index < stored ? mine.load : mine.save)
                .push_back({request.request_id, keys[index], request.new_block_ids[index]});
        add(mine);
    }
    for (const RequestId request_id : output.cached_requests)
        add(requests_.at(request_id));
    return all;
}

void Scheduler::handle_load_errors(RequestId request_id, const std::vector<BlockId> &block_ids)
{
    Metadata &mine = requests_.at(request_id);
    for (const Chunk &chunk : mine.load) {
        if (std::find(block_ids.begin(), block_ids.end(), chunk.block_id) != block_ids.end())
            mine.save.push_back(chunk);
    }
    // The others are on the device by now.
    mine.load.clear();
}

bool Scheduler::request_finished(RequestId request_id)
{
    const auto found = requests_.find(request_id);
    const bool saves = found != requests_.end() && !found->second.save.empty();
    if (found != requests_.end())
        requests_.erase(found);
    return saves;
}

} // namespace connector
