// refused: no matching|cannot convert|no known conversion
// A flag of puts on a get.
#include <nixl_store.hpp>
#ifndef REFUSED
constexpr auto flag = nixl_store::get_flags::exact;
#else
constexpr auto flag = nixl_store::put_flags::keep;
#endif
void refused(nixl_store::get_batch &gets, std::vector<char> &memory);
void refused(nixl_store::get_batch &gets, std::vector<char> &memory) { gets.add("key", memory, flag); }
