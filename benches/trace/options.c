#include "options.h"

#include <errno.h>
#include <nixl_store.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Larger blocks than any model has. */
#define BLOCK_BYTES_MAX ((size_t)1 << 30)
/* As many as a trace may have in all. */
#define TIER_SLOTS_MAX ((size_t)1 << 26)

static int parse_size(const char *name, const char *text, size_t max, size_t *size_out)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value == 0 || value > max) {
        fprintf(stderr, "replay: %s is \"%s\"; allowed: 1 to %zu\n", name, text, max);
        return -1;
    }
    *size_out = (size_t)value;
    return 0;
}

int replay_options_parse(replay_options_t *options, int argc, char **argv)
{
    int index;

    *options = (replay_options_t){.batch_max = NIXL_STORE_BATCH_ITEMS_MAX};
    for (index = 1; index + 1 < argc; index += 2) {
        const char *const name = argv[index], *const value = argv[index + 1];
        int result = 0;

        if (strcmp(name, "--trace") == 0)
            options->trace_path = value;
        else if (strcmp(name, "--config") == 0)
            options->config_path = value;
        else if (strcmp(name, "--block-bytes") == 0)
            result = parse_size(name, value, BLOCK_BYTES_MAX, &options->block_bytes);
        else if (strcmp(name, "--batch-max") == 0)
            result = parse_size(name, value, NIXL_STORE_BATCH_ITEMS_MAX, &options->batch_max);
        else if (strcmp(name, "--tier-slots") == 0)
            result = parse_size(name, value, TIER_SLOTS_MAX, &options->tier_slots);
        else
            break;
        if (result != 0)
            return -1;
    }
    if (index == argc && options->trace_path != NULL && options->config_path != NULL && options->block_bytes != 0)
        return 0;
    fprintf(stderr, "usage: replay --trace FILE --config FILE --block-bytes N [--batch-max ITEMS] "
                    "[--tier-slots BLOCKS]\n");
    return -1;
}
