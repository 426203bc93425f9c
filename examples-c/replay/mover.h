/* Moves blocks between the replay's buffer and the store, a batch at a time, and checks what comes back. */
#ifndef NIXL_STORE_EXAMPLES_REPLAY_MOVER_H
#define NIXL_STORE_EXAMPLES_REPLAY_MOVER_H

#include "report.h"

#include <nixl_store.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that one batch moves, and so the size of the buffer (or one block if that is more). */
#define MOVER_BATCH_BYTES ((uint64_t)128 << 20)
/* Room for a key: its prefix, the largest id and the end of the string. */
#define MOVER_KEY_BYTES 48

typedef char mover_key_t[MOVER_KEY_BYTES];

typedef struct {
    nixl_store_t *store;
    size_t block_bytes;
    size_t batch_blocks_max;
    unsigned char *buffer; /* batch_blocks_max blocks */
    nixl_store_item_t *items;
    nixl_store_segment_t *segments;
    nixl_store_result_t *results;
    mover_key_t *keys;
} mover_t;

/* The key of a block; returns its length. */
size_t mover_write_key(mover_key_t key, uint64_t id);

/* Says on stderr which call failed and why. Returns -1. */
int mover_store_failed(const char *what, nixl_store_status_t status);

/* Allocates the buffer and registers it with the store. Returns 0, or -1 after a message; free it in both cases. */
int mover_create(mover_t *mover, nixl_store_t *store, size_t block_bytes);
void mover_free(mover_t *mover);

/* Puts `count` blocks; those that the store declines are counted. Returns 0, or -1 after a message. */
int mover_put(mover_t *mover, const uint64_t *ids, size_t count, replay_totals_t *totals);

/* Gets `count` blocks and compares every byte. Those that are not there are counted as lost and written to the
 * front of `missing_out`, which has room for all and may be the same array as `ids`. Returns 0, or -1 after a message. */
int mover_get(mover_t *mover, const uint64_t *ids, size_t count, replay_traffic_t *traffic, replay_totals_t *totals,
              uint64_t *missing_out, size_t *missing_count_out);

#endif
