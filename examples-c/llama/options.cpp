#include "llama/options.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace llama_kv {

namespace {

constexpr std::size_t number_max = 1 << 24;
constexpr int threads_max = 512;

constexpr char usage[] =
    "usage: llama_kv_reuse --model FILE.gguf --document FILE [options]\n"
    "\n"
    "  --config FILE         LMCache YAML file of the store; else $LMCACHE_CONFIG_FILE\n"
    "  --document FILE       text that the prompt begins with\n"
    "  --question TEXT       text that the prompt ends with\n"
    "  --prompt-tokens N     cut the document so that the prompt has N tokens\n"
    "  --generate N          tokens to generate, greedily (64)\n"
    "  --block-tokens N      tokens of a block (64)\n"
    "  --threads N           threads (one for each processor)\n"
    "  --no-store            compute everything, keep nothing\n"
    "  --forget-block N      remove block N of the prompt from the store first\n"
    "  --verify              then compare logits after a restore with those after llama.cpp's own copy\n"
    "  --report FILE         write the results to FILE, a line of name=value each\n";

std::size_t number(std::string_view name, const char *text)
{
    char *end = nullptr;
    const unsigned long value = std::strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value > number_max)
        throw std::runtime_error(std::string(name) + ": a whole number up to " + std::to_string(number_max) +
                                 " is needed, not \"" + text + "\"");
    return value;
}

} // namespace

Options parse_options(int argc, char **argv)
{
    Options options;
    for (int index = 1; index < argc; ++index) {
        const std::string_view name = argv[index];
        const auto value = [&] {
            if (index + 1 == argc)
                throw std::runtime_error(std::string(name) + ": a value is missing");
            return argv[++index];
        };
        if (name == "--model")
            options.model = value();
        else if (name == "--config")
            options.config = value();
        else if (name == "--document")
            options.document = value();
        else if (name == "--question")
            options.question = value();
        else if (name == "--report")
            options.report = value();
        else if (name == "--prompt-tokens")
            options.prompt_tokens = number(name, value());
        else if (name == "--generate")
            options.generate = number(name, value());
        else if (name == "--block-tokens")
            options.block_tokens = number(name, value());
        else if (name == "--forget-block")
            options.forget_block = number(name, value());
        else if (name == "--threads")
            options.threads = static_cast<int>(number(name, value()));
        else if (name == "--no-store")
            options.use_store = false;
        else if (name == "--verify")
            options.verify = true;
        else if (name == "--help") {
            std::fputs(usage, stdout);
            std::exit(EXIT_SUCCESS);
        } else
            throw std::runtime_error(std::string(name) + ": unknown; see --help");
    }
    if (options.model.empty() || options.document.empty())
        throw std::runtime_error("--model and --document are needed; see --help");
    if (options.block_tokens == 0 || options.generate == 0)
        throw std::runtime_error("--block-tokens and --generate: at least 1");
    if (options.threads == 0)
        options.threads = static_cast<int>(std::thread::hardware_concurrency());
    if (options.threads < 1 || options.threads > threads_max)
        options.threads = options.threads < 1 ? 1 : threads_max;
    return options;
}

} // namespace llama_kv
