// refused: a text is a key by itself
// The key would have the literal's NUL.
#include <nixl_store.hpp>
std::size_t refused();
std::size_t refused()
{
#ifndef REFUSED
    return nixl_store::key_view("key").size();
#else
    return nixl_store::key_of("key").size();
#endif
}
