// What owns something gives it back: stores, pins, queues, registrations, allocations. C++17, without exceptions.
#include "check.hpp"

#include <atomic>
#include <cstring>
#include <memory>
#include <poll.h>

namespace {

void a_store_closes_itself()
{
    const Folder folder;
    nixl_store_t *stale = nullptr;
    {
        const ns::store store = must_open(on_files(folder));
        stale = store.raw();
        EXPECT(store.put("key", std::string_view("value")).ok());
        // A pool has one owner at a time.
        EXPECT(ns::store::open(on_files(folder)).code() == ns::status::locked);
    }
    EXPECT(nixl_store_flush(stale) == NIXL_STORE_ERROR_INVALID_HANDLE);
    ns::store again = must_open(on_files(folder));
    EXPECT(again.contains("key").ok());
    EXPECT(again.close().ok() && !again);
    // Of a closed store every call answers, and closing it again does nothing.
    EXPECT(again.close().ok() && again.flush().code() == ns::status::invalid_handle);
}

void a_store_is_moved_and_assigned()
{
    ns::store first = must_open(in_memory());
    EXPECT(first.put("key", std::string_view("value")).ok());
    nixl_store_t *const handle = first.raw();
    ns::store second = std::move(first);
    EXPECT(!first && second.raw() == handle && second.contains("key").ok()); // NOLINT: moved from, as meant
    second = must_open(in_memory());
    EXPECT(nixl_store_flush(handle) == NIXL_STORE_ERROR_INVALID_HANDLE && second.contains("key").not_found());
    ns::store &itself = second;
    second = std::move(itself);
    EXPECT(second && second.flush().ok());
    // Through C and back.
    ns::store third = ns::store::adopt(second.release());
    EXPECT(!second && third.flush().ok());
}

void the_log_lives_as_long_as_the_store()
{
    const auto lines = std::make_shared<std::atomic<int>>(0);
    {
        const auto before = std::chrono::system_clock::now();
        ns::store store = must_open(in_memory().log([lines, before](const ns::log_record &record) {
            const bool is_timely = before <= record.time && record.time <= std::chrono::system_clock::now();
            *lines += record.level <= ns::log_level::info && is_timely && !record.message.empty() ? 1 : 0;
        }));
        EXPECT(*lines > 0 && lines.use_count() == 2);
        ns::store moved = std::move(store);
        EXPECT(lines.use_count() == 2 && moved.flush().ok());
        EXPECT(moved.close().ok() && lines.use_count() == 1);
    }
    // Of a store that did not open too.
    EXPECT(!ns::store::open("/nowhere", ns::open_options().log([lines](const ns::log_record &) {})));
    EXPECT(lines.use_count() == 1);
}

void options_reach_the_store()
{
    const Folder folder;
    {
        const ns::store store = must_open(on_files(folder).cache_namespace("a").worker(1, 2));
        EXPECT(store.put("key", std::string_view("value")).ok());
        const ns::result<ns::capabilities> told = store.capabilities();
        EXPECT(told && std::string(told->backend) == "POSIX" && told->object_bytes_max >= slot_bytes);
        const ns::result<ns::stats> stats = store.stats();
        EXPECT(stats && stats->keys == 1 && stats->slots == 64);
        for (const ns::result<std::string> &text : {store.metrics_text(), ns::metrics_text()}) {
            EXPECT(text && text->find("\nnixl_store_keys{store=\"") != std::string::npos);
            EXPECT(text && text->size() > 6 && text->compare(text->size() - 6, 6, "# EOF\n") == 0);
        }
    }
    EXPECT(must_open(on_files(folder).cache_namespace("b").worker(1, 2)).contains("key").not_found());
    EXPECT(ns::store::open(in_memory().worker(2, 2)).code() == ns::status::invalid_argument);
}

void pins_go()
{
    const ns::store store = must_open(in_memory());
    const auto pins = [&] { return store.stats().value().keys_pinned; };
    EXPECT(store.put("key", std::string_view("value")).ok() && store.put("other", std::string_view("value")).ok());
    {
        ns::pinned pin = store.pin("key").value();
        EXPECT(pin && pins() == 1 && store.remove("key").code() == ns::status::pinned);
        ns::pinned moved = std::move(pin);
        EXPECT(!pin && pins() == 1); // NOLINT: moved from, as meant
        moved = store.pin("other").value();
        EXPECT(pins() == 1 && store.remove("other").code() == ns::status::pinned);
    }
    EXPECT(pins() == 0);
    ns::pinned told = store.pin("key").value();
    EXPECT(told.unpin().ok() && !told && told.unpin().ok() && pins() == 0);
    store.pin("key").value().release();
    EXPECT(pins() == 1 && store.unpin("key").ok());
    {
        // Of many: those that are stored.
        ns::pinned_keys many = store.pin(ns::keys{"key", "missing", "other"}).value();
        EXPECT(many.size() == 2 && many.prefix() == 1 && pins() == 2);
        ns::pinned_keys moved = std::move(many);
        EXPECT(many.size() == 0 && pins() == 2); // NOLINT: moved from, as meant
    }
    // What a deadline leaves pinned, nobody would unpin.
    EXPECT(pins() == 0 && unpin_deadline_ms == NIXL_STORE_DEADLINE_NONE);
    EXPECT(store.pin(ns::keys()).value().size() == 0);
    EXPECT(store.pin(ns::keys{"", "key"}).code() == ns::status::invalid_argument && pins() == 0);
    EXPECT(store.pin(ns::key_view(nullptr, 3)).code() == ns::status::invalid_argument);
    EXPECT(store.pin(ns::key_view("key", NIXL_STORE_KEY_BYTES_MAX + 1)).code() == ns::status::invalid_argument);
}

// With as many tickets open as a store has, it takes no batch.
void pins_go_where_no_batch_is_taken()
{
    const ns::store store = must_open(in_memory());
    EXPECT(store.put("key", std::string_view("value")).ok() && store.put("other", std::string_view("value")).ok());
    const ns::keys both{"key", "other"};
    ns::pinned_keys told = store.pin(both).value();
    std::optional<ns::pinned_keys> dropped = store.pin(both).value();
    std::vector<ns::ticket> open;
    ns::result<ns::ticket> one = store.submit_lookup(both);
    for (; one; one = store.submit_lookup(both))
        open.push_back(*std::move(one));
    EXPECT(one.code() == ns::status::busy);
    EXPECT(told.unpin().ok() && told.size() == 0 && store.stats().value().keys_pinned == 2);
    dropped.reset();
    EXPECT(store.stats().value().keys_pinned == 0);
}

void memory_is_given_back()
{
    const ns::store store = must_open(in_memory());
    std::vector<std::byte> memory(1 << 16);
    {
        ns::registration known = store.register_memory(memory).value();
        EXPECT(store.register_memory(memory).code() == ns::status::invalid_argument);
        const ns::registration moved = std::move(known);
        EXPECT(!known && moved); // NOLINT: moved from, as meant
    }
    ns::registration again = store.register_memory(memory).value();
    EXPECT(again.unregister().ok() && !again && again.unregister().ok());

    std::size_t most = 0;
    for (int turn = 0; turn < 64; ++turn) {
        // Kept, four of these would not fit.
        ns::result<ns::allocation> block = store.allocate(4 << 20);
        most += block ? 1 : 0;
        if (block) {
            std::memset(block->data(), turn, block->size());
            EXPECT(store.put("block", ns::const_bytes(block->data(), slot_bytes)).ok());
        }
    }
    EXPECT(most == 64);
    EXPECT(store.allocate(std::size_t{1} << 40).code() == ns::status::out_of_memory);
}

void a_queue_tells_of_batches()
{
    const ns::store store = must_open(in_memory());
    ns::queue queue = store.create_queue().value();
    const std::string payload(1000, 'p');
    ns::put_batch puts;
    ns::ticket ticket = store.submit_put(puts.add("key", payload), ns::submit_options().on(queue, 42).request(7)).value();
    pollfd readable{queue.fd().value(), POLLIN, 0};
    EXPECT(poll(&readable, 1, -1) == 1);
    ns::completion done[4];
    EXPECT(queue.drain(done).value() == 1 && done[0].user_data() == 42 && done[0].ticket_id() == ticket.id());
    EXPECT(done[0].code() == ns::status::ok && done[1].code() == ns::status::no_result);
    EXPECT(ticket.is_done() && ticket.wait(ns::timeout::none()).ok());
    ns::queue moved = std::move(queue);
    EXPECT(!queue && queue.fd().code() == ns::status::invalid_handle); // NOLINT: moved from, as meant
    // Whoever names a queue waits for a completion, which would never come.
    EXPECT(store.submit_put(puts, ns::submit_options().on(queue)).code() == ns::status::invalid_handle);
    nixl_store_queue_t *const handle = moved.raw();
    EXPECT(moved.destroy().ok() && !moved && moved.destroy().ok());
    int fd = 0;
    EXPECT(nixl_store_queue_fd(store.raw(), handle, &fd) == NIXL_STORE_ERROR_INVALID_HANDLE);
    nixl_store_queue_t *scoped = nullptr;
    {
        const ns::queue short_lived = store.create_queue().value();
        scoped = short_lived.raw();
        EXPECT(nixl_store_queue_fd(store.raw(), scoped, &fd) == NIXL_STORE_OK);
    }
    EXPECT(nixl_store_queue_fd(store.raw(), scoped, &fd) == NIXL_STORE_ERROR_INVALID_HANDLE);
}

void owners_outlive_their_store_without_harm()
{
    ns::queue queue;
    ns::pinned pin;
    ns::registration known;
    ns::allocation block;
    ns::ticket ticket;
    std::vector<std::byte> memory(4096);
    {
        const ns::store store = must_open(in_memory());
        EXPECT(store.put("key", memory).ok());
        queue = store.create_queue().value();
        pin = store.pin("key").value();
        known = store.register_memory(memory).value();
        block = store.allocate(4096).value();
        ns::get_batch gets;
        ticket = store.submit_get(gets.add("key", memory)).value();
    }
    EXPECT(pin.unpin().code() == ns::status::invalid_handle);
    EXPECT(ticket.wait().code() == ns::status::invalid_handle && !ticket);
}

// A message that nobody reads would need memory, and where there is none a destructor can only end the process.
void destructors_allocate_nothing()
{
    std::vector<std::byte> memory(4096);
    std::size_t before = 0;
    {
        ns::store store = must_open(in_memory());
        EXPECT(store.put("key", memory).ok());
        const ns::queue queue = store.create_queue().value();
        const ns::pinned pin = store.pin("key").value();
        const ns::pinned_keys pins = store.pin(ns::keys{"key"}).value();
        const ns::registration known = store.register_memory(memory).value();
        const ns::allocation block = store.allocate(4096).value();
        const ns::store stale = ns::store::adopt(store.raw());
        EXPECT(store.close().ok());
        before = allocations;
    }
    EXPECT(allocations == before);
}

void a_forked_child_leaves_the_parents_store_alone()
{
    const ns::store store = must_open(in_memory());
    std::vector<std::byte> memory(4096);
    EXPECT(store.put("key", memory).ok());
    ns::get_batch gets;
    ns::ticket ticket = store.submit_get(gets.add("key", memory)).value();
    const pid_t child = fork();
    if (child == 0) {
        const bool refused = store.flush().code() == ns::status::forked;
        { const ns::ticket dropped = std::move(ticket); }
        _exit(refused ? 0 : 1);
    }
    int how = -1;
    EXPECT(waitpid(child, &how, 0) == child && how == 0);
    EXPECT(ticket.wait().ok() && store.contains("key").ok());
}

} // namespace

void owners()
{
    a_store_closes_itself();
    a_store_is_moved_and_assigned();
    the_log_lives_as_long_as_the_store();
    options_reach_the_store();
    pins_go();
    pins_go_where_no_batch_is_taken();
    memory_is_given_back();
    a_queue_tells_of_batches();
    owners_outlive_their_store_without_harm();
    destructors_allocate_nothing();
    a_forked_child_leaves_the_parents_store_alone();
}
