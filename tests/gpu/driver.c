#include "driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

struct driver cu;

void driver_check(CUresult code, const char *call, const char *file, int line)
{
    const char *name = NULL;

    if (code == CUDA_SUCCESS)
        return;
    if (cu.cuGetErrorName(code, &name) != CUDA_SUCCESS || name == NULL)
        name = "an error without a name";
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, name);
    exit(1);
}

void driver_load(void)
{
    void *const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    void *address;
    int count = 0;

    if (library == NULL) {
        fprintf(stderr, "no CUDA driver: %s\n", dlerror());
        exit(1);
    }
#define FIND(name, symbol, arguments)                             \
    address = dlsym(library, #symbol);                            \
    if (address == NULL) {                                        \
        fprintf(stderr, "the CUDA driver has no %s\n", #symbol);  \
        exit(1);                                                  \
    }                                                             \
    memcpy(&cu.name, &address, sizeof address);
    DRIVER_CALLS(FIND)
#undef FIND
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&count));
    if (count == 0) {
        fprintf(stderr, "the CUDA driver sees no GPU\n");
        exit(1);
    }
}

void driver_begin(void)
{
    CUcontext context;

    OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
    OK(cu.cuCtxSetCurrent(context));
}

void driver_end(void)
{
    OK(cu.cuCtxSetCurrent(NULL));
    OK(cu.cuDevicePrimaryCtxRelease(0));
}

char *read_text(const char *path)
{
    FILE *const file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;

    /* No text has a NUL, so this reads all of it. */
    if (file == NULL || getdelim(&text, &room, '\0', file) < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    fclose(file);
    return text;
}
