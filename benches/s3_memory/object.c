#include "object.h"

#include <stdlib.h>

content_t *content_new(size_t part_room)
{
    static atomic_uint_fast64_t last_version;
    content_t *const content = malloc(sizeof *content + part_room * sizeof content->parts[0]);

    if (content == NULL)
        return NULL;
    atomic_init(&content->shares, 1);
    content->version = atomic_fetch_add(&last_version, 1) + 1;
    content->modified = time(NULL);
    content->bytes = 0;
    content->part_count = 0;
    return content;
}

void content_add(content_t *content, body_t *body, size_t bytes)
{
    content->parts[content->part_count++] = (part_t){body, bytes};
    content->bytes += bytes;
}

content_t *content_share(content_t *content)
{
    atomic_fetch_add_explicit(&content->shares, 1, memory_order_relaxed);
    return content;
}

void content_release(content_t *content)
{
    if (content == NULL || atomic_fetch_sub_explicit(&content->shares, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < content->part_count; i++)
        body_release(content->parts[i].body);
    free(content);
}

bool content_is_kept(const content_t *content)
{
    for (size_t i = 0; i < content->part_count; i++)
        if (content->parts[i].body == NULL && content->parts[i].bytes > 0)
            return false;
    return true;
}

const unsigned char *content_at(const content_t *content, size_t offset, size_t bytes, size_t *length_out)
{
    const part_t *part = content->parts;

    for (; offset >= part->bytes; part++)
        offset -= part->bytes;
    *length_out = part->bytes - offset < bytes ? part->bytes - offset : bytes;
    return body_start(part->body) + offset;
}
