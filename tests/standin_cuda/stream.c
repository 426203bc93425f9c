/* Streams: a queue and a thread each. Operations of one stream are in order; between streams there is none but what
 * events, values and the legacy default stream make, and each operation is late by a time of its own. */

#include "internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* One operation in so many is that many times as late as the others may be. */
#define LATE_ONE_IN 64u
#define LATE_TIMES 32u
/* Of operations that follow one another without a pause most are done at once, as a device does them: one in so many is
 * late. The first after a pause always is. */
#define LATE_IN_A_ROW_ONE_IN 8u
#define VALUE_POLL_US 50
#define PROGRESS_POLL_US 100000
#define STACK_BYTES (256u << 10)

static struct stream *streams;
static uint64_t last_serial, last_id;
bool all_held;

/* ---- operations ---- */

struct operation *operation_new(enum operation_type type, const char *name)
{
    struct operation *operation = calloc(1, sizeof *operation);
    if (operation != NULL) {
        operation->type = type;
        operation->name = name;
    }
    return operation;
}

void operation_free(struct operation *operation)
{
    if (operation->marker != NULL)
        marker_drop(operation->marker);
    if (operation->launch != NULL)
        launch_free(operation->launch);
    free(operation->staging);
    free(operation);
}

/* ---- the thread ---- */

static bool idle_before(const struct stream *stream, uint64_t serial)
{
    return stream->head == NULL || stream->head->serial > serial;
}

/* The legacy default stream waits for what blocking streams were given before, and they for it. */
static bool in_order(const struct stream *stream, const struct operation *operation)
{
    if ((stream->flags & CU_STREAM_NON_BLOCKING) != 0)
        return true;
    if (!stream->legacy)
        return idle_before(stream->context->legacy, operation->serial - 1);
    for (const struct stream *at = streams; at != NULL; at = at->next)
        if (at != stream && at->context == stream->context && (at->flags & CU_STREAM_NON_BLOCKING) == 0 &&
            !idle_before(at, operation->serial - 1))
            return false;
    return true;
}

static void be_late(struct stream *stream)
{
    long longest = settings.delay_us;
    if (longest == 0)
        return;
    uint64_t random = random_next(&stream->random);
    if (stream->in_a_row && (random >> 8) % LATE_IN_A_ROW_ONE_IN != 0)
        return;
    uint64_t microseconds = (random >> 16) % ((uint64_t)longest + 1);
    if (random % LATE_ONE_IN == 0)
        microseconds *= LATE_TIMES;
    struct timespec time = {.tv_sec = (time_t)(microseconds / 1000000),
                            .tv_nsec = (long)(microseconds % 1000000) * 1000};
    unlock();
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
    lock();
}

/* Whether the operation is to be done; if not, its context is at fault or gone. */
static bool wait_for_turn(struct stream *stream, struct operation *operation)
{
    for (;;) {
        if (stream->abandoned || stream->context->sticky != CUDA_SUCCESS)
            return false;
        if (all_held || stream->held || !in_order(stream, operation)) {
            wait_for_progress(PROGRESS_POLL_US);
        } else if (operation->type == OPERATION_WAIT_EVENT && !operation->marker->done) {
            wait_for_progress(PROGRESS_POLL_US);
        } else if (operation->type == OPERATION_WAIT_VALUE && !value_satisfied(stream, operation)) {
            /* The word is written by others, who tell nobody. */
            stream->waiting_for_value = true;
            wait_for_progress(VALUE_POLL_US);
            stream->waiting_for_value = false;
        } else {
            return true;
        }
    }
}

static void finish_first(struct stream *stream)
{
    struct operation *operation = stream->head;
    if (!stream->abandoned && stream->context->sticky == CUDA_SUCCESS)
        be_late(stream);
    if (wait_for_turn(stream, operation))
        operation_execute(stream, operation);
    /* Whoever waits for an event must not wait for work that was dropped. */
    if (operation->type == OPERATION_RECORD)
        operation->marker->done = true;
    stream->head = operation->next;
    stream->in_a_row = stream->head != NULL;
    if (stream->head == NULL)
        stream->tail = NULL;
    operation_free(operation);
    progress_made();
}

static void *work_off(void *argument)
{
    struct stream *stream = argument;
    lock();
    while (stream->head != NULL || !stream->closing) {
        if (stream->head == NULL)
            wait_for_work(&stream->work);
        else
            finish_first(stream);
    }
    stream_drop(stream);
    unlock();
    return NULL;
}

static CUresult start(struct stream *stream)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    /* Signals are for the threads of the program. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int error = pthread_create(&thread, &attributes, work_off, stream);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    stream->started = true;
    stream_hold(stream);
    return CUDA_SUCCESS;
}

/* ---- lives ---- */

struct stream *stream_new(struct context *context, unsigned flags, int priority)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->context = context;
    context_hold(context);
    stream->flags = flags;
    stream->priority = priority;
    stream->id = ++last_id;
    stream->random = settings.seed * 1000003 + stream->id;
    stream->references = 1;
    pthread_cond_init(&stream->work, NULL);
    stream->next = streams;
    streams = stream;
    return stream;
}

void stream_hold(struct stream *stream)
{
    stream->references++;
}

void stream_drop(struct stream *stream)
{
    if (--stream->references > 0)
        return;
    for (struct stream **at = &streams; *at != NULL; at = &(*at)->next) {
        if (*at == stream) {
            *at = stream->next;
            break;
        }
    }
    pthread_cond_destroy(&stream->work);
    context_drop(stream->context);
    free(stream);
}

void stream_close(struct stream *stream)
{
    if (stream->object.handle != 0)
        handle_take(&stream->object);
    capture_stream_gone(stream);
    stream->closing = true;
    pthread_cond_signal(&stream->work);
    stream_drop(stream);
}

