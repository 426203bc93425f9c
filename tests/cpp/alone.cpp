// The header needs nothing before it and may come twice. Two objects of it are linked together: one has UNIT set.
#include <nixl_store.hpp>
#include <nixl_store.hpp>

std::size_t bytes_of(nixl_store::const_bytes bytes);
#ifdef UNIT
std::size_t bytes_of(nixl_store::const_bytes bytes) { return bytes.size(); }
#else
int main()
{
    const std::vector<char> memory(7);
    return bytes_of(memory) == 7 && nixl_store::timeout(std::chrono::seconds(1)).ms() == 1000 ? 0 : 1;
}
#endif
