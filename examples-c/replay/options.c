#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: trace_replay --trace FILE [options]\n"
    "\n"
    "Replays a request trace in Mooncake's format as fast as the store allows: for each request it looks up\n"
    "the longest stored prefix of the request's blocks, gets those blocks, compares every byte, and puts the\n"
    "rest. At the end it reads back all that is still stored. Exits with 1 if any byte was wrong.\n"
    "\n"
    "  --trace FILE         the trace, one JSON object a line\n"
    "  --requests N         replay only the first N requests\n"
    "  --share K/N          of those only every N-th, from the K-th on: what one of N engines serves\n"
    "  --block-bytes SIZE   bytes of one block (default 2M; K, M and G are powers of 1024)\n"
    "  --config FILE        LMCache YAML of the store to use, instead of a temporary one\n"
    "\n"
    "The temporary store (POSIX, static pool), removed at the end:\n"
    "  --pool-slots N       slots of one block each (default 1024)\n"
    "  --policy NAME        LRU (default), LFU, FIFO, MRU or REUSE\n"
    "  --direct             O_DIRECT: past the page cache\n"
    "  --temp-dir DIR       make its folder in DIR (default $TMPDIR, else /tmp)\n";

enum option_code { OPTION_TRACE = 256, OPTION_REQUESTS, OPTION_SHARE, OPTION_BLOCK_BYTES, OPTION_CONFIG,
                   OPTION_POOL_SLOTS, OPTION_POLICY, OPTION_DIRECT, OPTION_TEMP_DIR, OPTION_HELP };

static const struct option long_options[] = {
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"share", required_argument, NULL, OPTION_SHARE},
    {"block-bytes", required_argument, NULL, OPTION_BLOCK_BYTES},
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"pool-slots", required_argument, NULL, OPTION_POOL_SLOTS},
    {"policy", required_argument, NULL, OPTION_POLICY},
    {"direct", no_argument, NULL, OPTION_DIRECT},
    {"temp-dir", required_argument, NULL, OPTION_TEMP_DIR},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int refuse(const char *option, const char *value, const char *allowed)
{
    fprintf(stderr, "trace_replay: %s %s: %s\n", option, value, allowed);
    return -1;
}

/* A whole number with an optional K, M or G, from 1 to `max`. */
static int parse_size(const char *text, uint64_t max, uint64_t *value_out)
{
    char *end = NULL;
    unsigned shift = 0;
    unsigned long long value;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (*end != '\0') {
        const char *const suffix = strchr("KkMmGg", *end);
        if (suffix == NULL || end[1] != '\0')
            return -1;
        shift = *end == 'K' || *end == 'k' ? 10 : *end == 'M' || *end == 'm' ? 20 : 30;
    }
    if (errno != 0 || value == 0 || value > max >> shift)
        return -1;
    *value_out = (uint64_t)value << shift;
    return 0;
}

/* "2/3": the second of three. */
static int parse_share(const char *text, uint64_t *share_out, uint64_t *count_out)
{
    const char *const slash = strchr(text, '/');
    char share[24];

    if (slash == NULL || (size_t)(slash - text) >= sizeof share)
        return -1;
    memcpy(share, text, (size_t)(slash - text));
    share[slash - text] = '\0';
    if (parse_size(slash + 1, REPLAY_SHARES_MAX, count_out) != 0)
        return -1;
    return parse_size(share, *count_out, share_out);
}

static int parse_policy(const char *text, const char **policy_out)
{
    static const char *const policies[] = {"LRU", "LFU", "FIFO", "MRU", "REUSE"};
    size_t index;

    for (index = 0; index < sizeof policies / sizeof policies[0]; index++) {
        if (strcmp(text, policies[index]) == 0) {
            *policy_out = policies[index];
            return 0;
        }
    }
    return -1;
}

int replay_options_parse(replay_options_t *options, int argc, char **argv)
{
    const char *only_temporary = NULL; /* an option that has no meaning beside --config */
    uint64_t requests = 0;
    int code;

    *options = (replay_options_t){.block_bytes = 2u << 20, .share = 1, .share_count = 1, .pool_slots = 1024,
                                 .policy = "LRU"};
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (code) {
        case OPTION_TRACE:
            options->trace_path = optarg;
            break;
        case OPTION_REQUESTS:
            if (parse_size(optarg, SIZE_MAX, &requests) != 0)
                return refuse("--requests", optarg, "a whole number from 1");
            options->request_count_max = (size_t)requests;
            break;
        case OPTION_SHARE:
            if (parse_share(optarg, &options->share, &options->share_count) != 0)
                return refuse("--share", optarg, "K/N with K from 1 to N, N at most 1000");
            break;
        case OPTION_BLOCK_BYTES:
            if (parse_size(optarg, REPLAY_BLOCK_BYTES_MAX, &options->block_bytes) != 0)
                return refuse("--block-bytes", optarg, "a size from 1 to 1G");
            break;
        case OPTION_CONFIG:
            options->config_path = optarg;
            break;
        case OPTION_POOL_SLOTS:
            only_temporary = "--pool-slots";
            if (parse_size(optarg, REPLAY_POOL_SLOTS_MAX, &options->pool_slots) != 0)
                return refuse("--pool-slots", optarg, "a whole number from 1 to 10000000");
            break;
        case OPTION_POLICY:
            only_temporary = "--policy";
            if (parse_policy(optarg, &options->policy) != 0)
                return refuse("--policy", optarg, "LRU, LFU, FIFO, MRU or REUSE");
            break;
        case OPTION_DIRECT:
            only_temporary = "--direct";
            options->direct_io = 1;
            break;
        case OPTION_TEMP_DIR:
            only_temporary = "--temp-dir";
            options->temp_parent = optarg;
            break;
        case OPTION_HELP:
            fputs(usage, stdout);
            return 1;
        default: /* getopt_long has said what is wrong */
            fputs(usage, stderr);
            return -1;
        }
    }
    if (optind < argc)
        return refuse("argument", argv[optind], "not expected");
    if (options->trace_path == NULL) {
        fputs(usage, stderr);
        return -1;
    }
    if (options->config_path != NULL && only_temporary != NULL)
        return refuse(only_temporary, "beside --config", "the configuration file decides that");
    return 0;
}
