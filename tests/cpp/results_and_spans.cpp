// Results that carry their message, and spans of every kind. C++17, without exceptions and RTTI.
#include "check.hpp"

#include <array>
#include <cstring>

namespace {

void an_error_carries_its_message()
{
    ns::result<ns::store> opened = ns::store::open("/nowhere/lmcache.yaml");
    EXPECT(!opened && opened.is_error() && opened.code() == ns::status::config);
    // The library's own message is gone with the next call of this thread, the result's is not.
    const ns::store store = must_open(in_memory());
    EXPECT(store.put("key", std::string_view("value")).ok());
    EXPECT(opened.message().find("/nowhere/lmcache.yaml") != std::string::npos);
    EXPECT(opened.describe().find("NIXL_STORE_ERROR_CONFIG: ") == 0);
    EXPECT(std::string(ns::name(opened.code())) == "NIXL_STORE_ERROR_CONFIG");
}

void an_answer_is_no_error()
{
    const ns::store store = must_open(in_memory());
    char text[16];
    const ns::result<std::size_t> missing = store.get("missing", text);
    EXPECT(!missing && missing.not_found() && !missing.is_error() && missing.message().empty());
    EXPECT(missing.describe() == "NIXL_STORE_NOT_FOUND" && missing.value_or(7U) == 7);
    EXPECT(!store.contains("missing") && store.contains("missing").not_found());
    EXPECT(store.remove("missing").not_found());
    EXPECT(store.length("missing").not_found());
    EXPECT(store.pin("missing").not_found());
    EXPECT(store.unpin("missing").not_found());
    EXPECT(store.get("missing").not_found());
}

void taking_a_value_that_is_not_there_ends_the_process()
{
    EXPECT(aborts([] { (void)ns::result<int>(ns::result<void>(NIXL_STORE_NOT_FOUND)).value(); }));
    EXPECT(aborts([] { (void)*ns::result<int>(ns::result<void>(NIXL_STORE_ERROR_IO)); }));
    EXPECT(aborts([] { (void)ns::result<std::string>(ns::result<void>(NIXL_STORE_NOT_FOUND))->size(); }));
    EXPECT(aborts([] { (void)ns::result<int>(ns::result<void>()); }));
    EXPECT(aborts([] { ns::get_batch().append(ns::mutable_bytes(nullptr, 0)); }));
    EXPECT(aborts([] { (void)ns::span<int>()[0]; }));
}

template <class Payload> bool comes_back(const ns::store &store, Payload &&payload, const void *bytes, std::size_t size)
{
    const ns::result<void> put = store.put("payload", payload);
    const ns::result<std::vector<std::byte>> got = store.get("payload");
    return put && got && got->size() == size && std::memcmp(got->data(), bytes, size) == 0;
}

void spans_are_made_of_containers_arrays_and_texts()
{
    const ns::store store = must_open(in_memory());
    std::vector<std::byte> bytes(100, std::byte{1});
    const std::vector<unsigned char> numbers(200, 2);
    std::vector<char> chars(300, 'c');
    const std::array<std::uint16_t, 50> halves{3};
    std::string text = "a text";
    const float floats[25] = {4};
    char buffer[32] = "buffer";
    EXPECT(comes_back(store, bytes, bytes.data(), 100));
    EXPECT(comes_back(store, numbers, numbers.data(), 200));
    EXPECT(comes_back(store, chars, chars.data(), 300));
    EXPECT(comes_back(store, halves, halves.data(), 100));
    EXPECT(comes_back(store, text, text.data(), 6));
    EXPECT(comes_back(store, std::string_view(text), text.data(), 6));
    EXPECT(comes_back(store, floats, floats, 100));
    EXPECT(comes_back(store, buffer, buffer, 32));
    EXPECT(comes_back(store, ns::const_bytes(buffer, 3), buffer, 3));
    EXPECT(comes_back(store, ns::mutable_bytes(bytes), bytes.data(), 100));

    EXPECT(store.put("whole", std::string_view("0123456789abcdef")).ok());
    std::vector<std::byte> to_bytes(16);
    std::array<unsigned char, 16> to_array{};
    std::string to_text(16, ' ');
    std::uint32_t to_numbers[4];
    EXPECT(store.get("whole", to_bytes).value_or(0U) == 16 && to_bytes[15] == std::byte{'f'});
    EXPECT(store.get("whole", to_array).value_or(0U) == 16 && to_array[15] == 'f');
    EXPECT(store.get("whole", to_text).value_or(0U) == 16 && to_text == "0123456789abcdef");
    EXPECT(store.get("whole", to_numbers).value_or(0U) == 16 && std::memcmp(to_numbers, "0123", 4) == 0);
    const ns::result<std::size_t> small = store.get("whole", ns::mutable_bytes(to_text.data(), 4));
    EXPECT(small.code() == ns::status::buffer_too_small && !small.message().empty());
}

void keys_are_texts_bytes_and_numbers()
{
    const ns::store store = must_open(in_memory());
    const std::string text = "key";
    const std::array<unsigned char, 3> bytes{'k', 'e', 'y'};
    const unsigned char array[3] = {'k', 'e', 'y'};
    const std::vector<std::byte> vector{std::byte{'k'}, std::byte{'e'}, std::byte{'y'}};
    EXPECT(store.put("key", std::string_view("x")).ok());
    EXPECT(store.contains(text) && store.contains(std::string_view(text)) && store.contains(text.c_str()));
    EXPECT(store.contains(bytes) && store.contains(array) && store.contains(vector) && store.contains({"keys", 3}));
    const std::uint64_t hash = 0x0123456789abcdef;
    EXPECT(store.put(ns::key_of(hash), std::string_view("y")).ok());
    EXPECT(store.contains({&hash, sizeof hash}));
    // What can be no key is an error and never read.
    EXPECT(store.contains(static_cast<const char *>(nullptr)).code() == ns::status::invalid_argument);
    EXPECT(store.contains("").code() == ns::status::invalid_argument);
    EXPECT(store.contains(std::string(NIXL_STORE_KEY_BYTES_MAX + 1, 'k')).code() == ns::status::invalid_argument);
    ns::keys list;
    list.add(std::string(NIXL_STORE_KEY_BYTES_MAX + 1, 'k')).add("key");
    EXPECT(store.submit_lookup(list).code() == ns::status::invalid_argument);
}

void times_are_rounded_up_and_never_become_another_meaning()
{
    using namespace std::chrono_literals;
    EXPECT(ns::timeout(1ms).ms() == 1 && ns::timeout(1us).ms() == 1 && ns::timeout(1001us).ms() == 2);
    EXPECT(ns::timeout(0s).ms() == 0 && ns::timeout(-5s).ms() == 0 && ns::timeout(2h).ms() == 7200000);
    EXPECT(ns::timeout(std::chrono::hours::max()).ms() == NIXL_STORE_TIMEOUT_INFINITE);
    // 0 would be the store's own deadline, which is none that has passed.
    EXPECT(ns::submit_options().deadline(-1ms).raw().deadline_ms == 1);
    EXPECT(ns::submit_options().deadline(1500us).raw().deadline_ms == 2);
    EXPECT(ns::submit_options().no_deadline().raw().deadline_ms == NIXL_STORE_DEADLINE_NONE);
}

void segments_name_their_memory()
{
    char memory[8];
    EXPECT(ns::segment(memory).raw().memory_kind == NIXL_STORE_MEMORY_AUTO && ns::segment(memory).raw().length == 8);
    EXPECT(ns::segment::host(memory).raw().memory_kind == NIXL_STORE_MEMORY_HOST);
    const nixl_store_segment_t known = ns::segment::cuda(std::uint64_t{4096}, 16, 2U).raw();
    EXPECT(known.memory_kind == NIXL_STORE_MEMORY_CUDA && known.cuda_device == 3 && known.length == 16);
    EXPECT(known.address == reinterpret_cast<void *>(4096));
    EXPECT(ns::const_segment::cuda(static_cast<const void *>(memory), 8).raw().cuda_device == 0);
}

// What gives its memory back when it ends is no segment of a batch while it is a temporary. What only points to it is.
static_assert(!std::is_convertible_v<std::vector<char>, ns::const_segment>);
static_assert(!std::is_convertible_v<const std::string, ns::const_segment>);
static_assert(!std::is_convertible_v<ns::allocation, ns::const_segment>);
static_assert(!std::is_convertible_v<ns::allocation, ns::segment>);
static_assert(!std::is_convertible_v<ns::registration, ns::segment>);
static_assert(std::is_convertible_v<ns::allocation &, ns::segment>);
static_assert(std::is_convertible_v<const ns::allocation &, ns::const_segment>);
static_assert(std::is_convertible_v<std::vector<char> &, ns::const_segment>);
static_assert(std::is_convertible_v<std::string_view, ns::const_segment>);
static_assert(std::is_convertible_v<ns::mutable_bytes, ns::segment>);
static_assert(std::is_convertible_v<ns::mutable_bytes, ns::const_segment>);
static_assert(std::is_convertible_v<ns::span<float>, ns::segment>);

} // namespace

void results_and_spans()
{
    an_error_carries_its_message();
    an_answer_is_no_error();
    taking_a_value_that_is_not_there_ends_the_process();
    spans_are_made_of_containers_arrays_and_texts();
    keys_are_texts_bytes_and_numbers();
    times_are_rounded_up_and_never_become_another_meaning();
    segments_name_their_memory();
}
