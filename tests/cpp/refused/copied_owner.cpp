// refused: deleted
// Two owners of one ticket.
#include <nixl_store.hpp>
void refused(nixl_store::ticket &ticket);
void refused(nixl_store::ticket &ticket)
{
#ifndef REFUSED
    const nixl_store::ticket other = std::move(ticket);
#else
    const nixl_store::ticket other = ticket;
#endif
}
