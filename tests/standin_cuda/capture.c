/* Stream capture: what it takes in, what it forbids to whom, and what invalidates it. Graphs do not run here. */

#include "internal.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct capture {
    struct capture *next;
    uint64_t id;
    CUstreamCaptureMode mode;
    long thread;
    struct stream *origin;
    bool invalidated;
    size_t nodes;
};

struct graph {
    struct object object;
    size_t nodes;
};

static struct capture *captures;
static uint64_t last_id;
static _Thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

static long this_thread(void)
{
    return syscall(SYS_gettid);
}

static CUresult invalidate(struct capture *capture, CUresult code)
{
    verbose_line("%s invalidates capture %llu", call_name, (unsigned long long)capture->id);
    capture->invalidated = true;
    return code;
}

static struct capture *capture_of_id(uint64_t id)
{
    for (struct capture *at = captures; at != NULL; at = at->next)
        if (at->id == id)
            return at;
    return NULL;
}

/* ---- what the legacy default stream would be ordered with ---- */

struct implicit {
    const struct context *context;
    bool spoil, found;
};

static void look_at_blocking(struct stream *stream, void *argument)
{
    struct implicit *implicit = argument;
    if (stream->context != implicit->context || stream->capture == NULL ||
        (stream->flags & CU_STREAM_NON_BLOCKING) != 0)
        return;
    implicit->found = true;
    if (implicit->spoil)
        invalidate(stream->capture, CUDA_SUCCESS);
}

