/* Replays a block trace through a store as an engine would, and prints what happened as one JSON object.
 *
 * For each request: the longest stored prefix of its chain is looked up, those blocks are got in one batch, the others
 * put in one. With a tier in front the store sees of each chain what the tier does not serve. Arrival times are not
 * waited for. Exit status 0: every byte that came back was right. */
#include "blocks.h"
#include "mover.h"
#include "options.h"
#include "tier.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int serve_all(mover_t *mover, tier_t *tier, uint64_t *tier_hits, const blocks_t *trace)
{
    size_t index;

    for (index = 0; index < trace->request_count; index++) {
        const uint64_t *const chain = trace->ids + trace->requests[index].first;
        const size_t chain_count = trace->requests[index].count;
        const size_t served = tier_prefix(tier, chain, chain_count);
        const uint64_t *const ids = chain + served;
        const size_t count = chain_count - served;
        size_t matched;

        *tier_hits += served;
        tier_keep(tier, chain, chain_count);
        if (count == 0)
            continue;
        if (mover_look_up(mover, ids, count, &matched) != 0 || mover_count_behind(mover, matched, count) != 0 ||
            mover_get(mover, ids, matched) != 0 || mover_put(mover, ids, matched, count) != 0)
            return -1;
    }
    return 0;
}

static void print_traffic(const char *name, mover_traffic_t *traffic)
{
    printf("\"%s\": {\"blocks\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"batches\": %zu, \"seconds\": %.6f, "
           "\"batch_p50_ms\": %.4f, \"batch_p99_ms\": %.4f}, ",
           name, traffic->blocks, traffic->bytes, traffic->batches.count, traffic->batches.seconds_sum,
           samples_percentile(&traffic->batches, 50) * 1e3, samples_percentile(&traffic->batches, 99) * 1e3);
}

static int report(mover_t *mover, const blocks_t *trace, uint64_t tier_hits, double wall_seconds)
{
    nixl_store_capabilities_t capabilities = {.struct_size = sizeof capabilities};
    nixl_store_stats_t stats = {.struct_size = sizeof stats};

    if (nixl_store_capabilities_read(mover->store, &capabilities) != NIXL_STORE_OK ||
        nixl_store_stats_read(mover->store, &stats) != NIXL_STORE_OK) {
        fprintf(stderr, "replay: %s\n", nixl_store_error_message());
        return -1;
    }
    if (stats.puts_declined != mover->blocks_declined) {
        fprintf(stderr, "replay: the store counts %" PRIu64 " puts that it declined, but %" PRIu64 " ended so\n",
                stats.puts_declined, mover->blocks_declined);
        return -1;
    }
    printf("{\"requests\": %zu, \"blocks_referenced\": %zu, \"wall_seconds\": %.6f, ", trace->request_count,
           trace->id_count, wall_seconds);
    print_traffic("get", &mover->get);
    print_traffic("put", &mover->put);
    printf("\"lookup\": {\"calls\": %zu, \"seconds\": %.6f}, ", mover->lookups.count, mover->lookups.seconds_sum);
    printf("\"tier_hits\": %" PRIu64 ", \"blocks_behind\": %" PRIu64 ", \"blocks_kept\": %" PRIu64 ", ", tier_hits,
           mover->blocks_behind, mover->blocks_kept);
    printf("\"blocks_declined\": %" PRIu64 ", \"blocks_lost\": %" PRIu64 ", ", mover->blocks_declined,
           mover->blocks_lost);
    printf("\"blocks_wrong\": %" PRIu64 ", \"bytes_wrong\": %" PRIu64 ", ", mover->blocks_wrong, mover->bytes_wrong);
    printf("\"evictions\": %" PRIu64 ", \"corruptions\": %" PRIu64 ", \"keys_stored\": %" PRIu64 ", ", stats.evictions,
           stats.corruptions, stats.keys);
    printf("\"backend\": \"%s\", \"io_path\": \"%s\", \"direct_io\": %" PRIu32 ", \"io_threads\": %" PRIu32 "}\n",
           capabilities.backend, capabilities.io_path, capabilities.direct_io, capabilities.io_threads);
    return mover->blocks_wrong + mover->blocks_lost + stats.corruptions == 0 ? 0 : -1;
}

static int replay(const blocks_t *trace, const replay_options_t *options, nixl_store_t *store)
{
    mover_t mover = {0};
    tier_t tier = {0};
    int result = tier_create(&tier, options->tier_slots, trace->chain_max);

    if (result == 0)
        result = mover_create(&mover, store, options->block_bytes, trace->chain_max, options->batch_max);
    if (result == 0) {
        const double start = samples_now();
        uint64_t tier_hits = 0;

        result = serve_all(&mover, &tier, &tier_hits, trace);
        if (result == 0)
            result = report(&mover, trace, tier_hits, samples_now() - start);
        /* Before its memory is freed the store has to let go of it. */
        if (nixl_store_memory_unregister(store, mover.buffer) < 0)
            fprintf(stderr, "replay: unregister: %s\n", nixl_store_error_message());
    }
    mover_free(&mover);
    tier_free(&tier);
    return result;
}

static int open_and_replay(const blocks_t *trace, const replay_options_t *options)
{
    const nixl_store_open_options_t open_options = {.struct_size = sizeof open_options,
                                                    .chunk_bytes = options->block_bytes};
    nixl_store_t *store = NULL;
    int result;

    if (nixl_store_open(options->config_path, &open_options, &store) != NIXL_STORE_OK) {
        fprintf(stderr, "replay: open: %s\n", nixl_store_error_message());
        return -1;
    }
    result = replay(trace, options, store);
    if (nixl_store_close(store) != NIXL_STORE_OK) {
        fprintf(stderr, "replay: close: %s\n", nixl_store_error_message());
        return -1;
    }
    return result;
}

int main(int argc, char **argv)
{
    replay_options_t options;
    blocks_t trace = {0};
    FILE *file;
    int result = -1;

    if (replay_options_parse(&options, argc, argv) != 0)
        return 2;
    file = fopen(options.trace_path, "rb");
    if (file == NULL) {
        fprintf(stderr, "replay: cannot open %s: %s\n", options.trace_path, strerror(errno));
        return 2;
    }
    if (blocks_read(&trace, file) != 0)
        fprintf(stderr, "replay: %s: %s\n", options.trace_path, trace.error);
    else
        result = open_and_replay(&trace, &options);
    fclose(file);
    blocks_free(&trace);
    return result == 0 ? 0 : 1;
}
