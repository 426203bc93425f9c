/* A request as it came: line, headers, and where its body ends. */
#ifndef S3_MEMORY_REQUEST_H
#define S3_MEMORY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connection.h"

#define HEADERS_MAX 64
#define QUERY_MAX 16

typedef struct {
    const char *name, *value;
} field_t;

typedef struct {
    const char *method;
    const char *bucket; /* "" for the server itself */
    const char *name;   /* of the object, decoded; "" for the bucket itself */
    field_t headers[HEADERS_MAX];
    size_t header_count;
    field_t query[QUERY_MAX];
    size_t query_count;
    size_t body_bytes;  /* of the object: without the frames of chunks */
    bool http_chunked;  /* the body comes in HTTP's own chunks */
    bool aws_chunked;   /* and, or, in those of S3 */
    bool body_taken;
    bool keep_alive;
    char text[HEAD_BYTES_MAX + 1]; /* what all of the above points into */
} request_t;

typedef enum { REQUEST_READY, REQUEST_ENDED, REQUEST_BAD } request_status_t;

/* Waits for the next request; REQUEST_BAD is one that cannot be answered but by closing. */
request_status_t request_read(request_t *request, connection_t *connection);

/* NULL where it is not there. */
const char *request_header(const request_t *request, const char *name);
const char *request_query(const request_t *request, const char *name);

/* Takes the body, into memory of body_bytes; NULL throws it away. Says first that it may come, where the client waits
 * for that. -1 when the connection is of no use any more. */
int request_take_body(request_t *request, connection_t *connection, void *destination);

#endif
