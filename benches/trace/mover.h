/* Moves the blocks of one request between memory and the store, and compares every byte that comes back.
 *
 * What a block holds is a function of its id, so that nothing of what was put has to be kept. */
#ifndef NIXL_STORE_BENCHES_MOVER_H
#define NIXL_STORE_BENCHES_MOVER_H

#include "../../examples-c/common/samples.h"

#include <nixl_store.h>
#include <stddef.h>
#include <stdint.h>

/* Longest key of a block, its NUL included. */
#define MOVER_KEY_BYTES 40

typedef struct {
    samples_t batches; /* seconds from submit to the last byte */
    uint64_t blocks;   /* moved */
    uint64_t bytes;
} mover_traffic_t;

typedef struct {
    nixl_store_t *store;
    size_t block_bytes;
    size_t batch_max; /* items of one batch */
    unsigned char *buffer;
    nixl_store_item_t *items;
    nixl_store_segment_t *segments;
    nixl_store_result_t *results;
    nixl_store_key_t *keys; /* of the request's chain */
    char (*key_texts)[MOVER_KEY_BYTES];

    mover_traffic_t get, put;
    samples_t lookups;
    uint64_t blocks_behind; /* stored at the time of the lookup, but behind the first that was not */
    uint64_t blocks_kept;     /* puts of blocks that were stored already */
    uint64_t blocks_declined; /* puts that were not worth what would have left for them */
    uint64_t blocks_lost;     /* found by the lookup, not by the get */
    uint64_t blocks_wrong;
    uint64_t bytes_wrong;
} mover_t;

/* Memory for chains of up to `chain_max` blocks, moved in batches of up to `batch_max`. Returns 0, or -1 after a
 * message. Start from zeros; free in either case. */
int mover_create(mover_t *mover, nixl_store_t *store, size_t block_bytes, size_t chain_max, size_t batch_max);

void mover_free(mover_t *mover);

/* How many blocks at the start of the chain are stored; also tells the store that what follows is one request. Keeps
 * the chain's keys for the calls below. Returns 0, or -1 after a message. */
int mover_look_up(mover_t *mover, const uint64_t *ids, size_t count, size_t *matched_out);

/* Counts the blocks of the chain that are stored behind the first that is not: hits of a cache that could use a block
 * without the ones before it. Returns 0, or -1 after a message. */
int mover_count_behind(mover_t *mover, size_t matched, size_t count);

/* Gets the first `count` blocks of the chain and compares them. Returns 0, or -1 after a message. */
int mover_get(mover_t *mover, const uint64_t *ids, size_t count);

/* Puts the blocks of the chain from `first` up to `end` unless they are stored; the store may decline some. Returns 0,
 * or -1 after a message. */
int mover_put(mover_t *mover, const uint64_t *ids, size_t first, size_t end);

#endif
