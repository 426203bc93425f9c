/* That memory, files and handles come back, over as many lives as there are tests in a process. */

#include "self_test.h"

#include <dirent.h>

#define MIB (1u << 20)
#define PAGE 4096u
#define ROUNDS 2000
#define LEAK_BYTES_MAX (16l << 20)

static long resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * PAGE;
}

static int open_files(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void one_life(void)
{
    CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    static char host[PAGE];
    CUmemGenericAllocationHandle physical;
    CUdeviceptr address, pooled, mapped;
    CUstream stream;
    CUevent event;
    begin();
    OK(cu.cuMemAlloc(&address, 2 * MIB));
    OK(cu.cuStreamCreate(&stream, 0));
    OK(cu.cuEventCreate(&event, 0));
    OK(cu.cuMemHostRegister(host, sizeof host, 0));
    OK(cu.cuMemcpyHtoDAsync(address, host, sizeof host, stream));
    OK(cu.cuMemAllocAsync(&pooled, PAGE, stream));
    OK(cu.cuMemFreeAsync(pooled, stream));
    OK(cu.cuMemAddressReserve(&mapped, 2 * MIB, 0, 0, 0));
    OK(cu.cuMemCreate(&physical, 2 * MIB, &properties, 0));
    OK(cu.cuMemMap(mapped, 2 * MIB, 0, physical, 0));
    OK(cu.cuEventRecord(event, stream));
    OK(cu.cuEventSynchronize(event));
    OK(cu.cuMemUnmap(mapped, 2 * MIB));
    OK(cu.cuMemRelease(physical));
    OK(cu.cuMemAddressFree(mapped, 2 * MIB));
    OK(cu.cuMemHostUnregister(host));
    OK(cu.cuMemFree(address));
    OK(cu.cuEventDestroy(event));
    OK(cu.cuStreamDestroy(stream));
    finish();
}

static void everything_comes_back(void)
{
    standin.standin_set_delay_us(0);
    for (int i = 0; i < ROUNDS / 20; i++)
        one_life();
    long bytes = resident_bytes();
    int files = open_files();
    for (int i = 0; i < ROUNDS; i++)
        one_life();
    CHECK(open_files() == files);
    CHECK(resident_bytes() - bytes < LEAK_BYTES_MAX);
}

const struct test life_tests[] = {
    {"everything_comes_back", everything_comes_back, true, NULL},
    {NULL, NULL, false, NULL},
};
