/* What was done and what lives, each count on a cache line of its own, since all threads add to them. */

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

static struct {
    _Alignas(64) atomic_uint_fast64_t value;
} counts[STANDIN_HF3FS_WHATS];

static const char *const names[STANDIN_HF3FS_WHATS] = {
    "iovs_made", "iovs_live", "rings_made", "rings_live", "fds_registered", "fds_live",
    "prep_calls", "submit_calls", "wait_calls", "under_way", "batches", "bytes_read",
    "bytes_written", "eagains", "reads", "writes", "faults", "held",
};

void count_add(enum standin_hf3fs_what what, int64_t change)
{
    atomic_fetch_add_explicit(&counts[what].value, (uint64_t)change, memory_order_relaxed);
}

EXPORT uint64_t standin_hf3fs_count(int what)
{
    RULE(what >= 0 && what < STANDIN_HF3FS_WHATS, "there is no count %d", what);
    return atomic_load(&counts[what].value);
}

static bool is_of_the_living(int what)
{
    return what == STANDIN_HF3FS_IOVS_LIVE || what == STANDIN_HF3FS_RINGS_LIVE || what == STANDIN_HF3FS_FDS_LIVE
           || what == STANDIN_HF3FS_UNDER_WAY || what == STANDIN_HF3FS_HELD;
}

void counts_reset(void)
{
    for (int what = 0; what < STANDIN_HF3FS_WHATS; what++)
        if (!is_of_the_living(what))
            atomic_store(&counts[what].value, 0);
}

void counts_report(void)
{
    const char *path = getenv("STANDIN_HF3FS_REPORT");
    FILE *file = path != NULL && *path != '\0' ? fopen(path, "w") : NULL;
    if (file == NULL)
        return;
    for (int what = 0; what < STANDIN_HF3FS_WHATS; what++)
        fprintf(file, "%s %llu\n", names[what], (unsigned long long)standin_hf3fs_count(what));
    fclose(file);
}
