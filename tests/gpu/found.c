/* Prints what the driver sees, or ends with what is missing. Needs nothing but a C compiler, so that one knows before the
 * rest is built. */
#include "driver.h"

/* Numbers of CUdevice_attribute, with what they mean to this library. */
static const struct {
    int number;
    const char *meaning;
} ATTRIBUTES[] = {
    {75, "compute capability, major"},
    {76, "compute capability, minor"},
    {41, "unified addressing"},
    {83, "managed memory"},
    {122, "64-bit stream memory operations"}, /* cuStreamWaitValue64 */
    {115, "memory pools"},
    {116, "GPUDirect RDMA"},
};

int main(void)
{
    int version, count, device;

    driver_load();
    OK(cu.cuDriverGetVersion(&version));
    OK(cu.cuDeviceGetCount(&count));
    printf("driver for CUDA %d.%d, devices: %d\n", version / 1000, version % 1000 / 10, count);
    for (device = 0; device < count; device++) {
        char name[128];
        size_t index;

        OK(cu.cuDeviceGetName(name, sizeof name, device));
        printf("device %d: %s", device, name);
        for (index = 0; index < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; index++) {
            int value;
            /* One that this driver does not know is no reason to stop. */
            if (cu.cuDeviceGetAttribute(&value, ATTRIBUTES[index].number, device) == CUDA_SUCCESS)
                printf("; %s %d", ATTRIBUTES[index].meaning, value);
        }
        printf("\n");
    }
    return 0;
}
