#include "tier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

int tier_create(tier_t *tier, size_t slots, size_t chain_max)
{
    const size_t nodes = slots + chain_max;
    size_t index;

    if (slots == 0)
        return 0;
    tier->bucket_count = 1;
    while (tier->bucket_count < nodes)
        tier->bucket_count *= 2;
    tier->nodes = calloc(nodes, sizeof *tier->nodes);
    tier->buckets = malloc(tier->bucket_count * sizeof *tier->buckets);
    if (tier->nodes == NULL || tier->buckets == NULL) {
        fprintf(stderr, "replay: out of memory for a tier of %zu blocks\n", slots);
        return -1;
    }
    memset(tier->buckets, 0xff, tier->bucket_count * sizeof *tier->buckets);
    for (index = 0; index < nodes; index++)
        tier->nodes[index].next_in_bucket = index + 1 < nodes ? (uint32_t)(index + 1) : NONE;
    tier->slots = slots;
    tier->oldest = tier->newest = NONE;
    return 0;
}

void tier_free(tier_t *tier)
{
    free(tier->nodes);
    free(tier->buckets);
    memset(tier, 0, sizeof *tier);
}

/* Ids are consecutive numbers, or hashes already; a multiplication spreads the former. */
static uint32_t *bucket_of(const tier_t *tier, uint64_t id)
{
    return &tier->buckets[(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (tier->bucket_count - 1)];
}

static uint32_t find(const tier_t *tier, uint64_t id)
{
    uint32_t at = *bucket_of(tier, id);

    while (at != NONE && tier->nodes[at].id != id)
        at = tier->nodes[at].next_in_bucket;
    return at;
}

static void unlink_node(tier_t *tier, uint32_t at)
{
    const tier_node_t *const node = &tier->nodes[at];

    *(node->older == NONE ? &tier->oldest : &tier->nodes[node->older].newer) = node->newer;
    *(node->newer == NONE ? &tier->newest : &tier->nodes[node->newer].older) = node->older;
}

static void link_newest(tier_t *tier, uint32_t at)
{
    tier->nodes[at].older = tier->newest;
    tier->nodes[at].newer = NONE;
    *(tier->newest == NONE ? &tier->oldest : &tier->nodes[tier->newest].newer) = at;
    tier->newest = at;
}

static uint32_t add(tier_t *tier, uint64_t id)
{
    const uint32_t at = tier->free;
    uint32_t *const bucket = bucket_of(tier, id);

    tier->free = tier->nodes[at].next_in_bucket;
    tier->nodes[at].id = id;
    tier->nodes[at].next_in_bucket = *bucket;
    *bucket = at;
    tier->used++;
    return at;
}

static void drop_oldest(tier_t *tier)
{
    const uint32_t at = tier->oldest;
    uint32_t *link = bucket_of(tier, tier->nodes[at].id);

    while (*link != at)
        link = &tier->nodes[*link].next_in_bucket;
    *link = tier->nodes[at].next_in_bucket;
    unlink_node(tier, at);
    tier->nodes[at].next_in_bucket = tier->free;
    tier->free = at;
    tier->used--;
}

size_t tier_prefix(const tier_t *tier, const uint64_t *ids, size_t count)
{
    size_t length = 0;

    while (tier->slots != 0 && length < count && find(tier, ids[length]) != NONE)
        length++;
    return length;
}

void tier_keep(tier_t *tier, const uint64_t *ids, size_t count)
{
    if (tier->slots == 0)
        return;
    /* The beginning last, so that it is the newest. */
    while (count-- > 0) {
        uint32_t at = find(tier, ids[count]);

        if (at == NONE)
            at = add(tier, ids[count]);
        else
            unlink_node(tier, at);
        link_newest(tier, at);
    }
    while (tier->used > tier->slots)
        drop_oldest(tier);
}
