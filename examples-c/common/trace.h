/* Request traces in Mooncake's format: one JSON object a line with `timestamp`, `input_length`,
 * `output_length` and `hash_ids`, all of them non-negative integers.
 *
 * A trace is data from outside: the reader accepts exactly this format, says line and column where a
 * file departs from it, and holds to the limits below whatever the file contains. */
#ifndef NIXL_STORE_EXAMPLES_TRACE_H
#define NIXL_STORE_EXAMPLES_TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Longest line in bytes; the longest of the published traces is near 2 KiB. */
#define TRACE_LINE_BYTES_MAX ((size_t)1 << 21)
/* Most blocks of one request: as many keys as one call of nixl_store takes. */
#define TRACE_IDS_PER_REQUEST_MAX ((size_t)65536)
/* Most blocks of a whole trace: 512 MiB of ids. */
#define TRACE_IDS_MAX ((size_t)1 << 26)
/* Enough for every message of this reader. */
#define TRACE_ERROR_BYTES 192

typedef struct {
    uint64_t timestamp_ms;
    uint64_t input_tokens;
    uint64_t output_tokens;
    size_t id_first; /* into the ids of the trace */
    size_t id_count;
} trace_request_t;

typedef struct {
    trace_request_t *requests;
    size_t request_count;
    size_t request_capacity;
    uint64_t *ids;
    size_t id_count;
    size_t id_capacity;
    char error[TRACE_ERROR_BYTES]; /* of the last call that returned -1 */
} trace_t;

/* Appends the requests of `file`, at most `request_count_max` of them (0: all). Returns 0, or -1 and leaves a
 * message. Start from a trace_t of zeros. */
int trace_read(trace_t *trace, FILE *file, size_t request_count_max);

void trace_free(trace_t *trace);

#endif
