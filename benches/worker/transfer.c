/* Batches of puts and gets, in one thread or in several at a time. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "clock.h"
#include "content.h"
#include "fail.h"
#include "session.h"

typedef int transfer_fn_t(void *engine, const batch_t *batch);

typedef struct {
    session_t *session;
    transfer_fn_t *transfer;
    size_t batch, threads, repetitions;
    uint64_t seed;
    uint64_t check;          /* 0: what was put is not read back */
    uint64_t *ids;           /* threads * batch of them: the current repetition's */
    char (*keys)[KEY_BYTES]; /* the same as keys */
    pthread_barrier_t start, end;
    int failed;
    bool stop;
    span_t total;
} run_t;

typedef struct {
    run_t *run;
    unsigned thread;
    pthread_t handle;
} worker_t;

static int transfer_share(run_t *run, unsigned thread)
{
    const size_t first = thread * run->batch;
    const batch_t batch = {
        .count = run->batch,
        .ids = run->ids + first,
        .keys = (const char (*)[KEY_BYTES])(run->keys + first),
        .memory = run->session->shape.memory + first * run->session->shape.object_stride,
        .thread = thread,
    };
    return run->transfer(run->session->engine, &batch);
}

static void *work(void *argument)
{
    worker_t *const worker = argument;
    run_t *const run = worker->run;

    for (;;) {
        pthread_barrier_wait(&run->start);
        if (run->stop)
            return NULL;
        if (transfer_share(run, worker->thread) != 0)
            __atomic_store_n(&run->failed, 1, __ATOMIC_RELAXED);
        pthread_barrier_wait(&run->end);
    }
}

/* Everything but this function's body between the two clocks is outside the measured time. */
static int transfer_timed(run_t *run)
{
    const span_t start = span_start();

    if (run->threads == 1) {
        run->failed |= transfer_share(run, 0) != 0;
    } else {
        pthread_barrier_wait(&run->start);
        pthread_barrier_wait(&run->end);
    }
    span_add(&run->total, start);
    return run->failed ? -1 : 0;
}

static void name_objects(run_t *run, uint64_t first_id)
{
    for (size_t i = 0; i < run->batch * run->threads; i++) {
        run->ids[i] = first_id + i;
        session_key(run->ids[i], run->keys[i]);
    }
}

static int check_objects(run_t *run, const char *what)
{
    for (size_t i = 0; i < run->batch * run->threads; i++)
        if (content_check(run->session, i, run->ids[i], what) != 0)
            return -1;
    return 0;
}

static int put_repetitions(run_t *run)
{
    session_t *const session = run->session;
    const size_t count = run->batch * run->threads;
    span_t total;

    content_fill(session, count, run->seed);
    for (size_t repetition = 0; repetition < run->repetitions; repetition++) {
        name_objects(run, session->next_id);
        for (size_t i = 0; i < count; i++)
            content_stamp(session, i, run->ids[i], run->seed);
        session->next_id += count;
        if (session->next_id - session->first_id > session->shape.live_objects)
            session->first_id = session->next_id - session->shape.live_objects;
        if (transfer_timed(run) != 0)
            return -1;
    }
    if (!run->check)
        return 0;
    total = run->total;
    bytes_poison(session->shape.memory, count * session->shape.object_stride);
    run->transfer = session->ops->get;
    if (transfer_timed(run) != 0 || check_objects(run, "reading back what was put") != 0)
        return -1;
    run->total = total;
    return 0;
}

static int get_repetitions(run_t *run)
{
    session_t *const session = run->session;
    const size_t count = run->batch * run->threads;
    const uint64_t batches = (session->next_id - session->first_id) / count;

    if (batches == 0)
        return fail("fewer objects are stored than one batch has");
    for (size_t repetition = 0; repetition < run->repetitions; repetition++) {
        /* From the newest batch to the oldest and round again. */
        name_objects(run, session->next_id - count * (1 + (run->seed + repetition) % batches));
        bytes_poison(session->shape.memory, count * session->shape.object_stride);
        if (transfer_timed(run) != 0)
            return -1;
    }
    return check_objects(run, "get");
}

static int run_threads(run_t *run, int (*body)(run_t *))
{
    worker_t workers[THREADS_MAX];
    size_t started = 0;
    int status;

    if (run->threads == 1)
        return body(run);
    pthread_barrier_init(&run->start, NULL, (unsigned)run->threads + 1);
    pthread_barrier_init(&run->end, NULL, (unsigned)run->threads + 1);
    for (; started < run->threads; started++) {
        workers[started].run = run;
        workers[started].thread = (unsigned)started;
        if (pthread_create(&workers[started].handle, NULL, work, &workers[started]) != 0) {
            /* The barriers would never open. */
            fprintf(stderr, "worker: cannot start a thread\n");
            exit(1);
        }
    }
    status = body(run);
    run->stop = true;
    pthread_barrier_wait(&run->start);
    while (started > 0)
        pthread_join(workers[--started].handle, NULL);
    pthread_barrier_destroy(&run->start);
    pthread_barrier_destroy(&run->end);
    return status;
}

static int prepare(run_t *run, session_t *session, const command_t *command)
{
    const shape_t *const shape = &session->shape;

    run->session = session;
    if (command_number(command, "batch", shape->memory_objects, &run->batch) != 0 ||
        command_number(command, "repetitions", 1, &run->repetitions) != 0 ||
        command_number(command, "threads", 1, &run->threads) != 0 ||
        command_number(command, "seed", 0, &run->seed) != 0 || command_number(command, "check", 1, &run->check) != 0)
        return -1;
    if (run->batch == 0 || run->repetitions == 0 || run->threads == 0 || run->threads > THREADS_MAX ||
        run->batch * run->threads > shape->memory_objects || run->batch * run->threads > shape->live_objects)
        return fail("no room for %zu threads with %zu objects each", run->threads, run->batch);
    if (run->threads > 1 && !session->ops->many_threads)
        return fail("this engine serves one thread");
    run->ids = calloc(run->batch * run->threads, sizeof *run->ids);
    run->keys = calloc(run->batch * run->threads, sizeof *run->keys);
    return run->ids != NULL && run->keys != NULL ? 0 : fail("out of memory");
}

static int run_command(session_t *session, const command_t *command, transfer_fn_t *transfer, int (*body)(run_t *))
{
    run_t run = {0};
    int status;

    if (transfer == NULL)
        return fail("this engine does not serve that");
    run.transfer = transfer;
    status = prepare(&run, session, command);
    if (status == 0)
        status = run_threads(&run, body);
    if (status == 0)
        fprintf(json, ",\"seconds\":%.9f,\"user_s\":%.6f,\"system_s\":%.6f,\"bytes\":%zu,\"verified\":%s", run.total.wall_s,
               run.total.user_s, run.total.system_s,
               run.batch * run.threads * run.repetitions * session->shape.object_bytes, run.check ? "true" : "false");
    free(run.ids);
    free(run.keys);
    return status;
}

int session_put(session_t *session, const command_t *command)
{
    if (session->foreign)
        return fail("files of another program are only read");
    return run_command(session, command, session->ops->put, put_repetitions);
}

int session_get(session_t *session, const command_t *command)
{
    return run_command(session, command, session->ops->get, get_repetitions);
}
