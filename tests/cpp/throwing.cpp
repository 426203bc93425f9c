// or_throw(), in a program that has exceptions though other parts of it have none; and many threads on one store.
#include "check.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

namespace {

void what_is_thrown_says_what_went_wrong()
{
    bool caught = false;
    try {
        (void)ns::store::open("/nowhere/lmcache.yaml").or_throw();
    } catch (const std::exception &thrown) {
        const auto *const error = dynamic_cast<const ns::exception *>(&thrown);
        caught = error != nullptr && error->code() == ns::status::config && !error->message().empty() &&
                 std::strstr(error->what(), "/nowhere/lmcache.yaml") != nullptr;
    }
    EXPECT(caught);
}

void an_answer_is_thrown_only_where_a_value_is_missing()
{
    ns::store store = ns::store::open(in_memory()).or_throw();
    char text[8];
    EXPECT(store.put("key", std::string_view("value")).or_throw() == ns::status::ok);
    EXPECT(store.remove("missing").or_throw() == ns::status::not_found);
    EXPECT(store.get("key", text).or_throw() == 5);
    EXPECT(store.get("key", text).found_or_throw() == std::optional<std::size_t>(5));
    EXPECT(!store.get("missing", text).found_or_throw());
    ns::status thrown = ns::status::ok;
    try {
        (void)store.get("missing", text).or_throw();
    } catch (const ns::exception &error) {
        thrown = error.code();
    }
    EXPECT(thrown == ns::status::not_found);
    try {
        (void)store.get("key", ns::mutable_bytes(text, 2)).found_or_throw();
    } catch (const ns::exception &error) {
        thrown = error.code();
    }
    EXPECT(thrown == ns::status::buffer_too_small);
}

// The stack is unwound through a ticket: the memory behind it is let go of when nothing is written to it any more.
void unwinding_waits_for_what_is_under_way()
{
    const Folder folder;
    const ns::store store = ns::store::open(on_files(folder)).or_throw();
    try {
        const std::vector<unsigned char> memory(slot_bytes, 7);
        ns::put_batch puts;
        for (std::uint64_t key = 0; key < 32; ++key)
            puts.add(ns::key_of(key), memory);
        const ns::ticket ticket = store.submit_put(puts).or_throw();
        throw 1;
    } catch (int) {
    }
    EXPECT(store.stats().or_throw().puts_ok == 32);
}

// Each allocation of a pin() fails once.
template <class Pin> void leaves_no_pin_without_memory(const ns::store &store, Pin pin)
{
    bool is_done = false;
    for (std::size_t count = 1; !is_done; ++count) {
        try {
            refused_allocation = allocations + count;
            pin();
            is_done = true;
        } catch (const std::bad_alloc &) {
        }
        refused_allocation = 0;
        EXPECT(store.stats().or_throw().keys_pinned == 0);
    }
}

void a_pin_without_memory_is_none()
{
    const ns::store store = ns::store::open(in_memory()).or_throw();
    const std::string key = "a key that is longer than what a string holds without memory of its own";
    store.put(key, std::string_view("value")).or_throw();
    store.put("key", std::string_view("value")).or_throw();
    leaves_no_pin_without_memory(store, [&] { (void)store.pin(key); });
    const ns::keys with_a_missing_one{key, "missing", "key"};
    leaves_no_pin_without_memory(store, [&] { (void)store.pin(with_a_missing_one); });
    // A refusal has a message.
    const ns::keys with_none{key, ""};
    leaves_no_pin_without_memory(store, [&] { (void)store.pin(with_none); });
}

} // namespace

void exceptions()
{
    what_is_thrown_says_what_went_wrong();
    an_answer_is_thrown_only_where_a_value_is_missing();
    unwinding_waits_for_what_is_under_way();
    a_pin_without_memory_is_none();
}

void threads()
{
    constexpr unsigned thread_count = 8, turns = 40;
    const ns::store store = must_open(in_memory(256));
    std::atomic<unsigned> wrong = 0;
    std::vector<std::thread> workers;
    for (unsigned number = 0; number < thread_count; ++number) {
        workers.emplace_back([&store, &wrong, number] {
            std::vector<unsigned char> out(20000, static_cast<unsigned char>(number + 1)), in(20000);
            ns::put_batch puts;
            ns::get_batch gets;
            std::vector<ns::item_result> results;
            for (unsigned turn = 0; turn < turns; ++turn) {
                const std::string key = "thread " + std::to_string(number) + " turn " + std::to_string(turn % 4);
                puts.clear();
                gets.clear();
                const bool put = store.submit_put(puts.add(key, out)).value().wait().ok();
                const ns::pinned pin = store.pin(key).value();
                std::fill(in.begin(), in.end(), static_cast<unsigned char>(0));
                const bool got = store.submit_get(gets.add(key, in)).value().wait(results).ok();
                const ns::result<std::size_t> missing = store.get("nobody's", ns::mutable_bytes(in.data(), 1));
                wrong += put && got && in == out && missing.not_found() ? 0 : 1;
            }
        });
    }
    for (std::thread &worker : workers)
        worker.join();
    EXPECT(wrong == 0 && store.stats().value().keys_pinned == 0);
}
