/* What moves objects between memory and storage: the store, NIXL, bare system calls, bare USRBIO or bare sockets, all
 * behind one table, so that the same loop times them, over the same memory. */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command.h"

#define KEY_BYTES 56
#define THREADS_MAX 16

/* What one opened engine has to serve. */
typedef struct {
    size_t object_bytes;      /* of every object */
    size_t object_stride;     /* from one object in memory to the next: object_bytes in whole pages */
    size_t live_objects;      /* objects kept on storage; a put beyond them replaces the oldest */
    size_t memory_objects;    /* objects that memory has room for; no batch is larger */
    unsigned char *memory;    /* the caller's memory, page-aligned; an engine registers it where it can. NULL: the
                                 engine's is used, once it is open */
    size_t memory_bytes;
} shape_t;

/* One batch. Object i of it lies at memory + i * object_stride. */
typedef struct {
    size_t count;
    const uint64_t *ids;           /* ever higher; id % live_objects is the place of a slot */
    const char (*keys)[KEY_BYTES]; /* the same as keys of KEY_BYTES bytes */
    unsigned char *memory;
    unsigned thread; /* below THREADS_MAX; no two batches of one thread are under way at a time */
} batch_t;

/* Every function returns 0, or -1 after fail(). An operation that is NULL is not served. */
typedef struct {
    const char *name;
    int (*open)(const command_t *command, const shape_t *shape, void **engine_out);
    unsigned char *(*memory)(void *engine); /* memory_bytes of its own, until it is closed; NULL after fail() */
    int (*put)(void *engine, const batch_t *batch);
    int (*get)(void *engine, const batch_t *batch);
    int (*put_one)(void *engine, const batch_t *batch);
    int (*get_one)(void *engine, const batch_t *batch);
    int (*remove)(void *engine, const batch_t *batch);
    void (*describe)(void *engine); /* prints JSON members, each with a comma before it */
    int (*close)(void *engine);
    bool many_threads; /* batches of several threads may be under way at a time */
} engine_ops_t;

extern const engine_ops_t engine_store;
extern const engine_ops_t engine_nixl;
extern const engine_ops_t engine_nixl_obj;
extern const engine_ops_t engine_pread;
extern const engine_ops_t engine_usrbio;
extern const engine_ops_t engine_sockets;

/* The store behind an engine_store, for commands that only it serves. */
void *engine_store_handle(void *engine);

#endif
