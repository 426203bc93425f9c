#include "id_set.h"

#include "pattern.h"

#include <stdlib.h>
#include <sys/random.h>

int id_set_create(id_set_t *set, size_t count_max)
{
    size_t place_count = 16;

    while (place_count / 3 * 2 <= count_max) {
        if (place_count > SIZE_MAX / 2 / sizeof *set->ids)
            return -1;
        place_count *= 2;
    }
    set->ids = calloc(place_count, sizeof *set->ids);
    set->used = calloc(place_count, 1);
    set->place_count = place_count;
    set->count = 0;
    if (set->ids == NULL || set->used == NULL || getrandom(&set->seed, sizeof set->seed, 0) != sizeof set->seed) {
        id_set_free(set);
        return -1;
    }
    return 0;
}

/* The place of `id`, or the free one where it belongs; there always is one. */
static size_t place_of(const id_set_t *set, uint64_t id)
{
    size_t place = (size_t)pattern_mix(id ^ set->seed) & (set->place_count - 1);

    while (set->used[place] && set->ids[place] != id)
        place = (place + 1) & (set->place_count - 1);
    return place;
}

int id_set_contains(const id_set_t *set, uint64_t id)
{
    return set->used[place_of(set, id)];
}

int id_set_insert(id_set_t *set, uint64_t id)
{
    const size_t place = place_of(set, id);

    if (set->used[place])
        return 0;
    set->ids[place] = id;
    set->used[place] = 1;
    set->count++;
    return 1;
}

void id_set_free(id_set_t *set)
{
    free(set->ids);
    free(set->used);
    *set = (id_set_t){NULL, NULL, 0, 0, 0};
}
