#include "gpu.h"

#include <nixl_store.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "launch.h"
#include "storage.h"

/* A batch: large enough to take a while on a fast link, small enough for the rounds to take seconds. */
#define OBJECT_BYTES ((size_t)32 << 20)
#define OBJECTS 16
#define BATCH_BYTES (OBJECT_BYTES * OBJECTS)
/* The library's own pieces, so that the bare copies are the ones that it makes. */
#define COPY_BYTES ((size_t)2 << 20)
#define SUM_BYTES ((size_t)64 << 10)
#define SUMS ((unsigned)(BATCH_BYTES / SUM_BYTES))
#define ROUNDS 5
#define KEY_BYTES 16
#define CONFIG_BYTES 8192

/* Beside the memory of a process: all that one round measures. */
enum { DEVICE_TO_HOST, HOST_TO_DEVICE, WRITE, READ, GPU_SUMS, BARE };

struct bench {
    const char *folder;
    CUstream stream;
    CUdeviceptr device;
    unsigned char *host; /* pinned */
    struct storage storage;
    struct kernels kernels;
    struct block *blocks;
    uint64_t *sums;
    double bare_s[BARE][ROUNDS];
};

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int by_value(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const double values[ROUNDS])
{
    double sorted[ROUNDS];

    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, ROUNDS, sizeof *sorted, by_value);
    return sorted[ROUNDS / 2];
}

static double gb_per_s(double seconds)
{
    return (double)BATCH_BYTES / seconds / 1e9;
}

static void copy_all(const struct bench *bench, int to_device)
{
    for (size_t at = 0; at < BATCH_BYTES; at += COPY_BYTES) {
        if (to_device)
            OK(cu.cuMemcpyHtoDAsync(bench->device + at, bench->host + at, COPY_BYTES, bench->stream));
        else
            OK(cu.cuMemcpyDtoHAsync(bench->host + at, bench->device + at, COPY_BYTES, bench->stream));
    }
    OK(cu.cuStreamSynchronize(bench->stream));
}

static void bare(struct bench *bench, int what)
{
    switch (what) {
    case DEVICE_TO_HOST:
    case HOST_TO_DEVICE:
        copy_all(bench, what == HOST_TO_DEVICE);
        return;
    case WRITE:
    case READ:
        storage_move(&bench->storage, bench->host, BATCH_BYTES, what == WRITE);
        return;
    default:
        kernels_sum(&bench->kernels, bench->stream, bench->blocks, SUMS, bench->sums);
        OK(cu.cuStreamSynchronize(bench->stream));
    }
}

static void measure_bare(struct bench *bench, int round)
{
    for (int what = 0; what < BARE; what++) {
        const double start_s = now_s();
        bare(bench, what);
        bench->bare_s[what][round] = now_s() - start_s;
    }
}

static int failed(const char *what, nixl_store_status_t status)
{
    if (status == NIXL_STORE_OK)
        return 0;
    printf("    %s: %s: %s\n", what, nixl_store_status_name(status), nixl_store_error_message());
    return 1;
}

/* One batch of all objects, from or to memory of a kind. */
static int move(nixl_store_t *store, uintptr_t memory, uint32_t kind, int is_put)
{
    static nixl_store_segment_t segments[OBJECTS];
    static nixl_store_item_t items[OBJECTS];
    static char keys[OBJECTS][KEY_BYTES];
    nixl_store_ticket_t ticket;

    for (size_t index = 0; index < OBJECTS; index++) {
        const int key_length = snprintf(keys[index], KEY_BYTES, "object-%zu", index);
        segments[index] = (nixl_store_segment_t){
            .address = (void *)(memory + index * OBJECT_BYTES), .length = OBJECT_BYTES, .memory_kind = kind};
        items[index] = (nixl_store_item_t){.key = keys[index],
                                           .key_length = (uint64_t)key_length,
                                           .segments = &segments[index],
                                           .segment_count = 1};
    }
    if (failed("submit", is_put ? nixl_store_batch_put(store, items, OBJECTS, NULL, &ticket)
                                : nixl_store_batch_get(store, items, OBJECTS, NULL, &ticket)))
        return 1;
    return failed(is_put ? "put" : "get",
                  nixl_store_ticket_wait(store, ticket, NIXL_STORE_TIMEOUT_INFINITE, NULL, 0, NULL));
}

/* `what` bounds the transfer: the slower of the copy and of the storage. */
static void print_row(const char *what, const struct bench *bench, const double seconds[ROUNDS], int copy, int storage)
{
    double of_bound[ROUNDS];

    /* Ratios of one round each: a disk is twice as fast in one minute as in the next. */
    for (int round = 0; round < ROUNDS; round++) {
        const double copy_s = copy < 0 ? 0 : bench->bare_s[copy][round], storage_s = bench->bare_s[storage][round];
        of_bound[round] = (copy_s > storage_s ? copy_s : storage_s) / seconds[round];
    }
    printf("    %-28s %8.2f GB/s   %.2f of the slower of copy and storage\n", what, gb_per_s(median(seconds)),
           median(of_bound));
}

