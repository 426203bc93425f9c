// Whether it can be told from the logits that a state went through storage.
#pragma once

#include "llama/block_store.hpp"
#include "llama/engine.hpp"

#include <cstddef>
#include <vector>

namespace llama_kv {

struct Verdict {
    std::size_t tokens_restored;   // from storage
    bool same_state;               // llama.cpp exports the same bytes after storage as after its own prefill
    bool same_as_memory;           // logits: through storage, and through memory in this process
    bool same_as_whole_state;      // logits: the same, but the state goes as one (llama_state_seq_get_data, set_data)
    float whole_state_difference;  // largest difference of a logit between llama.cpp's restore and its own prefill
    float storage_difference;      // largest difference of a logit between storage and prefill
    bool same_best_token;          // after storage and after prefill

    bool holds() const { return tokens_restored > 0 && same_state && same_as_memory && same_as_whole_state && same_best_token; }
};

// Computes the prompt, and takes it from storage where it has to be by now. Leaves the engine without tokens.
Verdict verify(Engine &engine, BlockStore &store, const std::vector<Digest> &keys, const std::vector<Token> &tokens,
               std::size_t tokens_per_block);

} // namespace llama_kv
