// refused: nodiscard|unused-result
// An outcome that nobody looks at.
#include <nixl_store.hpp>
void refused(const nixl_store::store &store);
void refused(const nixl_store::store &store)
{
#ifndef REFUSED
    (void)!store.flush();
#else
    store.flush();
#endif
}
