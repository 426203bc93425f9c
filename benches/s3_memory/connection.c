#include "connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

/* So much is thrown away by one call. */
#define THROWN_BYTES_MAX ((size_t)1 << 20)

/* One recv(); 0 bytes is the end of the connection. */
static int receive(const connection_t *connection, void *destination, size_t bytes, int flags, size_t *got_out)
{
    ssize_t got;

    do
        got = recv(connection->fd, destination, bytes, flags);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return -1;
    *got_out = (size_t)got;
    return 0;
}

/* Adds to the buffer what comes next. */
static int fill(connection_t *connection)
{
    size_t got;

    if (connection->start > 0) {
        memmove(connection->buffer, connection->buffer + connection->start, connection->end - connection->start);
        connection->end -= connection->start;
        connection->start = 0;
    }
    if (connection->end == HEAD_BYTES_MAX ||
        receive(connection, connection->buffer + connection->end, HEAD_BYTES_MAX - connection->end, 0, &got) != 0)
        return -1;
    connection->end += got;
    return 0;
}

int connection_head(connection_t *connection, size_t *bytes_out)
{
    static const char end[] = "\r\n\r\n";

    for (;;) {
        const char *const first = connection->buffer + connection->start;
        const char *const found = memmem(first, connection->end - connection->start, end, sizeof end - 1);
        if (found != NULL) {
            *bytes_out = (size_t)(found - first) + sizeof end - 1;
            return 0;
        }
        if (fill(connection) != 0)
            return -1;
    }
}

int connection_byte(connection_t *connection, char *byte_out)
{
    if (connection->start == connection->end && fill(connection) != 0)
        return -1;
    *byte_out = connection->buffer[connection->start++];
    return 0;
}

int connection_take(connection_t *connection, void *destination, size_t bytes)
{
    unsigned char *at = destination;
    size_t got = connection->end - connection->start;

    got = got < bytes ? got : bytes;
    if (at != NULL) {
        memcpy(at, connection->buffer + connection->start, got);
        at += got;
    }
    connection->start += got;
    for (bytes -= got; bytes > 0; bytes -= got) {
        if (at == NULL) {
            /* tcp(7): with MSG_TRUNC the bytes are discarded instead of passed, so this is never touched. */
            static char nowhere[THROWN_BYTES_MAX];
            const size_t most = bytes < THROWN_BYTES_MAX ? bytes : THROWN_BYTES_MAX;
            if (receive(connection, nowhere, most, MSG_TRUNC, &got) != 0)
                return -1;
        } else {
            if (receive(connection, at, bytes, MSG_WAITALL, &got) != 0)
                return -1;
            at += got;
        }
    }
    return 0;
}

int connection_send(connection_t *connection, const void *bytes, size_t count, int more)
{
    const char *at = bytes;

    while (count > 0) {
        const ssize_t sent = send(connection->fd, at, count, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return -1;
        at += sent;
        count -= (size_t)sent;
    }
    return 0;
}
