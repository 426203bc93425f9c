// llama.cpp, as far as the example needs it: tokens in, logits out, and the cached values of a block of tokens as bytes.
//
// llama.cpp gives and takes the state of a sequence, not of a range of it. With one cache for all sequences (kv_unified)
// a range can be lent to a second one without a copy, by llama_memory_seq_cp: what is exported is that sequence, which
// holds the block and nothing else. An import goes the other way round. No byte of the state is interpreted here.
#pragma once

#include "llama/block_chain.hpp"

#include <llama.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llama_kv {

class Engine {
public:
    // context_tokens: most tokens, prompt and answer together. Throws std::runtime_error, as all of this does.
    Engine(const std::string &model_path, std::size_t tokens_per_block, std::size_t context_tokens, int threads);

    // What the cached values depend on: the model's file and every setting that reaches them.
    Identity identity(const Digest &model_digest) const;

    std::vector<Token> tokenize(const std::string &text, bool is_start) const;
    std::string text_of(Token token) const;

    // Forgets all tokens, or those from `position` on.
    void clear();
    void cut(std::size_t position);

    // Computes the tokens from `first` on, which follow those that are cached. logits() are then of the last one.
    void compute(const std::vector<Token> &tokens, std::size_t first);
    std::vector<float> logits() const;
    // The most likely token that does not end the answer.
    Token best() const;

    std::size_t block_bytes() const { return block_bytes_; }
    // Copies the cached values of block `index` to block_bytes() bytes.
    void export_block(std::size_t index, std::uint8_t *bytes);
    // Appends block `index` to the cached tokens. Returns false, with the cached tokens as they were, if llama.cpp does
    // not take the bytes for such a block.
    bool import_block(std::size_t index, const std::uint8_t *bytes);

    // llama.cpp's own copy of all cached tokens.
    std::vector<std::uint8_t> export_all();
    bool import_all(const std::vector<std::uint8_t> &bytes);

private:
    void decode(const Token *tokens, std::size_t count, std::size_t first, llama_seq_id sequence);
    std::size_t measure_block();

    struct Free {
        void operator()(llama_model *model) const { llama_model_free(model); }
        void operator()(llama_context *context) const { llama_free(context); }
    };

    std::size_t tokens_per_block_;
    std::unique_ptr<llama_model, Free> model_;
    llama_context_params settings_{};
    std::unique_ptr<llama_context, Free> context_;
    llama_memory_t memory_ = nullptr;
    const llama_vocab *vocab_ = nullptr;
    std::size_t block_bytes_ = 0;
};

} // namespace llama_kv
