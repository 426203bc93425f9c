#include "nixl_capi.h"

#include <dlfcn.h>
#include <string.h>

#include "fail.h"

/* A function pointer cannot be cast from the void pointer of dlsym in ISO C, but its bytes are the same (POSIX). */
static int find(void *library, const char *name, void *function_out, size_t length)
{
    void *const symbol = dlsym(library, name);

    if (symbol == NULL)
        return fail("%s is not in NIXL's library: version 1.5 is needed", name);
    memcpy(function_out, &symbol, length);
    return 0;
}

#define FIND(name) find(library, "nixl_capi_" #name, &capi->name, sizeof capi->name) != 0

int nixl_capi_load(nixl_capi_t *capi, const char *path)
{
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        return fail("cannot load NIXL: %s", dlerror());
    if (FIND(create_configured_agent) || FIND(destroy_agent) || FIND(create_params) || FIND(params_add) ||
        FIND(destroy_params) || FIND(create_backend) || FIND(destroy_backend) || FIND(create_opt_args) ||
        FIND(destroy_opt_args) || FIND(opt_args_add_backend) || FIND(opt_args_set_skip_desc_merge) ||
        FIND(create_reg_dlist) || FIND(reg_dlist_add_desc) || FIND(destroy_reg_dlist) || FIND(register_mem) ||
        FIND(deregister_mem) || FIND(create_xfer_dlist) || FIND(xfer_dlist_add_desc) || FIND(destroy_xfer_dlist) ||
        FIND(prep_xfer_dlist) || FIND(release_xfer_dlist_handle) || FIND(make_xfer_req) || FIND(post_xfer_req) ||
        FIND(get_xfer_status) || FIND(release_xfer_req) || FIND(destroy_xfer_req))
        return -1;
    return 0;
}
