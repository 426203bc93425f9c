// llama.cpp continues from a KV cache that another process computed.
//
//   llama_kv_reuse --model FILE.gguf --config lmcache.yaml --document FILE --question TEXT
//
// The prompt is cut into blocks of tokens. Each has a key that stands for all tokens up to its end, for the model and
// for the layout of its cache (llama/block_chain.hpp). One call finds the longest prefix that is stored, it is read
// while llama.cpp takes it in block by block, and only the rest is computed. New blocks are stored while the answer is
// generated. A block that is missing, damaged or unfit ends the prefix, and nothing else happens.
#include "llama/block_chain.hpp"
#include "llama/block_store.hpp"
#include "llama/engine.hpp"
#include "llama/options.hpp"
#include "llama/prefix_plan.hpp"
#include "llama/verify.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace llama_kv {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start)
{
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Times {
    double lookup_ms = 0;      // keys, and the one question to the store
    double restore_ms = 0;     // from storage into llama.cpp
    double compute_ms = 0;     // what was not restored
    double first_token_ms = 0; // all of it
    double export_ms = 0;      // new blocks out of llama.cpp, after the first token
    double generate_ms = 0;
    double finish_ms = 0;      // what was left to wait for until the new blocks were stored
};

struct Outcome {
    std::vector<Token> prompt, answer;
    std::vector<Digest> keys;
    PrefixPlan plan{};
    std::size_t blocks_stored = 0;
    Times times;
    std::optional<Verdict> verdict;
};

Digest digest_of_file(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    std::vector<char> buffer(1 << 20);
    Sha256 hash;
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), file.gcount() > 0)
        hash.update(buffer.data(), static_cast<std::size_t>(file.gcount()));
    if (!file.eof())
        throw std::runtime_error("cannot read " + path);
    return hash.finish();
}

std::string text_of_file(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    if (!(text << file.rdbuf()))
        throw std::runtime_error("cannot read " + path);
    return text.str();
}

std::vector<Token> make_prompt(const Engine &engine, const Options &options)
{
    std::vector<Token> prompt = engine.tokenize(text_of_file(options.document), true);
    const std::vector<Token> question = engine.tokenize(options.question, false);
    if (options.prompt_tokens != 0) {
        if (question.size() >= options.prompt_tokens || prompt.size() + question.size() < options.prompt_tokens)
            throw std::runtime_error("document and question have " + std::to_string(prompt.size()) + " and " +
                                     std::to_string(question.size()) + " tokens: no prompt of " +
                                     std::to_string(options.prompt_tokens) + " can be cut from them");
        prompt.resize(options.prompt_tokens - question.size());
    }
    prompt.insert(prompt.end(), question.begin(), question.end());
    if (prompt.empty())
        throw std::runtime_error("the prompt is empty");
    return prompt;
}

// One request. store: nullptr to do without.
Outcome serve(Engine &engine, BlockStore *store, const BlockChain &chain, const Options &options,
              std::vector<Token> prompt)
{
    Outcome outcome;
    Times &times = outcome.times;
    outcome.prompt = std::move(prompt);
    const std::vector<Token> &tokens = outcome.prompt;

    const Clock::time_point start = Clock::now();
    outcome.keys = chain.keys(tokens);
    const std::size_t matched = store == nullptr ? 0 : store->match(outcome.keys);
    times.lookup_ms = milliseconds_since(start);

    Clock::time_point step = Clock::now();
    const std::size_t restored =
        matched == 0 ? 0 : store->restore(outcome.keys, matched, [&](std::size_t index, const std::uint8_t *bytes) {
            return engine.import_block(index, bytes);
        });
    outcome.plan = plan_prefix(tokens.size(), chain.tokens_per_block(), restored);
    engine.cut(outcome.plan.tokens_reused);
    times.restore_ms = milliseconds_since(step);

    step = Clock::now();
    engine.compute(tokens, outcome.plan.tokens_reused);
    outcome.answer.push_back(engine.best());
    times.compute_ms = milliseconds_since(step);
    times.first_token_ms = milliseconds_since(start);

    step = Clock::now();
    if (store != nullptr) {
        for (std::size_t index = restored; index < outcome.keys.size(); ++index)
            engine.export_block(index, store->memory(index));
        outcome.blocks_stored = store->store(outcome.keys, restored);
    }
    times.export_ms = milliseconds_since(step);

    step = Clock::now();
    std::vector<Token> all = tokens;
    while (outcome.answer.size() < options.generate) {
        all.push_back(outcome.answer.back());
        engine.compute(all, all.size() - 1);
        outcome.answer.push_back(engine.best());
    }
    times.generate_ms = milliseconds_since(step);

    step = Clock::now();
    if (store != nullptr)
        outcome.blocks_stored -= store->finish();
    times.finish_ms = milliseconds_since(step);
    return outcome;
}

// The beginning of an answer, on one line.
std::string beginning(const Engine &engine, const std::vector<Token> &answer)
{
    constexpr std::size_t bytes_shown = 80;
    std::string text;
    for (std::size_t index = 0; index < answer.size() && text.size() < bytes_shown; ++index)
        text += engine.text_of(answer[index]);
    for (char &letter : text)
        letter = letter == '\n' ? ' ' : letter;
    return text + " ...";
}

