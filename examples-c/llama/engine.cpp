#include "llama/engine.hpp"

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <utility>

namespace llama_kv {

namespace {

constexpr llama_seq_id main_sequence = 0;
constexpr llama_seq_id block_sequence = 1; // a block on its way in or out; empty in between
constexpr std::uint32_t sequence_count = 2;

constexpr std::size_t tokens_per_step = 512; // llama.cpp's own default

void log_errors(ggml_log_level level, const char *text, void *)
{
    if (level == GGML_LOG_LEVEL_ERROR)
        std::fputs(text, stderr);
}

[[noreturn]] void fail(const std::string &what) { throw std::runtime_error("llama.cpp: " + what); }

} // namespace

Engine::Engine(const std::string &model_path, std::size_t tokens_per_block, std::size_t context_tokens, int threads)
    : tokens_per_block_(tokens_per_block)
{
    llama_log_set(log_errors, nullptr);
    llama_backend_init();
    model_.reset(llama_model_load_from_file(model_path.c_str(), llama_model_default_params()));
    if (model_ == nullptr)
        fail("cannot load " + model_path);
    if (llama_model_is_recurrent(model_.get()) || llama_model_is_hybrid(model_.get()) ||
        llama_model_has_encoder(model_.get()))
        fail("this model keeps more than cached values for each token, which cannot be cut into blocks");
    vocab_ = llama_model_get_vocab(model_.get());

    settings_ = llama_context_default_params();
    settings_.n_ctx = static_cast<std::uint32_t>(context_tokens);
    settings_.n_batch = settings_.n_ubatch = tokens_per_step;
    settings_.n_seq_max = sequence_count;
    settings_.n_threads = settings_.n_threads_batch = threads;
    // Layers with a sliding window would drop the values of earlier blocks, which other prompts continue from.
    settings_.swa_full = true;
    // With a cache for each sequence, ranges could not be lent.
    settings_.kv_unified = true;
    // Said, not chosen by llama.cpp, because it decides how values lie in a state.
    settings_.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    context_.reset(llama_init_from_model(model_.get(), settings_));
    if (context_ == nullptr)
        fail("cannot make a context of " + std::to_string(context_tokens) + " tokens");
    memory_ = llama_get_memory(context_.get());
    block_bytes_ = measure_block();
}

// A state has a part of fixed size and one for each token. Both come out of two tokens, whose computation warms up
// weights and threads besides.
std::size_t Engine::measure_block()
{
    const Token tokens[2] = {0, 0};
    decode(tokens, 2, 0, block_sequence);
    const std::size_t two = llama_state_seq_get_size(context_.get(), block_sequence);
    llama_memory_seq_rm(memory_, block_sequence, 1, -1);
    const std::size_t one = llama_state_seq_get_size(context_.get(), block_sequence);
    clear();
    if (one == 0 || two <= one)
        fail("the state of a sequence does not grow with its tokens");
    return one + (tokens_per_block_ - 1) * (two - one);
}

Identity Engine::identity(const Digest &model_digest) const
{
    const std::uint16_t byte_order = 1;
    const bool is_little_endian = *reinterpret_cast<const std::uint8_t *>(&byte_order) == 1;
    Identity identity;
    identity.add("engine", "llama.cpp block state 1")
        .add("engine version", llama_version())
        .add("model", std::string_view(reinterpret_cast<const char *>(model_digest.data()), model_digest.size()))
        .add("state version", std::int64_t{LLAMA_STATE_SEQ_VERSION})
        .add("session version", std::int64_t{LLAMA_SESSION_VERSION})
        .add("little endian", std::int64_t{is_little_endian})
        .add("block bytes", static_cast<std::int64_t>(block_bytes_))
        .add("type_k", std::int64_t{settings_.type_k})
        .add("type_v", std::int64_t{settings_.type_v})
        .add("flash_attn", std::int64_t{settings_.flash_attn_type})
        .add("swa_full", std::int64_t{settings_.swa_full})
        .add("kv_unified", std::int64_t{settings_.kv_unified})
        .add("attention_type", std::int64_t{settings_.attention_type})
        .add("rope_scaling_type", std::int64_t{settings_.rope_scaling_type})
        .add("rope_freq_base", settings_.rope_freq_base)
        .add("rope_freq_scale", settings_.rope_freq_scale)
        .add("yarn_ext_factor", settings_.yarn_ext_factor)
        .add("yarn_attn_factor", settings_.yarn_attn_factor)
        .add("yarn_beta_fast", settings_.yarn_beta_fast)
        .add("yarn_beta_slow", settings_.yarn_beta_slow)
        .add("yarn_orig_ctx", std::int64_t{settings_.yarn_orig_ctx});
    return identity;
}

std::vector<Token> Engine::tokenize(const std::string &text, bool is_start) const
{
    // A token has at least a byte; room for the few that mark the start.
    std::vector<Token> tokens(text.size() + 8);
    const std::int32_t count = llama_tokenize(vocab_, text.data(), static_cast<std::int32_t>(text.size()), tokens.data(),
                                              static_cast<std::int32_t>(tokens.size()), is_start, true);
    if (count < 0)
        fail("cannot tokenize the prompt");
    tokens.resize(static_cast<std::size_t>(count));
    return tokens;
}

std::string Engine::text_of(Token token) const
{
    char text[256];
    const std::int32_t length = llama_token_to_piece(vocab_, token, text, sizeof text, 0, false);
    return std::string(text, static_cast<std::size_t>(std::max(length, 0)));
}

void Engine::clear() { llama_memory_clear(memory_, true); }

void Engine::cut(std::size_t position)
{
    if (!llama_memory_seq_rm(memory_, main_sequence, static_cast<llama_pos>(position), -1))
        fail("cannot cut the cached tokens");
}

void Engine::decode(const Token *tokens, std::size_t count, std::size_t first, llama_seq_id sequence)
{
    llama_batch batch = llama_batch_init(static_cast<std::int32_t>(count), 0, 1);
    for (std::size_t index = 0; index < count; ++index) {
        batch.token[index] = tokens[index];
        batch.pos[index] = static_cast<llama_pos>(first + index);
        batch.n_seq_id[index] = 1;
        batch.seq_id[index][0] = sequence;
        batch.logits[index] = index + 1 == count;
    }
    batch.n_tokens = static_cast<std::int32_t>(count);
    const std::int32_t status = llama_decode(context_.get(), batch);
    llama_batch_free(batch);
    if (status != 0)
        fail("decode gives " + std::to_string(status));
}

void Engine::compute(const std::vector<Token> &tokens, std::size_t first)
{
    // The last token by itself, however many are cached: what is computed for one token may differ in rounding from
    // what is computed for many, and logits should not depend on how much was reused.
    const std::size_t last = tokens.size() - 1;
    for (; first < last; first += std::min(tokens_per_step, last - first))
        decode(tokens.data() + first, std::min(tokens_per_step, last - first), first, main_sequence);
    decode(tokens.data() + last, 1, last, main_sequence);
}

std::vector<float> Engine::logits() const
{
    const float *const values = llama_get_logits_ith(context_.get(), -1);
    return std::vector<float>(values, values + llama_vocab_n_tokens(vocab_));
}

Token Engine::best() const
{
    const float *const values = llama_get_logits_ith(context_.get(), -1);
    Token best = -1;
    for (Token token = 0; token < llama_vocab_n_tokens(vocab_); ++token) {
        if ((best < 0 || values[token] > values[best]) && !llama_vocab_is_eog(vocab_, token))
            best = token;
    }
    return best;
}

void Engine::export_block(std::size_t index, std::uint8_t *bytes)
{
    const auto first = static_cast<llama_pos>(index * tokens_per_block_);
    const auto end = static_cast<llama_pos>(first + static_cast<llama_pos>(tokens_per_block_));
    llama_memory_seq_cp(memory_, main_sequence, block_sequence, first, end);
    const std::size_t size = llama_state_seq_get_size(context_.get(), block_sequence);
    const bool is_whole = size == block_bytes_ && llama_state_seq_get_data(context_.get(), bytes, size, block_sequence) == size;
    llama_memory_seq_rm(memory_, block_sequence, -1, -1);
    // A block longer than a sliding window would come out without its beginning.
    if (!is_whole)
        fail("a block has " + std::to_string(size) + " bytes instead of " + std::to_string(block_bytes_) +
             "; are blocks longer than the model's window of " + std::to_string(llama_model_n_swa(model_.get())) + " tokens?");
}

bool Engine::import_block(std::size_t index, const std::uint8_t *bytes)
{
    const auto first = static_cast<llama_pos>(index * tokens_per_block_);
    const auto end = static_cast<llama_pos>(first + static_cast<llama_pos>(tokens_per_block_));
    const bool is_block = llama_state_seq_set_data(context_.get(), bytes, block_bytes_, block_sequence) == block_bytes_ &&
                          llama_memory_seq_pos_min(memory_, block_sequence) == first &&
                          llama_memory_seq_pos_max(memory_, block_sequence) == end - 1;
    if (is_block)
        llama_memory_seq_cp(memory_, block_sequence, main_sequence, first, end);
    llama_memory_seq_rm(memory_, block_sequence, -1, -1);
    return is_block;
}

std::vector<std::uint8_t> Engine::export_all()
{
    std::vector<std::uint8_t> bytes(llama_state_seq_get_size(context_.get(), main_sequence));
    if (llama_state_seq_get_data(context_.get(), bytes.data(), bytes.size(), main_sequence) != bytes.size())
        fail("cannot export the cached tokens");
    return bytes;
}

bool Engine::import_all(const std::vector<std::uint8_t> &bytes)
{
    return llama_state_seq_set_data(context_.get(), bytes.data(), bytes.size(), main_sequence) == bytes.size();
}

} // namespace llama_kv
