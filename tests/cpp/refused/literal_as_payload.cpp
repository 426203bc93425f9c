// refused: may be a literal
// A literal would be stored with its NUL.
#include <nixl_store.hpp>
bool refused(const nixl_store::store &store);
bool refused(const nixl_store::store &store)
{
#ifndef REFUSED
    return store.put("key", std::string_view("text")).ok();
#else
    return store.put("key", "text").ok();
#endif
}
