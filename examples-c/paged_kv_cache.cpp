// A paged KV cache with a second tier on storage, the way a TensorRT-LLM-style runtime would build one.
//
//   paged_kv_cache [lmcache.yaml]        (else $LMCACHE_CONFIG_FILE, else a temporary store)
//
// Conversations share system prompts and grow turn by turn. Each request takes its longest known prefix from the
// engine's pool, then from the store, and computes the rest; computed blocks are written behind it. Both pools are
// too small for all conversations, so both evict. Every block is checked byte by byte each time it is used.
#include "common/pattern.h"
#include "common/temp_store.h"
#include "paged/block_pool.hpp"
#include "paged/store.hpp"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace paged {

constexpr std::size_t engine_blocks = 48;
constexpr std::size_t store_slots = 96;
constexpr std::size_t system_prompt_count = 3;
constexpr std::size_t system_prompt_tokens = 4 * tokens_per_block;
constexpr std::size_t conversation_count = 12;
constexpr std::size_t turn_count = 6;
constexpr std::size_t turn_tokens_min = tokens_per_block;
constexpr std::size_t turn_tokens_max = 3 * tokens_per_block;
constexpr std::size_t staging_bytes = std::size_t{16} << 20;

using Token = std::uint32_t;
using Tokens = std::vector<Token>;
using PutFlags = nixl_store::put_flags;

// The same numbers on every run: what an example prints should not change by itself.
class Random {
public:
    std::uint64_t next() { return pattern_mix(state_++); }
    std::size_t between(std::size_t low, std::size_t high) { return low + next() % (high - low + 1); }

private:
    std::uint64_t state_ = 1;
};

// One key per full block. Each covers all tokens up to the end of its block, so equal keys mean equal prefixes.
std::vector<std::string> chain_keys(const Tokens &tokens)
{
    std::vector<std::string> keys;
    std::uint64_t halves[2] = {1, 2};
    for (std::size_t index = 0; index + tokens_per_block <= tokens.size(); index += tokens_per_block) {
        for (std::size_t at = index; at < index + tokens_per_block; ++at) {
            for (std::uint64_t &half : halves)
                half = pattern_mix(half ^ tokens[at]);
        }
        keys.emplace_back(reinterpret_cast<const char *>(halves), sizeof halves);
    }
    return keys;
}

struct Counts {
    std::size_t requests = 0, blocks = 0, resident = 0, loaded = 0, computed = 0, checked = 0, wrong = 0;
};

class Engine {
public:
    explicit Engine(const char *config_path)
        : pool_(engine_blocks), store_(config_path, block_bytes, "paged-kv-cache/tiny-model/bf16")
    {
        store_.register_memory(pool_.memory());
    }

    void serve(const Tokens &tokens, PutFlags put_flags = PutFlags::none)
    {
        const std::vector<std::string> keys = chain_keys(tokens);
        std::vector<BlockPool::Block> blocks = take_resident(keys);
        const std::size_t stored_end = blocks.size() + store_.prefix_match(keys, blocks.size());
        std::vector<BlockPool::Block> to_load, to_compute;

        while (blocks.size() < keys.size()) {
            const std::size_t index = blocks.size();
            // A later block may still be here though an earlier one is not.
            if (const auto resident = pool_.find(keys[index])) {
                blocks.push_back(*resident);
                continue;
            }
            blocks.push_back(allocate(keys[index]));
            (index < stored_end ? to_load : to_compute).push_back(blocks.back());
        }
        counts_.resident += blocks.size() - to_load.size() - to_compute.size();
        counts_.loaded += to_load.size();
        load(to_load, to_compute);
        compute(to_compute);
        write_behind(to_compute, put_flags);

        for (const BlockPool::Block block : blocks)
            check_block(block);
        for (const BlockPool::Block block : blocks)
            pool_.release(block);
        ++counts_.requests;
        counts_.blocks += keys.size();
    }

