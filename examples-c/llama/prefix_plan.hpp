// Which part of a prompt comes from storage, which is computed, and which blocks are stored afterwards.
#pragma once

#include <algorithm>
#include <cstddef>

namespace llama_kv {

struct PrefixPlan {
    std::size_t blocks_restored; // leading blocks that came from storage
    std::size_t tokens_reused;   // leading tokens whose cached values are kept; the rest is computed
    std::size_t blocks_to_store; // blocks after the restored ones that will be new
};

// prompt_tokens: at least 1. blocks_restored: at most the full blocks of the prompt.
//
// The last token of a prompt is computed always: storage has its cached values, but the logits that follow from it
// are what the first new token is chosen by. A prompt that ends with a restored block loses that one token again.
inline PrefixPlan plan_prefix(std::size_t prompt_tokens, std::size_t tokens_per_block, std::size_t blocks_restored)
{
    const std::size_t full_blocks = prompt_tokens / tokens_per_block;
    PrefixPlan plan{};
    plan.blocks_restored = std::min(blocks_restored, full_blocks);
    plan.tokens_reused = std::min(plan.blocks_restored * tokens_per_block, prompt_tokens - 1);
    plan.blocks_to_store = full_blocks - plan.blocks_restored;
    return plan;
}

} // namespace llama_kv
