// refused: may differ in their bytes
// Of two equal structs the padding may differ, and so would the keys.
#include <nixl_store.hpp>
struct Block {
#ifndef REFUSED
    std::uint64_t layer;
#else
    std::uint8_t layer;
#endif
    std::uint64_t hash;
};
std::size_t refused(const Block &block);
std::size_t refused(const Block &block) { return nixl_store::key_of(block).size(); }
