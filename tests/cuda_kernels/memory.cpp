#include "memory.h"

#include <algorithm>
#include <iterator>

namespace shim {

void Memory::allow(const void *address, unsigned long long bytes, Access access) {
    if (bytes == 0) {
        return;
    }
    Ranges &ranges = access == Access::READ ? readable : writable;
    std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(address);
    std::uintptr_t end = begin + bytes;
    auto next = ranges.lower_bound(begin);
    if (next != ranges.begin() && std::prev(next)->second > begin) {
        --next;
    }
    while (next != ranges.end() && next->first < end) {
        begin = std::min(begin, next->first);
        end = std::max(end, next->second);
        next = ranges.erase(next);
    }
    ranges.emplace(begin, end);
}

bool Memory::allows(const void *address, unsigned long long bytes, Access access) const {
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(address);
    const auto behind = ranges(access).upper_bound(begin);
    return behind != ranges(access).begin() && std::prev(behind)->second >= begin + bytes;
}

}  // namespace shim
