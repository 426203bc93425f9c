/* A set of block ids: which blocks were seen before, that is, what a cache without limits would hold. */
#ifndef NIXL_STORE_EXAMPLES_ID_SET_H
#define NIXL_STORE_EXAMPLES_ID_SET_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t *ids; /* open addressing; an unused place is marked in `used` */
    unsigned char *used;
    size_t place_count; /* a power of two; at most two thirds are in use */
    size_t count;
    uint64_t seed; /* random, so that no trace can be made to collide */
} id_set_t;

/* An empty set with room for `count_max` ids. Returns 0, or -1 if memory is short. */
int id_set_create(id_set_t *set, size_t count_max);

int id_set_contains(const id_set_t *set, uint64_t id);

/* Returns 1 if the id is new. The caller keeps to count_max. */
int id_set_insert(id_set_t *set, uint64_t id);

void id_set_free(id_set_t *set);

#endif
