/* The tier in front of the store: an LRU of block ids, as an engine's memory is one of blocks. It holds no bytes: what
 * it serves is of no concern to the store, which only has to be asked for the rest. tiers.py is the same in Python.
 *
 * Leaf first: of one request the end of the chain leaves before its beginning. */
#ifndef NIXL_STORE_BENCHES_TIER_H
#define NIXL_STORE_BENCHES_TIER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t id;
    uint32_t older, newer;   /* in the order of the last use */
    uint32_t next_in_bucket; /* or the next one that is free */
} tier_node_t;

typedef struct {
    size_t slots; /* 0: there is no tier */
    size_t used;
    tier_node_t *nodes;
    uint32_t *buckets;
    size_t bucket_count; /* a power of two */
    uint32_t free, oldest, newest;
} tier_t;

/* Room for `slots` blocks and one request of up to `chain_max` more; without slots there is no tier. Returns 0, or -1
 * after a message. Start from zeros; free in either case. */
int tier_create(tier_t *tier, size_t slots, size_t chain_max);

void tier_free(tier_t *tier);

/* How many blocks at the start of the chain are in the tier. */
size_t tier_prefix(const tier_t *tier, const uint64_t *ids, size_t count);

/* Takes all blocks of the chain, and lets go of what was used longest ago. */
void tier_keep(tier_t *tier, const uint64_t *ids, size_t count);

#endif
