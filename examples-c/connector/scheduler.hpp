// The scheduler's side of the connector: what is stored of a prompt, and what the workers are to load and to save.
#pragma once

#include "connector/types.hpp"

#include <map>
#include <utility>

namespace connector {

class Scheduler {
public:
    // The identity is all that cached values depend on beside the tokens: model, precision, adapters.
    Scheduler(const nixl_store::store &store, const llama_kv::Identity &identity, std::size_t tokens_per_block);

    // How many tokens of a prompt can be loaded behind those that are computed already, and whether they come
    // without the forward pass waiting for them, which it does here.
    std::pair<std::size_t, bool> get_num_new_matched_tokens(const Tokens &tokens, std::size_t num_computed_tokens) const;

    // What the workers have to do for the requests of the next forward pass.
    Metadata build_connector_meta(const SchedulerOutput &output);

    // Blocks that could not be loaded: the pass is to be repeated, and computes and saves them. TensorRT-LLM has no
    // such call; without it a miss between match and load would go unnoticed.
    void handle_load_errors(RequestId request_id, const std::vector<BlockId> &block_ids);

    // Whether the blocks of a request have to stay until get_finished() of the worker has named it.
    bool request_finished(RequestId request_id);

    std::vector<Digest> keys(const Tokens &tokens) const { return chain_.keys(tokens); }

private:
    const nixl_store::store &store_;
    llama_kv::BlockChain chain_;
    std::map<RequestId, Metadata> requests_; // what was handed out last, for each that has not finished
};

} // namespace connector
