// What a launch may touch: ranges of this process's memory that are to be read, and others that are to be written.
#pragma once

#include <cstdint>
#include <map>

namespace shim {

enum class Access { READ, WRITE };

class Memory {
public:
    /// Adds a range. Ranges that overlap become one; ranges that only touch do not, so that an access that runs from
    /// one into the next is told.
    void allow(const void *address, unsigned long long bytes, Access access);

    bool allows(const void *address, unsigned long long bytes, Access access) const;

private:
    /// Ends of ranges by their beginnings.
    using Ranges = std::map<std::uintptr_t, std::uintptr_t>;

    const Ranges &ranges(Access access) const { return access == Access::READ ? readable : writable; }

    Ranges readable;
    Ranges writable;
};

}  // namespace shim
