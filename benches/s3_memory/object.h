/* What a name stands for: one version of an object, made of parts, or a part of an upload. Nothing of it changes once
 * it can be found, so whoever shares it can send it while the name already has another. */
#ifndef S3_MEMORY_OBJECT_H
#define S3_MEMORY_OBJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "body.h"

typedef struct {
    body_t *body; /* NULL: counted and thrown away */
    size_t bytes;
} part_t;

typedef struct {
    atomic_uint shares;
    uint64_t version; /* its ETag; no two contents of one server have the same */
    time_t modified;
    size_t bytes;
    size_t part_count;
    part_t parts[];
} content_t;

/* Without parts yet, shared once; NULL without memory. */
content_t *content_new(size_t part_room);

/* Adds a part, and takes over the share of its body. */
void content_add(content_t *content, body_t *body, size_t bytes);

content_t *content_share(content_t *content);
void content_release(content_t *content);

/* Whether all its bytes are there. */
bool content_is_kept(const content_t *content);

/* A stretch of it in memory, the longest that begins at `offset` and has at most `bytes`; content_is_kept() has to be
 * true. */
const unsigned char *content_at(const content_t *content, size_t offset, size_t bytes, size_t *length_out);

#endif
