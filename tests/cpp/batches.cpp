// Batches, tickets and questions about keys. C++20 with std::span, where the compiler has it.
#include "check.hpp"

#include <algorithm>
#include <array>
#if __cplusplus >= 202002L
#include <span>
#endif

namespace {

constexpr std::size_t item_count = 48;

std::vector<unsigned char> filled(std::size_t index, std::size_t bytes)
{
    return std::vector<unsigned char>(bytes, static_cast<unsigned char>(index + 1));
}

bool is_filled(const std::vector<unsigned char> &memory, std::size_t index)
{
    return std::all_of(memory.begin(), memory.end(), [&](unsigned char byte) { return byte == index + 1; });
}

// Keys that are temporaries, segments that are temporaries, vectors that grow: the batch has what it needs.
void a_batch_owns_keys_and_segments_and_is_used_again()
{
    const ns::store store = must_open(in_memory());
    std::vector<std::vector<unsigned char>> memory;
    for (std::size_t index = 0; index < item_count; ++index)
        memory.push_back(filled(index, 1000 + index));
    ns::put_batch puts;
    ns::get_batch gets;
    std::vector<ns::item_result> results;
    for (int turn = 0; turn < 3; ++turn) {
        puts.clear();
        for (std::size_t index = 0; index < item_count; ++index) {
            const std::size_t half = memory[index].size() / 2;
            puts.add("a key of some length, number " + std::to_string(index) + " of turn " + std::to_string(turn),
                     {ns::const_bytes(memory[index].data(), half),
                      ns::const_bytes(memory[index].data() + half, memory[index].size() - half)});
        }
        ns::put_batch moved = std::move(puts);
        EXPECT(moved.size() == item_count && puts.empty()); // NOLINT: moved from, as meant
        EXPECT(store.submit_put(moved).value().wait(results).ok() && results.size() == item_count);
        puts = std::move(moved);
        EXPECT(results[7].bytes() == 1007);
        gets.clear();
        std::vector<std::vector<unsigned char>> back;
        for (std::size_t index = 0; index < item_count; ++index)
            back.emplace_back(1000 + index);
        for (std::size_t index = 0; index < item_count; ++index) {
            gets.add("a key of some length, number " + std::to_string(index) + " of turn " + std::to_string(turn));
            gets.append(ns::mutable_bytes(back[index].data(), 10));
            gets.append(ns::mutable_bytes(back[index].data() + 10, back[index].size() - 10));
        }
        EXPECT(store.submit_get(gets).value().wait(results).ok());
        for (std::size_t index = 0; index < item_count; ++index)
            EXPECT(is_filled(back[index], index) && results[index].object_length() == 1000 + index);
        EXPECT(store.clear().value() == item_count);
    }
}

void what_is_used_again_allocates_nothing()
{
    const ns::store store = must_open(in_memory());
    ns::queue queue = store.create_queue().value();
    std::vector<unsigned char> memory(5000);
    ns::put_batch puts;
    ns::get_batch gets;
    ns::keys chain;
    std::vector<ns::item_result> results;
    std::size_t before = 0;
    bool right = true;
    for (int turn = 0; turn < 3; ++turn) {
        before = allocations; // of the first turn, vectors grow
        puts.clear();
        gets.clear();
        chain.clear();
        for (std::uint64_t key = 0; key < 16; ++key) {
            const ns::mutable_bytes part(memory.data() + key * 300, 300);
            puts.add(ns::key_of(key), {part});
            gets.add(ns::key_of(key), {part}, ns::get_flags::front);
            chain.add(ns::key_of(key));
        }
        ns::completion done[2];
        const ns::submit_options options = ns::submit_options().on(queue).deadline(std::chrono::seconds(30)).request(1);
        ns::ticket written = store.submit_put(puts, options).value();
        right = right && written.wait(results) && queue.drain(done) && store.prefix_match(chain).value() == 16;
        ns::ticket read = store.submit_get(gets, options).value();
        right = right && read.progress(15, 300).bytes() == 300 && read.wait(results) && queue.drain(done);
        right = right && store.put("k", memory) && store.get("k", memory) && store.get("missing", memory).not_found();
    }
    EXPECT(right && allocations == before);
}

void a_key_of_the_list_itself_is_added()
{
    ns::keys list{"the first key"};
    for (int turn = 0; turn < 100; ++turn)
        list.add(list[list.size() - 1]);
    for (std::size_t index = 0; index < list.size(); ++index)
        EXPECT(std::string(static_cast<const char *>(list[index].data()), list[index].size()) == "the first key");
}

// Without the wait the bytes that are stored would be those that are written right after it, or the keys missing.
void a_dropped_ticket_waits()
{
    const Folder folder;
    const ns::store store = must_open(on_files(folder));
    std::vector<std::vector<unsigned char>> memory;
    for (std::size_t index = 0; index < item_count; ++index)
        memory.push_back(filled(index, slot_bytes));
    {
        ns::put_batch puts;
        for (std::size_t index = 0; index < item_count; ++index)
            puts.add(ns::key_of(index), memory[index]);
        const ns::ticket dropped = store.submit_put(puts).value();
    }
    EXPECT(store.stats().value().items_in_flight == 0 && store.stats().value().puts_ok == item_count);
    for (std::vector<unsigned char> &chunk : memory)
        std::fill(chunk.begin(), chunk.end(), static_cast<unsigned char>(0xee));
    ns::get_batch gets;
    for (std::size_t index = 0; index < item_count; ++index)
        gets.add(ns::key_of(index), memory[index], ns::get_flags::exact);
    // What is assigned over is waited for too.
    ns::ticket ticket = store.submit_get(gets).value();
    ticket = ns::ticket();
    EXPECT(store.stats().value().items_in_flight == 0 && store.stats().value().gets_hit == item_count);
    for (std::size_t index = 0; index < item_count; ++index)
        EXPECT(is_filled(memory[index], index));
}

void a_ticket_is_moved_waited_for_cancelled_and_handed_over()
{
    const Folder folder;
    const ns::store store = must_open(on_files(folder));
    const std::vector<unsigned char> payload = filled(1, 5000);
    ns::put_batch puts;
    puts.add("key", payload).add("another", payload);
    std::vector<ns::item_result> results;
    ns::ticket first = store.submit_put(puts).value();
    ns::ticket second = std::move(first);
    EXPECT(!first && first.wait().code() == ns::status::invalid_handle); // NOLINT: moved from, as meant
    EXPECT(second && second.item_count() == 2);
    // Too little room for results is no end of the batch.
    ns::item_result too_few[1];
    EXPECT(second.wait(ns::span<ns::item_result>(too_few)).code() == ns::status::invalid_argument && second);
    EXPECT(too_few[0].code() == ns::status::no_result);
    while (second.wait(results, std::chrono::milliseconds(1)).in_progress())
        EXPECT(second && results.size() == 2 && results[0].code() == ns::status::no_result);
    EXPECT(!second && results.size() == 2 && results[0].ok() && results[1].bytes() == 5000);

    ns::ticket handed(store.raw(), store.submit_put(puts).value().release(), 2);
    EXPECT(handed.progress(1, 1).ok() && handed.progress(1).bytes() == 5000);
    EXPECT(store.cancel(handed.id()).ok() && store.cancel(0).code() == ns::status::invalid_handle);
    EXPECT(handed.cancel().ok() && handed.poll().code() != ns::status::invalid_handle);
    const ns::status ended = handed.wait().code();
    EXPECT((ended == ns::status::ok || ended == ns::status::cancelled) && !handed);
    EXPECT(handed.progress(0).code() == ns::status::invalid_handle);
    EXPECT(handed.stream_wait_all(nullptr).is_error() && handed.cancel().code() == ns::status::invalid_handle);
}

void items_end_one_by_one()
{
    const ns::store store = must_open(in_memory());
    EXPECT(store.put("five", std::string_view("12345")).ok());
    char exact[5], short_of[4], too_long[6], part[2];
    ns::get_batch gets;
    gets.add("five", exact).add("five", short_of).add("five", too_long, ns::get_flags::exact | ns::get_flags::front);
    gets.add("missing", part);
    gets.add_range("five", 2, part);
    EXPECT(store.submit_get(gets).code() == ns::status::invalid_argument); // two items share `part`
    gets.clear();
    gets.add("five", exact).add("five", short_of).add("five", too_long, ns::get_flags::exact | ns::get_flags::front);
    gets.add_range("five", 2, part);
    std::array<ns::item_result, 8> results;
    ns::ticket ticket = store.submit_get(gets).value();
    const ns::result<void> ended = ticket.wait(results);
    EXPECT(ended.code() == ns::status::buffer_too_small && ended.message().find("item 1") != std::string::npos);
    EXPECT(results[0].ok() && results[0].bytes() == 5 && exact[4] == '5');
    EXPECT(results[1].object_length() == 5 && results[1].bytes() == 0 && results[1].is_error());
    EXPECT(results[2].not_found());
    EXPECT(results[3].ok() && part[0] == '3' && part[1] == '4');
    EXPECT(results[4].code() == ns::status::no_result);

    ns::put_batch puts;
    puts.add("five", std::string_view("54321"), ns::put_flags::keep);
    puts.add("six", std::string_view("123456"), ns::put_flags::keep_exact | ns::put_flags::admit);
    EXPECT(store.submit_put(puts, ns::submit_options().no_deadline()).value().wait(results).ok());
    EXPECT(results[0].bytes() == 0 && results[0].object_length() == 5 && results[1].bytes() == 6);
}

void many_keys_are_asked_about_at_once()
{
    const ns::store store = must_open(in_memory());
    const std::vector<std::string> names{"a", "b", "c", "d"};
    for (const char *const name : {"a", "b", "d"})
        EXPECT(store.put(name, std::string_view("value")).ok());
    const ns::keys chain(names);
    std::vector<ns::item_result> results;
    EXPECT(store.prefix_match(chain).value() == 2 && store.prefix_match(ns::keys()).value() == 0);
    const ns::prefix_plan plan = store.prefix_plan(chain, 5, 1).value();
    EXPECT(plan.matched == 2 && plan.admitted == 2);
    EXPECT(store.submit_lookup(chain).value().wait(results).not_found());
    EXPECT(results[0].object_length() == 5 && results[2].not_found() && results[3].ok());
    ns::ticket prefix = store.submit_lookup(chain, ns::submit_options().chain().request(3)).value();
    EXPECT(prefix.wait(results).not_found() && results[1].ok() && results[2].not_found());
    EXPECT(store.submit_pin(chain).value().wait(results).not_found() && results[3].ok());
    EXPECT(store.submit_remove(ns::keys{"a", "b"}).value().wait(results).code() == ns::status::pinned);
    EXPECT(store.submit_unpin(chain).value().wait(results).not_found());
    EXPECT(store.submit_remove(chain).value().wait(results).not_found() && results[0].ok());
    EXPECT(store.stats().value().keys == 0);
    // Hashes are keys as they are.
    const std::vector<std::uint64_t> hashes{1, 2, 3};
    EXPECT(store.put(ns::key_of(hashes[0]), std::string_view("value")).ok());
    EXPECT(store.prefix_match(ns::keys(hashes)).value() == 1);
}

#if __cplusplus >= 202002L
// In C++17 its characters are char.
void a_text_of_utf_8_ends_before_its_nul()
{
    const ns::key_view key(u8"key");
    EXPECT(key.size() == 3 && ns::key_view(std::u8string(u8"key")).size() == 3 && ns::keys{u8"k", u8"ke"}[1].size() == 2);
    char8_t buffer[8] = u8"buffer";
    EXPECT(ns::const_bytes(buffer).size() == 8 && ns::mutable_bytes(buffer).size() == 8);
    EXPECT(ns::const_bytes(std::u8string_view(u8"text")).size() == 4);
}

void a_span_is_a_span()
{
    const ns::store store = must_open(in_memory());
    std::vector<float> cache(256, 1.5F);
    const std::span<const float> k(cache.data(), 128), v(cache.data() + 128, 128);
    ns::put_batch puts;
    puts.add("block", {k, v, std::as_bytes(k)});
    EXPECT(store.submit_put(puts).value().wait().ok());
    std::vector<float> back(256);
    ns::get_batch gets;
    gets.add("block", {std::span(back).first(128), std::as_writable_bytes(std::span(back).last(128))});
    EXPECT(store.submit_get(gets).value().wait().code() == ns::status::buffer_too_small);
    EXPECT(store.put("block", k).ok() && store.get("block", std::span(back)).value() == 512 && back[127] == 1.5F);
    // And back: a span of here is one of there.
    const std::span<const nixl_store_key_t> there = ns::span<const nixl_store_key_t>();
    EXPECT(there.empty());
    const std::span<const std::byte> bytes = ns::const_bytes(cache);
    EXPECT(bytes.size() == 1024);
}
#endif

} // namespace

void batches()
{
    a_batch_owns_keys_and_segments_and_is_used_again();
    what_is_used_again_allocates_nothing();
    a_key_of_the_list_itself_is_added();
    a_dropped_ticket_waits();
    a_ticket_is_moved_waited_for_cancelled_and_handed_over();
    items_end_one_by_one();
    many_keys_are_asked_about_at_once();
#if __cplusplus >= 202002L
    a_text_of_utf_8_ends_before_its_nul();
    a_span_is_a_span();
#endif
}
