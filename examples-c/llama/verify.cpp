#include "llama/verify.hpp"

#include "llama/prefix_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace llama_kv {

namespace {

using Logits = std::vector<float>;

// Bit by bit: 0.0 and -0.0 are not the same here.
bool same_bits(const Logits &left, const Logits &right)
{
    return left.size() == right.size() && std::memcmp(left.data(), right.data(), left.size() * sizeof(float)) == 0;
}

float largest_difference(const Logits &left, const Logits &right)
{
    float largest = 0;
    for (std::size_t index = 0; index < left.size(); ++index)
        largest = std::max(largest, std::fabs(left[index] - right[index]));
    return largest;
}

} // namespace

Verdict verify(Engine &engine, BlockStore &store, const std::vector<Digest> &keys, const std::vector<Token> &tokens,
               std::size_t tokens_per_block)
{
    Verdict verdict{};

    // The engine alone: prefill, its own copy of the state, and the blocks kept in this process's memory.
    engine.clear();
    engine.compute(tokens, 0);
    const Logits prefill = engine.logits();
    const Token prefill_best = engine.best();
    std::vector<std::vector<std::uint8_t>> blocks;
    for (std::size_t index = 0; index < keys.size(); ++index) {
        blocks.emplace_back(engine.block_bytes());
        engine.export_block(index, blocks.back().data());
    }
    const std::size_t kept = plan_prefix(tokens.size(), tokens_per_block, keys.size()).tokens_reused;
    if (kept == 0)
        return verdict;
    engine.cut(kept);
    const std::vector<std::uint8_t> whole_state = engine.export_all();

    engine.clear();
    for (std::size_t index = 0; index < blocks.size(); ++index) {
        if (!engine.import_block(index, blocks[index].data()))
            return verdict;
    }
    engine.cut(kept);
    engine.compute(tokens, kept);
    const Logits after_blocks = engine.logits();

    // Through storage.
    engine.clear();
    const std::size_t restored = store.restore(keys, keys.size(), [&](std::size_t index, const std::uint8_t *bytes) {
        return engine.import_block(index, bytes);
    });
    if (restored != keys.size())
        return verdict;
    engine.cut(kept);
    verdict.tokens_restored = kept;
    const std::vector<std::uint8_t> restored_state = engine.export_all();
    engine.compute(tokens, kept);
    const Logits after_storage = engine.logits();
    verdict.same_best_token = engine.best() == prefill_best;

    const auto logits_after_copy = [&](const std::vector<std::uint8_t> &state) {
        engine.clear();
        if (!engine.import_all(state))
            return Logits{};
        engine.compute(tokens, kept);
        return engine.logits();
    };
    const Logits after_copy = logits_after_copy(whole_state);
    verdict.same_state = restored_state == whole_state;
    verdict.same_after_blocks = same_bits(after_storage, after_blocks);
    verdict.same_after_copy = !after_copy.empty() && same_bits(logits_after_copy(restored_state), after_copy);
    verdict.storage_difference = largest_difference(after_storage, prefill);
    verdict.copy_difference = largest_difference(after_copy, prefill);
    engine.clear();
    return verdict;
}

} // namespace llama_kv
