// refused: no matching|cannot convert|no known conversion
// An allocation that is freed at the end of the line, though its memory can be written to even where it is const.
#include <nixl_store.hpp>
void refused(const nixl_store::store &store, nixl_store::get_batch &gets);
void refused(const nixl_store::store &store, nixl_store::get_batch &gets)
{
    nixl_store::result<nixl_store::allocation> block = store.allocate(10);
#ifndef REFUSED
    gets.add("key", *block);
#else
    gets.add("key", *std::move(block));
#endif
}
