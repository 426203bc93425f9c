// nixl_store.hpp against the real library. Each file is compiled in another dialect, all are linked together: see run.sh.
#include "check.hpp"

#include <new>

// What this program's own code allocates; the library does not use it.
void *operator new(std::size_t bytes)
{
    ++allocations;
    if (void *const memory = std::malloc(bytes))
        return memory;
    std::abort();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

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
