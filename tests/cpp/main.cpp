// nixl_store.hpp against the real library. Each file is compiled in another dialect, all are linked together: see run.sh.
#include "check.hpp"

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
