/* The command line of trace_replay. */
#ifndef NIXL_STORE_EXAMPLES_REPLAY_OPTIONS_H
#define NIXL_STORE_EXAMPLES_REPLAY_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

/* Largest block; far above any KV block, far below what overflows an offset. */
#define REPLAY_BLOCK_BYTES_MAX ((uint64_t)1 << 30)
/* Most processes that share a trace. */
#define REPLAY_SHARES_MAX ((uint64_t)1000)
/* Most slots of the temporary pool. */
#define REPLAY_POOL_SLOTS_MAX ((uint64_t)10000000)

typedef struct {
    const char *config_path; /* NULL: a temporary store */
    const char *trace_path;
    size_t request_count_max; /* 0: all */
    uint64_t share, share_count; /* only each share_count-th request, from the share-th on; both from 1 */
    uint64_t block_bytes;
    uint64_t pool_slots;
    const char *policy;
    const char *temp_parent; /* NULL: $TMPDIR, else /tmp */
    int direct_io;
} replay_options_t;

/* Returns 0; 1 if help was asked for and given; -1 after a message on stderr. */
int replay_options_parse(replay_options_t *options, int argc, char **argv);

#endif
