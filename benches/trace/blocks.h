/* A block trace: for each request the chain of its block ids, as benches/trace/blocks.py writes it.
 *
 * One request a line, ids and runs of consecutive ids with single spaces between them ("0 14-27"); lines that begin
 * with '#' are comments. Nothing else is accepted, and the limits below hold whatever the file contains. */
#ifndef NIXL_STORE_BENCHES_BLOCKS_H
#define NIXL_STORE_BENCHES_BLOCKS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Most blocks of one request: as many as one batch of the library takes. */
#define BLOCKS_PER_REQUEST_MAX ((size_t)65536)
/* Most blocks of a whole trace: 512 MiB of ids. */
#define BLOCKS_TOTAL_MAX ((size_t)1 << 26)

typedef struct {
    size_t first; /* into the ids of the trace */
    size_t count;
} blocks_request_t;

typedef struct {
    blocks_request_t *requests;
    size_t request_count;
    size_t request_capacity;
    uint64_t *ids;
    size_t id_count;
    size_t id_capacity;
    size_t chain_max; /* blocks of the longest request */
    char error[128];  /* of a read that returned -1 */
} blocks_t;

/* Reads all of `file`. Returns 0, or -1 and leaves a message. Start from zeros; free in either case. */
int blocks_read(blocks_t *blocks, FILE *file);

void blocks_free(blocks_t *blocks);

#endif
