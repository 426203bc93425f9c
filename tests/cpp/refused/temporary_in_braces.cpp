// refused: deleted
// One temporary in braces, which would be taken as the only argument of a segment.
#include <nixl_store.hpp>
void refused(nixl_store::put_batch &puts);
void refused(nixl_store::put_batch &puts)
{
#ifndef REFUSED
    static const std::string memory(10, 'm');
    puts.add("key", {memory}).add("text", {std::string_view("text")});
#else
    puts.add("key", {std::string(10, 'm')});
#endif
}
