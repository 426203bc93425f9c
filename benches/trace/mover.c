#include "mover.h"

#include "../../examples-c/common/pattern.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What O_DIRECT asks of memory on any file system in use. */
#define BUFFER_ALIGNMENT_BYTES ((size_t)4096)
/* Wrong blocks that are reported one by one; all are counted. */
#define WRONG_REPORTS_MAX 10

static int store_failed(const char *what, nixl_store_status_t status)
{
    fprintf(stderr, "replay: %s: %s: %s\n", what, nixl_store_status_name(status), nixl_store_error_message());
    return -1;
}

int mover_create(mover_t *mover, nixl_store_t *store, size_t block_bytes, size_t chain_max, size_t batch_max)
{
    const size_t items = chain_max < batch_max ? chain_max : batch_max;
    size_t buffer_bytes;

    if (__builtin_mul_overflow(items, block_bytes, &buffer_bytes) || buffer_bytes > SIZE_MAX / 2) {
        fprintf(stderr, "replay: blocks of %zu bytes are too large\n", block_bytes);
        return -1;
    }
    buffer_bytes = (buffer_bytes + BUFFER_ALIGNMENT_BYTES - 1) / BUFFER_ALIGNMENT_BYTES * BUFFER_ALIGNMENT_BYTES;
    mover->store = store;
    mover->block_bytes = block_bytes;
    mover->batch_max = items;
    mover->buffer = aligned_alloc(BUFFER_ALIGNMENT_BYTES, buffer_bytes);
    mover->items = calloc(items, sizeof *mover->items);
    mover->segments = calloc(items, sizeof *mover->segments);
    mover->results = calloc(items, sizeof *mover->results);
    mover->keys = calloc(chain_max, sizeof *mover->keys);
    mover->key_texts = calloc(chain_max, sizeof *mover->key_texts);
    if (mover->buffer == NULL || mover->items == NULL || mover->segments == NULL || mover->results == NULL ||
        mover->keys == NULL || mover->key_texts == NULL) {
        fprintf(stderr, "replay: out of memory for %zu blocks of %zu bytes\n", items, block_bytes);
        return -1;
    }
    /* Faster, not necessary: an ordinary user may lock little memory, and transfers then work all the same. */
    if (nixl_store_memory_register(store, mover->buffer, buffer_bytes) != NIXL_STORE_OK)
        fprintf(stderr, "replay: goes on with unregistered memory: %s\n", nixl_store_error_message());
    return 0;
}

void mover_free(mover_t *mover)
{
    free(mover->buffer);
    free(mover->items);
    free(mover->segments);
    free(mover->results);
    free(mover->keys);
    free(mover->key_texts);
    samples_free(&mover->get.batches);
    samples_free(&mover->put.batches);
    samples_free(&mover->lookups);
}

int mover_look_up(mover_t *mover, const uint64_t *ids, size_t count, size_t *matched_out)
{
    nixl_store_status_t status;
    double start;
    size_t index;

    for (index = 0; index < count; index++) {
        const int length = snprintf(mover->key_texts[index], MOVER_KEY_BYTES, "bench-trace/block/%" PRIu64, ids[index]);
        mover->keys[index] = (nixl_store_key_t){.key = mover->key_texts[index], .key_length = (uint64_t)length};
    }
    start = samples_now();
    status = nixl_store_prefix_match(mover->store, mover->keys, count, matched_out);
    samples_add(&mover->lookups, samples_now() - start);
    return status == NIXL_STORE_OK ? 0 : store_failed("prefix match", status);
}

int mover_count_behind(mover_t *mover, size_t matched, size_t count)
{
    size_t index;

    for (index = matched; index < count; index++) {
        const nixl_store_status_t status =
            nixl_store_key_contains(mover->store, mover->keys[index].key, (size_t)mover->keys[index].key_length);
        if (status < 0)
            return store_failed("contains", status);
        mover->blocks_behind += status == NIXL_STORE_OK;
    }
    return 0;
}

static unsigned char *place(const mover_t *mover, size_t index)
{
    return mover->buffer + index * mover->block_bytes;
}

typedef nixl_store_status_t submit_function_t(nixl_store_t *, const nixl_store_item_t *, size_t,
                                              const nixl_store_submit_options_t *, nixl_store_ticket_t *);

/* One batch of the chain's blocks from `first` on, from submit to its last byte. Neither a miss nor a put
 * that was declined is a failure here. */
