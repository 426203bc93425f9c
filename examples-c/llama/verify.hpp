// Whether it can be told from the logits that a state went through storage.
#pragma once

#include "llama/block_store.hpp"
#include "llama/engine.hpp"

#include <cstddef>
#include <vector>

namespace llama_kv {

struct Verdict {
    std::size_t tokens_restored; // from storage
    bool same_state;             // llama.cpp exports the same bytes after storage as after its own prefill
    bool same_after_blocks;      // logits: blocks through storage, and blocks through this process's memory
    bool same_after_copy;        // logits: llama.cpp's copy of the state from storage, and of that from its prefill
    bool same_best_token;        // after storage and after prefill
    float storage_difference;    // largest difference of a logit after storage to that after prefill
    float copy_difference;       // the same after llama.cpp's own copy

    bool holds() const { return same_state && same_after_blocks && same_after_copy && same_best_token; }
};

// Computes the prompt, and takes it from storage, where it has to be by now. Leaves the engine without tokens.
//
// A copy is llama_state_seq_get_data and llama_state_seq_set_data in this process. With layers of a sliding window it
// leaves out what the window has passed, so that the rest comes to lie elsewhere in the cache and is added up in
// another order: logits after a copy differ from those after prefill by more than those after storage do. That is why
// the whole state is compared copy with copy.
Verdict verify(Engine &engine, BlockStore &store, const std::vector<Digest> &keys, const std::vector<Token> &tokens,
               std::size_t tokens_per_block);

} // namespace llama_kv
