// refused: deleted
// Memory that is gone at the end of the line, while the batch needs it until it completed.
#include <nixl_store.hpp>
void refused(nixl_store::put_batch &puts);
void refused(nixl_store::put_batch &puts)
{
#ifndef REFUSED
    static const std::vector<char> memory(10);
    puts.add("key", memory);
#else
    puts.add("key", std::vector<char>(10));
#endif
}
