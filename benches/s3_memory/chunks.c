#include "chunks.h"

#include <errno.h>
#include <stdlib.h>

/* The longest line between two chunks: a length, and a signature that nobody checks; behind the last: a checksum. */
#define LINE_BYTES_MAX 512
#define TRAILER_LINES_MAX 16

typedef struct {
    connection_t *connection;
    bool http;
    size_t left; /* of HTTP's current chunk */
} source_t;

/* The next line as text, without its CRLF, where `next` has one byte after the other. */
static int read_line(int (*next)(source_t *, char *), source_t *source, char *line)
{
    for (size_t length = 0; length < LINE_BYTES_MAX; length++) {
        if (next(source, &line[length]) != 0)
            return -1;
        if (line[length] == '\n' && length > 0 && line[length - 1] == '\r') {
            line[length - 1] = '\0';
            return 0;
        }
    }
    return -1;
}

static int raw_byte(source_t *source, char *byte_out)
{
    return connection_byte(source->connection, byte_out);
}

/* A frame's line begins with its length in hex. */
static int read_frame(int (*next)(source_t *, char *), source_t *source, size_t *bytes_out)
{
    char line[LINE_BYTES_MAX], *end = NULL;
    unsigned long long bytes;

    if (read_line(next, source, line) != 0)
        return -1;
    errno = 0;
    bytes = strtoull(line, &end, 16);
    if (errno != 0 || end == line)
        return -1;
    *bytes_out = (size_t)bytes;
    return 0;
}

static int read_empty(int (*next)(source_t *, char *), source_t *source)
{
    char line[LINE_BYTES_MAX];

    return read_line(next, source, line) == 0 && line[0] == '\0' ? 0 : -1;
}

/* Lines up to an empty one. */
static int read_trailer(int (*next)(source_t *, char *), source_t *source)
{
    char line[LINE_BYTES_MAX];

    for (unsigned i = 0; i < TRAILER_LINES_MAX; i++) {
        if (read_line(next, source, line) != 0)
            return -1;
        if (line[0] == '\0')
            return 0;
    }
    return -1;
}

/* Makes sure that HTTP's chunk has bytes left; where it is the last one that is an error, for more is expected. */
static int within_chunk(source_t *source)
{
    return source->left > 0 || (read_frame(raw_byte, source, &source->left) == 0 && source->left > 0) ? 0 : -1;
}

static int used(source_t *source, size_t bytes)
{
    source->left -= bytes;
    return source->left > 0 ? 0 : read_empty(raw_byte, source);
}

static int inner_byte(source_t *source, char *byte_out)
{
    if (!source->http)
        return raw_byte(source, byte_out);
    if (within_chunk(source) != 0 || raw_byte(source, byte_out) != 0)
        return -1;
    return used(source, 1);
}

static int inner_take(source_t *source, unsigned char *destination, size_t bytes)
{
    if (!source->http)
        return connection_take(source->connection, destination, bytes);
    while (bytes > 0) {
        size_t count;
        if (within_chunk(source) != 0)
            return -1;
        count = source->left < bytes ? source->left : bytes;
        if (connection_take(source->connection, destination, count) != 0 || used(source, count) != 0)
            return -1;
        destination = destination != NULL ? destination + count : NULL;
        bytes -= count;
    }
    return 0;
}

static int take_aws(source_t *source, unsigned char *destination, size_t bytes)
{
    for (;;) {
        size_t count;
        if (read_frame(inner_byte, source, &count) != 0 || count > bytes)
            return -1;
        if (count == 0)
            return bytes == 0 ? read_trailer(inner_byte, source) : -1;
        if (inner_take(source, destination, count) != 0 || read_empty(inner_byte, source) != 0)
            return -1;
        destination = destination != NULL ? destination + count : NULL;
        bytes -= count;
    }
}

int chunks_take(connection_t *connection, bool http, bool aws, void *destination, size_t bytes)
{
    source_t source = {connection, http, 0};
    size_t last;

    if ((aws ? take_aws(&source, destination, bytes) : inner_take(&source, destination, bytes)) != 0)
        return -1;
    if (!http)
        return 0;
    /* The SDK closes its frames with an empty line too many, in the same chunk. */
    while (source.left > 0) {
        char byte;
        if (inner_byte(&source, &byte) != 0 || (byte != '\r' && byte != '\n'))
            return -1;
    }
    return read_frame(raw_byte, &source, &last) == 0 && last == 0 ? read_trailer(raw_byte, &source) : -1;
}
