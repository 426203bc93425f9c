/* Events: a handle that shows the point of a stream at which it was recorded last. */

#include "internal.h"

#include <stdlib.h>

struct event {
    struct object object;
    struct event *next;
    struct context *context;
    uint64_t context_handle;
    unsigned flags;
    struct marker *marker;
};

static struct event *events;

struct marker *marker_new(void)
{
    struct marker *marker = calloc(1, sizeof *marker);
    if (marker != NULL)
        marker->references = 1;
    return marker;
}

void marker_drop(struct marker *marker)
{
    if (--marker->references > 0)
        return;
    if (marker->capture_stream != NULL)
        stream_drop(marker->capture_stream);
    free(marker);
}

static void event_free(struct event *event)
{
    for (struct event **at = &events; *at != NULL; at = &(*at)->next) {
        if (*at == event) {
            *at = event->next;
            break;
        }
    }
    handle_take(&event->object);
    if (event->marker != NULL)
        marker_drop(event->marker);
    context_drop(event->context);
    free(event);
}

void events_free_of_context(uint64_t context)
{
    for (struct event *at = events; at != NULL;) {
        struct event *next = at->next;
        if (at->context_handle == context)
            event_free(at);
        at = next;
    }
}

CUDA_API CUresult cuEventCreate(CUevent *made, unsigned flags)
{
    CALL_BEGIN("cuEventCreate", NEED_CONTEXT);
    unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING;
    if (made == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if ((flags & CU_EVENT_INTERPROCESS) != 0)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    if ((flags & ~known) != 0)
        return call_end(refuse("event flags", flags));
    struct event *event = calloc(1, sizeof *event);
    if (event == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    event->context = call_context;
    event->context_handle = call_context->object.handle;
    context_hold(call_context);
    event->flags = flags;
    event->next = events;
    events = event;
    handle_give(&event->object, HANDLE_EVENT);
    *made = (CUevent)(uintptr_t)event->object.handle;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuEventDestroy_v2(CUevent handle)
{
    CALL_BEGIN("cuEventDestroy", NEED_CONTEXT);
    struct event *event = handle_find(handle, HANDLE_EVENT);
    if (event == NULL)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    event_free(event);
    return call_end(CUDA_SUCCESS);
}

static CUresult record(const char *name, CUevent handle, CUstream stream_handle, unsigned flags)
{
    CALL_BEGIN(name, NEED_CONTEXT);
    struct stream *stream;
    /* External records exist in graphs, which do not run here. */
    if (flags != CU_EVENT_RECORD_DEFAULT)
        return call_end(flags == CU_EVENT_RECORD_EXTERNAL ? CUDA_ERROR_NOT_SUPPORTED : refuse("record flags", flags));
    struct event *event = handle_find(handle, HANDLE_EVENT);
    if (event == NULL)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    CUresult result = stream_of(stream_handle, true, &stream);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    if (event->context != stream->context)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    struct marker *marker = marker_new();
    struct operation *operation = operation_new(OPERATION_RECORD, name);
    if (marker == NULL || operation == NULL) {
        free(marker);
        free(operation);
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    }
    /* One reference for the event, one for the operation. */
    marker->references = 2;
    operation->marker = marker;
    result = stream_push(stream, operation, NULL);
    if (result != CUDA_SUCCESS) {
        marker_drop(marker);
        return call_end(result);
    }
    capture_record(stream, marker);
    if (event->marker != NULL)
        marker_drop(event->marker);
    event->marker = marker;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return record("cuEventRecord", event, stream, CU_EVENT_RECORD_DEFAULT);
}

CUDA_API CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
    return record("cuEventRecordWithFlags", event, stream, flags);
}

static CUresult look_up(CUevent handle, struct event **event)
{
    *event = handle_find(handle, HANDLE_EVENT);
    if (*event == NULL)
        return CUDA_ERROR_INVALID_HANDLE;
    if ((*event)->context->sticky != CUDA_SUCCESS)
        return (*event)->context->sticky;
    CUresult result = capture_forbids_event((*event)->marker);
    return result != CUDA_SUCCESS ? result : capture_forbids_unsafe();
}

CUDA_API CUresult cuEventQuery(CUevent handle)
{
    CALL_BEGIN("cuEventQuery", NEED_CONTEXT);
    struct event *event;
    CUresult result = look_up(handle, &event);
    if (result == CUDA_SUCCESS && event->marker != NULL && !event->marker->done)
        result = CUDA_ERROR_NOT_READY;
    return call_end(result);
}

struct wait {
    const struct marker *marker;
    const struct context *context;
};

static bool marked(void *argument)
{
    const struct wait *wait = argument;
    return wait->marker->done || wait->context->sticky != CUDA_SUCCESS;
}

CUDA_API CUresult cuEventSynchronize(CUevent handle)
{
    CALL_BEGIN("cuEventSynchronize", NEED_CONTEXT);
    struct event *event;
    CUresult result = look_up(handle, &event);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    count_sync();
    if (event->marker == NULL)
        return call_end(CUDA_SUCCESS);
    /* The event may be destroyed or recorded anew while the lock is let go. */
    struct marker *marker = event->marker;
    struct context *context = event->context;
    marker->references++;
    context_hold(context);
    struct wait wait = {.marker = marker, .context = context};
    result = wait_until(marked, &wait) ? context->sticky : CUDA_ERROR_LAUNCH_TIMEOUT;
    marker_drop(marker);
    context_drop(context);
    return call_end(result);
}

CUDA_API CUresult cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned flags)
{
    CALL_BEGIN("cuStreamWaitEvent", NEED_CONTEXT);
    struct stream *stream;
    bool captured = false;
    if (flags != CU_EVENT_WAIT_DEFAULT)
        return call_end(flags == CU_EVENT_WAIT_EXTERNAL ? CUDA_ERROR_NOT_SUPPORTED : refuse("wait flags", flags));
    struct event *event = handle_find(handle, HANDLE_EVENT);
    if (event == NULL)
        return call_end(CUDA_ERROR_INVALID_HANDLE);
    CUresult result = stream_of(stream_handle, false, &stream);
    /* What was never recorded is no work to wait for. */
    if (result != CUDA_SUCCESS || event->marker == NULL)
        return call_end(result);
    result = capture_wait(stream, event->marker, &captured);
    if (result != CUDA_SUCCESS || captured)
        return call_end(result);
    struct operation *operation = operation_new(OPERATION_WAIT_EVENT, "cuStreamWaitEvent");
    if (operation == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    operation->marker = event->marker;
    operation->marker->references++;
    return call_end(stream_push(stream, operation, NULL));
}
