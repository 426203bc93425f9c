#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "fail.h"

/* As long as LMCache's keys are: a model's name, world size and rank, and a hash in hex. */
void session_key(uint64_t id, char key[KEY_BYTES])
{
    char text[64];

    /* 26 + 16 + 14 characters */
    snprintf(text, sizeof text, "llama-3.1-8b-instruct@1@0@%016llx%014llx",
             (unsigned long long)(id * UINT64_C(0x9e3779b97f4a7c15)), (unsigned long long)id);
    memcpy(key, text, KEY_BYTES);
}

static int read_shape(shape_t *shape, const command_t *command)
{
    if (command_number(command, "object_bytes", 0, &shape->object_bytes) != 0 ||
        command_number(command, "live_objects", 0, &shape->live_objects) != 0 ||
        command_number(command, "memory_objects", 1, &shape->memory_objects) != 0)
        return -1;
    if (shape->object_bytes < PAGE_BYTES || shape->object_bytes % PAGE_BYTES != 0)
        return fail("object_bytes= has to be a multiple of %zu", PAGE_BYTES);
    if (shape->live_objects == 0 || shape->memory_objects == 0)
        return fail("live_objects= and memory_objects= have to be 1 or more");
    shape->object_stride = shape->object_bytes;
    shape->memory_bytes = shape->memory_objects * shape->object_stride;
    return 0;
}

static void let_memory_go(session_t *session)
{
    if (session->memory.mapping != NULL)
        memory_free(&session->memory);
    free(session->contents);
}

/* Opens the engine over memory of the session's, or over the engine's own. */
static int open_engine(session_t *session, const engine_ops_t *ops, const command_t *command, bool engines_memory)
{
    shape_t *const shape = &session->shape;

    if (!engines_memory) {
        if (memory_allocate(&session->memory, shape->memory_bytes) != 0)
            return -1;
        shape->memory = session->memory.start;
    }
    if (ops->open(command, shape, &session->engine) != 0)
        return -1;
    if (engines_memory) {
        shape->memory = ops->memory(session->engine);
        if (shape->memory == NULL) {
            ops->close(session->engine);
            return -1;
        }
        bytes_poison(shape->memory, shape->memory_bytes);
    }
    return 0;
}

int session_open(session_t *session, const engine_ops_t *ops, const command_t *command)
{
    const bool engines_memory = strcmp(command_text(command, "memory", "caller"), "engine") == 0;

    memset(session, 0, sizeof *session);
    if (read_shape(&session->shape, command) != 0)
        return -1;
    if (engines_memory && ops->memory == NULL)
        return fail("this engine has no memory to give");
    session->contents = calloc(session->shape.live_objects, sizeof *session->contents);
    if (session->contents == NULL)
        return fail("out of memory");
    if (open_engine(session, ops, command, engines_memory) != 0) {
        let_memory_go(session);
        return -1;
    }
    session->ops = ops;
    session->foreign = command_text(command, "paths", NULL) != NULL;
    if (session->foreign)
        session->next_id = session->shape.live_objects;
    if (!engines_memory)
        fprintf(json, ",\"memory_huge_share\":%.3f",
                (double)memory_huge_bytes(&session->memory) / (double)session->shape.memory_bytes);
    if (ops->describe != NULL)
        ops->describe(session->engine);
    return 0;
}

int session_remove(session_t *session)
{
    if (session->ops->remove == NULL)
        return fail("this engine removes nothing");
    for (uint64_t id = session->first_id; id < session->next_id; id++) {
        char key[1][KEY_BYTES];
        const batch_t batch = {1, &id, (const char (*)[KEY_BYTES])key, session->shape.memory, 0};
        session_key(id, key[0]);
        if (session->ops->remove(session->engine, &batch) != 0)
            return -1;
    }
    session->first_id = session->next_id;
    return 0;
}

int session_close(session_t *session)
{
    const int status = session->ops->close(session->engine);

    let_memory_go(session);
    session->ops = NULL;
    return status;
}
