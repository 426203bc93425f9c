// The example's own logic without a model: what keys a prompt has, what is reused of it, and what becomes of a chain
// in a real store when a block is missing, damaged or another engine's.
#include "common/pattern.h"
#include "common/temp_store.h"
#include "llama/block_chain.hpp"
#include "llama/block_store.hpp"
#include "llama/prefix_plan.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

using namespace llama_kv;

namespace {

int failures = 0;

void expect(bool holds, const char *what, int line)
{
    if (holds)
        return;
    ++failures;
    std::fprintf(stderr, "block_prefix_test.cpp:%d: does not hold: %s\n", line, what);
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)

constexpr std::size_t tokens_per_block = 4;
constexpr std::size_t block_bytes = 10000; // not whole pages
constexpr std::size_t blocks_max = 16;

Identity identity_of(const char *model) { return Identity().add("model", model).add("type_k", std::int64_t{1}); }

std::vector<Token> tokens_from(Token first, std::size_t count)
{
    std::vector<Token> tokens;
    for (std::size_t index = 0; index < count; ++index)
        tokens.push_back(first + static_cast<Token>(index));
    return tokens;
}

std::string hex(const Digest &digest)
{
    std::string text;
    char two[3];
    for (const std::uint8_t byte : digest) {
        std::snprintf(two, sizeof two, "%02x", byte);
        text += two;
    }
    return text;
}

// The vectors of FIPS 180-4 and the lengths around a block's end: a wrong hash would still look like one.
void hash_is_sha256()
{
    const auto hash = [](const std::string &text) { return hex(Sha256().update(text.data(), text.size()).finish()); };
    EXPECT(hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT(hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT(hash(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    for (std::size_t length = 50; length < 140; ++length) {
        const std::string text(length, 'x');
        Sha256 pieces;
        for (std::size_t at = 0; at < length; at += 7)
            pieces.update(text.data() + at, std::min<std::size_t>(7, length - at));
        EXPECT(hex(pieces.finish()) == hash(text));
    }
}

// Prompts share exactly the keys of the blocks up to the first token in which they differ, and none after it, even
// where their tokens are equal again: cached values depend on all tokens before.
void keys_stand_for_everything_before()
{
    const BlockChain chain(identity_of("a"), tokens_per_block);
    const std::vector<Token> tokens = tokens_from(100, 5 * tokens_per_block + 3);
    const std::vector<Digest> keys = chain.keys(tokens);
    EXPECT(keys.size() == 5);
    EXPECT(std::set<Digest>(keys.begin(), keys.end()).size() == keys.size());
    EXPECT(chain.keys({}).empty());
    EXPECT(chain.keys(tokens_from(100, tokens_per_block - 1)).empty());
    EXPECT(chain.keys(tokens_from(100, tokens_per_block)).size() == 1);

    for (std::size_t changed = 0; changed < tokens.size(); ++changed) {
        std::vector<Token> other = tokens;
        other[changed] ^= 1 << 24;
        const std::vector<Digest> other_keys = chain.keys(other);
        for (std::size_t index = 0; index < keys.size(); ++index)
            EXPECT((other_keys[index] == keys[index]) == (index < changed / tokens_per_block));
    }
    // A repeated block is another one each time.
    std::vector<Token> repeated(3 * tokens_per_block, 7);
    const std::vector<Digest> repeated_keys = chain.keys(repeated);
    EXPECT(repeated_keys[0] != repeated_keys[1] && repeated_keys[1] != repeated_keys[2]);
}

// Whatever the cached values depend on separates the keys, and no two ways to say it run into each other.
void keys_tell_models_and_layouts_apart()
{
    const std::vector<Token> tokens = tokens_from(1, 2 * tokens_per_block);
    const auto first_key = [&](const Identity &identity, std::size_t block) {
        return BlockChain(identity, block).keys(tokens).front();
    };
    const std::set<Digest> keys{
        first_key(identity_of("a"), tokens_per_block),
        first_key(identity_of("b"), tokens_per_block),
        first_key(identity_of("a"), tokens_per_block / 2),
        first_key(identity_of("a").add("type_v", std::int64_t{1}), tokens_per_block),
        first_key(identity_of("a").add("rope", 1.0f), tokens_per_block),
        first_key(identity_of("a").add("rope", -1.0f), tokens_per_block),
    };
    EXPECT(keys.size() == 6);
    EXPECT(Identity().add("ab", "c").text() != Identity().add("a", "bc").text());
    EXPECT(Identity().add("a", "b").add("c", "d").text() != Identity().add("a", "b:c:d").text());
    EXPECT(Identity().add("a", "b").add("c", "d").text() != Identity().add("a", "b1:c1:d").text());
}

// The last token is computed always, blocks that were restored are not stored again, and the rest of a prompt that
// fills no block is in nobody's way.
void plan_computes_the_last_token_always()
{
    for (std::size_t tokens = 1; tokens <= 6 * tokens_per_block; ++tokens) {
        for (std::size_t restored = 0; restored <= 7; ++restored) {
            const PrefixPlan plan = plan_prefix(tokens, tokens_per_block, restored);
            EXPECT(plan.tokens_reused < tokens);
            EXPECT(plan.tokens_reused <= plan.blocks_restored * tokens_per_block);
            EXPECT(plan.tokens_reused + 1 >= plan.blocks_restored * tokens_per_block);
            EXPECT(plan.blocks_restored + plan.blocks_to_store == tokens / tokens_per_block);
        }
    }
    const PrefixPlan whole = plan_prefix(8 * tokens_per_block, tokens_per_block, 8);
    EXPECT(whole.tokens_reused == 8 * tokens_per_block - 1 && whole.blocks_to_store == 0);
    EXPECT(plan_prefix(8 * tokens_per_block + 1, tokens_per_block, 8).tokens_reused == 8 * tokens_per_block);
}

std::uint64_t block_id(const Digest &key)
{
    std::uint64_t id;
    std::memcpy(&id, key.data(), sizeof id);
    return id;
}

// What an engine does with a prompt, with bytes that can be checked in place of a KV cache. Returns the blocks reused.
std::size_t serve(BlockStore &store, const std::vector<Digest> &keys)
{
    const std::size_t restored = store.restore(keys, store.match(keys), [&](std::size_t index, const std::uint8_t *bytes) {
        return pattern_first_wrong(bytes, block_bytes, block_id(keys[index])) == block_bytes;
    });
    for (std::size_t index = restored; index < keys.size(); ++index)
        pattern_fill(store.memory(index), block_bytes, block_id(keys[index]));
    store.store(keys, restored);
    EXPECT(store.finish() == 0);
    return restored;
}

// The longest stored prefix is reused over a restart; a missing block, a foreign one and another model end it, and
// the prompt after that finds everything in order again.
void store_gives_the_longest_good_prefix(const char *config_path)
{
    const std::vector<Token> tokens = tokens_from(1, 12 * tokens_per_block);
    const std::vector<Digest> keys = BlockChain(identity_of("a"), tokens_per_block).keys(tokens);
    std::vector<Token> fork = tokens;
    fork[7 * tokens_per_block] += 1;
    const std::vector<Digest> fork_keys = BlockChain(identity_of("a"), tokens_per_block).keys(fork);

    {
        BlockStore store(config_path, block_bytes, blocks_max);
        EXPECT(serve(store, keys) == 0);
        EXPECT(serve(store, keys) == 12);
    }
    BlockStore store(config_path, block_bytes, blocks_max);
    EXPECT(serve(store, keys) == 12);
    EXPECT(serve(store, fork_keys) == 7);
    EXPECT(serve(store, BlockChain(identity_of("b"), tokens_per_block).keys(tokens)) == 0);
    EXPECT(serve(store, {}) == 0);

    // A gap in the middle: what lies behind it stays as it is and is of use again once the gap is closed.
    EXPECT(store.remove(keys[5]) && !store.contains(keys[5]));
    const std::uint64_t puts = store.stats().puts_ok;
    EXPECT(serve(store, keys) == 5);
    EXPECT(store.stats().puts_ok == puts + 1);
    EXPECT(serve(store, keys) == 12);

    // A block that the engine refuses ends the prefix as a missing one does.
    EXPECT(store.restore(keys, keys.size(), [](std::size_t index, const std::uint8_t *) { return index != 9; }) == 9);
    EXPECT(store.restore(keys, 3, [](std::size_t, const std::uint8_t *) { return true; }) == 3);
}

// Turns over one bit of the block with this key, wherever the pool has it, and says how often it was found. The key
// follows the block on storage.
std::size_t damage(const std::string &folder, const Digest &key)
{
    std::size_t found = 0;
    for (const auto &entry : std::filesystem::recursive_directory_iterator(folder)) {
        if (!entry.is_regular_file() || entry.path().filename().string().rfind("slots-", 0) != 0)
            continue;
        std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
        std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
        const std::string needle(key.begin(), key.end());
        for (std::size_t at = bytes.find(needle); at != std::string::npos; at = bytes.find(needle, at + 1), ++found) {
            file.clear();
            file.seekp(static_cast<std::streamoff>(at - block_bytes));
            file.put(static_cast<char>(bytes[at - block_bytes] ^ 1));
        }
    }
    return found;
}

// A bit that turned over on disk ends the prefix before its block, whose bytes never reach the engine; computing the
// block again mends the chain.
void store_hands_out_no_damaged_block(const temp_store_t &temp_store)
{
    const std::vector<Digest> keys =
        BlockChain(identity_of("damaged"), tokens_per_block).keys(tokens_from(1, 8 * tokens_per_block));
    {
        BlockStore store(temp_store.config_path, block_bytes, blocks_max);
        EXPECT(serve(store, keys) == 0);
    }
    EXPECT(damage(temp_store.folder, keys[3]) == 1);
    BlockStore store(temp_store.config_path, block_bytes, blocks_max);
    EXPECT(store.match(keys) == 8);
    std::size_t handed_on = 0;
    EXPECT(store.restore(keys, 8, [&](std::size_t, const std::uint8_t *) { return ++handed_on, true; }) == 3);
    EXPECT(handed_on == 3);
    EXPECT(store.stats().corruptions == 1);
    EXPECT(serve(store, keys) == 3);
    EXPECT(serve(store, keys) == 8);
}

// Keys that are stored with a block of another length, as an older build of the engine might have left them.
void store_takes_no_block_of_another_length(const char *config_path)
{
    const std::vector<Digest> keys =
        BlockChain(identity_of("short"), tokens_per_block).keys(tokens_from(1, 3 * tokens_per_block));
    {
        BlockStore store(config_path, block_bytes / 3, blocks_max);
        store.store(keys, 0);
        EXPECT(store.finish() == 0);
    }
    BlockStore store(config_path, block_bytes, blocks_max);
    EXPECT(store.match(keys) == 3);
    EXPECT(store.restore(keys, 3, [](std::size_t, const std::uint8_t *) { return true; }) == 0);
}

} // namespace

int main()
{
    temp_store_options_t options{};
    options.policy = "LRU";
    options.slot_count = 64;
    options.chunk_bytes = 16384;
    options.staging_bytes = options.slot_count * options.chunk_bytes; // without a word on chunks, this is their size
    temp_store_t temp_store{};
    if (temp_store_create(&temp_store, &options) != 0)
        return EXIT_FAILURE;
    try {
        hash_is_sha256();
        keys_stand_for_everything_before();
        keys_tell_models_and_layouts_apart();
        plan_computes_the_last_token_always();
        store_gives_the_longest_good_prefix(temp_store.config_path);
        store_hands_out_no_damaged_block(temp_store);
        store_takes_no_block_of_another_length(temp_store.config_path);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "block_prefix_test: %s\n", error.what());
        ++failures;
    }
    temp_store_remove(&temp_store);
    std::printf("block_prefix: %s\n", failures == 0 ? "all holds" : "FAILED");
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