static int run_batch(mover_t *mover, submit_function_t *submit, size_t first, size_t count, uint32_t flags,
                     mover_traffic_t *traffic)
{
    nixl_store_ticket_t ticket = 0;
    nixl_store_status_t status;
    size_t index, result_count;
    double start;

    for (index = 0; index < count; index++) {
        mover->segments[index] = (nixl_store_segment_t){
            .address = place(mover, index), .length = mover->block_bytes, .memory_kind = NIXL_STORE_MEMORY_HOST};
        mover->items[index] = (nixl_store_item_t){.key = mover->keys[first + index].key,
                                                  .key_length = mover->keys[first + index].key_length,
                                                  .segments = &mover->segments[index],
                                                  .segment_count = 1,
                                                  .flags = flags};
    }
    start = samples_now();
    status = submit(mover->store, mover->items, count, NULL, &ticket);
    if (status != NIXL_STORE_OK)
        return store_failed("submit", status);
    status = nixl_store_ticket_wait(mover->store, ticket, NIXL_STORE_TIMEOUT_INFINITE, mover->results, count,
                                    &result_count);
    samples_add(&traffic->batches, samples_now() - start);
    if (status == NIXL_STORE_OK || status == NIXL_STORE_NOT_FOUND || status == NIXL_STORE_NOT_ADMITTED)
        return 0;
    return store_failed("transfer", status);
}

static uint64_t count_wrong_bytes(const mover_t *mover, size_t index, uint64_t id, unsigned char *expected)
{
    const unsigned char *const got = place(mover, index);
    uint64_t wrong = 0;
    size_t at;

    pattern_fill(expected, mover->block_bytes, id);
    for (at = 0; at < mover->block_bytes; at++)
        wrong += got[at] != expected[at];
    return wrong;
}

static int check_block(mover_t *mover, uint64_t id, size_t index)
{
    const nixl_store_result_t *const result = &mover->results[index];
    unsigned char *expected;
    uint64_t wrong;

    if (result->status == NIXL_STORE_NOT_FOUND) {
        mover->blocks_lost++;
        return 0;
    }
    mover->get.blocks++;
    mover->get.bytes += result->bytes;
    if (result->bytes == mover->block_bytes &&
        pattern_first_wrong(place(mover, index), mover->block_bytes, id) == mover->block_bytes)
        return 0;
    if ((expected = malloc(mover->block_bytes)) == NULL) {
        fprintf(stderr, "replay: out of memory\n");
        return -1;
    }
    wrong = count_wrong_bytes(mover, index, id, expected);
    free(expected);
    mover->bytes_wrong += wrong;
    if (mover->blocks_wrong++ < WRONG_REPORTS_MAX)
        fprintf(stderr, "replay: block %" PRIu64 ": %" PRIu64 " of %zu bytes are WRONG\n", id, wrong,
                mover->block_bytes);
    return 0;
}

int mover_get(mover_t *mover, const uint64_t *ids, size_t count)
{
    size_t first, index;

    for (first = 0; first < count; first += mover->batch_max) {
        const size_t batch = count - first < mover->batch_max ? count - first : mover->batch_max;

        /* Bytes of an earlier batch must not pass for those of this one. */
        memset(mover->buffer, 0, batch * mover->block_bytes);
        if (run_batch(mover, nixl_store_batch_get, first, batch, 0, &mover->get) != 0)
            return -1;
        for (index = 0; index < batch; index++) {
            if (check_block(mover, ids[first + index], index) != 0)
                return -1;
        }
    }
    return 0;
}

int mover_put(mover_t *mover, const uint64_t *ids, size_t first, size_t end)
{
    size_t index;

    for (; first < end; first += mover->batch_max) {
        const size_t batch = end - first < mover->batch_max ? end - first : mover->batch_max;

        for (index = 0; index < batch; index++)
            pattern_fill(place(mover, index), mover->block_bytes, ids[first + index]);
        if (run_batch(mover, nixl_store_batch_put, first, batch, NIXL_STORE_ITEM_KEEP, &mover->put) != 0)
            return -1;
        for (index = 0; index < batch; index++) {
            const nixl_store_result_t *const result = &mover->results[index];

            mover->put.bytes += result->bytes;
            mover->put.blocks += result->bytes != 0;
            mover->blocks_declined += result->status == NIXL_STORE_NOT_ADMITTED;
            mover->blocks_kept += result->status == NIXL_STORE_OK && result->bytes == 0;
        }
    }
    return 0;
}
