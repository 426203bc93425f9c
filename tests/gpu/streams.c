#include "gpu.h"

#include <nixl_store.h>
#include <string.h>

#include "launch.h"

/* A device has few channels to take work from its streams (8, unless CUDA_DEVICE_MAX_CONNECTIONS says otherwise). A stream
 * that waits may hold up what others have put behind it in the same one: were that a copy of the library's, for which the
 * stream waits, neither would go on. */
#define STREAMS_MAX 64
/* So many an engine has waiting at a time: they must not hold up anything. What becomes of more is told. */
#define STREAMS_SURE 4
#define OBJECT_BYTES ((size_t)8 << 20)
#define TIMEOUT_MS 5000

/* Puts and gets back an object on the device. Whether both have ended in time; the streams are let go of if not, as the
 * memory is in use until then. */
static int moves(nixl_store_t *store, CUdeviceptr device, volatile uint64_t *word)
{
    nixl_store_segment_t segment = {
        .address = (void *)(uintptr_t)device, .length = OBJECT_BYTES, .memory_kind = NIXL_STORE_MEMORY_CUDA};
    const nixl_store_item_t item = {.key = "object", .key_length = 6, .segments = &segment, .segment_count = 1};
    int in_time = 1;

    for (int is_put = 1; is_put >= 0; is_put--) {
        nixl_store_ticket_t ticket;
        nixl_store_status_t status = is_put ? nixl_store_batch_put(store, &item, 1, NULL, &ticket)
                                            : nixl_store_batch_get(store, &item, 1, NULL, &ticket);
        if (status == NIXL_STORE_OK)
            status = nixl_store_ticket_wait(store, ticket, TIMEOUT_MS, NULL, 0, NULL);
        if (status == NIXL_STORE_IN_PROGRESS) {
            in_time = 0;
            *word = 1;
            status = nixl_store_ticket_wait(store, ticket, NIXL_STORE_TIMEOUT_INFINITE, NULL, 0, NULL);
        }
        if (status != NIXL_STORE_OK) {
            fprintf(stderr, "%s: %s\n", nixl_store_status_name(status), nixl_store_error_message());
            exit(1);
        }
    }
    return in_time;
}

int check_streams(void)
{
    const char *const config = "extra_config: {enable_nixl_storage: true, nixl_backend: MEMORY, nixl_pool_size: 4}\n";
    const nixl_store_open_options_t options = {
        .struct_size = sizeof options, .chunk_bytes = OBJECT_BYTES, .has_cuda_device = 1, .config_text = config};
    volatile uint64_t *word;
    CUstream streams[STREAMS_MAX];
    CUdeviceptr device, address;
    nixl_store_t *store;
    unsigned passed = 0;

    driver_begin();
    word = pinned(sizeof *word);
    OK(cu.cuMemHostGetDevicePointer(&address, (void *)word, 0));
    OK(cu.cuMemAlloc(&device, OBJECT_BYTES));
    if (nixl_store_open(NULL, &options, &store) != NIXL_STORE_OK) {
        fprintf(stderr, "%s\n", nixl_store_error_message());
        return 1;
    }
    for (unsigned index = 0; index < STREAMS_MAX; index++)
        OK(cu.cuStreamCreate(&streams[index], CU_STREAM_NON_BLOCKING));
    moves(store, device, word); /* what is had at first use is had before streams wait */
    *word = 0;
    for (unsigned count = 1; count <= STREAMS_MAX && (count == 1 || passed == count / 2); count *= 2) {
        for (unsigned index = 0; index < count; index++)
            OK(cu.cuStreamWaitValue64(streams[index], address, 1, CU_STREAM_WAIT_VALUE_GEQ));
        if (moves(store, device, word))
            passed = count;
        *word = 1;
        for (unsigned index = 0; index < count; index++)
            OK(cu.cuStreamSynchronize(streams[index]));
        *word = 0;
    }
    printf("copies get past %u streams that wait (of %u tried, %u needed)\n", passed, STREAMS_MAX, STREAMS_SURE);
    for (unsigned index = 0; index < STREAMS_MAX; index++)
        OK(cu.cuStreamDestroy(streams[index]));
    if (nixl_store_close(store) != NIXL_STORE_OK)
        fprintf(stderr, "%s\n", nixl_store_error_message());
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFreeHost((void *)word));
    driver_end();
    return passed < STREAMS_SURE;
}
