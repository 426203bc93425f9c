/* One connection of a client, and bytes that came and were not looked at yet. */
#ifndef S3_MEMORY_CONNECTION_H
#define S3_MEMORY_CONNECTION_H

#include <stddef.h>
#include <stdint.h>

/* Room for a request's line and headers; longer ones are refused. It is also what is read at once before it is known
 * where a body goes, so it is small: those bytes are copied once more. */
#define HEAD_BYTES_MAX ((size_t)16 << 10)

typedef struct {
    int fd;
    size_t start, end; /* of what lies in the buffer */
    char buffer[HEAD_BYTES_MAX + 1];
} connection_t;

/* Every function returns 0, or -1 when the connection is of no use any more. */

/* Waits until the buffer has a whole head; *bytes_out counts it with its empty line. The head stays in the buffer. */
int connection_head(connection_t *connection, size_t *bytes_out);

/* Takes so many bytes; NULL throws them away, which the kernel does without a copy. */
int connection_take(connection_t *connection, void *destination, size_t bytes);

/* Takes one byte, and reads on in a large piece where there is none. */
int connection_byte(connection_t *connection, char *byte_out);

/* Sends everything; `more` follows at once. */
int connection_send(connection_t *connection, const void *bytes, size_t count, int more);

#endif
