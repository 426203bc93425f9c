// What the tests of nixl_store.hpp share: a check that says where it failed, and stores to work on.
#pragma once

#include <nixl_store.hpp>

#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace ns = nixl_store;

inline int failures = 0;
// By operator new, in this thread.
inline thread_local std::size_t allocations = 0;
// The one of them that fails; 0: none does.
inline thread_local std::size_t refused_allocation = 0;
// Of the last batch that was submitted to unpin.
inline std::uint64_t unpin_deadline_ms = 0;

#define EXPECT(...)                                                                                                    \
    do {                                                                                                               \
        if (!(__VA_ARGS__)) {                                                                                          \
            std::fprintf(stderr, "%s:%d: %s: does not hold: %s\n", __FILE__, __LINE__, __func__, #__VA_ARGS__);       \
            ++failures;                                                                                                \
        }                                                                                                              \
    } while (false)

constexpr std::size_t slot_bytes = std::size_t{1} << 20;

// A folder with a static pool in files, removed at the end of the scope.
class Folder {
public:
    Folder()
    {
        const char *const parent = std::getenv("TMPDIR");
        path_ = std::string(parent == nullptr ? "/tmp" : parent) + "/nixl_store_cpp.XXXXXX";
        if (mkdtemp(path_.data()) == nullptr) {
            std::perror(path_.c_str());
            std::exit(EXIT_FAILURE);
        }
    }
    ~Folder()
    {
        // Its name is our own, and needs no quotes but these.
        if (std::system(("rm -rf '" + path_ + "'").c_str()) != 0)
            std::fprintf(stderr, "%s is left over\n", path_.c_str());
    }
    Folder(const Folder &) = delete;
    Folder &operator=(const Folder &) = delete;

    std::string config() const
    {
        return "nixl_buffer_size: 16777216\nnixl_buffer_device: cpu\nextra_config:\n  enable_nixl_storage: true\n"
               "  nixl_backend: POSIX\n  nixl_pool_size: 64\n  nixl_path: '" +
               path_ + "'\n";
    }

private:
    std::string path_;
};

inline ns::open_options in_memory(unsigned slots = 64)
{
    return ns::open_options().chunk_bytes(slot_bytes).config_text(
        "nixl_buffer_size: 16777216\nextra_config: {enable_nixl_storage: true, nixl_backend: MEMORY, nixl_pool_size: " +
        std::to_string(slots) + "}\n");
}

inline ns::open_options on_files(const Folder &folder)
{
    return ns::open_options().chunk_bytes(slot_bytes).config_text(folder.config());
}

// A store that opened, or the end of the test program.
inline ns::store must_open(ns::open_options options)
{
    ns::result<ns::store> opened = ns::store::open(std::move(options));
    if (!opened) {
        std::fprintf(stderr, "open: %s\n", opened.describe().c_str());
        std::exit(EXIT_FAILURE);
    }
    return *std::move(opened);
}

// Whether `misuse` ends a process of its own with abort().
template <class Function> bool aborts(Function misuse)
{
    const pid_t child = fork();
    if (child == 0) {
        if (std::freopen("/dev/null", "w", stderr) != nullptr)
            misuse();
        _exit(0);
    }
    int how = 0;
    return child > 0 && waitpid(child, &how, 0) == child && WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT;
}

void results_and_spans();
void owners();
void batches();
void threads();
void exceptions();
