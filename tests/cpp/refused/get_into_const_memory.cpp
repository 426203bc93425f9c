// refused: no matching|cannot convert|no known conversion
// What is read only cannot be got into.
#include <nixl_store.hpp>
#ifndef REFUSED
using Memory = std::vector<char>;
#else
using Memory = const std::vector<char>;
#endif
void refused(nixl_store::get_batch &gets, Memory &memory);
void refused(nixl_store::get_batch &gets, Memory &memory) { gets.add("key", memory); }
