// refused: deleted
// The same, to put.
#include <nixl_store.hpp>
void refused(const nixl_store::store &store, nixl_store::put_batch &puts);
void refused(const nixl_store::store &store, nixl_store::put_batch &puts)
{
    nixl_store::result<nixl_store::allocation> block = store.allocate(10);
#ifndef REFUSED
    puts.add("key", *block);
#else
    puts.add("key", {*std::move(block)});
#endif
}
