/* The daemon: batches wait here, held or until they are due, and workers carry them out, the entries of one batch in
 * several workers where there are many bytes. */

#include "internal.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_MAX 256
#define WORKER_STACK_BYTES (256u << 10)
/* As much of a batch as one worker takes at a time. */
#define PIECE_BYTES (256u << 10)

struct queue {
    struct batch *first, **end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work;
static struct queue queue = {NULL, &queue.first}, held = {NULL, &held.first};
static uint64_t held_count, chance;
static unsigned idle, working;
static pthread_cond_t rest = PTHREAD_COND_INITIALIZER; /* none is working */
static pthread_once_t started = PTHREAD_ONCE_INIT;
static atomic_bool holding;
static atomic_uint_fast64_t daemon_alive = 1;
static uint64_t daemons_made = 1;
static atomic_uint_fast64_t entries_met, hold_at, kill_at;

static void append(struct queue *to, struct batch *batch)
{
    batch->next = NULL;
    *to->end = batch;
    to->end = &batch->next;
}

static void take_out(struct queue *from, struct batch **link)
{
    struct batch *batch = *link;
    *link = batch->next;
    if (from->end == &batch->next)
        from->end = link;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

uint64_t daemon_now(void)
{
    return atomic_load(&daemon_alive);
}

bool daemon_holds(void)
{
    return atomic_load_explicit(&holding, memory_order_relaxed);
}

/* ---- workers ---- */

/* The first batch that is due, by the link to it. NULL: none; `wake_ns` is then when one will be, 0 for never. */
static struct batch **find_due(uint64_t *wake_ns)
{
    uint64_t now = 0;
    *wake_ns = 0;
    for (struct batch **link = &queue.first; *link != NULL; link = &(*link)->next) {
        uint64_t due = (*link)->due_ns;
        if (due != 0 && now == 0)
            now = now_ns();
        if (due <= now)
            return link;
        if (*wake_ns == 0 || due < *wake_ns)
            *wake_ns = due;
    }
    return NULL;
}

static void wait_for_work(uint64_t wake_ns)
{
    idle++;
    if (wake_ns == 0) {
        pthread_cond_wait(&work, &lock);
    } else {
        struct timespec until = {(time_t)(wake_ns / NANOSECONDS), (long)(wake_ns % NANOSECONDS)};
        pthread_cond_timedwait(&work, &lock, &until);
    }
    idle--;
}

/* Entries of the batch for one worker, which leaves the queue with its last ones. */
static uint32_t take_piece(struct batch **link, uint32_t *from)
{
    struct batch *batch = *link;
    uint64_t bytes = 0;
    *from = batch->started;
    while (batch->started < batch->entries && bytes < PIECE_BYTES)
        bytes += ring_entry(batch, batch->started++)->bytes;
    uint32_t to = batch->started;
    if (to == batch->entries)
        take_out(&queue, link);
    return to;
}

static void carry_out(struct batch *batch, uint32_t from, uint32_t to)
{
    uint64_t daemon = batch->ring->daemon;
    for (uint32_t i = from; i < to && daemon == daemon_now(); i++)
        transfer(ring_entry(batch, i), batch->ring->read);
    if (daemon == daemon_now() && atomic_fetch_sub(&batch->unfinished, to - from) == to - from)
        ring_batch_done(batch);
}

static void *worker(void *unused)
{
    (void)unused;
    /* A stand-in for 3FS's FUSE client takes threads of this name for rings. */
    pthread_setname_np(pthread_self(), "hf3fs-ring");
    pthread_mutex_lock(&lock);
    for (;;) {
        uint64_t wake_ns;
        uint32_t from, to;
        struct batch **link = find_due(&wake_ns);
        if (link == NULL) {
            wait_for_work(wake_ns);
            continue;
        }
        struct batch *batch = *link;
        to = take_piece(link, &from);
        /* Each that finds work left wakes one more, so that no more wake than there is work for. */
        if (queue.first != NULL && idle > 0)
            pthread_cond_signal(&work);
        working++;
        pthread_mutex_unlock(&lock);
        carry_out(batch, from, to);
        pthread_mutex_lock(&lock);
        if (--working == 0)
            pthread_cond_broadcast(&rest);
    }
    return NULL;
}

static void start(void)
{
    uint64_t workers = settings_number("STANDIN_HF3FS_WORKERS", 4);
    RULE(workers > 0 && workers <= WORKERS_MAX, "%llu workers", (unsigned long long)workers);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&work, &attributes);
    pthread_condattr_destroy(&attributes);
    /* They are another process's threads: signals to the client are none of theirs, and their memory is little. */
    sigset_t all;
    sigfillset(&all);
    pthread_attr_t of_thread;
    pthread_attr_init(&of_thread);
    pthread_attr_setsigmask_np(&of_thread, &all);
    pthread_attr_setdetachstate(&of_thread, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&of_thread, WORKER_STACK_BYTES);
    for (uint64_t i = 0; i < workers; i++) {
        pthread_t thread;
        RULE(pthread_create(&thread, &of_thread, worker, NULL) == 0, "a worker could not be started");
    }
    pthread_attr_destroy(&of_thread);
}

/* ---- batches ---- */

/* The lock is held. */
static void let_go(struct batch *batch)
{
    uint64_t delay_ns = delay_draw(&chance);
    batch->due_ns = delay_ns == 0 ? 0 : now_ns() + delay_ns;
    atomic_store(&batch->state, BATCH_QUEUED);
    append(&queue, batch);
    if (idle > 0)
        pthread_cond_signal(&work);
}

void daemon_push(struct batch *batch)
{
    pthread_once(&started, start);
    pthread_mutex_lock(&lock);
    if (batch->ring->daemon != daemon_now()) {
        atomic_store(&batch->state, BATCH_HELD);
    } else if (daemon_holds()) {
        atomic_store(&batch->state, BATCH_HELD);
        append(&held, batch);
        held_count++;
        count_add(STANDIN_HF3FS_HELD, 1);
    } else {
        let_go(batch);
    }
    pthread_mutex_unlock(&lock);
}

static void release_one(uint64_t at)
{
    struct batch **link = &held.first;
    while (at-- > 0)
        link = &(*link)->next;
    struct batch *batch = *link;
    take_out(&held, link);
    held_count--;
    count_add(STANDIN_HF3FS_HELD, -1);
    let_go(batch);
}

EXPORT uint64_t standin_hf3fs_release(uint64_t batches)
{
    uint64_t released = 0;
    pthread_mutex_lock(&lock);
    for (; released < batches && held_count > 0; released++) {
        int order = order_now();
        release_one(order == STANDIN_HF3FS_REVERSED ? held_count - 1
                    : order == STANDIN_HF3FS_RANDOM ? random_next(&chance) % held_count
                                                    : 0);
    }
    pthread_mutex_unlock(&lock);
    return released;
}

EXPORT void standin_hf3fs_hold(bool hold)
{
    pthread_mutex_lock(&lock);
    atomic_store(&holding, hold);
    pthread_mutex_unlock(&lock);
    if (!hold)
        standin_hf3fs_release(UINT64_MAX);
}

/* ---- death ---- */

EXPORT void standin_hf3fs_kill(void)
{
    pthread_mutex_lock(&lock);
    atomic_store(&daemon_alive, 0);
    queue = (struct queue){NULL, &queue.first};
    held = (struct queue){NULL, &held.first};
    count_add(STANDIN_HF3FS_HELD, -(int64_t)held_count);
    held_count = 0;
    while (working > 0)
        pthread_cond_wait(&rest, &lock);
    pthread_mutex_unlock(&lock);
}

EXPORT void standin_hf3fs_restart(void)
{
    pthread_mutex_lock(&lock);
    if (daemon_now() == 0)
        atomic_store(&daemon_alive, ++daemons_made);
    pthread_mutex_unlock(&lock);
}

void daemon_at_entry(void)
{
    uint64_t hold = atomic_load_explicit(&hold_at, memory_order_relaxed);
    uint64_t kill = atomic_load_explicit(&kill_at, memory_order_relaxed);
    if (hold == 0 && kill == 0)
        return;
    uint64_t nth = atomic_fetch_add(&entries_met, 1) + 1;
    if (nth == hold)
        standin_hf3fs_hold(true);
    if (nth == kill)
        standin_hf3fs_kill();
}

void daemon_reset(void)
{
    atomic_store(&entries_met, 0);
    atomic_store(&hold_at, settings_number("STANDIN_HF3FS_HOLD_AT", 0));
    atomic_store(&kill_at, settings_number("STANDIN_HF3FS_KILL_AT", 0));
    pthread_mutex_lock(&lock);
    chance = seed_now();
    pthread_mutex_unlock(&lock);
}
