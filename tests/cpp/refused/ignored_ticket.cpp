// refused: nodiscard|unused-result
// A batch whose ticket would be waited for on the spot.
#include <nixl_store.hpp>
void refused(const nixl_store::store &store, const nixl_store::put_batch &puts);
void refused(const nixl_store::store &store, const nixl_store::put_batch &puts)
{
#ifndef REFUSED
    auto ticket =
#endif
        store.submit_put(puts);
#ifndef REFUSED
    (void)ticket;
#endif
}
