// refused: is an address
// The key would be the address of the hash, which another process does not have.
#include <nixl_store.hpp>
std::size_t refused(const std::uint64_t *hash);
std::size_t refused(const std::uint64_t *hash)
{
#ifndef REFUSED
    return nixl_store::key_of(*hash).size();
#else
    return nixl_store::key_of(hash).size();
#endif
}