    // Waits for what is being written and keeps these blocks in the store for good, whatever it must evict.
    void pin(const Tokens &tokens)
    {
        finish_writes(0);
        const std::vector<std::string> keys = chain_keys(tokens);
        pins_.push_back(store_.pin(keys));
        if (pins_.back().size() != keys.size())
            throw std::runtime_error("a block that was just put is not there to be pinned");
        pinned_.insert(pinned_.end(), keys.begin(), keys.end());
    }

    // After all the evictions: the pinned blocks must be there still. Reads one layer of each, as an engine does
    // that starts computing a layer while the next one is being read.
    void check_pinned()
    {
        finish_writes(0);
        for (std::size_t index = 0; index < pinned_.size(); ++index) {
            const std::size_t layer = index % layer_count;
            std::vector<unsigned char> keys_and_values(2 * segment_bytes);
            const Transfer transfer{pinned_[index],
                                    {host_segment(keys_and_values.data()),
                                     host_segment(keys_and_values.data() + segment_bytes)}};
            bool right = store_.get_range(transfer, layer * 2 * segment_bytes).bytes() == keys_and_values.size();
            for (std::size_t half = 0; half < 2; ++half)
                right = right && pattern_first_wrong(keys_and_values.data() + half * segment_bytes, segment_bytes,
                                                     segment_content(pinned_[index], layer * 2 + half)) == segment_bytes;
            counts_.wrong += right ? 0 : 1;
        }
    }

    const Counts &counts() const { return counts_; }
    std::size_t pinned() const { return pinned_.size(); }
    std::size_t pool_evictions() const { return pool_.evictions(); }
    nixl_store::stats store_stats() const { return store_.stats(); }

private:
    struct Write {
        nixl_store::ticket ticket;
        std::vector<BlockPool::Block> blocks; // in use until the write is done with their memory
    };

    std::vector<BlockPool::Block> take_resident(const std::vector<std::string> &keys)
    {
        std::vector<BlockPool::Block> blocks;
        for (const std::string &key : keys) {
            const auto block = pool_.find(key);
            if (!block)
                break;
            blocks.push_back(*block);
        }
        return blocks;
    }

    BlockPool::Block allocate(const std::string &key)
    {
        for (;;) {
            if (const auto block = pool_.allocate(key))
                return *block;
            if (writes_.empty())
                throw std::runtime_error("a request needs more blocks than the engine's pool has");
            finish_writes(writes_.size() - 1);
        }
    }

    // Scatters stored blocks over the layers. A block can be gone again since the prefix was matched, evicted by
    // a put that is under way: it is handed on to be computed.
    void load(const std::vector<BlockPool::Block> &blocks, std::vector<BlockPool::Block> &gone_out)
    {
        if (blocks.empty())
            return;
        std::vector<Transfer> transfers;
        for (const BlockPool::Block block : blocks) {
            pool_.wipe(block);
            transfers.push_back(pool_.transfer(block));
        }
        const std::vector<nixl_store::item_result> results = store_.get(transfers);
        for (std::size_t index = 0; index < blocks.size(); ++index) {
            if (!results[index].ok()) {
                --counts_.loaded;
                gone_out.push_back(blocks[index]);
            }
        }
    }

    void compute(const std::vector<BlockPool::Block> &blocks)
    {
        for (const BlockPool::Block block : blocks)
            pool_.prefill(block);
        counts_.computed += blocks.size();
    }

    // Gathers computed blocks from all layers. The request does not wait for storage.
    void write_behind(const std::vector<BlockPool::Block> &blocks, PutFlags put_flags)
    {
        while (!writes_.empty() && writes_.front().ticket.is_done())
            finish_writes(writes_.size() - 1);
        if (blocks.empty())
            return;
        std::vector<Transfer> transfers;
        for (const BlockPool::Block block : blocks) {
            pool_.hold(block);
            transfers.push_back(pool_.transfer(block));
        }
        writes_.push_back({store_.put(transfers, put_flags), blocks});
    }

