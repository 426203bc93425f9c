#include "usrbio_capi.h"

#include <dlfcn.h>
#include <string.h>

#include "fail.h"

static int find(void *library, const char *name, void *function)
{
    void *const symbol = dlsym(library, name);

    if (symbol == NULL)
        return fail("%s: %s", name, dlerror());
    /* A function pointer is no object pointer to ISO C. */
    memcpy(function, &symbol, sizeof symbol);
    return 0;
}

int usrbio_capi_load(usrbio_capi_t *capi, const char *path)
{
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        return fail("dlopen: %s", dlerror());
    if (find(library, "hf3fs_iovcreate", &capi->iovcreate) != 0 ||
        find(library, "hf3fs_iovdestroy", &capi->iovdestroy) != 0 ||
        find(library, "hf3fs_iorcreate4", &capi->iorcreate4) != 0 ||
        find(library, "hf3fs_iordestroy", &capi->iordestroy) != 0 ||
        find(library, "hf3fs_reg_fd", &capi->reg_fd) != 0 || find(library, "hf3fs_dereg_fd", &capi->dereg_fd) != 0 ||
        find(library, "hf3fs_prep_io", &capi->prep_io) != 0 ||
        find(library, "hf3fs_submit_ios", &capi->submit_ios) != 0 ||
        find(library, "hf3fs_wait_for_ios", &capi->wait_for_ios) != 0)
        return -1;
    return 0;
}
