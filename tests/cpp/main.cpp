// nixl_store.hpp against the real library. Each file is compiled in another dialect, all are linked together: see run.sh.
#include "check.hpp"

#include <dlfcn.h>

#include <new>

// What this program's own code allocates; the library does not use it.
void *operator new(std::size_t bytes)
{
    ++allocations;
    void *const memory = allocations == refused_allocation ? nullptr : std::malloc(bytes);
    if (memory == nullptr)
        throw std::bad_alloc();
    return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

// Goes before the library's, which it calls: which deadline a batch has shows only where it passes.
nixl_store_status_t nixl_store_batch_unpin(nixl_store_t *store, const nixl_store_key_t *keys, std::size_t key_count,
                                           const nixl_store_submit_options_t *options, nixl_store_ticket_t *ticket_out)
{
    unpin_deadline_ms = options == nullptr ? NIXL_STORE_DEADLINE_DEFAULT : options->deadline_ms;
    static void *const real = dlsym(RTLD_NEXT, "nixl_store_batch_unpin");
    return reinterpret_cast<decltype(&nixl_store_batch_unpin)>(real)(store, keys, key_count, options, ticket_out);
}

int main()
{
    results_and_spans();
    owners();
    batches();
    threads();
    exceptions();
    std::printf("cpp: %s\n", failures == 0 ? "all holds" : "FAILED");
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
