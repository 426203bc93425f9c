/* What S3 is asked for: objects, listings and uploads of one bucket, and this server's own counters.
 *
 *   GET  /-/counts              what it did so far, as JSON
 *   POST /-/puts?keep           bytes of puts are kept, as at start
 *   POST /-/puts?count          they are counted and thrown away, also while they are on their way
 *   POST /-/clear               forgets every object and upload
 */
#ifndef S3_MEMORY_SERVICE_H
#define S3_MEMORY_SERVICE_H

#include "answer.h"

/* Before the first request. The name has to stay. */
void service_start(const char *bucket);

/* Answers one request; -1 when the connection is of no use any more. */
int service_serve(const exchange_t *exchange);

#endif
