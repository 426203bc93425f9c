// Runs the library's CUDA kernels on this CPU and compares what they compute with the library's own checksums and
// copies.
//
//   check SUMS    where SUMS is the table of checksums, sums.tsv
#include "check.h"

#include <cstdio>

namespace {

/// Failures that are told one by one; of a kernel that is all wrong nobody reads more.
constexpr int TOLD_MAX = 20;

int failures = 0;
long expectations = 0;

}  // namespace

bool test::expect(bool is_so, const char *what, const char *file, int line) {
    ++expectations;
    if (!is_so && ++failures <= TOLD_MAX) {
        std::fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    }
    return is_so;
}

int main(int count, char **arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s sums.tsv\n", arguments[0]);
        return 2;
    }
    test::check_shim();
    test::check_launch();
    test::check_checksum(arguments[1]);
    test::check_copy();
    if (failures != 0) {
        std::printf("FAILED: %d of %ld\n", failures, expectations);
        return 1;
    }
    std::printf("%ld expectations met\n", expectations);
    return 0;
}
