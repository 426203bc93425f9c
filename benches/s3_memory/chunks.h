/* Bodies that come in frames: HTTP's chunks, those of S3 (aws-chunked), or the second within the first, which is how
 * the AWS SDK for C++ sends every body whose checksum it puts behind it. */
#ifndef S3_MEMORY_CHUNKS_H
#define S3_MEMORY_CHUNKS_H

#include <stdbool.h>

#include "connection.h"

/* Takes a body of exactly that many bytes without its frames; NULL throws it away. -1 when the connection is of no use
 * any more, which a body of another length makes it too. */
int chunks_take(connection_t *connection, bool http, bool aws, void *destination, size_t bytes);

#endif
