/* Replays a request trace in Mooncake's format through a store and compares every byte that comes back.
 *
 *   trace_replay --trace data/conversation_trace_500.jsonl --pool-slots 512
 *
 * Timestamps are not waited for: each request is served as soon as the one before it is done. The contents of a
 * block are a function of its id, so each read is checked without keeping what was written. */
#include "common/id_set.h"
#include "common/samples.h"
#include "common/temp_store.h"
#include "common/trace.h"
#include "replay/mover.h"
#include "replay/options.h"
#include "replay/report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Staging buffer of the temporary store: for what cannot go direct. */
#define STAGING_BYTES ((uint64_t)64 << 20)
/* What a shell reports for a program that SIGINT ended. */
#define EXIT_INTERRUPTED 130

typedef struct {
    mover_t mover;
    id_set_t seen;           /* ids of all requests so far */
    nixl_store_key_t *chain; /* the keys of one request */
    mover_key_t *chain_keys;
    uint64_t *scratch; /* ids of one request or of one batch */
} replay_t;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* Counts what a cache that never evicts would hit: the leading blocks that some earlier request had. */
static void count_unbounded(id_set_t *seen, const uint64_t *ids, size_t count, replay_totals_t *totals)
{
    size_t index = 0;

    while (index < count && id_set_contains(seen, ids[index]))
        index++;
    totals->blocks_hit_unbounded += index;
    for (index = 0; index < count; index++)
        id_set_insert(seen, ids[index]);
    totals->blocks_distinct = seen->count;
}

/* Blocks that are there although no request of this process had them before. */
static size_t count_of_others(const id_set_t *seen, const uint64_t *ids, size_t count)
{
    size_t index, others = 0;

    for (index = 0; index < count; index++)
        others += !id_set_contains(seen, ids[index]);
    return others;
}

static int serve_request(replay_t *replay, const uint64_t *ids, size_t count, replay_totals_t *totals)
{
    size_t matched = 0, absent = 0, index;
    nixl_store_status_t status;

    if (count == 0)
        return 0;
    for (index = 0; index < count; index++)
        replay->chain[index] = (nixl_store_key_t){.key = replay->chain_keys[index],
                                                  .key_length = mover_write_key(replay->chain_keys[index], ids[index])};
    status = nixl_store_prefix_match(replay->mover.store, replay->chain, count, &matched);
    if (status != NIXL_STORE_OK)
        return mover_store_failed("prefix match", status);

    if (mover_get(&replay->mover, ids, matched, &totals->get, totals, replay->scratch, &absent) != 0)
        return -1;
    totals->blocks_referenced += count;
    totals->blocks_hit += matched - absent;
    totals->blocks_hit_of_others += count_of_others(&replay->seen, ids, matched);
    totals->blocks_hit_of_others -= count_of_others(&replay->seen, replay->scratch, absent);

    memcpy(replay->scratch + absent, ids + matched, (count - matched) * sizeof *ids);
    return mover_put(&replay->mover, replay->scratch, absent + count - matched, totals);
}

static int serve_all(replay_t *replay, const trace_t *trace, replay_totals_t *totals)
{
    size_t index;

    for (index = 0; index < trace->request_count && !interrupted; index++) {
        const trace_request_t *const request = &trace->requests[index];
        const uint64_t *const ids = trace->ids + request->id_first;

        replay_progress(totals);
        if (serve_request(replay, ids, request->id_count, totals) != 0)
            return -1;
        count_unbounded(&replay->seen, ids, request->id_count, totals);
        totals->requests_done++;
    }
    replay_progress_end();
    return 0;
}

/* Reads and checks every block that is still stored, so that those which no request came back to are checked too. */
static int read_back(replay_t *replay, replay_totals_t *totals)
{
    size_t place, count = 0, absent = 0;
    mover_key_t key;

    for (place = 0; place < replay->seen.place_count && !interrupted; place++) {
        nixl_store_status_t status;

        if (!replay->seen.used[place])
            continue;
        status = nixl_store_key_contains(replay->mover.store, key, mover_write_key(key, replay->seen.ids[place]));
        if (status == NIXL_STORE_NOT_FOUND)
            continue;
        if (status != NIXL_STORE_OK)
            return mover_store_failed("contains", status);
        replay->scratch[count++] = replay->seen.ids[place];
        if (count < replay->mover.batch_blocks_max)
            continue;
        if (mover_get(&replay->mover, replay->scratch, count, &totals->final_get, totals, replay->scratch, &absent) != 0)
            return -1;
        count = 0;
    }
    return mover_get(&replay->mover, replay->scratch, count, &totals->final_get, totals, replay->scratch, &absent);
}

