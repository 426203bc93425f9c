#include "answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_HEAD_BYTES 1024

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 412: return "Precondition Failed";
    case 416: return "Range Not Satisfiable";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 507: return "Insufficient Storage";
    default: return "Internal Server Error";
    }
}

static int send_head(const exchange_t *exchange, int status, const char *headers, size_t bytes, int more)
{
    char head[ANSWER_HEAD_BYTES];
    const int length =
        snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nServer: s3-memory\r\n%sContent-Length: %zu\r\n%s\r\n", status,
                 reason(status), headers, bytes, exchange->request->keep_alive ? "" : "Connection: close\r\n");

    if (length < 0 || (size_t)length >= sizeof head)
        return -1;
    return connection_send(exchange->connection, head, (size_t)length, more);
}

static int is_head(const exchange_t *exchange)
{
    return strcmp(exchange->request->method, "HEAD") == 0;
}

int answer_text(const exchange_t *exchange, int status, const char *headers, const char *text)
{
    const size_t bytes = strlen(text);
    /* Of these two nothing follows, and a length would be taken for one of what does. */
    const int silent = is_head(exchange) || status == 204 || status == 304;

    if (request_take_body(exchange->request, exchange->connection, NULL) != 0 ||
        send_head(exchange, status, headers, bytes, !silent && bytes > 0) != 0)
        return -1;
    return silent ? 0 : connection_send(exchange->connection, text, bytes, 0);
}

int answer_error(const exchange_t *exchange, int status, const char *code, const char *message)
{
    char text[512];

    snprintf(text, sizeof text,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code,
             message);
    return answer_text(exchange, status, "Content-Type: application/xml\r\n", text);
}

int answer_content(const exchange_t *exchange, int status, const char *headers, const content_t *content, size_t offset,
                   size_t bytes)
{
    connection_t *const connection = exchange->connection;
    const int silent = is_head(exchange);

    if (request_take_body(exchange->request, connection, NULL) != 0 ||
        send_head(exchange, status, headers, bytes, !silent && bytes > 0) != 0)
        return -1;
    while (!silent && bytes > 0) {
        size_t count;
        const unsigned char *const start = content_at(content, offset, bytes, &count);
        if (connection_send(connection, start, count, count < bytes) != 0)
            return -1;
        offset += count;
        bytes -= count;
    }
    return 0;
}

void answer_tag(char tag[TAG_BYTES], uint64_t version)
{
    /* 32 digits in hex, as clients know them. */
    snprintf(tag, TAG_BYTES, "\"%032" PRIx64 "\"", version);
}

uint64_t answer_version(const char *tag)
{
    char *end = NULL;
    unsigned long long version;

    tag += *tag == '"';
    version = strtoull(tag, &end, 16);
    return end == tag + 32 && (*end == '\0' || *end == '"') ? version : 0;
}
