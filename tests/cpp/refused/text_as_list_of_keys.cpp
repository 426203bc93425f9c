// refused: are one key
// A text would be a list of keys of one character each.
#include <nixl_store.hpp>
std::size_t refused(const std::string &text);
std::size_t refused(const std::string &text)
{
#ifndef REFUSED
    return nixl_store::keys{text}.size();
#else
    return nixl_store::keys(text).size();
#endif
}
