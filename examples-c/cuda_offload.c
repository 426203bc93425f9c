/* A KV cache that leaves the GPU and comes back, in the order of a CUDA stream and without waiting on the host.
 *
 *   cuda_offload [lmcache.yaml]        (else $LMCACHE_CONFIG_FILE, else a temporary store)
 *
 * K and V of each layer are arrays of their own on the device, as engines have them. A chunk is a stretch of each array
 * and one object of the store. The work of an engine is played by copies and sets on its stream. Where there is no driver
 * or no GPU the program says so and is content. */
#define _POSIX_C_SOURCE 200809L

#include "common/cuda_driver.h"
#include "common/pattern.h"
#include "common/temp_store.h"

#include <nixl_store.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LAYERS = 4,
    PLANES = 2 * LAYERS,     /* K and V of each */
    PLANE_BYTES = 256 << 10, /* of one chunk in one plane */
    CHUNKS = 16,
    CHUNK_BYTES = PLANES * PLANE_BYTES,
    KV_BYTES = CHUNKS * CHUNK_BYTES,
    STAGING_BYTES = 16 << 20,
    KEY_BYTES = 32,
    DROPPED = 0xee /* what memory holds after its KV was dropped */
};

typedef struct {
    cuda_driver_t cuda;
    cuda_stream_t stream;  /* the engine's */
    cuda_address_t kv;     /* on the device: plane after plane, in each of them chunk after chunk */
    unsigned char *host;   /* pinned, as large: what the engine computes, later what it finds */
    nixl_store_t *store;
} offload_t;

static int failed(const char *what, nixl_store_status_t status)
{
    if (status == NIXL_STORE_OK)
        return 0;
    fprintf(stderr, "cuda_offload: %s: %s: %s\n", what, nixl_store_status_name(status), nixl_store_error_message());
    return 1;
}

