/* Single puts and gets, each with its own time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "clock.h"
#include "content.h"
#include "fail.h"
#include "session.h"

/* A small generator is enough to walk over the objects in no order (Knuth's MMIX constants). */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static int one(session_t *session, bool put, size_t index, uint64_t id, double *seconds_out)
{
    char keys[1][KEY_BYTES];
    const batch_t batch = {
        .count = 1,
        .ids = &id,
        .keys = (const char (*)[KEY_BYTES])keys,
        .memory = session->shape.memory + index * session->shape.object_stride,
    };
    double start_s;
    int status;

    session_key(id, keys[0]);
    start_s = clock_now_s();
    status = put ? session->ops->put_one(session->engine, &batch) : session->ops->get_one(session->engine, &batch);
    *seconds_out = clock_now_s() - start_s;
    return status;
}

static int put_one(session_t *session, size_t index, uint64_t seed, double *seconds_out)
{
    const uint64_t id = session->next_id;
    double ignored_s;

    content_stamp(session, index, id, seed);
    session->next_id++;
    if (session->next_id - session->first_id > session->shape.live_objects)
        session->first_id++;
    if (one(session, true, index, id, seconds_out) != 0)
        return -1;
    bytes_poison(session->shape.memory + index * session->shape.object_stride, session->shape.object_bytes);
    if (one(session, false, index, id, &ignored_s) != 0)
        return -1;
    return content_check(session, index, id, "reading back what was put");
}

static int get_one(session_t *session, size_t index, uint64_t *random, double *seconds_out)
{
    const uint64_t id = session->first_id + next_random(random) % (session->next_id - session->first_id);

    bytes_poison(session->shape.memory + index * session->shape.object_stride, session->shape.object_bytes);
    if (one(session, false, index, id, seconds_out) != 0)
        return -1;
    return content_check(session, index, id, "get");
}

static void report(const double *samples, size_t count)
{
    fprintf(json, ",\"verified\":true,\"samples_us\":[");
    for (size_t i = 0; i < count; i++)
        fprintf(json, "%s%.3f", i == 0 ? "" : ",", samples[i] * 1e6);
    fprintf(json, "]");
}

int session_latency(session_t *session, const command_t *command)
{
    const bool put = strcmp(command_text(command, "operation", "get"), "put") == 0;
    uint64_t count, seed;
    double *samples;
    int status = 0;

    if (command_number(command, "count", 200, &count) != 0 || command_number(command, "seed", 0, &seed) != 0)
        return -1;
    if (count == 0 || session->next_id == session->first_id || (put && session->foreign))
        return fail("nothing to measure");
    samples = calloc(count, sizeof *samples);
    if (samples == NULL)
        return fail("out of memory");
    uint64_t random = seed;
    for (size_t i = 0; i < count && status == 0; i++) {
        const size_t index = i % session->shape.memory_objects;
        if (put) {
            bytes_fill(session->shape.memory + index * session->shape.object_stride, session->shape.object_bytes,
                       (seed << 24) + index);
            status = put_one(session, index, seed, &samples[i]);
        } else {
            status = get_one(session, index, &random, &samples[i]);
        }
    }
    if (status == 0)
        report(samples, count);
    free(samples);
    return status;
}
