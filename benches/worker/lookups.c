#include "lookups.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bytes.h"
#include "clock.h"
#include "content.h"
#include "fail.h"
#include "nixl_store.h"

/* Ids that are never put. */
static const uint64_t UNKNOWN_ID = UINT64_C(1) << 40;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 24;
}

int lookups_fill(session_t *session, const command_t *command)
{
    uint64_t count, batch;
    uint64_t *ids;
    char (*keys)[KEY_BYTES];
    int status = 0;

    if (command_number(command, "count", session->shape.live_objects, &count) != 0 ||
        command_number(command, "batch", session->shape.memory_objects, &batch) != 0)
        return -1;
    if (batch == 0 || batch > session->shape.memory_objects)
        return fail("batch= has to be from 1 to memory_objects");
    ids = calloc(batch, sizeof *ids);
    keys = calloc(batch, sizeof *keys);
    if (ids == NULL || keys == NULL)
        status = fail("out of memory");
    content_fill(session, batch, 0);
    for (uint64_t done = 0; done < count && status == 0; done += batch) {
        batch_t part = {.ids = ids, .keys = (const char (*)[KEY_BYTES])keys, .memory = session->shape.memory};
        part.count = count - done < batch ? count - done : batch;
        for (size_t i = 0; i < part.count; i++) {
            ids[i] = session->next_id++;
            session_key(ids[i], keys[i]);
            /* Nothing is noted down about these objects: what is measured next is the memory that they take. */
            bytes_stamp(part.memory + i * session->shape.object_stride, session->shape.object_bytes, ids[i], i);
        }
        status = session->ops->put(session->engine, &part);
    }
    free(ids);
    free(keys);
    return status;
}

/* Keys in the order in which they will be asked for: an engine has just computed the key that it asks for, so the
 * caller's own memory must not be what is slow. */
static char (*make_keys(const session_t *session, const command_t *command, uint64_t *count_out))[KEY_BYTES]
{
    uint64_t hits, seed;
    const uint64_t stored = session->next_id - session->first_id;
    char (*keys)[KEY_BYTES];

    if (command_number(command, "count", 1000000, count_out) != 0 || command_number(command, "hits", 1, &hits) != 0 ||
        command_number(command, "seed", 0, &seed) != 0)
        return NULL;
    if (*count_out == 0 || stored == 0) {
        fail("nothing to look up");
        return NULL;
    }
    keys = malloc(*count_out * sizeof *keys);
    if (keys == NULL) {
        fail("out of memory");
        return NULL;
    }
    for (uint64_t i = 0; i < *count_out; i++)
        session_key((hits ? session->first_id : UNKNOWN_ID) + next_random(&seed) % stored, keys[i]);
    return keys;
}

int lookups_contains(session_t *session, const command_t *command)
{
    nixl_store_t *const store = engine_store_handle(session->engine);
    uint64_t count, hits, found = 0;
    char (*const keys)[KEY_BYTES] = make_keys(session, command, &count);
    span_t total = {0}, start;

    if (keys == NULL || command_number(command, "hits", 1, &hits) != 0)
        return -1;
    start = span_start();
    for (uint64_t i = 0; i < count; i++)
        found += nixl_store_key_contains(store, keys[i], KEY_BYTES) == NIXL_STORE_OK;
    span_add(&total, start);
    free(keys);
    if (found != (hits ? count : 0))
        return fail("contains: %llu of %llu keys were found", (unsigned long long)found, (unsigned long long)count);
    fprintf(json, ",\"seconds\":%.9f,\"lookups\":%llu,\"verified\":true", total.wall_s, (unsigned long long)count);
    return 0;
}

int lookups_prefix(session_t *session, const command_t *command)
{
    nixl_store_t *const store = engine_store_handle(session->engine);
    uint64_t count, chain, matched_total = 0;
    char (*const keys)[KEY_BYTES] = make_keys(session, command, &count);
    nixl_store_key_t *links;
    span_t total = {0}, start;

    if (keys == NULL || command_number(command, "chain", 128, &chain) != 0)
        return -1;
    count -= count % chain;
    links = calloc(count, sizeof *links);
    if (links == NULL)
        return fail("out of memory");
    for (uint64_t i = 0; i < count; i++) {
        links[i].key = keys[i];
        links[i].key_length = KEY_BYTES;
    }
    start = span_start();
    for (uint64_t i = 0; i < count; i += chain) {
        size_t matched;
        if (nixl_store_prefix_match(store, links + i, chain, &matched) == NIXL_STORE_OK)
            matched_total += matched;
    }
    span_add(&total, start);
    free(links);
    free(keys);
    if (matched_total != count)
        return fail("prefix: %llu of %llu keys matched", (unsigned long long)matched_total, (unsigned long long)count);
    fprintf(json, ",\"seconds\":%.9f,\"lookups\":%llu,\"verified\":true", total.wall_s, (unsigned long long)count);
    return 0;
}

int lookups_memory(void)
{
    FILE *const file = fopen("/proc/self/statm", "r");
    unsigned long long total, resident;

    if (file == NULL || fscanf(file, "%llu %llu", &total, &resident) != 2)
        return fail("cannot read /proc/self/statm");
    fclose(file);
    fprintf(json, ",\"resident_bytes\":%llu", resident * (unsigned long long)sysconf(_SC_PAGESIZE));
    return 0;
}