static int cuda_failed(const offload_t *offload, const char *what, int code)
{
    if (code != 0)
        fprintf(stderr, "cuda_offload: %s: %s\n", what, cuda_error_name(&offload->cuda, code));
    return code != 0;
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static size_t offset_of(size_t plane, size_t chunk)
{
    return (plane * CHUNKS + chunk) * PLANE_BYTES;
}

/* Puts or gets all chunks. The batch starts after the work that is on the stream by now, and this thread does not wait
 * for that. A get is also waited for by the work that comes on the stream later. */
static int submit(offload_t *offload, int is_put, nixl_store_ticket_t *ticket_out)
{
    static nixl_store_segment_t segments[CHUNKS][PLANES];
    static nixl_store_item_t items[CHUNKS];
    static char keys[CHUNKS][KEY_BYTES];
    nixl_store_submit_options_t options;
    size_t chunk, plane;

    memset(segments, 0, sizeof segments);
    memset(items, 0, sizeof items);
    memset(&options, 0, sizeof options);
    for (chunk = 0; chunk < CHUNKS; chunk++) {
        for (plane = 0; plane < PLANES; plane++) {
            nixl_store_segment_t *const segment = &segments[chunk][plane];
            segment->address = (void *)(uintptr_t)(offload->kv + offset_of(plane, chunk));
            segment->length = PLANE_BYTES;
            segment->memory_kind = NIXL_STORE_MEMORY_CUDA;
            segment->cuda_device = (uint32_t)offload->cuda.device + 1; /* saves asking the driver for it */
        }
        items[chunk].key = keys[chunk];
        items[chunk].key_length = (uint64_t)snprintf(keys[chunk], KEY_BYTES, "offload/chunk/%zu", chunk);
        items[chunk].segments = segments[chunk];
        items[chunk].segment_count = PLANES;
        /* An object of another length is not this chunk. */
        items[chunk].flags = is_put ? 0 : NIXL_STORE_ITEM_EXACT;
    }
    options.struct_size = sizeof options;
    options.cuda_stream = offload->stream;
    options.flags = NIXL_STORE_SUBMIT_AFTER_STREAM | (is_put ? 0 : NIXL_STORE_SUBMIT_BEFORE_STREAM);
    return is_put ? failed("put", nixl_store_batch_put(offload->store, items, CHUNKS, &options, ticket_out))
                  : failed("get", nixl_store_batch_get(offload->store, items, CHUNKS, &options, ticket_out));
}

/* Says how a batch went. The stream goes on whatever became of it: a chunk is there only if its result says so, and one
 * that is not is computed again. */
static int finish(offload_t *offload, const char *what, nixl_store_ticket_t ticket, double start_s)
{
    nixl_store_result_t results[CHUNKS];
    size_t count = 0, chunk, there = 0;
    const nixl_store_status_t status =
        nixl_store_ticket_wait(offload->store, ticket, NIXL_STORE_TIMEOUT_INFINITE, results, CHUNKS, &count);
    const double seconds = now_s() - start_s;

    for (chunk = 0; chunk < count; chunk++)
        there += results[chunk].status == NIXL_STORE_OK;
    printf("  %s  %zu of %d chunks of %d KiB, %d MiB in %.1f ms: %.2f GB/s\n", what, there, CHUNKS, CHUNK_BYTES >> 10,
           KV_BYTES >> 20, seconds * 1e3, KV_BYTES / seconds / 1e9);
    /* Not admitted, with cache_policy REUSE: some chunks were not put. That is no error. */
    return status == NIXL_STORE_NOT_ADMITTED ? 0 : failed(what, status);
}

/* Stands for the layers that write K and V. */
static int compute(offload_t *offload)
{
    size_t plane, chunk;

    for (plane = 0; plane < PLANES; plane++)
        for (chunk = 0; chunk < CHUNKS; chunk++)
            pattern_fill(offload->host + offset_of(plane, chunk), PLANE_BYTES, offset_of(plane, chunk));
    return cuda_failed(offload, "compute",
                       offload->cuda.cuMemcpyHtoDAsync(offload->kv, offload->host, KV_BYTES, offload->stream));
}

/* Stands for the layers that read K and V: what they find goes to the host, to be compared. */
static int attend(offload_t *offload)
{
    memset(offload->host, 0, KV_BYTES);
    return cuda_failed(offload, "attend",
                       offload->cuda.cuMemcpyDtoHAsync(offload->host, offload->kv, KV_BYTES, offload->stream));
}

static int compare(offload_t *offload)
{
    size_t plane, chunk, wrong = 0;

    if (cuda_failed(offload, "the stream", offload->cuda.cuStreamSynchronize(offload->stream)))
        return 1;
    for (plane = 0; plane < PLANES; plane++)
        for (chunk = 0; chunk < CHUNKS; chunk++)
            wrong += pattern_first_wrong(offload->host + offset_of(plane, chunk), PLANE_BYTES,
                                         offset_of(plane, chunk)) != PLANE_BYTES;
    printf("  every byte of %d stretches compared, %zu wrong\n", PLANES * CHUNKS, wrong);
    return wrong != 0;
}

static int offload_and_return(offload_t *offload)
{
    nixl_store_ticket_t ticket;
    double start_s;

    if (compute(offload))
        return 1;
    start_s = now_s();
    if (submit(offload, 1, &ticket)) /* the copies of compute() may still be on their way */
        return 1;
    /* ... the engine goes on with other work; only the memory of these chunks must stay as it is ... */
    if (finish(offload, "put", ticket, start_s))
        return 1;

    if (cuda_failed(offload, "drop", offload->cuda.cuMemsetD8Async(offload->kv, DROPPED, KV_BYTES, offload->stream)))
        return 1;
    start_s = now_s();
    /* The get starts when the memory was dropped. The attention is put on the stream before a byte has come, and runs
     * when all have. */
    return submit(offload, 0, &ticket) || attend(offload) || finish(offload, "got", ticket, start_s) || compare(offload);
}

static int open_store(offload_t *offload, const char *config_path)
{
    nixl_store_open_options_t options;

    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.chunk_bytes = CHUNK_BYTES;
    options.has_cuda_device = 1; /* what takes time with the driver is done by the open, not by the first batch */
    options.cuda_device = (uint32_t)offload->cuda.device;
    options.cache_namespace = "cuda-offload/tiny-model";
    return failed("open", nixl_store_open(config_path, &options, &offload->store));
}

static int run(offload_t *offload, const char *config_path)
{
    const cuda_driver_t *const cuda = &offload->cuda;
    void *host = NULL;

    if (cuda_failed(offload, "cuMemAlloc", cuda->cuMemAlloc(&offload->kv, KV_BYTES)) ||
        cuda_failed(offload, "cuMemHostAlloc", cuda->cuMemHostAlloc(&host, KV_BYTES, 0)))
        return 1;
    offload->host = (unsigned char *)host;
    if (cuda_failed(offload, "cuStreamCreate", cuda->cuStreamCreate(&offload->stream, CUDA_STREAM_NON_BLOCKING)) ||
        open_store(offload, config_path))
        return 1;
    printf("cuda_offload: %s, driver %d.%d, nixl_store %s\n", cuda->device_name, cuda->version / 1000,
           cuda->version % 1000 / 10, nixl_store_version());
    return offload_and_return(offload);
}

/* Closing the store first ends every transfer before its memory goes. */
static int release(offload_t *offload)
{
    const cuda_driver_t *const cuda = &offload->cuda;
    int bad = offload->store != NULL && failed("close", nixl_store_close(offload->store));

    if (offload->stream != NULL) {
        bad |= cuda_failed(offload, "cuStreamSynchronize", cuda->cuStreamSynchronize(offload->stream));
        bad |= cuda_failed(offload, "cuStreamDestroy", cuda->cuStreamDestroy(offload->stream));
    }
    if (offload->host != NULL)
        bad |= cuda_failed(offload, "cuMemFreeHost", cuda->cuMemFreeHost(offload->host));
    if (offload->kv != 0)
        bad |= cuda_failed(offload, "cuMemFree", cuda->cuMemFree(offload->kv));
    cuda_driver_close(&offload->cuda);
    return bad;
}

int main(int argc, char **argv)
{
    static const temp_store_options_t options = {NULL, "LRU", CHUNKS, CHUNK_BYTES, STAGING_BYTES, 0};
    const int own_store = argc < 2 && getenv("LMCACHE_CONFIG_FILE") == NULL;
    char why[CUDA_TEXT_BYTES_MAX];
    temp_store_t temp_store;
    offload_t offload;
    int bad;

    memset(&offload, 0, sizeof offload);
    if (cuda_driver_open(&offload.cuda, why) != 0) {
        printf("cuda_offload: nothing was done: %s\n", why);
        return EXIT_SUCCESS;
    }
    if (own_store && temp_store_create(&temp_store, &options) != 0) {
        cuda_driver_close(&offload.cuda);
        return EXIT_FAILURE;
    }
    bad = run(&offload, own_store ? temp_store.config_path : argc > 1 ? argv[1] : NULL);
    bad |= release(&offload);
    if (own_store)
        temp_store_remove(&temp_store);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
