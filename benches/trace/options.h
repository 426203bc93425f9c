/* The command line of the replay. */
#ifndef NIXL_STORE_BENCHES_OPTIONS_H
#define NIXL_STORE_BENCHES_OPTIONS_H

#include <stddef.h>

typedef struct {
    const char *trace_path;
    const char *config_path;
    size_t block_bytes;
    size_t batch_max;  /* items of one batch; 1 moves block by block */
    size_t tier_slots; /* blocks of the tier in front of the store; 0: none */
} replay_options_t;

/* Returns 0, or -1 after a message. */
int replay_options_parse(replay_options_t *options, int argc, char **argv);

#endif
