/* What a replay found out, and how a person reads it. */
#ifndef NIXL_STORE_EXAMPLES_REPLAY_REPORT_H
#define NIXL_STORE_EXAMPLES_REPLAY_REPORT_H

#include "../common/samples.h"

#include <nixl_store.h>
#include <stddef.h>
#include <stdint.h>

/* One kind of transfer. */
typedef struct {
    samples_t batches; /* from submission to the last byte */
    uint64_t blocks;
    uint64_t bytes;
} replay_traffic_t;

typedef struct {
    const char *trace_path;
    uint64_t block_bytes;
    size_t request_count;      /* to replay */
    size_t requests_done;
    uint64_t blocks_referenced;
    uint64_t blocks_hit;
    uint64_t blocks_hit_unbounded; /* what a cache that never evicts would have hit */
    uint64_t blocks_hit_of_others; /* hits of blocks that this process had not put: another one had */
    uint64_t blocks_distinct;
    uint64_t blocks_declined;  /* puts that the policy REUSE found not worth displacing anything for */
    uint64_t blocks_lost;      /* matched or contained, yet not found when read */
    uint64_t blocks_wrong;     /* of another length or with a wrong byte */
    replay_traffic_t get, put, final_get;
    double wall_seconds;
} replay_totals_t;

/* Rewrites one line on stderr if that is a terminal, a few times a second; otherwise does nothing. */
void replay_progress(const replay_totals_t *totals);
/* Takes the line away. */
void replay_progress_end(void);

/* The table, on stdout. */
void replay_report(replay_totals_t *totals, const nixl_store_capabilities_t *capabilities,
                   const nixl_store_stats_t *stats);

#endif
