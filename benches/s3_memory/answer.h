/* Answers: a line, headers, and text or an object's bytes. */
#ifndef S3_MEMORY_ANSWER_H
#define S3_MEMORY_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "connection.h"
#include "object.h"
#include "request.h"

/* Room for an ETag, with its quotes. */
#define TAG_BYTES 48

typedef struct {
    request_t *request;
    connection_t *connection;
} exchange_t;

/* Each returns 0, or -1 when the connection is of no use any more. */

/* `headers` are lines that end in CRLF, or "". The body of a request that nobody took is thrown away first. */
int answer_text(const exchange_t *exchange, int status, const char *headers, const char *text);

/* S3's way to refuse: a status, a code, and a message in XML. */
int answer_error(const exchange_t *exchange, int status, const char *code, const char *message);

/* A stretch of an object, or only its headers for a HEAD. */
int answer_content(const exchange_t *exchange, int status, const char *headers, const content_t *content, size_t offset,
                   size_t bytes);

void answer_tag(char tag[TAG_BYTES], uint64_t version);
/* 0 where the text is no ETag of this server. */
uint64_t answer_version(const char *tag);

#endif
