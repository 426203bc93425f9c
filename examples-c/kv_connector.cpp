// A KV cache connector in the shape of TensorRT-LLM's: paged memory on the device, loaded layer by layer while the layers
// before are computed, all in the order of the engine's CUDA stream.
//
//   kv_connector [lmcache.yaml]        (else $LMCACHE_CONFIG_FILE, else a temporary store)
//
// connector/scheduler.hpp and connector/worker.hpp are what a runtime would take over; connector/engine.hpp simulates the
// runtime. Three prompts share their beginning. The first is computed. The second finds it in the store. The third loses a
// block between match and load, and computes it again. Where there is no driver or no GPU the program says so and is
// content.
#include "common/temp_store.h"
#include "connector/engine.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace connector {

constexpr std::size_t shared_blocks = 8;
constexpr std::size_t lost_block = 3;
constexpr std::size_t tail_tokens = 5; // behind the last full block
constexpr std::size_t store_slots = 32;
constexpr std::size_t staging_bytes = std::size_t{16} << 20;

nixl_store::store open_store(const char *config_path, int device)
{
    return nixl_store::store::open(config_path,
                                   nixl_store::open_options()
                                       .chunk_bytes(block_bytes)
                                       // What takes time with the driver is done by the open, not in a forward pass.
                                       .cuda_device(static_cast<std::uint32_t>(device))
                                       .cache_namespace("kv-connector"))
        .or_throw();
}

Tokens prompt(std::size_t own_blocks, Token seed)
{
    Tokens tokens;
    for (std::size_t index = 0; index < shared_blocks * tokens_per_block; ++index)
        tokens.push_back(static_cast<Token>(index));
    for (std::size_t index = 0; index < own_blocks * tokens_per_block + tail_tokens; ++index)
        tokens.push_back(seed + static_cast<Token>(index));
    return tokens;
}

struct Totals {
    std::size_t blocks = 0, loaded = 0, wrong = 0;
};

void report(const char *what, const Served &served, Totals &totals)
{
    totals.blocks += served.blocks;
    totals.loaded += served.loaded;
    totals.wrong += served.wrong;
    std::printf("  %-34s %6zu %8zu %10zu %8zu %10.2f %10.2f %7zu\n", what, served.blocks, served.loaded, served.computed,
                served.passes, served.first_layer_s * 1e3, served.prefill_s * 1e3, served.wrong);
}

int serve_prompts(const Gpu &gpu, const nixl_store::store &store)
{
    Engine engine(gpu, store);

    std::printf("kv_connector: %s, driver %d.%d, nixl_store %s\n\n", gpu->device_name, gpu->version / 1000,
                gpu->version % 1000 / 10, nixl_store::version());
    std::printf("  blocks of %zu tokens, %zu KiB in %zu layers; a get fetches %zu layers of a block\n\n", tokens_per_block,
                block_bytes / 1024, layer_count, engine.layers_per_get());
    std::printf("  %-34s %6s %8s %10s %8s %10s %10s %7s\n", "prompt", "blocks", "loaded", "computed", "passes",
                "layer 0 ms", "prefill ms", "wrong");
    Totals totals;
    report("one that nobody had", engine.serve(1, prompt(2, 1'000'000)), totals);
    report("another with the same beginning", engine.serve(2, prompt(3, 2'000'000)), totals);
    // As if it had been evicted, just after it was matched.
    const auto lose = [&](const std::vector<Digest> &keys) {
        store.remove(keys[lost_block]).or_throw();
    };
    report("one that loses a block on the way", engine.serve(3, prompt(3, 3'000'000), lose), totals);
    report("the same again", engine.serve(4, prompt(3, 3'000'000)), totals);
    std::printf("\n  every byte that attention read was compared: %zu blocks, %zu of them loaded, %zu planes wrong\n",
                totals.blocks, totals.loaded, totals.wrong);
    return totals.wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int run(const Gpu &gpu, const char *config_path)
{
    nixl_store::store store = open_store(config_path, gpu->device);
    const int result = serve_prompts(gpu, store);
    store.close().or_throw();
    return result;
}

} // namespace connector

int main(int argc, char **argv)
{
    char why[CUDA_TEXT_BYTES_MAX];
    cuda_driver_t cuda;
    if (cuda_driver_open(&cuda, why) != 0) {
        std::printf("kv_connector: nothing was done: %s\n", why);
        return EXIT_SUCCESS;
    }
    const connector::Gpu gpu(cuda);
    const bool own_store = argc < 2 && std::getenv("LMCACHE_CONFIG_FILE") == nullptr;
    temp_store_t temp_store{};
    int result = EXIT_FAILURE;
    if (own_store) {
        temp_store_options_t options{};
        options.policy = "LRU";
        options.slot_count = connector::store_slots;
        options.chunk_bytes = connector::block_bytes;
        options.staging_bytes = connector::staging_bytes;
        if (temp_store_create(&temp_store, &options) != 0)
            return EXIT_FAILURE;
    }
    try {
        result = connector::run(gpu, own_store ? temp_store.config_path : argc > 1 ? argv[1] : nullptr);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "kv_connector: %s\n", error.what());
    }
    if (own_store)
        temp_store_remove(&temp_store);
    return result;
}
