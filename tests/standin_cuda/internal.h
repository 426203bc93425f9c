/* What the files of the stand-in share. One lock guards everything here; a function that lets go of it says so. */

#ifndef STANDIN_INTERNAL_H
#define STANDIN_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cuda_api.h"
#include "standin.h"

#define DEVICES_MAX 16
#define PAGE_BYTES 4096ull
#define GRANULARITY_BYTES (2ull << 20)

/* ---- handles.c: handles that are never used twice and point nowhere ---- */

enum handle_kind {
    HANDLE_CONTEXT = 1,
    HANDLE_STREAM,
    HANDLE_EVENT,
    HANDLE_POOL,
    HANDLE_PHYSICAL,
    HANDLE_MODULE,
    HANDLE_FUNCTION,
    HANDLE_GRAPH,
    HANDLE_KINDS
};

/* First member of everything that has a handle. */
struct object {
    uint64_t handle;
    struct object *next_in_bucket;
};

void handle_give(struct object *object, enum handle_kind kind);
void handle_take(struct object *object);
/* NULL for what is not alive; one that was alive once is a broken rule. */
void *handle_find(const void *handle, enum handle_kind kind);
void *handle_peek(uint64_t handle, enum handle_kind kind);
unsigned long handle_count(enum handle_kind kind);

/* ---- state.c: the lock, the environment, waiting, the frame of every call ---- */

struct settings {
    int devices;
    int driver_version;
    int init_result;
    long delay_us, usual_delay_us;
    long patience_ms;
    uint64_t seed;
    uint64_t device_bytes;
    int verbose;
};

extern struct settings settings;

void lock(void);
void unlock(void);
void progress_made(void);
uint64_t random_next(uint64_t *state);
void verbose_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a call needs before it may begin. */
enum need { NEED_NOTHING, NEED_INIT, NEED_CONTEXT };

/* Takes the lock and counts the call. On failure the lock is not held and the call returns that error. */
CUresult call_begin(const char *name, enum need need);
CUresult call_end(CUresult result);
/* Says what was not understood, and is CUDA_ERROR_INVALID_VALUE. */
CUresult refuse(const char *what, long long value);

#define CALL_BEGIN(name, need)                       \
    do {                                             \
        CUresult begun_ = call_begin((name), (need)); \
        if (begun_ != CUDA_SUCCESS)                  \
            return begun_;                           \
    } while (0)

extern _Thread_local const char *call_name;
extern _Thread_local struct context *call_context;
extern _Thread_local bool in_host_function;
extern bool driver_initialised;

/* Lets go of the lock until `done`; false when patience ran out, which is a broken rule. */
bool wait_until(bool (*done)(void *), void *argument);
/* Lets go of the lock for at most that long, less where something progressed. */
void wait_for_progress(long microseconds);
/* Lets go of the lock until that condition is signalled. */
void wait_for_work(pthread_cond_t *work);

/* ---- rules.c: what the caller did ---- */

void rule_broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
void count_call(const char *name);
void count_sync(void);
void count_allocation(int device);
void count_copy(enum standin_copy kind, uint64_t bytes);
/* CUDA_SUCCESS, or what a test wants this call to fail with. */
CUresult failure_due(const char *name, const char *suffix);

/* ---- context.c ---- */

struct context {
    struct object object;
    uint64_t id; /* told by cuCtxGetId; never given twice, as the handles here, while a driver's handles come again */
    CUdevice device;
    unsigned flags;
    bool primary;
    CUresult sticky;
    struct stream *legacy;
    unsigned references; /* its handle, its streams, and who waits in it */
};

/* The current one, or why there is none that can be used. */
CUresult context_enter(struct context **context);
void context_hold(struct context *context);
void context_drop(struct context *context);
/* How deep the calling thread's stack is. */
unsigned context_depth(void);
unsigned context_primary_references(CUdevice device);

/* ---- arena.c: device addresses, handed out once and never touched ---- */

uint64_t arena_take(uint64_t bytes, uint64_t alignment);
void arena_give(uint64_t address);
bool arena_owns(uint64_t address);

/* ---- memory.c: what address is what ---- */

enum memory_kind { MEMORY_DEVICE, MEMORY_POOL, MEMORY_VMM, MEMORY_MANAGED, MEMORY_HOST, MEMORY_REGISTERED };

