/* The rest of standin.h: what lives, what is held, and memory as a test may see it. */

#include "internal.h"

#include <string.h>

struct tally {
    unsigned long allocations, registrations;
};

static void tally_memory(struct allocation *allocation, void *argument)
{
    struct tally *tally = argument;
    if (allocation->kind == MEMORY_REGISTERED)
        tally->registrations++;
    else
        tally->allocations++;
}

CUDA_API unsigned long standin_live(enum standin_kind kind)
{
    unsigned long count = 0;
    struct tally tally = {0};
    lock();
    switch (kind) {
    case STANDIN_ALLOCATIONS:
    case STANDIN_REGISTRATIONS:
        memory_each(tally_memory, &tally);
        count = kind == STANDIN_ALLOCATIONS ? tally.allocations : tally.registrations;
        break;
    case STANDIN_STREAMS:
        count = handle_count(HANDLE_STREAM);
        break;
    case STANDIN_EVENTS:
        count = handle_count(HANDLE_EVENT);
        break;
    case STANDIN_CONTEXTS:
        count = handle_count(HANDLE_CONTEXT);
        break;
    case STANDIN_MODULES:
        count = handle_count(HANDLE_MODULE);
        break;
    case STANDIN_OTHERS:
        count = handle_count(HANDLE_PHYSICAL) + handle_count(HANDLE_GRAPH) + pools_live() + reservations_live();
        break;
    case STANDIN_OPERATIONS:
        count = operations_queued();
        break;
    }
    unlock();
    return count;
}

/* Without a call frame: a test's question is no call of the code under test. */
static struct stream *stream_meant(void *handle)
{
    struct stream *stream = NULL;
    uint64_t value = (uint64_t)(uintptr_t)handle;
    if (value > CU_STREAM_PER_THREAD_VALUE)
        return handle_peek(value, HANDLE_STREAM);
    call_context = NULL;
    return stream_of(handle, false, &stream) == CUDA_SUCCESS ? stream : NULL;
}

static int hold(void *handle, bool held)
{
    lock();
    struct stream *stream = stream_meant(handle);
    if (stream != NULL)
        stream->held = held;
    progress_made();
    unlock();
    return stream != NULL ? 0 : -1;
}

CUDA_API int standin_hold_stream(void *stream)
{
    return hold(stream, true);
}

CUDA_API int standin_release_stream(void *stream)
{
    return hold(stream, false);
}

CUDA_API void standin_hold_all(void)
{
    lock();
    all_held = true;
    unlock();
}

static void let_go(struct stream *stream, void *unused)
{
    (void)unused;
    stream->held = false;
}

void release_all(void)
{
    all_held = false;
    streams_each(let_go, NULL);
    progress_made();
}

CUDA_API void standin_release_all(void)
{
    lock();
    release_all();
    unlock();
}

CUDA_API unsigned long standin_pending(void *handle)
{
    unsigned long count = 0;
    lock();
    const struct stream *stream = stream_meant(handle);
    for (const struct operation *at = stream != NULL ? stream->head : NULL; at != NULL; at = at->next)
        count++;
    unlock();
    return count;
}

CUDA_API int standin_waits_for_value(void *handle)
{
    lock();
    const struct stream *stream = stream_meant(handle);
    int waits = stream != NULL && stream->waiting_for_value;
    unlock();
    return waits;
}

CUDA_API void standin_set_delay_us(long delay_us)
{
    lock();
    settings.delay_us = delay_us > 0 ? delay_us : 0;
    unlock();
}

static int move(uint64_t address, void *host, size_t bytes, bool to_device)
{
    lock();
    copying_begin();
    char *at = memory_bytes(address, bytes, -1);
    if (at != NULL) {
        unlock();
        memmove(to_device ? at : (char *)host, to_device ? (char *)host : at, bytes);
        lock();
    }
    copying_end();
    unlock();
    return at != NULL ? 0 : -1;
}

CUDA_API int standin_read(uint64_t device_address, void *to, size_t bytes)
{
    return move(device_address, to, bytes, false);
}

CUDA_API int standin_write(uint64_t device_address, const void *from, size_t bytes)
{
    return move(device_address, (void *)(uintptr_t)from, bytes, true);
}

CUDA_API unsigned standin_context_depth(void)
{
    return context_depth();
}

CUDA_API unsigned standin_primary_references(int device)
{
    lock();
    unsigned count = context_primary_references(device);
    unlock();
    return count;
}
