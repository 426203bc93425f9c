// The four calls in C++: open, put, get, and a close that tells how it went.
//
//   c++ -std=c++17 quickstart.cpp $(pkg-config --cflags --libs nixl_store) -o quickstart
//   ./quickstart lmcache.yaml              (or set LMCACHE_CONFIG_FILE)
#include <nixl_store.hpp>

#include <cstdio>

int main(int argc, char **argv)
{
    const char *const key = "llama-3.1-8b/layer-all/chunk-0";
    const std::vector<char> chunk(1 << 20, 'k'); // stands for the KV cache of a few tokens
    std::vector<char> copy(chunk.size());

    try {
        auto store = nixl_store::store::open(argc > 1 ? argv[1] : nullptr).or_throw(); // nullptr: $LMCACHE_CONFIG_FILE
        if (store.put(key, chunk).or_throw() == nixl_store::status::not_admitted) {
            std::puts("quickstart: the store keeps what it has: with cache_policy REUSE one use is not worth a place");
            return 0;
        }
        const std::size_t length = store.get(key, copy).or_throw();
        store.close().or_throw();
        if (length != chunk.size() || copy != chunk) {
            std::fprintf(stderr, "quickstart: the bytes that came back are not those that were put\n");
            return 1;
        }
        std::printf("quickstart: put and got back %zu bytes with nixl_store %s\n", length, nixl_store::version());
    } catch (const nixl_store::exception &error) {
        std::fprintf(stderr, "quickstart: %s\n", error.what());
        return 1;
    }
}
