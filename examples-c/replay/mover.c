/* madvise() */
#define _DEFAULT_SOURCE

#include "mover.h"

#include "../common/pattern.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A huge page, which is more than O_DIRECT asks of memory on any file system in use. */
#define BUFFER_ALIGNMENT_BYTES ((size_t)2 << 20)

size_t mover_write_key(mover_key_t key, uint64_t id)
{
    return (size_t)snprintf(key, MOVER_KEY_BYTES, "trace-replay/block/%" PRIu64, id);
}

int mover_store_failed(const char *what, nixl_store_status_t status)
{
    replay_progress_end();
    fprintf(stderr, "trace_replay: %s: %s: %s\n", what, nixl_store_status_name(status), nixl_store_error_message());
    return -1;
}

int mover_create(mover_t *mover, nixl_store_t *store, size_t block_bytes)
{
    size_t buffer_bytes;

    mover->store = store;
    mover->block_bytes = block_bytes;
    mover->batch_blocks_max = block_bytes > MOVER_BATCH_BYTES ? 1 : (size_t)MOVER_BATCH_BYTES / block_bytes;
    if (mover->batch_blocks_max > NIXL_STORE_BATCH_ITEMS_MAX)
        mover->batch_blocks_max = NIXL_STORE_BATCH_ITEMS_MAX;
    buffer_bytes = block_bytes * mover->batch_blocks_max;
    buffer_bytes = (buffer_bytes + BUFFER_ALIGNMENT_BYTES - 1) / BUFFER_ALIGNMENT_BYTES * BUFFER_ALIGNMENT_BYTES;
    mover->buffer = aligned_alloc(BUFFER_ALIGNMENT_BYTES, buffer_bytes);
    mover->items = calloc(mover->batch_blocks_max, sizeof *mover->items);
    mover->segments = calloc(mover->batch_blocks_max, sizeof *mover->segments);
    mover->results = calloc(mover->batch_blocks_max, sizeof *mover->results);
    mover->keys = calloc(mover->batch_blocks_max, sizeof *mover->keys);
    if (mover->buffer == NULL || mover->items == NULL || mover->segments == NULL || mover->results == NULL ||
        mover->keys == NULL) {
        fprintf(stderr, "trace_replay: out of memory\n");
        return -1;
    }
    /* Faster, not necessary: a device serves memory in few physical pieces best, and not every kernel has huge pages. */
    (void)madvise(mover->buffer, buffer_bytes, MADV_HUGEPAGE);
    /* Faster, not necessary: an ordinary user may lock little memory, and transfers then work all the same. */
    if (nixl_store_memory_register(store, mover->buffer, buffer_bytes) != NIXL_STORE_OK)
        fprintf(stderr, "trace_replay: goes on with unregistered memory: %s\n", nixl_store_error_message());
    return 0;
}

void mover_free(mover_t *mover)
{
    free(mover->buffer);
    free(mover->items);
    free(mover->segments);
    free(mover->results);
    free(mover->keys);
}

static unsigned char *place(const mover_t *mover, size_t index)
{
    return mover->buffer + index * mover->block_bytes;
}

static void prepare_items(mover_t *mover, const uint64_t *ids, size_t count)
{
    size_t index;

    for (index = 0; index < count; index++) {
        mover->segments[index] = (nixl_store_segment_t){
            .address = place(mover, index), .length = mover->block_bytes, .memory_kind = NIXL_STORE_MEMORY_HOST};
        mover->items[index] = (nixl_store_item_t){.key = mover->keys[index],
                                                  .key_length = mover_write_key(mover->keys[index], ids[index]),
                                                  .segments = &mover->segments[index],
                                                  .segment_count = 1};
    }
}

typedef nixl_store_status_t submit_function_t(nixl_store_t *, const nixl_store_item_t *, size_t,
                                              const nixl_store_submit_options_t *, nixl_store_ticket_t *);

/* One batch from submission to its last byte. What is not there, or was declined, is no failure here. */
static int run_batch(mover_t *mover, submit_function_t *submit, const char *what, size_t count,
                     replay_traffic_t *traffic)
{
    const double start = samples_now();
    nixl_store_ticket_t ticket = 0;
    nixl_store_status_t status = submit(mover->store, mover->items, count, NULL, &ticket);
    size_t index, result_count;

    if (status != NIXL_STORE_OK)
        return mover_store_failed(what, status);
    status = nixl_store_ticket_wait(mover->store, ticket, NIXL_STORE_TIMEOUT_INFINITE, mover->results, count,
                                    &result_count);
    samples_add(&traffic->batches, samples_now() - start);
    if (status >= NIXL_STORE_OK)
        return 0;
    mover_store_failed(what, status);
    for (index = 0; index < result_count; index++) {
        if (mover->results[index].status < 0) {
            fprintf(stderr, "trace_replay: %s of %s: %s, OS error %d\n", what, mover->keys[index],
                    nixl_store_status_name(mover->results[index].status), (int)mover->results[index].os_error);
            break;
        }
    }
    return -1;
}

int mover_put(mover_t *mover, const uint64_t *ids, size_t count, replay_totals_t *totals)
{
    while (count > 0) {
        const size_t batch = count < mover->batch_blocks_max ? count : mover->batch_blocks_max;
        size_t index;

        for (index = 0; index < batch; index++)
            pattern_fill(place(mover, index), mover->block_bytes, ids[index]);
        prepare_items(mover, ids, batch);
        if (run_batch(mover, nixl_store_batch_put, "put", batch, &totals->put) != 0)
            return -1;
        for (index = 0; index < batch; index++) {
            if (mover->results[index].status == NIXL_STORE_NOT_ADMITTED) {
                totals->blocks_declined++;
                continue;
            }
            totals->put.blocks++;
            totals->put.bytes += mover->block_bytes;
        }
        ids += batch;
        count -= batch;
    }
    return 0;
}

static void check_block(const mover_t *mover, uint64_t id, size_t index, replay_totals_t *totals)
{
    const nixl_store_result_t *const result = &mover->results[index];
    const size_t wrong_at = pattern_first_wrong(place(mover, index), mover->block_bytes, id);

    if (result->bytes == mover->block_bytes && wrong_at == mover->block_bytes)
        return;
    totals->blocks_wrong++;
    replay_progress_end();
    fprintf(stderr,
            "trace_replay: block %" PRIu64 " is WRONG: %" PRIu64 " of %zu bytes came back, the first wrong one near %zu\n",
            id, result->bytes, mover->block_bytes, wrong_at);
}

int mover_get(mover_t *mover, const uint64_t *ids, size_t count, replay_traffic_t *traffic, replay_totals_t *totals,
              uint64_t *missing_out, size_t *missing_count_out)
{
    size_t missing_count = 0, at, index;

    for (at = 0; at < count; at += mover->batch_blocks_max) {
        const size_t left = count - at;
        const size_t batch = left < mover->batch_blocks_max ? left : mover->batch_blocks_max;

        /* Bytes of an earlier batch must not pass for those of this one. */
        memset(mover->buffer, 0, batch * mover->block_bytes);
        prepare_items(mover, ids + at, batch);
        if (run_batch(mover, nixl_store_batch_get, "get", batch, traffic) != 0)
            return -1;
        for (index = 0; index < batch; index++) {
            if (mover->results[index].status == NIXL_STORE_NOT_FOUND) {
                totals->blocks_lost++;
                missing_out[missing_count++] = ids[at + index];
                continue;
            }
            check_block(mover, ids[at + index], index, totals);
            traffic->blocks++;
            traffic->bytes += mover->results[index].bytes;
        }
    }
    *missing_count_out = missing_count;
    return 0;
}