struct allocation {
    uint64_t address;
    uint64_t bytes;
    char *shadow; /* the stand-in's own mapping of `address` */
    void *map;    /* what is unmapped in the end, if anything */
    uint64_t map_bytes;
    enum memory_kind kind;
    CUdevice device;
    uint64_t context; /* handle of the one it ends with, 0 for VMM memory */
    uint64_t buffer_id;
    unsigned host_flags;
    bool sync_memops;
    /* Pool memory: its stream has not reached the allocation yet, or its free is queued. */
    bool unreached, free_queued;
    uint64_t pool;
    /* VMM memory. */
    struct reservation *reservation;
    struct physical *physical;
    uint32_t readers, writers; /* bit d: device d may */
};

struct allocation *memory_add(enum memory_kind kind, uint64_t address, uint64_t bytes);
/* Out of the table and into the list of the freed; frees the struct. */
void memory_remove(struct allocation *allocation);
struct allocation *memory_find(uint64_t address);
struct allocation *memory_find_id(uint64_t buffer_id);
/* Calls `visit` for each; it may remove the one it is given. */
void memory_each(void (*visit)(struct allocation *, void *), void *argument);
bool memory_overlaps(uint64_t address, uint64_t bytes);
bool memory_was_freed(uint64_t address);
/* Anonymous memory, or NULL. */
void *memory_map(uint64_t bytes);
/* Waits for copies that run without the lock, so that memory may be unmapped; end lets them run again. */
void unmapping_begin(void);
void unmapping_end(void);
/* Brackets for a copy that runs without the lock. */
void copying_begin(void);
void copying_end(void);

enum place_kind { PLACE_PAGEABLE, PLACE_PINNED, PLACE_DEVICE, PLACE_MANAGED };

/* One side of an operation: an address, and which allocation it was in when the call was made. */
struct place {
    enum place_kind kind;
    uint64_t address;
    uint64_t buffer_id;
    CUdevice device;
    bool sync_memops;
};

CUresult place_of(uint64_t address, uint64_t bytes, bool write, struct place *place);
/* Where its bytes are now, or NULL: it was freed or not reached yet, which is a broken rule of `name`. */
char *place_bytes(const struct place *place, uint64_t bytes, const char *name);
/* The stand-in's mapping of a range that is wholly alive, or NULL. device -1: whoever may. */
char *memory_bytes(uint64_t address, uint64_t bytes, CUdevice device);

/* alloc.c */
CUresult device_allocate(enum memory_kind kind, CUdevice device, uint64_t context, uint64_t bytes,
                         struct allocation **made);
void allocation_free(struct allocation *allocation);
void allocations_free_of_context(uint64_t context);
uint64_t device_bytes_used(CUdevice device);

/* pool.c, vmm.c: those that the caller made. */
unsigned long pools_live(void);
unsigned long reservations_live(void);
/* The whole range that was reserved, or the allocation itself. */
uint64_t reservation_address(const struct allocation *allocation);
uint64_t reservation_bytes(const struct allocation *allocation);

/* ---- stream.c: queues and the threads that work them off ---- */

enum operation_type {
    OPERATION_COPY,
    OPERATION_SET,
    OPERATION_RECORD,
    OPERATION_WAIT_EVENT,
    OPERATION_WAIT_VALUE,
    OPERATION_WRITE_VALUE,
    OPERATION_HOST_FUNCTION,
    OPERATION_LAUNCH,
    OPERATION_POOL_ALLOC,
    OPERATION_POOL_FREE
};

/* What an event captured: a point in a stream, shared by the event and those who wait. */
struct marker {
    unsigned references;
    bool done;
    uint64_t capture_id; /* not 0: it lies in a capture and is never done */
    struct stream *capture_stream;
    unsigned capture_tail;
};

struct operation {
    struct operation *next;
    uint64_t serial;
    enum operation_type type;
    const char *name;
    struct place to, from;
    uint64_t bytes;
    uint64_t value;
    unsigned flags;
    unsigned width;
    struct marker *marker;
    CUhostFn host_function;
    void *host_data;
    struct launch *launch;
    void *staging;
};

struct stream {
    struct object object; /* handle 0: a default stream */
    struct context *context;
    struct stream *next; /* in the list of all */
    unsigned flags;
    int priority;
    uint64_t id;
    bool legacy;
    long thread; /* not 0: the per-thread default stream of that thread */
    bool started, closing, abandoned, held, waiting_for_value;
    bool in_a_row; /* what it is at follows on what was before without a pause */
    struct operation *head, *tail;
    uint64_t random;
    pthread_cond_t work;
    unsigned references; /* its handle or context, its thread, those who wait for it */
    struct capture *capture;
    unsigned capture_tail, joined_tail;
};