CUresult stream_push(struct stream *stream, struct operation *operation, uint64_t *serial)
{
    bool captured = false;
    CUresult result = capture_push(stream, &captured);
    if (result == CUDA_SUCCESS && !captured && !stream->started)
        result = start(stream);
    if (serial != NULL)
        *serial = 0;
    if (result != CUDA_SUCCESS || captured) {
        operation_free(operation);
        return result;
    }
    operation->serial = ++last_serial;
    if (stream->tail != NULL)
        stream->tail->next = operation;
    else
        stream->head = operation;
    stream->tail = operation;
    if (serial != NULL)
        *serial = operation->serial;
    pthread_cond_signal(&stream->work);
    return CUDA_SUCCESS;
}

static struct stream *per_thread_stream(struct context *context)
{
    long thread = syscall(SYS_gettid);
    for (struct stream *at = streams; at != NULL; at = at->next)
        if (at->context == context && at->thread == thread && !at->closing)
            return at;
    struct stream *stream = stream_new(context, CU_STREAM_DEFAULT, 0);
    if (stream != NULL)
        stream->thread = thread;
    return stream;
}

CUresult stream_of(CUstream handle, bool for_work, struct stream **stream)
{
    uintptr_t value = (uintptr_t)handle;
    if (value <= CU_STREAM_PER_THREAD_VALUE) {
        struct context *context = call_context;
        if (context == NULL) {
            CUresult result = context_enter(&context);
            if (result != CUDA_SUCCESS)
                return result;
        }
        *stream = value == CU_STREAM_PER_THREAD_VALUE ? per_thread_stream(context) : context->legacy;
        return *stream != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    *stream = handle_find(handle, HANDLE_STREAM);
    if (*stream == NULL)
        return CUDA_ERROR_INVALID_HANDLE;
    if (for_work && (*stream)->context != call_context) {
        verbose_line("%s: the stream is of another context than the current one", call_name);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return (*stream)->context->sticky;
}

/* ---- waiting ---- */

struct drain {
    const struct stream *stream; /* NULL: of the whole context, or device where that is NULL too */
    const struct context *context;
    CUdevice device;
    uint64_t serial;
    bool despite_fault; /* a fault ends all waiting, but the queues are emptied a little later */
};

static bool drained(void *argument)
{
    const struct drain *drain = argument;
    const struct stream *only = drain->stream;
    if (drain->context != NULL && drain->context->sticky != CUDA_SUCCESS && !drain->despite_fault)
        return true;
    if (only != NULL && !only->legacy)
        return idle_before(only, drain->serial);
    for (const struct stream *at = streams; at != NULL; at = at->next) {
        bool meant = drain->context != NULL ? at->context == drain->context : at->context->device == drain->device;
        /* Waiting for the legacy stream is waiting for all that it orders. */
        if (only != NULL && (at->flags & CU_STREAM_NON_BLOCKING) != 0)
            meant = false;
        if (meant && !idle_before(at, drain->serial))
            return false;
    }
    return true;
}

bool stream_idle(struct stream *stream)
{
    struct drain drain = {.stream = stream, .context = stream->context, .serial = last_serial};
    return drained(&drain);
}

static CUresult drain_of(struct stream *stream, struct context *context, uint64_t serial)
{
    struct drain drain = {.stream = stream, .context = context, .serial = serial};
    context_hold(context);
    if (stream != NULL)
        stream_hold(stream);
    CUresult result = wait_until(drained, &drain) ? context->sticky : CUDA_ERROR_LAUNCH_TIMEOUT;
    if (stream != NULL)
        stream_drop(stream);
    context_drop(context);
    return result;
}

CUresult stream_drain(struct stream *stream, uint64_t serial)
{
    return drain_of(stream, stream->context, serial != 0 ? serial : last_serial);
}

CUresult context_drain(struct context *context)
{
    return drain_of(NULL, context, last_serial);
}

void device_settle(CUdevice device)
{
    struct drain drain = {.device = device, .serial = last_serial};
    if (drained(&drain))
        return;
    count_sync();
    wait_until(drained, &drain);
}

void streams_end(struct context *context)
{
    struct drain drain = {.context = context, .serial = last_serial, .despite_fault = true};
    if (!wait_until(drained, &drain)) {
        for (struct stream *at = streams; at != NULL; at = at->next)
            if (at->context == context)
                at->abandoned = true;
        progress_made();
        wait_until(drained, &drain);
    }
    for (struct stream *at = streams; at != NULL;) {
        if (at->context == context && !at->closing) {
            stream_close(at);
            at = streams;
        } else {
            at = at->next;
        }
    }
    context->legacy = NULL;
}

/* ---- what others ask of the queues ---- */

void streams_each(void (*visit)(struct stream *, void *), void *argument)
{
    for (struct stream *at = streams; at != NULL; at = at->next)
        visit(at, argument);
}

bool device_waits_for_value(CUdevice device)
{
    for (const struct stream *at = streams; at != NULL; at = at->next)
        if (at->waiting_for_value && at->context->device == device)
            return true;
    return false;
}

const char *stream_user_of(uint64_t buffer_id)
{
    for (const struct stream *at = streams; at != NULL; at = at->next)
        for (const struct operation *operation = at->head; operation != NULL; operation = operation->next)
            if (operation->to.buffer_id == buffer_id || operation->from.buffer_id == buffer_id)
                return operation->name;
    return NULL;
}

unsigned long operations_queued(void)
{
    unsigned long count = 0;
    for (const struct stream *at = streams; at != NULL; at = at->next)
        for (const struct operation *operation = at->head; operation != NULL; operation = operation->next)
            count++;
    return count;
}
