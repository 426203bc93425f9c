#include "content.h"

#include "bytes.h"
#include "fail.h"

/* A seed for each object of a command. */
static uint64_t seed_of(uint64_t seed, size_t index)
{
    return (seed << 24) + index;
}

static unsigned char *object_at(const session_t *session, size_t index)
{
    return session->shape.memory + index * session->shape.object_stride;
}

void content_fill(const session_t *session, size_t count, uint64_t seed)
{
    for (size_t index = 0; index < count; index++)
        bytes_fill(object_at(session, index), session->shape.object_bytes, seed_of(seed, index));
}

void content_stamp(session_t *session, size_t index, uint64_t id, uint64_t seed)
{
    content_t *const content = &session->contents[id % session->shape.live_objects];

    content->id = id;
    content->seed = seed_of(seed, index);
    bytes_stamp(object_at(session, index), session->shape.object_bytes, id, content->seed);
}

int content_check(const session_t *session, size_t index, uint64_t id, const char *what)
{
    const content_t *const content = &session->contents[id % session->shape.live_objects];
    const size_t length = session->shape.object_bytes;
    const unsigned char *const object = object_at(session, index);
    const size_t wrong = session->foreign ? bytes_first_inconsistent(object, length)
                                          : bytes_first_wrong(object, length, content->id, content->seed);

    if (!session->foreign && content->id != id)
        return fail("%s: object %llu was replaced before it was read", what, (unsigned long long)id);
    return wrong == length ? 0
                           : fail("%s: WRONG BYTES in object %llu, page at %zu of %zu bytes", what,
                                  (unsigned long long)id, wrong, length);
}
