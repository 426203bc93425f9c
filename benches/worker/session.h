/* One opened engine with its memory, and the commands that time it. */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include "command.h"
#include "engine.h"
#include "memory.h"

typedef struct {
    uint64_t id;
    uint64_t seed;
} content_t;

typedef struct {
    const engine_ops_t *ops;
    void *engine;
    shape_t shape;
    memory_t memory;
    uint64_t first_id, next_id; /* the objects that are on storage */
    content_t *contents;        /* what was put last into each place */
    bool foreign;               /* another program wrote the objects: only their own bytes tell which they are */
} session_t;

/* Commands. Each returns 0, or -1 after fail(), and prints members of the answer, each with a comma before it. */

/* open object_bytes= live_objects= memory_objects= memory= and what the engine takes. memory=engine: objects lie in
 * memory that the engine gives, as it may take that without a copy. */
int session_open(session_t *session, const engine_ops_t *ops, const command_t *command);

/* put|get batch= repetitions= threads= seed= check=: batches, one after the other in each thread. A put's last
 * repetition is read back and compared, unless check=0 says that storage does not keep it; a get's last repetition is
 * compared. Neither is timed. */
int session_put(session_t *session, const command_t *command);
int session_get(session_t *session, const command_t *command);

/* latency operation=put|get count= seed=: single objects, one after the other, every one of them compared. */
int session_latency(session_t *session, const command_t *command);

/* remove: all objects, for stores that keep a file for each. */
int session_remove(session_t *session);

int session_close(session_t *session);

/* The same for other files of the worker: the key of an object, KEY_BYTES long. */
void session_key(uint64_t id, char key[KEY_BYTES]);

#endif
