// refused: points to the bytes
// The key would be the address and the length of the digest.
#include <nixl_store.hpp>
#include <array>
// As std::span is in some standard libraries: no padding.
struct View {
    const std::uint32_t *begin;
    std::size_t count;
    const std::uint32_t *data() const { return begin; }
    std::size_t size() const { return count; }
};
#ifndef REFUSED
using Digest = std::array<std::uint32_t, 8>;
#else
using Digest = View;
#endif
std::size_t refused(const Digest &digest);
std::size_t refused(const Digest &digest) { return nixl_store::key_of(digest).size(); }