void print(const Outcome &outcome, const Engine &engine)
{
    const Times &times = outcome.times;
    std::printf("  prompt            %6zu tokens, %zu full blocks of %.2f MiB\n", outcome.prompt.size(),
                outcome.keys.size(), static_cast<double>(engine.block_bytes()) / (1 << 20));
    std::printf("  reused            %6zu tokens, %zu blocks\n", outcome.plan.tokens_reused, outcome.plan.blocks_restored);
    std::printf("  first token after %9.2f ms (look up %.2f, restore %.2f, compute %.2f)\n", times.first_token_ms,
                times.lookup_ms, times.restore_ms, times.compute_ms);
    std::printf("  stored            %6zu blocks (copied out in %.2f ms; %.2f ms to wait after the answer)\n",
                outcome.blocks_stored, times.export_ms, times.finish_ms);
    std::printf("  generated         %6zu tokens in %.0f ms\n", outcome.answer.size(), times.generate_ms);
    std::printf("  answer            %s\n", beginning(engine, outcome.answer).c_str());
}

void print(const Verdict &verdict)
{
    const auto row = [](const char *what, bool holds) { std::printf("  %-72s %s\n", what, holds ? "yes" : "NO"); };
    std::printf("\n  %zu tokens from storage, against llama.cpp alone:\n", verdict.tokens_restored);
    row("the state that llama.cpp exports: same bytes as after its prefill", verdict.same_state);
    row("logits, blocks through memory instead of storage: same bits", verdict.same_after_blocks);
    row("logits, llama.cpp's copy of the stored and of its own state: same bits", verdict.same_after_copy);
    row("best token: same as after prefill", verdict.same_best_token);
    std::printf("  logits differ from those after prefill by up to %.3f; after llama.cpp's own copy by up to %.3f\n",
                static_cast<double>(verdict.storage_difference), static_cast<double>(verdict.copy_difference));
}

void write_report(const std::string &path, const Outcome &outcome, const Engine &engine)
{
    std::ofstream file(path);
    file << "prompt_tokens=" << outcome.prompt.size() << "\ntokens_reused=" << outcome.plan.tokens_reused
         << "\nblocks_restored=" << outcome.plan.blocks_restored << "\nblocks_stored=" << outcome.blocks_stored
         << "\nblock_bytes=" << engine.block_bytes() << "\nfirst_token_ms=" << outcome.times.first_token_ms
         << "\nlookup_ms=" << outcome.times.lookup_ms << "\nrestore_ms=" << outcome.times.restore_ms
         << "\ncompute_ms=" << outcome.times.compute_ms << "\nanswer=";
    for (const Token token : outcome.answer)
        file << token << ' ';
    file << "\nkeys=";
    for (const Digest &key : outcome.keys) {
        for (const std::uint8_t byte : key)
            file << "0123456789abcdef"[byte >> 4] << "0123456789abcdef"[byte & 15];
        file << ' ';
    }
    file << '\n';
    if (!file.flush())
        throw std::runtime_error("cannot write " + path);
}

int run(const Options &options)
{
    // Room for the longest prompt that the options allow, before there is an engine to count its tokens.
    const std::size_t document_tokens_max =
        options.prompt_tokens != 0 ? options.prompt_tokens : text_of_file(options.document).size() + options.question.size() + 8;
    Engine engine(options.model, options.block_tokens, document_tokens_max + options.generate, options.threads);
    std::vector<Token> prompt = make_prompt(engine, options);
    const BlockChain chain(engine.identity(digest_of_file(options.model)), options.block_tokens);

    std::unique_ptr<BlockStore> store;
    if (options.use_store)
        store = std::make_unique<BlockStore>(options.config.empty() ? nullptr : options.config.c_str(),
                                             engine.block_bytes(), prompt.size() / options.block_tokens);
    if (store != nullptr && options.forget_block != Options::no_block) {
        const std::vector<Digest> keys = chain.keys(prompt);
        if (options.forget_block >= keys.size() || !store->remove(keys[options.forget_block]))
            throw std::runtime_error("there is no block " + std::to_string(options.forget_block) + " to forget");
    }

    const Outcome outcome = serve(engine, store.get(), chain, options, std::move(prompt));
    print(outcome, engine);
    if (!options.report.empty())
        write_report(options.report, outcome, engine);
    if (!options.verify || store == nullptr)
        return EXIT_SUCCESS;
    const Verdict verdict = verify(engine, *store, outcome.keys, outcome.prompt, options.block_tokens);
    print(verdict);
    return verdict.holds() ? EXIT_SUCCESS : EXIT_FAILURE;
}

} // namespace
} // namespace llama_kv

int main(int argc, char **argv)
{
    try {
        return llama_kv::run(llama_kv::parse_options(argc, argv));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "llama_kv_reuse: %s\n", error.what());
        return EXIT_FAILURE;
    }
}
