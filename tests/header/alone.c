/* The header needs nothing before it and may come twice. Compiled as C and as C++. */
#include <nixl_store.h>
#include <nixl_store.h>
