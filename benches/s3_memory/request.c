#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "chunks.h"

static int hex_digit(char sign)
{
    if (sign >= '0' && sign <= '9')
        return sign - '0';
    sign |= 0x20;
    return sign >= 'a' && sign <= 'f' ? sign - 'a' + 10 : -1;
}

/* Percent-decoding in place. A NUL has no place in these strings. */
static int decode(char *text, bool plus_is_blank)
{
    char *out = text;

    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '%') {
            const int high = hex_digit(at[1]), low = high < 0 ? -1 : hex_digit(at[2]);
            if (low < 0 || (high == 0 && low == 0))
                return -1;
            *out++ = (char)(high << 4 | low);
            at += 2;
        } else {
            *out++ = *at == '+' && plus_is_blank ? ' ' : *at;
        }
    }
    *out = '\0';
    return 0;
}

static int parse_query(request_t *request, char *text)
{
    char *rest = NULL;

    for (char *word = strtok_r(text, "&", &rest); word != NULL; word = strtok_r(NULL, "&", &rest)) {
        char *const equals = strchr(word, '=');
        char *const value = equals != NULL ? equals + 1 : word + strlen(word);
        if (equals != NULL)
            *equals = '\0';
        if (request->query_count == QUERY_MAX || decode(word, true) != 0 || decode(value, true) != 0)
            return -1;
        request->query[request->query_count++] = (field_t){word, value};
    }
    return 0;
}

/* /bucket/name?query, or the same behind http://host. */
static int parse_target(request_t *request, char *target)
{
    char *query, *name;

    if (strncasecmp(target, "http://", 7) == 0) {
        target = strchr(target + 7, '/');
        if (target == NULL)
            return -1;
    }
    if (*target != '/')
        return -1;
    query = strchr(target, '?');
    if (query != NULL) {
        *query = '\0';
        if (parse_query(request, query + 1) != 0)
            return -1;
    }
    request->bucket = target + 1;
    name = strchr(target + 1, '/');
    if (name != NULL)
        *name++ = '\0';
    request->name = name != NULL ? name : "";
    return decode(target, false) != 0 || (name != NULL && decode(name, false) != 0) ? -1 : 0;
}

static int parse_headers(request_t *request, char *text)
{
    char *rest = NULL;

    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
        char *value = strchr(line, ':');
        if (value == NULL || request->header_count == HEADERS_MAX)
            return -1;
        *value++ = '\0';
        value += strspn(value, " \t");
        for (size_t length = strlen(value); length > 0 && strchr(" \t", value[length - 1]) != NULL; length--)
            value[length - 1] = '\0';
        request->headers[request->header_count++] = (field_t){line, value};
    }
    return 0;
}

static int parse_length(const char *text, size_t *bytes_out)
{
    char *end = NULL;
    unsigned long long bytes;

    if (text == NULL || *text < '0' || *text > '9')
        return -1;
    errno = 0;
    bytes = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return -1;
    *bytes_out = (size_t)bytes;
    return 0;
}

static int parse_body(request_t *request)
{
    const char *const encoding = request_header(request, "content-encoding");
    const char *const transfer = request_header(request, "transfer-encoding");
    const char *const decoded = request_header(request, "x-amz-decoded-content-length");
    const char *const length = request_header(request, "content-length");

    if (transfer != NULL && strcasecmp(transfer, "chunked") != 0)
        return -1;
    request->http_chunked = transfer != NULL;
    request->aws_chunked = encoding != NULL && strstr(encoding, "aws-chunked") != NULL;
    if (request->http_chunked || request->aws_chunked)
        return parse_length(decoded, &request->body_bytes);
    return length == NULL ? 0 : parse_length(length, &request->body_bytes);
}

request_status_t request_read(request_t *request, connection_t *connection)
{
    const char *wish;
    char *target, *version, *headers;
    size_t bytes;

    if (connection_head(connection, &bytes) != 0)
        return connection->end == connection->start ? REQUEST_ENDED : REQUEST_BAD;
    memset(request, 0, offsetof(request_t, text));
    if (connection_take(connection, request->text, bytes) != 0)
        return REQUEST_ENDED;
    request->text[bytes] = '\0';
    if (strlen(request->text) != bytes)
        return REQUEST_BAD;
    headers = strstr(request->text, "\r\n");
    *headers = '\0';
    headers += 2;
    request->method = request->text;
    target = strchr(request->text, ' ');
    if (target == NULL)
        return REQUEST_BAD;
    *target++ = '\0';
    version = strchr(target, ' ');
    if (version == NULL)
        return REQUEST_BAD;
    *version++ = '\0';
    if (parse_headers(request, headers) != 0 || parse_target(request, target) != 0 || parse_body(request) != 0)
        return REQUEST_BAD;
    wish = request_header(request, "connection");
    request->keep_alive = strcmp(version, "HTTP/1.1") == 0 && (wish == NULL || strcasecmp(wish, "close") != 0);
    return REQUEST_READY;
}

const char *request_header(const request_t *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    return NULL;
}

const char *request_query(const request_t *request, const char *name)
{
    for (size_t i = 0; i < request->query_count; i++)
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    return NULL;
}

int request_take_body(request_t *request, connection_t *connection, void *destination)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const char *const expects = request_header(request, "expect");

    if (request->body_taken)
        return 0;
    request->body_taken = true;
    if (expects != NULL && strcasecmp(expects, "100-continue") == 0 &&
        connection_send(connection, go_on, sizeof go_on - 1, 0) != 0)
        return -1;
    if (request->http_chunked || request->aws_chunked)
        return chunks_take(connection, request->http_chunked, request->aws_chunked, destination, request->body_bytes);
    return connection_take(connection, destination, request->body_bytes);
}