static int replay_create(replay_t *replay, const trace_t *trace, nixl_store_t *store, size_t block_bytes)
{
    size_t chain_max, index;

    if (mover_create(&replay->mover, store, block_bytes) != 0)
        return -1;
    chain_max = replay->mover.batch_blocks_max;
    for (index = 0; index < trace->request_count; index++)
        chain_max = trace->requests[index].id_count > chain_max ? trace->requests[index].id_count : chain_max;
    replay->chain = calloc(chain_max, sizeof *replay->chain);
    replay->chain_keys = calloc(chain_max, sizeof *replay->chain_keys);
    replay->scratch = calloc(chain_max, sizeof *replay->scratch);
    if (replay->chain == NULL || replay->chain_keys == NULL || replay->scratch == NULL ||
        id_set_create(&replay->seen, trace->id_count) != 0) {
        fprintf(stderr, "trace_replay: out of memory\n");
        return -1;
    }
    return 0;
}

static void replay_free(replay_t *replay)
{
    mover_free(&replay->mover);
    id_set_free(&replay->seen);
    free(replay->chain);
    free(replay->chain_keys);
    free(replay->scratch);
}

/* Serves the trace from an open store and reports. Returns 0 if all bytes were right. */
static int replay_and_report(const trace_t *trace, nixl_store_t *store, const replay_options_t *options)
{
    nixl_store_capabilities_t capabilities = {.struct_size = sizeof capabilities};
    nixl_store_stats_t stats = {.struct_size = sizeof stats};
    replay_totals_t totals = {.trace_path = options->trace_path,
                              .block_bytes = options->block_bytes,
                              .request_count = trace->request_count};
    const double start = samples_now();
    replay_t replay = {0};
    nixl_store_status_t status;
    int result = -1;

    if (replay_create(&replay, trace, store, (size_t)options->block_bytes) == 0 &&
        serve_all(&replay, trace, &totals) == 0 && read_back(&replay, &totals) == 0) {
        totals.wall_seconds = samples_now() - start;
        if ((status = nixl_store_stats_read(store, &stats)) != NIXL_STORE_OK)
            mover_store_failed("stats", status);
        else if ((status = nixl_store_capabilities_read(store, &capabilities)) != NIXL_STORE_OK)
            mover_store_failed("capabilities", status);
        else {
            replay_report(&totals, &capabilities, &stats);
            result = totals.blocks_wrong > 0 ? -1 : 0;
        }
        /* Nobody else has touched a temporary store: whatever it lost or found damaged is a defect. */
        if (options->config_path == NULL && (totals.blocks_lost > 0 || stats.corruptions > 0))
            result = -1;
    }
    samples_free(&totals.put.batches);
    samples_free(&totals.get.batches);
    samples_free(&totals.final_get.batches);
    replay_free(&replay);
    return result;
}

static int open_and_replay(const trace_t *trace, const replay_options_t *options, const char *config_path)
{
    const nixl_store_open_options_t open_options = {.struct_size = sizeof open_options,
                                                    .chunk_bytes = options->block_bytes};
    nixl_store_t *store = NULL;
    nixl_store_status_t status = nixl_store_open(config_path, &open_options, &store);
    int result;

    if (status != NIXL_STORE_OK)
        return mover_store_failed("open", status);
    result = replay_and_report(trace, store, options);
    status = nixl_store_close(store);
    return status == NIXL_STORE_OK ? result : mover_store_failed("close", status);
}

/* Keeps the requests that this process serves. Their ids stay where they are. */
static void keep_share(trace_t *trace, const replay_options_t *options)
{
    size_t from, to = 0;

    for (from = (size_t)options->share - 1; from < trace->request_count; from += (size_t)options->share_count)
        trace->requests[to++] = trace->requests[from];
    trace->request_count = to;
}

static int load_trace(trace_t *trace, const replay_options_t *options)
{
    FILE *const file = fopen(options->trace_path, "rb");
    int result;

    if (file == NULL) {
        fprintf(stderr, "trace_replay: cannot open %s: %s\n", options->trace_path, strerror(errno));
        return -1;
    }
    result = trace_read(trace, file, options->request_count_max);
    if (result != 0)
        fprintf(stderr, "trace_replay: %s: %s\n", options->trace_path, trace->error);
    keep_share(trace, options);
    fclose(file);
    return result;
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART | SA_RESETHAND};
    replay_options_t options;
    temp_store_t temp_store;
    trace_t trace = {0};
    int result = replay_options_parse(&options, argc, argv);

    if (result != 0)
        return result < 0 ? 2 : 0;
    result = load_trace(&trace, &options);
    if (result == 0) {
        const temp_store_options_t temp_options = {.parent = options.temp_parent,
                                                   .policy = options.policy,
                                                   .slot_count = options.pool_slots,
                                                   .chunk_bytes = options.block_bytes,
                                                   .staging_bytes = STAGING_BYTES,
                                                   .direct_io = options.direct_io};
        /* Once: finish the request, report, clean up. Twice: the usual end. */
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        if (options.config_path != NULL) {
            result = open_and_replay(&trace, &options, options.config_path);
        } else if ((result = temp_store_create(&temp_store, &temp_options)) == 0) {
            result = open_and_replay(&trace, &options, temp_store.config_path);
            temp_store_remove(&temp_store);
        }
    }
    trace_free(&trace);
    return interrupted ? EXIT_INTERRUPTED : result != 0;
}
