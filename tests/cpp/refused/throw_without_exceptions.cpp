// refused: needs exceptions
// or_throw() where nothing can be thrown.
#include <nixl_store.hpp>
bool refused(const nixl_store::store &store);
bool refused(const nixl_store::store &store)
{
#if defined(__cpp_exceptions) || !defined(REFUSED)
    return store.flush().ok();
#else
    return store.flush().or_throw() == nixl_store::status::ok;
#endif
}