struct stream *stream_new(struct context *context, unsigned flags, int priority);
/* The handle or context lets go of it; its thread ends once the queue is empty. */
void stream_close(struct stream *stream);
/* All streams of a context, when it is destroyed: waits for their work, drops what will not end, closes them. */
void streams_end(struct context *context);
void stream_hold(struct stream *stream);
void stream_drop(struct stream *stream);
/* The stream that a handle means; for_work: it must be of the current context. */
CUresult stream_of(CUstream handle, bool for_work, struct stream **stream);

struct operation *operation_new(enum operation_type type, const char *name);
void operation_free(struct operation *operation);
/* Takes the operation, whatever becomes of it. *serial (may be NULL) is 0 where it went into a capture. */
CUresult stream_push(struct stream *stream, struct operation *operation, uint64_t *serial);
/* Wait, letting go of the lock; both give the sticky error of the context if there is one. */
CUresult stream_drain(struct stream *stream, uint64_t serial);
CUresult context_drain(struct context *context);
bool stream_idle(struct stream *stream);
/* Who has an operation queued that uses this allocation: its name, or NULL. */
const char *stream_user_of(uint64_t buffer_id);
/* Before memory or a context goes: waits for the device, as the driver may. Counted for the caller. */
void device_settle(CUdevice device);
bool device_waits_for_value(CUdevice device);
unsigned long operations_queued(void);
void streams_each(void (*visit)(struct stream *, void *), void *argument);
extern bool all_held;
void release_all(void);
/* execute.c; lets go of the lock. An operation that cannot be done leaves a fault. */
void operation_execute(struct stream *stream, struct operation *operation);
/* Whether the word has the value, or never will. */
bool value_satisfied(struct stream *stream, struct operation *operation);
void context_fault(struct context *context, CUresult code, const char *name);

/* event.c, module.c: what goes with its context. */
void events_free_of_context(uint64_t context);
void modules_free_of_context(uint64_t context);
struct marker *marker_new(void);
void marker_drop(struct marker *marker);

/* ---- capture.c ---- */

/* Into the capture of the stream if it has one (*captured); refuses what captures forbid. */
CUresult capture_push(struct stream *stream, bool *captured);
/* Before a call that a capture under way may forbid; invalidates what it collides with. */
CUresult capture_forbids_unsafe(void);
/* Before a call that asks how far a stream is. */
CUresult capture_forbids_asking(struct stream *stream);
void capture_record(struct stream *stream, struct marker *marker);
CUresult capture_wait(struct stream *stream, const struct marker *marker, bool *captured);
CUresult capture_forbids_event(const struct marker *marker);
void capture_stream_gone(struct stream *stream);

/* ---- module.c, ptx.c ---- */

struct launch {
    char *name;
    unsigned grid[3], block[3];
    void **values;
    CUdevice device;
};

#define KERNEL_PARAMETERS_MAX 64
#define THREADS_PER_BLOCK_MAX 1024u

struct ptx_entry {
    char *name;
    unsigned threads_max;
    unsigned parameters;
    size_t parameter_bytes[KERNEL_PARAMETERS_MAX];
};

CUresult ptx_check(const char *text, int driver_version, int sm);
/* The kernels of a text, or -1 for one that cannot be read. */
int ptx_entries(const char *text, struct ptx_entry **entries);
void ptx_entries_free(struct ptx_entry *entries, int count);
/* Runs it without the lock; CUDA_SUCCESS or the fault it leaves, and what standin_kernel_launch answered. */
CUresult launch_run(const struct launch *launch, int *answer);
void launch_free(struct launch *launch);

/* copy.c: shared with the per-thread variants. */
enum copy_sides { COPY_H_TO_D, COPY_D_TO_H, COPY_D_TO_D, COPY_ANY };
CUresult copy_call(const char *name, enum copy_sides sides, uint64_t to, uint64_t from, size_t bytes, CUstream stream,
                   bool asynchronous);
CUresult set_call(const char *name, uint64_t to, unsigned char value, size_t bytes, CUstream stream,
                  bool asynchronous);

#endif