    void finish_writes(std::size_t left)
    {
        while (writes_.size() > left) {
            Write write = std::move(writes_.front());
            writes_.pop_front();
            write.ticket.wait().or_throw();
            for (const BlockPool::Block block : write.blocks)
                pool_.release(block);
        }
    }

    void check_block(BlockPool::Block block)
    {
        ++counts_.checked;
        counts_.wrong += pool_.is_right(block) ? 0 : 1;
    }

    BlockPool pool_;
    // After the pool, and tickets and pins after the store: what ends first waits for the transfers, then the store
    // closes, then the memory goes.
    Store store_;
    std::deque<Write> writes_;
    std::vector<nixl_store::pinned_keys> pins_;
    std::vector<std::string> pinned_; // the keys of these
    Counts counts_;
};

void append_random(Tokens &tokens, std::size_t count, Random &random)
{
    for (std::size_t index = 0; index < count; ++index)
        tokens.push_back(static_cast<Token>(random.next()));
}

void report(const Engine &engine)
{
    const Counts &counts = engine.counts();
    const nixl_store::stats stats = engine.store_stats();
    const auto row = [&](const char *name, std::size_t blocks) {
        std::printf("    %-18s %6zu   %5.1f %%\n", name, blocks,
                    100.0 * static_cast<double>(blocks) / static_cast<double>(counts.blocks));
    };

    std::printf("paged_kv_cache: %zu requests of %zu conversations on %zu system prompts\n\n", counts.requests,
                conversation_count, system_prompt_count);
    std::printf("  block              %zu tokens, %zu KiB in %zu segments (%zu layers, K and V apart)\n", tokens_per_block,
                block_bytes / 1024, segments_per_block, layer_count);
    std::printf("  engine's pool      %zu blocks, %zu evictions\n", engine_blocks, engine.pool_evictions());
    std::printf("  store              %" PRIu64 " blocks, %" PRIu64 " evictions, %zu blocks pinned\n\n", stats.keys,
                stats.evictions, engine.pinned());
    std::printf("  blocks needed        %6zu\n", counts.blocks);
    row("in the engine", counts.resident);
    row("from the store", counts.loaded);
    row("computed", counts.computed);
    std::printf("\n  every byte of %zu blocks compared, %zu wrong\n", counts.checked, counts.wrong);
}

int run(const char *config_path)
{
    Engine engine(config_path);
    Random random;
    std::vector<Tokens> system_prompts(system_prompt_count);
    std::vector<Tokens> conversations;

    for (Tokens &prompt : system_prompts) {
        append_random(prompt, system_prompt_tokens, random);
        engine.serve(prompt, PutFlags::admit); // it stays for good, so no policy is to decline it
        engine.pin(prompt);
    }
    for (std::size_t index = 0; index < conversation_count; ++index)
        conversations.push_back(system_prompts[index % system_prompt_count]);
    for (std::size_t turn = 0; turn < turn_count; ++turn) {
        for (std::size_t count = 0; count < conversation_count; ++count) {
            // Some people answer sooner than others.
            Tokens &conversation = conversations[random.between(0, conversation_count - 1)];
            append_random(conversation, random.between(turn_tokens_min, turn_tokens_max), random);
            engine.serve(conversation);
        }
    }
    engine.check_pinned();
    report(engine);
    return engine.counts().wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

} // namespace paged

int main(int argc, char **argv)
{
    temp_store_t temp_store{};
    int result = EXIT_FAILURE;
    const bool own_store = argc < 2 && std::getenv("LMCACHE_CONFIG_FILE") == nullptr;

    if (own_store) {
        temp_store_options_t options{};
        options.policy = "LRU";
        options.slot_count = paged::store_slots;
        options.chunk_bytes = paged::block_bytes;
        options.staging_bytes = paged::staging_bytes;
        if (temp_store_create(&temp_store, &options) != 0)
            return EXIT_FAILURE;
    }
    try {
        result = paged::run(own_store ? temp_store.config_path : argc > 1 ? argv[1] : nullptr);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "paged_kv_cache: %s\n", error.what());
    }
    if (own_store)
        temp_store_remove(&temp_store);
    return result;
}
