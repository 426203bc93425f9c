// refused: deleted
// A segment of host memory that is gone at the end of the line.
#include <nixl_store.hpp>
nixl_store::const_segment refused();
nixl_store::const_segment refused()
{
#ifndef REFUSED
    static const std::vector<char> memory(10);
    return nixl_store::const_segment::host(memory);
#else
    return nixl_store::const_segment::host(std::vector<char>(10));
#endif
}