static CUresult legacy_collides(const struct stream *stream, bool spoil)
{
    struct implicit implicit = {.context = stream->context, .spoil = spoil};
    if (stream->legacy)
        streams_each(look_at_blocking, &implicit);
    return implicit.found ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

/* ---- asked by other files ---- */

CUresult capture_push(struct stream *stream, bool *captured)
{
    struct capture *capture = stream->capture;
    if (capture == NULL)
        return legacy_collides(stream, true);
    if (capture->invalidated)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    capture->nodes++;
    stream->capture_tail++;
    *captured = true;
    return CUDA_SUCCESS;
}

CUresult capture_forbids_unsafe(void)
{
    CUresult result = CUDA_SUCCESS;
    long thread = this_thread();
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return result;
    for (struct capture *at = captures; at != NULL; at = at->next) {
        bool own = at->thread == thread && at->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
        bool others = at->thread != thread && at->mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                      thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        if (own || others)
            result = invalidate(at, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return result;
}

CUresult capture_forbids_asking(struct stream *stream)
{
    if (stream->capture != NULL)
        return invalidate(stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CUresult result = legacy_collides(stream, true);
    return result != CUDA_SUCCESS ? result : capture_forbids_unsafe();
}

/* The event stands for a point in the capture, and for no work that is ever done. */
void capture_record(struct stream *stream, struct marker *marker)
{
    if (stream->capture == NULL)
        return;
    marker->capture_id = stream->capture->id;
    marker->capture_tail = stream->capture_tail;
    marker->capture_stream = stream;
    stream_hold(stream);
}

CUresult capture_forbids_event(const struct marker *marker)
{
    if (marker == NULL || marker->capture_id == 0)
        return CUDA_SUCCESS;
    struct capture *capture = capture_of_id(marker->capture_id);
    if (capture != NULL)
        invalidate(capture, CUDA_SUCCESS);
    return CUDA_ERROR_CAPTURED_EVENT;
}

static CUresult join(struct stream *stream, const struct marker *marker)
{
    struct capture *capture = stream->capture;
    struct capture *other = capture_of_id(marker->capture_id);
    if (capture->invalidated)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (marker->capture_id == 0)
        return invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    if (other != capture) {
        if (other != NULL)
            invalidate(other, CUDA_SUCCESS);
        return invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    }
    if (marker->capture_stream->joined_tail < marker->capture_tail)
        marker->capture_stream->joined_tail = marker->capture_tail;
    stream->capture_tail++;
    return CUDA_SUCCESS;
}

CUresult capture_wait(struct stream *stream, const struct marker *marker, bool *captured)
{
    *captured = stream->capture != NULL || marker->capture_id != 0;
    if (stream->capture != NULL)
        return join(stream, marker);
    if (marker->capture_id == 0)
        return legacy_collides(stream, true);
    struct capture *capture = capture_of_id(marker->capture_id);
    if (capture == NULL)
        return CUDA_ERROR_CAPTURED_EVENT;
    if (capture->invalidated)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->legacy)
        return invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    /* A fork: it is part of the capture until its last operation is joined. */
    stream->capture = capture;
    stream->capture_tail = 1;
    stream->joined_tail = 0;
    return CUDA_SUCCESS;
}

/* ---- ends ---- */

struct ending {
    struct capture *capture;
    bool unjoined;
};

static void leave(struct stream *stream, void *argument)
{
    struct ending *ending = argument;
    if (stream->capture != ending->capture)
        return;
    if (stream != ending->capture->origin && stream->joined_tail < stream->capture_tail)
        ending->unjoined = true;
    stream->capture = NULL;
}

/* Whether every stream that took part had come back. */
static bool capture_end(struct capture *capture)
{
    struct ending ending = {.capture = capture};
    streams_each(leave, &ending);
    for (struct capture **at = &captures; *at != NULL; at = &(*at)->next) {
        if (*at == capture) {
            *at = capture->next;
            break;
        }
    }
    free(capture);
    return !ending.unjoined;
}

void capture_stream_gone(struct stream *stream)
{
    struct capture *capture = stream->capture;
    if (capture == NULL)
        return;
    if (capture->origin == stream)
        capture_end(capture);
    else
        invalidate(capture, CUDA_SUCCESS);
    stream->capture = NULL;
}

/* ---- the calls ---- */

static CUresult begin(CUstream handle, CUstreamCaptureMode mode)
{
    CALL_BEGIN("cuStreamBeginCapture", NEED_CONTEXT);
    struct stream *stream;
    if ((unsigned)mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return call_end(refuse("capture mode", (long long)mode));
    CUresult result = stream_of(handle, false, &stream);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    if (stream->legacy)
        return call_end(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (stream->capture != NULL)
        return call_end(CUDA_ERROR_ILLEGAL_STATE);
    struct capture *capture = calloc(1, sizeof *capture);
    if (capture == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    *capture = (struct capture){
        .next = captures, .id = ++last_id, .mode = mode, .thread = this_thread(), .origin = stream};
    captures = capture;
    stream->capture = capture;
    stream->capture_tail = 0;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuStreamBeginCapture(CUstream stream)
{
    return begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUDA_API CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    return begin(stream, mode);
}

CUDA_API CUresult cuStreamEndCapture(CUstream handle, CUgraph *made)
{
    CALL_BEGIN("cuStreamEndCapture", NEED_CONTEXT);
    struct stream *stream;
    if (made == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    *made = NULL;
    CUresult result = stream_of(handle, false, &stream);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    struct capture *capture = stream->capture;
    if (capture == NULL)
        return call_end(CUDA_ERROR_ILLEGAL_STATE);
    if (capture->origin != stream)
        return call_end(invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED));
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != this_thread())
        return call_end(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    bool invalidated = capture->invalidated;
    size_t nodes = capture->nodes;
    bool joined = capture_end(capture);
    if (invalidated)
        return call_end(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    if (!joined)
        return call_end(CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    struct graph *graph = calloc(1, sizeof *graph);
    if (graph == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    graph->nodes = nodes;
    handle_give(&graph->object, HANDLE_GRAPH);
    *made = (CUgraph)(uintptr_t)graph->object.handle;
    return call_end(CUDA_SUCCESS);
}

/* Asks and spoils nothing. */
static CUresult state_of(CUstream handle, CUstreamCaptureStatus *status, unsigned long long *id)
{
    struct stream *stream;
    if (status == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = stream_of(handle, false, &stream);
    if (result == CUDA_SUCCESS)
        result = legacy_collides(stream, false);
    if (result != CUDA_SUCCESS)
        return result;
    const struct capture *capture = stream->capture;
    *status = capture == NULL        ? CU_STREAM_CAPTURE_STATUS_NONE
              : capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                     : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    if (id != NULL)
        *id = capture != NULL ? capture->id : 0;
    return CUDA_SUCCESS;
}

CUDA_API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    CALL_BEGIN("cuStreamIsCapturing", NEED_CONTEXT);
    return call_end(state_of(stream, status, NULL));
}

CUDA_API CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, unsigned long long *id)
{
    CALL_BEGIN("cuStreamGetCaptureInfo", NEED_CONTEXT);
    return call_end(state_of(stream, status, id));
}

CUDA_API CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, unsigned long long *id,
                                            CUgraph *graph, const CUgraphNode **nodes, size_t *count)
{
    CALL_BEGIN("cuStreamGetCaptureInfo", NEED_CONTEXT);
    if (graph != NULL || nodes != NULL || count != NULL)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    return call_end(state_of(stream, status, id));
}

CUDA_API CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, unsigned long long *id,
                                            CUgraph *graph, const CUgraphNode **nodes, const void **edges,
                                            size_t *count)
{
    CALL_BEGIN("cuStreamGetCaptureInfo", NEED_CONTEXT);
    if (graph != NULL || nodes != NULL || edges != NULL || count != NULL)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    return call_end(state_of(stream, status, id));
}

CUDA_API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    CALL_BEGIN("cuThreadExchangeStreamCaptureMode", NEED_INIT);
    if (mode == NULL || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count)
{
    CALL_BEGIN("cuGraphGetNodes", NEED_INIT);
    struct graph *graph = handle_find(handle, HANDLE_GRAPH);
    if (graph == NULL || count == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (nodes != NULL)
        return call_end(CUDA_ERROR_NOT_SUPPORTED);
    *count = graph->nodes;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuGraphDestroy(CUgraph handle)
{
    CALL_BEGIN("cuGraphDestroy", NEED_INIT);
    struct graph *graph = handle_find(handle, HANDLE_GRAPH);
    if (graph == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    handle_take(&graph->object);
    free(graph);
    return call_end(CUDA_SUCCESS);
}
