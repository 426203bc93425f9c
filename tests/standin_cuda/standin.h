/* What a test asks of the stand-in, beside the driver API: what the code under test did, and faults to meet it with.
 *
 * A test finds these by dlsym in the libcuda.so.1 it loaded; where they are missing, the driver is a real one.
 * All of them may be called from any thread, and in a host function too. */

#ifndef STANDIN_H
#define STANDIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Begins a test: forgets broken rules, counts, failures to come and what is held. What lives stays alive.
 * Streams that were held go on. */
void standin_reset(void);

/* Rules that the caller broke since the last reset. */
unsigned standin_broken_rules(void);

/* Writes what rule `index` was and who broke it, cut to `bytes`, and returns whether there is such a one. The first
 * 64 are kept. */
int standin_broken_rule(unsigned index, char *text, size_t bytes);

enum standin_kind {
    STANDIN_ALLOCATIONS = 0,   /* device, pool, managed and pinned memory, mapped VMM ranges */
    STANDIN_REGISTRATIONS = 1, /* cuMemHostRegister */
    STANDIN_STREAMS = 2,       /* made by the caller: default streams do not count */
    STANDIN_EVENTS = 3,
    STANDIN_CONTEXTS = 4,
    STANDIN_MODULES = 5,
    STANDIN_OTHERS = 6, /* VMM handles and reservations, pools, graphs */
    STANDIN_OPERATIONS = 7 /* queued on any stream and not yet finished */
};

/* What was made and is not yet gone. */
unsigned long standin_live(enum standin_kind kind);

enum standin_copy {
    STANDIN_HOST_TO_DEVICE = 0,
    STANDIN_DEVICE_TO_HOST = 1,
    STANDIN_DEVICE_TO_DEVICE = 2,
    STANDIN_HOST_TO_HOST = 3,
    STANDIN_SET = 4,
    STANDIN_COPY_KINDS = 5
};

/* Copies of that kind that a stream carried out since the last reset, and their bytes (may be NULL). */
unsigned long standin_copies(enum standin_copy kind, unsigned long long *bytes);

/* Calls of a function since the last reset, by its name in the manual: "cuMemAlloc", not "cuMemAlloc_v2". */
unsigned long standin_calls(const char *name);

/* Calls that made a thread wait for the device since the last reset: cuStreamSynchronize, cuCtxSynchronize,
 * cuEventSynchronize, synchronous copies, asynchronous ones to pageable memory, and what frees memory while work is
 * under way. `thread` is a thread's id (gettid), 0 for the calling thread, -1 for all threads. */
unsigned long standin_sync_calls(long thread);

/* Calls that allocate, register, free or load a module, made while a stream of the same device waited for a value.
 * The driver may serve them, or may wait for that stream: with a caller that has yet to write the value, for ever. */
unsigned long standin_allocations_while_waiting(void);

/* Lets the nth call of `name` from now on (1: the next) fail once with `code`, before it has any effect.
 * "cuMemcpyHtoDAsync:run" is that operation on its stream instead: it does nothing and leaves `code` as the sticky
 * error of its context. Returns 0, or -1 where too many are waiting. */
int standin_fail(const char *name, unsigned nth, int code);

/* A held stream finishes the operation it is at and begins no other until it is released. NULL is the legacy
 * default stream of the current context. Return 0, or -1 for an unknown stream. standin_hold_all holds streams that
 * are yet to be made, too; standin_release_all releases each, also one that was destroyed with work in it. */
int standin_hold_stream(void *stream);
int standin_release_stream(void *stream);
void standin_hold_all(void);
void standin_release_all(void);

/* Operations that a stream has not finished. */
unsigned long standin_pending(void *stream);

/* Whether a stream has come to a cuStreamWaitValue and not found the value yet. */
int standin_waits_for_value(void *stream);

/* Longest ordinary delay before an operation, in microseconds, until the next reset; now and then one takes 32 times
 * as long. */
void standin_set_delay_us(long delay_us);

/* Reads or writes memory of any kind by its device address, at once and in no stream's order.
 * Returns 0, or -1 where the range is not wholly alive. */
int standin_read(uint64_t device_address, void *to, size_t bytes);
int standin_write(uint64_t device_address, const void *from, size_t bytes);

/* Contexts on the calling thread's stack. */
unsigned standin_context_depth(void);

/* How often the primary context of a device is retained. */
unsigned standin_primary_references(int device);

#ifdef __cplusplus
}
#endif

#endif