static int measure_store(struct bench *bench, nixl_store_t *store)
{
    double seconds[2][2][ROUNDS]; /* host or device, get or put */
    const uintptr_t memory[2] = {(uintptr_t)bench->host, (uintptr_t)bench->device};
    static const uint32_t KINDS[2] = {NIXL_STORE_MEMORY_HOST, NIXL_STORE_MEMORY_CUDA};

    for (int round = -1; round < ROUNDS; round++) { /* the first fills the pool and is not counted */
        if (round >= 0)
            measure_bare(bench, round);
        for (int on_device = 0; on_device < 2; on_device++) {
            for (int is_put = 1; is_put >= 0; is_put--) {
                const double start_s = now_s();
                if (move(store, memory[on_device], KINDS[on_device], is_put))
                    return 1;
                if (round >= 0)
                    seconds[on_device][is_put][round] = now_s() - start_s;
            }
        }
    }
    print_row("put from host memory", bench, seconds[0][1], -1, WRITE);
    print_row("get to host memory", bench, seconds[0][0], -1, READ);
    print_row("put from the device", bench, seconds[1][1], DEVICE_TO_HOST, WRITE);
    print_row("get to the device", bench, seconds[1][0], HOST_TO_DEVICE, READ);
    return 0;
}

static int measure_backend(struct bench *bench, const char *backend)
{
    static char config[CONFIG_BYTES];
    char folder[4096];
    nixl_store_open_options_t options = {.struct_size = sizeof options,
                                         .chunk_bytes = OBJECT_BYTES,
                                         .has_cuda_device = 1,
                                         .config_text = config};
    nixl_store_capabilities_t capabilities = {.struct_size = sizeof capabilities};
    nixl_store_t *store;
    nixl_store_status_t status;
    int bad;

    snprintf(folder, sizeof folder, "%s/%s", bench->folder, backend);
    mkdir(folder, 0700);
    snprintf(config, sizeof config,
             "nixl_buffer_size: 268435456\nnixl_buffer_device: %s\ncache_policy: FIFO\nextra_config:\n"
             "  enable_nixl_storage: true\n  nixl_backend: %s\n  nixl_pool_size: %d\n  use_direct_io: true\n"
             "  nixl_path: [\"%s\"]\n",
             strcmp(backend, "POSIX") == 0 ? "cpu" : "cuda", backend, 2 * OBJECTS, folder);
    status = nixl_store_open(NULL, &options, &store);
    if (status == NIXL_STORE_ERROR_UNSUPPORTED) {
        printf("  %s: LEFT OUT: %s\n", backend, nixl_store_error_message());
        return 0;
    }
    if (failed(backend, status) || failed("capabilities", nixl_store_capabilities_read(store, &capabilities)))
        return 1;
    printf("  %s through %s%s%s\n", backend, capabilities.io_path, capabilities.reason[0] != '\0' ? ": " : "",
           capabilities.reason);
    bad = measure_store(bench, store);
    return failed("close", nixl_store_close(store)) || bad;
}

static void print_bare(const struct bench *bench)
{
    static const char *const NAMES[BARE] = {"device to host", "host to device", "write", "read", "sums on the device"};
    double share[ROUNDS];

    printf("  bare, as measured beside the last of these\n");
    for (int what = 0; what < BARE; what++)
        printf("    %-28s %8.2f GB/s\n", NAMES[what], gb_per_s(median(bench->bare_s[what])));
    for (int round = 0; round < ROUNDS; round++) {
        const double copy_s = bench->bare_s[HOST_TO_DEVICE][round], read_s = bench->bare_s[READ][round];
        share[round] = bench->bare_s[GPU_SUMS][round] / (copy_s > read_s ? copy_s : read_s);
    }
    printf("    sums on the device take %.1f %% of the time of such a get\n", 100 * median(share));
}

int bench(const char *folder, const char *ptx_path)
{
    static const char *const BACKENDS[] = {"POSIX", "GDS_MT", "GDS"};
    struct bench bench = {.folder = folder};
    int bad = 0;

    driver_begin();
    OK(cu.cuStreamCreate(&bench.stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemAlloc(&bench.device, BATCH_BYTES));
    bench.host = pinned(BATCH_BYTES);
    bench.blocks = pinned(SUMS * sizeof *bench.blocks);
    bench.sums = pinned(SUMS * sizeof *bench.sums);
    for (unsigned index = 0; index < SUMS; index++)
        bench.blocks[index] = (struct block){bench.device + index * SUM_BYTES, SUM_BYTES};
    kernels_load(&bench.kernels, ptx_path);
    storage_open(&bench.storage, folder, BATCH_BYTES);
    for (int what = 0; what < BARE; what++) /* once, not counted: what is used for the first time is slow */
        bare(&bench, what);

    printf("%d x %zu MiB, medians of %d rounds; O_DIRECT for bare storage: %s\n", OBJECTS, OBJECT_BYTES >> 20, ROUNDS,
           bench.storage.direct ? "yes" : "no");
    for (size_t index = 0; index < sizeof BACKENDS / sizeof *BACKENDS; index++)
        bad |= measure_backend(&bench, BACKENDS[index]);
    print_bare(&bench);

    storage_close(&bench.storage);
    kernels_unload(&bench.kernels);
    OK(cu.cuMemFreeHost(bench.sums));
    OK(cu.cuMemFreeHost(bench.blocks));
    OK(cu.cuMemFreeHost(bench.host));
    OK(cu.cuMemFree(bench.device));
    OK(cu.cuStreamDestroy(bench.stream));
    driver_end();
    return bad;
}
