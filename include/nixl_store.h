/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nixl-store: KV-cache chunks on storage, for inference engines in C and C++.
 *
 * Made by cbindgen from src/capi of the project. Do not edit: your changes would be lost.
 *
 * An engine hands over a key and memory, and later gets the same bytes back, in this process or in another one, or is
 * told that they are not there. The YAML file that LMCache reads for its NIXL storage backend says where the bytes
 * are kept. Link with -lnixl_store.
 *
 *
 * QUICKSTART
 *
 *     #include <nixl_store.h>
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         nixl_store_t *store;
 *         char text[16];
 *         size_t length;
 *         if (nixl_store_open("lmcache.yaml", NULL, &store) != NIXL_STORE_OK ||
 *             nixl_store_put(store, "greeting", 8, "hello", 5) != NIXL_STORE_OK ||
 *             nixl_store_get(store, "greeting", 8, text, sizeof text, &length) != NIXL_STORE_OK ||
 *             nixl_store_close(store) != NIXL_STORE_OK)
 *             return fprintf(stderr, "%s\n", nixl_store_error_message()), 1;
 *         printf("%.*s\n", (int)length, text);
 *     }
 *
 *
 * WHAT IS PROMISED
 *
 * - A get delivers exactly the bytes of the latest completed put of that key, or says NIXL_STORE_NOT_FOUND. Bytes that
 *   cannot be proven right are not found.
 * - A put is visible as a whole once it completed, or not at all, also after kill -9. nixl_store_flush() makes it
 *   survive a loss of power.
 * - The caller's memory is touched between submit and completion only, whatever happens in between.
 * - What is being read is not evicted; what is pinned never is. A put evicts by itself to make room.
 * - No call ends the process: wrong arguments, wrong handles, damaged storage and the library's own bugs come back as
 *   a status.
 *
 *
 * CONVENTIONS
 *
 * Statuses. Every call that can fail returns nixl_store_status_t: 0 is success, positive is an answer that is no error
 *   (NIXL_STORE_NOT_FOUND), negative is an error. Numbers never change their meaning; new ones may come, so treat an
 *   unknown negative one as an error. After an error, nixl_store_error_message() says in this thread what went wrong.
 * The common errors. Every call on a store may return, and its list ends in "the common errors" for, these:
 *     NIXL_STORE_ERROR_INVALID_HANDLE   the store is NULL, closed, or never was one
 *     NIXL_STORE_ERROR_CLOSING          another thread is closing it
 *     NIXL_STORE_ERROR_FORKED           it was opened by this process's parent
 *     NIXL_STORE_ERROR_POISONED         the library caught a bug of its own, and the store serves no more
 *     NIXL_STORE_ERROR_INTERNAL         a bug in the library that does not concern the store
 * Arguments. Inputs come before outputs. Outputs end in _out and are written on success only; where it is otherwise,
 *   the function says so. No pointer may be NULL unless the function says so. Memory that is read by a call must not be
 *   changed by another thread until it returns.
 * Units. Lengths, sizes and offsets are bytes; times are milliseconds and end in _ms.
 * Ownership. What is passed in stays the caller's, and is copied if it is needed after the call, except for the memory
 *   of payloads. Who releases what a call gives is said there. nixl_store_close() releases all that is left.
 * Handles. nixl_store_t and nixl_store_queue_t pointers and tickets are looked up, never dereferenced. A stale or made
 *   up one gets NIXL_STORE_ERROR_INVALID_HANDLE.
 * Threads. Every function may be called from any thread, and by many threads on one store at a time. The library does
 *   its work in threads of its own: no thread of the caller is needed to make progress.
 * struct_size. A struct that begins with struct_size may get new members at its end. Clear it, then set struct_size:
 *     nixl_store_open_options_t options = {0};     (in C++: = {};)
 *     options.struct_size = sizeof options;
 *   Members that an older caller does not have are taken as 0; members that the library does not know must be 0. A
 *   struct_size of 0 is refused.
 * Fixed structs. The other structs never change. Their reserved fields must be 0 when passed in, and are 0 when given.
 * fork(). A store belongs to the process that opened it. In a child, every call on it but nixl_store_close() returns
 *   NIXL_STORE_ERROR_FORKED. A child that goes on to exec needs to do nothing.
 * Signals and errors of the system. Interrupted system calls are repeated. errno is not part of the interface: results
 *   carry the number in os_error. SIGBUS alone has a handler, from the first open of a static pool on tmpfs that is read
 *   through mappings (nixl_store_map_files in docs/CONFIGURATION.md): it survives files that others cut, and passes
 *   all else on to the handler that was there.
 *
 *
 * CONTENTS
 *
 * Constants, then types, then functions:
 *   simple layer    nixl_store_open, _put, _get, _close
 *   batches         nixl_store_batch_put, _batch_get
 *   tickets         nixl_store_ticket_wait, _ticket_poll, _ticket_cancel
 *   queues          nixl_store_queue_create, _queue_fd, _queue_drain, _queue_destroy
 *   memory          nixl_store_memory_register, _memory_unregister, _memory_allocate, _memory_free
 *   keys            nixl_store_key_contains, _key_length, _prefix_match, _key_remove, _key_pin, _key_unpin, _clear
 *   operations      nixl_store_flush, _stats_read, _capabilities_read, _version, _abi_version, _status_name,
 *                   _error_message
 */


#ifndef NIXL_STORE_H
#define NIXL_STORE_H

#include <stddef.h>
#include <stdint.h>

/**
 * Version of the binary interface, and the number in the soname. A library serves a program that was compiled
 * with the same number; within one number, structs with a struct_size member may grow and functions may be added.
 */
#define NIXL_STORE_ABI_VERSION 0

/**
 * Version of the library that this header belongs to; nixl_store_version() tells that of the library loaded.
 */
#define NIXL_STORE_VERSION_MAJOR 0

/**
 * See NIXL_STORE_VERSION_MAJOR.
 */
#define NIXL_STORE_VERSION_MINOR 1

/**
 * See NIXL_STORE_VERSION_MAJOR.
 */
#define NIXL_STORE_VERSION_PATCH 0

/**
 * Success.
 */
#define NIXL_STORE_OK 0

/**
 * Answer: the key is not stored, or its bytes could not be proven right, which to a cache is the same.
 */
#define NIXL_STORE_NOT_FOUND 1

/**
 * Answer: the ticket is not finished yet.
 */
#define NIXL_STORE_IN_PROGRESS 2

/**
 * Answer: the key was not removed because it is pinned.
 */
#define NIXL_STORE_PINNED 3

/**
 * An argument cannot be accepted; nothing was done.
 */
#define NIXL_STORE_ERROR_INVALID_ARGUMENT -1

/**
 * A handle or ticket is NULL or 0, closed or consumed, or never was one of this store.
 */
#define NIXL_STORE_ERROR_INVALID_HANDLE -2

/**
 * The configuration cannot be used; the message names key, value, what is allowed, and the line.
 */
#define NIXL_STORE_ERROR_CONFIG -3

/**
 * The backend is not built in, a device is missing, or the combination is not served.
 */
#define NIXL_STORE_ERROR_UNSUPPORTED -4

/**
 * The operating system or the backend reported an error.
 */
#define NIXL_STORE_ERROR_IO -5

/**
 * The device is full (ENOSPC, EDQUOT) and eviction could not help.
 */
#define NIXL_STORE_ERROR_NO_SPACE -6

/**
 * Every slot is pinned, in use or quarantined.
 */
#define NIXL_STORE_ERROR_POOL_FULL -7

/**
 * The memory given to a get is smaller than the object.
 */
#define NIXL_STORE_ERROR_BUFFER_TOO_SMALL -8

/**
 * The object is larger than a slot or than the capacity.
 */
#define NIXL_STORE_ERROR_TOO_LARGE -9

/**
 * A range get reaches past the end of the object.
 */
#define NIXL_STORE_ERROR_OUT_OF_RANGE -10

/**
 * A bounded queue or table is full; try again later.
 */
#define NIXL_STORE_ERROR_BUSY -11

/**
 * The deadline passed first.
 */
#define NIXL_STORE_ERROR_TIMED_OUT -12

/**
 * Cancelled before it was started.
 */
#define NIXL_STORE_ERROR_CANCELLED -13

/**
 * Another thread is closing the store.
 */
#define NIXL_STORE_ERROR_CLOSING -14

/**
 * Another process, or another store of this one, owns the static pool; the message says who.
 */
#define NIXL_STORE_ERROR_LOCKED -15

/**
 * What is on storage was made with other parameters; the message says how to proceed.
 */
#define NIXL_STORE_ERROR_FORMAT -16

/**
 * The operating system denied access.
 */
#define NIXL_STORE_ERROR_PERMISSION -17

/**
 * Memory could not be had.
 */
#define NIXL_STORE_ERROR_OUT_OF_MEMORY -18

/**
 * The library caught a bug of its own in this store; the store refuses everything but close.
 */
#define NIXL_STORE_ERROR_POISONED -19

/**
 * The process forked after open; the child may only close.
 */
#define NIXL_STORE_ERROR_FORKED -20

/**
 * A bug in the library.
 */
#define NIXL_STORE_ERROR_INTERNAL -21

/**
 * Longest key, in bytes.
 */
#define NIXL_STORE_KEY_BYTES_MAX 1024

/**
 * Longest cache_namespace, in bytes without its NUL.
 */
#define NIXL_STORE_NAMESPACE_BYTES_MAX 255

/**
 * Longest config_path, in bytes with its NUL.
 */
#define NIXL_STORE_PATH_BYTES_MAX 4096

/**
 * Most items of a batch, and most keys of a prefix match.
 */
#define NIXL_STORE_BATCH_ITEMS_MAX 65536

/**
 * Most segments of an item.
 */
#define NIXL_STORE_SEGMENTS_PER_ITEM_MAX 65536

/**
 * Most segments of a get batch up to which the items are checked against each other for overlapping memory.
 */
#define NIXL_STORE_OVERLAP_SEGMENTS_MAX 65536

/**
 * Most stores open at one time in a process.
 */
#define NIXL_STORE_STORES_MAX 1024

/**
 * Largest struct_size accepted, in bytes.
 */
#define NIXL_STORE_STRUCT_BYTES_MAX 4096

/**
 * As a timeout in milliseconds: wait for ever.
 */
#define NIXL_STORE_TIMEOUT_INFINITE UINT64_MAX

/**
 * Memory kind: the library finds out.
 */
#define NIXL_STORE_MEMORY_AUTO 0

/**
 * Memory kind: host memory, pageable or pinned.
 */
#define NIXL_STORE_MEMORY_HOST 1

/**
 * Memory kind: CUDA device memory.
 */
#define NIXL_STORE_MEMORY_CUDA 2

/**
 * Item flag, gets only: read the range of the object that starts at object_offset and is as long as the
 * segments together, instead of the whole object.
 */
#define NIXL_STORE_ITEM_RANGE 1

/**
 * Item flag of a get: an object of any other length than that of the segments is NIXL_STORE_NOT_FOUND. For engines
 * whose objects all have one length, so that a shorter one cannot pass for a whole.
 */
#define NIXL_STORE_ITEM_EXACT 2

/**
 * Item flag of a put: if the key is stored, leave it and move nothing; the result has bytes 0 and the stored
 * object_length. For keys that stand for their content, such as hashes of token blocks.
 */
#define NIXL_STORE_ITEM_KEEP 4

/**
 * Log level: something failed.
 */
#define NIXL_STORE_LOG_ERROR 1

/**
 * Log level: something works, but not as it was asked for.
 */
#define NIXL_STORE_LOG_WARN 2

/**
 * Log level: a fact about how the store runs.
 */
#define NIXL_STORE_LOG_INFO 3

/**
 * Log level: detail for the library's developers.
 */
#define NIXL_STORE_LOG_DEBUG 4

/**
 * A completion queue of a store; a handle as nixl_store_t is.
 */
typedef struct nixl_store_queue_t nixl_store_queue_t;

/**
 * An open store. The pointer is a handle and no address: it is looked up on every call, so that a closed or
 * made-up one is told apart and nothing behind it is ever read.
 */
typedef struct nixl_store_t nixl_store_t;

/**
 * Outcome of a call: NIXL_STORE_OK, a positive number for an answer that is not an error, a negative one for an
 * error. nixl_store_status_name() names it.
 */
typedef int32_t nixl_store_status_t;

/**
 * Receives the library's messages, each a NUL-terminated string of UTF-8, valid during the call only.
 *
 * It is called from the caller's threads and from the library's, several at a time: it must be thread-safe, return
 * soon, throw nothing, and call no function of this library. It may be called from inside nixl_store_open() until
 * nixl_store_close() returned; log_context has to live as long.
 * level is one of NIXL_STORE_LOG_*. Which levels arrive: up to INFO, unless the environment variable
 * NIXL_STORE_LOG says otherwise (off, error, warn, info, debug).
 */
typedef void (*nixl_store_log_fn_t)(void *context, uint32_t level, const char *message);

/**
 * What the engine knows and the configuration file does not. All zero but struct_size means: defaults.
 */
typedef struct {
    /**
     * sizeof(nixl_store_open_options_t).
     */
    size_t struct_size;
    /**
     * Bytes of the largest object, for the slots of a static pool; 0: as the configuration says.
     */
    uint64_t chunk_bytes;
    /**
     * Rank of this worker, below world_size.
     */
    uint32_t worker_id;
    /**
     * Workers that work together; 0 is taken as 1.
     */
    uint32_t world_size;
    /**
     * 1 if cuda_device is set, else 0.
     */
    uint32_t has_cuda_device;
    /**
     * Ordinal of the CUDA device that this worker uses; 0 unless has_cuda_device is 1.
     */
    uint32_t cuda_device;
    /**
     * Separates the keys of users who share one store: NUL-terminated, at most NIXL_STORE_NAMESPACE_BYTES_MAX
     * bytes; NULL or "": none. Copied.
     */
    const char *cache_namespace;
    /**
     * Where messages go; NULL: standard error, errors and warnings only.
     */
    nixl_store_log_fn_t log_function;
    /**
     * Given to log_function with each message.
     */
    void *log_context;
} nixl_store_open_options_t;

/**
 * A stretch of the caller's memory.
 */
typedef struct {
    /**
     * First byte, of any alignment; aligned to direct_alignment of the capabilities, transfers need no copy.
     */
    void *address;
    /**
     * Bytes; never 0.
     */
    uint64_t length;
    /**
     * One of NIXL_STORE_MEMORY_*.
     */
    uint32_t memory_kind;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} nixl_store_segment_t;

/**
 * One object of a batch: its key and the memory that its bytes come from or go to, in the order of the segments.
 */
typedef struct {
    /**
     * The key: any bytes. Copied at submit.
     */
    const void *key;
    /**
     * Bytes of the key: 1 to NIXL_STORE_KEY_BYTES_MAX.
     */
    uint64_t key_length;
    /**
     * The segments; the array is copied at submit, the memory is used until completion.
     */
    const nixl_store_segment_t *segments;
    /**
     * Number of segments: 1 to NIXL_STORE_SEGMENTS_PER_ITEM_MAX.
     */
    uint64_t segment_count;
    /**
     * With NIXL_STORE_ITEM_RANGE: first byte of the object to read; else 0.
     */
    uint64_t object_offset;
    /**
     * NIXL_STORE_ITEM_* together, or 0.
     */
    uint32_t flags;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} nixl_store_item_t;

/**
 * How a batch is submitted. All zero but struct_size means: defaults.
 */
typedef struct {
    /**
     * sizeof(nixl_store_submit_options_t).
     */
    size_t struct_size;
    /**
     * Milliseconds from submit after which items not yet started end with NIXL_STORE_ERROR_TIMED_OUT; those under way
     * finish; 0: the store's default (the setting
     * nixl_store_timeout_ms); NIXL_STORE_TIMEOUT_INFINITE: none.
     */
    uint64_t timeout_ms;
    /**
     * Queue of the same store that gets a completion for the batch; NULL: none.
     */
    nixl_store_queue_t *queue;
    /**
     * Any number; it comes back in the completion.
     */
    uint64_t user_data;
} nixl_store_submit_options_t;

/**
 * A handle on a submitted batch: never 0, never given out twice by one store.
 */
typedef uint64_t nixl_store_ticket_t;

/**
 * How one item of a batch ended.
 */
typedef struct {
    /**
     * Its status.
     */
    nixl_store_status_t status;
    /**
     * The errno behind it, 0 if there was none.
     */
    int32_t os_error;
    /**
     * Payload bytes moved to or from the segments. They count only if status is NIXL_STORE_OK.
     */
    uint64_t bytes;
    /**
     * Bytes of the stored object where it is known, else 0; with NIXL_STORE_ERROR_BUFFER_TOO_SMALL, what is needed.
     */
    uint64_t object_length;
    /**
     * 0.
     */
    uint64_t reserved;
} nixl_store_result_t;

/**
 * Says that a batch finished.
 */
typedef struct {
    /**
     * The batch; it still has to be consumed with nixl_store_ticket_wait(), which will not block.
     */
    nixl_store_ticket_t ticket;
    /**
     * user_data of its submit options.
     */
    uint64_t user_data;
    /**
     * What nixl_store_ticket_wait() will return for it.
     */
    nixl_store_status_t status;
    /**
     * 0.
     */
    uint32_t reserved;
} nixl_store_completion_t;

/**
 * A key, as an element of a chain.
 */
typedef struct {
    /**
     * The key: any bytes.
     */
    const void *key;
    /**
     * Bytes of the key: 1 to NIXL_STORE_KEY_BYTES_MAX.
     */
    uint64_t key_length;
} nixl_store_key_t;

/**
 * Gauges and counters of a store. Counters are totals since open; each is exact, together they are not one instant.
 */
typedef struct {
    /**
     * sizeof(nixl_store_stats_t), set by the caller and left as it is.
     */
    size_t struct_size;
    /**
     * Gauge: keys stored now, as far as this process knows.
     */
    uint64_t keys;
    /**
     * Gauge, bytes: payload stored now; in a dynamic store whole files, as far as this process knows them.
     */
    uint64_t bytes_stored;
    /**
     * Gauge: slots of a static pool; 0 if the store is dynamic.
     */
    uint64_t slots;
    /**
     * Gauge: slots that hold nothing.
     */
    uint64_t slots_free;
    /**
     * Gauge, bytes: capacity; 0: unlimited.
     */
    uint64_t capacity_bytes;
    /**
     * Gauge: keys pinned by this process.
     */
    uint64_t keys_pinned;
    /**
     * Gauge: items waiting or under way.
     */
    uint64_t items_in_flight;
    /**
     * Counter: puts that completed.
     */
    uint64_t puts_ok;
    /**
     * Counter: puts that failed.
     */
    uint64_t puts_failed;
    /**
     * Counter: gets that delivered bytes.
     */
    uint64_t gets_hit;
    /**
     * Counter: gets that found nothing.
     */
    uint64_t gets_missed;
    /**
     * Counter: gets that failed.
     */
    uint64_t gets_failed;
    /**
     * Counter, bytes: payload of completed puts.
     */
    uint64_t bytes_put;
    /**
     * Counter, bytes: payload delivered by gets.
     */
    uint64_t bytes_got;
    /**
     * Counter, bytes: payload that moved straight between caller memory and storage.
     */
    uint64_t bytes_direct;
    /**
     * Counter, bytes: payload that passed through the staging buffer.
     */
    uint64_t bytes_staged;
    /**
     * Counter: entries evicted to make room.
     */
    uint64_t evictions;
    /**
     * Counter: reads whose record did not prove right (key, length or checksum); each was a miss.
     */
    uint64_t corruptions;
    /**
     * Gauge: slots that are out of use because of that or because of I/O errors.
     */
    uint64_t quarantined_slots;
    /**
     * Counter: gets served without a checksum because LMCache wrote the object and the configuration allows it.
     */
    uint64_t gets_unverified;
    /**
     * Counter: short transfers that were completed by a further one.
     */
    uint64_t short_transfers;
    /**
     * Counter: transfers repeated after EINTR or EAGAIN.
     */
    uint64_t retries;
    /**
     * Counter: items that ended because their deadline passed.
     */
    uint64_t timed_out;
    /**
     * Counter: items that ended because their ticket was cancelled.
     */
    uint64_t cancelled;
} nixl_store_stats_t;

/**
 * Which path is in effect, and why. Strings are NUL-terminated, cut off where they do not fit.
 */
typedef struct {
    /**
     * sizeof(nixl_store_capabilities_t), set by the caller and left as it is.
     */
    size_t struct_size;
    /**
     * Bytes of the largest object that can be put; 0: nothing but the device bounds it.
     */
    uint64_t object_bytes_max;
    /**
     * Bytes: segments whose address and length are multiples of it move without a copy; 1: all do.
     */
    uint64_t direct_alignment;
    /**
     * Threads that do the I/O.
     */
    uint32_t io_threads;
    /**
     * 1 if O_DIRECT is in effect, else 0.
     */
    uint32_t direct_io;
    /**
     * 1 if the staging buffer is registered with the kernel, else 0.
     */
    uint32_t registered_buffers;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The backend: "POSIX", ….
     */
    char backend[16];
    /**
     * How it moves bytes: "io_uring"; "threads" where that is refused; "inline" where files lie in memory (tmpfs).
     */
    char io_path[32];
    /**
     * Where bytes are: "static", "dynamic/sharded", "dynamic/lmcache".
     */
    char layout[32];
    /**
     * Why a better path is not in effect; empty if nothing was degraded.
     */
    char reason[512];
} nixl_store_capabilities_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * ======== Simple layer: one blocking call each ========
 *
 * Opens the store that a configuration file describes, and recovers what it holds.
 *
 * config_path: the LMCache YAML file, NUL-terminated, at most NIXL_STORE_PATH_BYTES_MAX bytes; NULL: the file that
 * the environment variable LMCACHE_CONFIG_FILE names. Read during the call only.
 * options: what the file does not say; NULL: defaults. Copied, but for log_function and log_context, which are used
 * until nixl_store_close() returned.
 * store_out: gets the handle, which the caller closes with nixl_store_close().
 *
 * May be called from any thread. Blocks while it recovers: about 1 s per 100000 slots after a clean close, up to 10 s
 * after a crash.
 *
 * Returns:
 * - NIXL_STORE_OK: *store_out is open.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: store_out is NULL or misaligned; config_path is empty or too long;
 *   struct_size, a flag or a value of options cannot be.
 * - NIXL_STORE_ERROR_CONFIG: the file cannot be read, or a setting cannot be used.
 * - NIXL_STORE_ERROR_UNSUPPORTED: the backend is not built in, or lacks a device, driver or library that the message
 *   names.
 * - NIXL_STORE_ERROR_LOCKED: another process or store owns the static pool; the message says which.
 * - NIXL_STORE_ERROR_FORMAT: the pool was made with other parameters; nothing in it was touched.
 * - NIXL_STORE_ERROR_BUSY: NIXL_STORE_STORES_MAX stores are open in this process.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _OUT_OF_MEMORY: as named.
 * - NIXL_STORE_ERROR_INTERNAL: a bug in the library.
 */
nixl_store_status_t nixl_store_open(const char *config_path,
                                    const nixl_store_open_options_t *options,
                                    nixl_store_t **store_out);

/**
 * Stores one object under a key, replacing what the key had, and waits until it is visible.
 *
 * When it returns NIXL_STORE_OK, every thread and process on the same storage gets these bytes, also if this process
 * is killed right after; nixl_store_flush() makes them survive a loss of power. After an error nothing of the object
 * is visible: the key has what it had before, or nothing where room had to be made. A static pool without a free slot
 * makes room for a stored key in the key's own slot first; until the put is complete the key is then not found.
 *
 * store: an open store.
 * key: key_length bytes of any content, 1 to NIXL_STORE_KEY_BYTES_MAX.
 * data: length bytes of host memory, at least 1; read until the call returns and never after. Memory aligned
 * to direct_alignment of the capabilities moves without a copy; registered memory also spares the kernel pinning it.
 *
 * Gives up after the time of the setting nixl_store_timeout_ms if it was not started by then; what is under way is
 * waited for, because the device may still be using the memory. May be called from any thread, several at a time.
 *
 * Returns:
 * - NIXL_STORE_OK: stored.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: key or data is NULL, empty, too long, or wraps around the end of memory; or
 *   the key has no file name in the layout lmcache.
 * - NIXL_STORE_ERROR_TOO_LARGE: length is beyond object_bytes_max of the capabilities.
 * - NIXL_STORE_ERROR_POOL_FULL: every slot is pinned, in use or quarantined.
 * - NIXL_STORE_ERROR_NO_SPACE: the device is full and eviction could not help.
 * - NIXL_STORE_ERROR_BUSY, _TIMED_OUT: the queue stayed full, or the deadline passed.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _OUT_OF_MEMORY: as named.
 * - The common errors.
 */
nixl_store_status_t nixl_store_put(nixl_store_t *store,
                                   const void *key,
                                   size_t key_length,
                                   const void *data,
                                   size_t length);

/**
 * Reads the object under a key into memory.
 *
 * store: an open store.
 * key: key_length bytes of any content, 1 to NIXL_STORE_KEY_BYTES_MAX.
 * buffer: capacity bytes of host memory, at least 1; written until the call returns and never after. After an error
 * or NIXL_STORE_NOT_FOUND their content is undefined. Memory aligned to direct_alignment of the
 * capabilities moves without a copy; registered memory also spares the kernel pinning it.
 * length_out: gets the length of the object in bytes. Must not lie in buffer.
 *
 * Gives up after the time of the setting nixl_store_timeout_ms if it was not started by then; what is under way is
 * waited for, because the device may still be using the memory. May be called from any thread, several at a time.
 *
 * Returns:
 * - NIXL_STORE_OK: the first *length_out bytes of buffer are the object.
 * - NIXL_STORE_NOT_FOUND: the key is not stored, or its bytes could not be proven right.
 * - NIXL_STORE_ERROR_BUFFER_TOO_SMALL: *length_out is the capacity that is needed, the one output that is written
 *   with an error.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: key, buffer or length_out is NULL, empty, too long, misaligned, or wraps
 *   around the end of memory; length_out lies in buffer.
 * - NIXL_STORE_ERROR_BUSY, _TIMED_OUT: the queue stayed full, or the deadline passed.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _OUT_OF_MEMORY: as named.
 * - The common errors.
 */
nixl_store_status_t nixl_store_get(nixl_store_t *store,
                                   const void *key,
                                   size_t key_length,
                                   void *buffer,
                                   size_t capacity,
                                   size_t *length_out);

/**
 * Closes a store: refuses new work, completes what is outstanding, keeps the index for the next open, and releases
 * everything.
 *
 * Tickets that are waited for in other threads complete first. Registered memory is the caller's alone again;
 * allocated memory, queues and their descriptors are gone. The handle is stale from the moment this returns, and
 * using it is harmless: every call answers NIXL_STORE_ERROR_INVALID_HANDLE.
 *
 * store: an open store. NULL is not accepted.
 *
 * May be called from any thread, but not from log_function. In a child of fork() it releases the child's share
 * without touching the parent's store.
 *
 * Returns:
 * - NIXL_STORE_OK: closed.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: NULL, closed already, or never a handle.
 * - NIXL_STORE_ERROR_CLOSING: another thread is closing it now.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _OUT_OF_MEMORY: closed, but the index could not be kept; the next
 *   open recovers as after a crash.
 * - NIXL_STORE_ERROR_POISONED, _INTERNAL: closed; a bug in the library kept it from being done cleanly.
 */
nixl_store_status_t nixl_store_close(nixl_store_t *store);

/**
 * ======== Full layer: batches ========
 *
 * Submits puts of many objects and returns at once. Each item is a put of its own: it succeeds or fails by itself,
 * as described at nixl_store_put(), and becomes visible as a whole.
 *
 * store: an open store.
 * items: item_count items, 1 to NIXL_STORE_BATCH_ITEMS_MAX. An object is the bytes of its item's segments, one after
 * the other. The arrays of items, segments and keys are copied: they may be freed when the call returns. The memory
 * that the segments describe is read until the batch completed. With NIXL_STORE_ITEM_KEEP an item whose key is stored
 * already ends with NIXL_STORE_OK at once, and nothing is written.
 * options: deadline, completion queue, user data; NULL: defaults.
 * ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the
 * batch.
 *
 * Waits only while the submission queue is full, up to the deadline. May be called from any thread, several at a
 * time. Batches have no order among each other: wait for one before submitting what depends on it.
 *
 * Returns:
 * - NIXL_STORE_OK: submitted.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: a pointer is NULL or misaligned; a count or length is 0 or too large, or
 *   wraps around the end of memory; a reserved field is not 0; a flag or memory_kind is unknown; NIXL_STORE_ITEM_RANGE
 *   or _EXACT is set, or object_offset. Nothing was submitted, as with every error below.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
 * - NIXL_STORE_ERROR_UNSUPPORTED: memory of this kind is not served in this build or on this machine.
 * - NIXL_STORE_ERROR_BUSY: the submission queue stayed full until the deadline; or too many tickets were not consumed
 *   yet, or completions not drained; the message says which.
 * - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
 * - The common errors.
 *
 * What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_ERROR_TOO_LARGE, _POOL_FULL,
 * _NO_SPACE, _INVALID_ARGUMENT (a key without a file name in the layout lmcache), _IO, _PERMISSION, _OUT_OF_MEMORY,
 * _TIMED_OUT, _CANCELLED, _POISONED.
 */
nixl_store_status_t nixl_store_batch_put(nixl_store_t *store,
                                         const nixl_store_item_t *items,
                                         size_t item_count,
                                         const nixl_store_submit_options_t *options,
                                         nixl_store_ticket_t *ticket_out);

/**
 * Submits gets of many objects and returns at once. Each item is a get of its own.
 *
 * store: an open store.
 * items: item_count items, 1 to NIXL_STORE_BATCH_ITEMS_MAX. An object fills its item's segments one after the other;
 * they may hold more than the object, and what is beyond it stays as it was; with NIXL_STORE_ITEM_EXACT an object of
 * any other length than theirs is not found. With NIXL_STORE_ITEM_RANGE exactly the
 * bytes from object_offset on are read that the segments have room for. The arrays of items, segments and keys are
 * copied: they may be freed when the call returns. The memory that the segments describe is written until the batch
 * completed, and its content counts only where the item's status is NIXL_STORE_OK.
 * options: deadline, completion queue, user data; NULL: defaults.
 * ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the
 * batch. Must not lie in a segment.
 *
 * No two segments may share a byte. That is checked within an item always, and across items in batches of up to
 * NIXL_STORE_OVERLAP_SEGMENTS_MAX segments; it costs least when segments come in ascending order of address.
 *
 * Waits only while the submission queue is full, up to the deadline. May be called from any thread, several at a
 * time. Gets go ahead of puts that were not started.
 *
 * Returns:
 * - NIXL_STORE_OK: submitted.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: a pointer is NULL or misaligned; a count or length is 0 or too large, or
 *   wraps around the end of memory; a reserved field is not 0; a flag or memory_kind is unknown; object_offset is set
 *   without NIXL_STORE_ITEM_RANGE; segments overlap. Nothing was submitted, as with every error below.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
 * - NIXL_STORE_ERROR_UNSUPPORTED: memory of this kind is not served in this build or on this machine.
 * - NIXL_STORE_ERROR_BUSY: the submission queue stayed full until the deadline; or too many tickets were not consumed
 *   yet, or completions not drained; the message says which.
 * - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
 * - The common errors.
 *
 * What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_NOT_FOUND,
 * NIXL_STORE_ERROR_BUFFER_TOO_SMALL, _OUT_OF_RANGE, _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED,
 * _POISONED.
 */
nixl_store_status_t nixl_store_batch_get(nixl_store_t *store,
                                         const nixl_store_item_t *items,
                                         size_t item_count,
                                         const nixl_store_submit_options_t *options,
                                         nixl_store_ticket_t *ticket_out);

/**
 * ======== Full layer: tickets ========
 *
 * Waits until a batch completed, gives the result of each item, and releases the ticket.
 *
 * store: an open store.
 * ticket: from a submit to this store, not consumed yet.
 * timeout_ms: milliseconds to wait; 0: do not; NIXL_STORE_TIMEOUT_INFINITE: for ever. It bounds this call alone: the
 * batch goes on, and its memory stays in use, until the batch completed.
 * results_out: gets one result per item, in the order of the items, whenever the batch completed, whatever its
 * status; NULL: not wanted.
 * result_capacity: results that results_out has room for, at least the number of items. Not used if results_out is
 * NULL.
 *
 * May be called from any thread; of several that wait for one ticket, one gets the results, the others
 * NIXL_STORE_ERROR_INVALID_HANDLE.
 *
 * Returns, with the batch completed and the ticket released:
 * - NIXL_STORE_OK: all items ended with NIXL_STORE_OK.
 * - NIXL_STORE_NOT_FOUND: at least one item ended with NIXL_STORE_NOT_FOUND, and none with an error.
 * - The first error among the items: NIXL_STORE_ERROR_TOO_LARGE, _POOL_FULL, _NO_SPACE, _BUFFER_TOO_SMALL,
 *   _OUT_OF_RANGE, _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED.
 *
 * Returns, with the ticket kept:
 * - NIXL_STORE_IN_PROGRESS: not completed within timeout_ms.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: results_out is misaligned, or result_capacity below the number of items.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: the ticket is 0, was consumed, or is none of this store; or as below.
 * - The common errors.
 */
nixl_store_status_t nixl_store_ticket_wait(nixl_store_t *store,
                                           nixl_store_ticket_t ticket,
                                           uint64_t timeout_ms,
                                           nixl_store_result_t *results_out,
                                           size_t result_capacity);

/**
 * Says how a batch is doing, without waiting and without releasing the ticket.
 *
 * store: an open store. ticket: from a submit to this store, not consumed yet.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_IN_PROGRESS: not completed.
 * - What nixl_store_ticket_wait() will return: completed.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: the ticket is 0, was consumed, or is none of this store; or as below.
 * - The common errors.
 */
nixl_store_status_t nixl_store_ticket_poll(nixl_store_t *store, nixl_store_ticket_t ticket);

/**
 * Asks for a batch to end early: items that were not started end with NIXL_STORE_ERROR_CANCELLED, the others finish.
 *
 * It neither waits nor releases the ticket: the batch's memory is in use until nixl_store_ticket_wait() says that it
 * completed. A batch that completed already stays as it is.
 *
 * store: an open store. ticket: from a submit to this store, not consumed yet.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: asked for.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: the ticket is 0, was consumed, or is none of this store; or as below.
 * - The common errors.
 */
nixl_store_status_t nixl_store_ticket_cancel(nixl_store_t *store, nixl_store_ticket_t ticket);

/**
 * ======== Full layer: completion queues ========
 *
 * Creates a queue that tells which batches completed, for programs that wait for many things at once.
 *
 * store: an open store.
 * queue_out: gets the handle, to be given in submit options; the caller destroys it with nixl_store_queue_destroy(),
 * or leaves that to nixl_store_close().
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: created.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: queue_out is NULL or misaligned.
 * - NIXL_STORE_ERROR_BUSY: the store has as many queues as it can have.
 * - NIXL_STORE_ERROR_IO, _OUT_OF_MEMORY: no eventfd could be had.
 * - The common errors.
 */
nixl_store_status_t nixl_store_queue_create(nixl_store_t *store, nixl_store_queue_t **queue_out);

/**
 * Gives the queue's eventfd, which polls readable while completions are waiting.
 *
 * store: an open store. queue: a queue of this store.
 * fd_out: gets the descriptor. It belongs to the queue: give it to poll(), epoll or io_uring, but do not read, write
 * or close it, and do not use it after the queue was destroyed.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: *fd_out is the descriptor.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: fd_out is NULL or misaligned.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: queue is NULL, destroyed, or none of this store; or as below.
 * - The common errors.
 */
nixl_store_status_t nixl_store_queue_fd(nixl_store_t *store, nixl_store_queue_t *queue, int *fd_out);

/**
 * Takes completions out of a queue, without waiting.
 *
 * Each batch that was submitted with this queue shows up once. Its ticket still has to be consumed with
 * nixl_store_ticket_wait(), which gives the results and does not block.
 *
 * store: an open store. queue: a queue of this store.
 * completions_out: gets up to capacity completions, at least 1, oldest first.
 * count_out: gets their number; 0 if none was waiting. Must not lie in completions_out.
 *
 * May be called from any thread; of several that drain one queue, each gets completions of its own.
 *
 * Returns:
 * - NIXL_STORE_OK: *count_out completions were taken, possibly 0.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: completions_out or count_out is NULL or misaligned; capacity is 0; count_out
 *   lies in completions_out.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: queue is NULL, destroyed, or none of this store; or as below.
 * - The common errors.
 */
nixl_store_status_t nixl_store_queue_drain(nixl_store_t *store,
                                           nixl_store_queue_t *queue,
                                           nixl_store_completion_t *completions_out,
                                           size_t capacity,
                                           size_t *count_out);

/**
 * Destroys a queue and closes its eventfd.
 *
 * Batches that were submitted with it go on; their tickets are consumed as ever, only no completion tells of them.
 *
 * store: an open store. queue: a queue of this store.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: destroyed.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: queue is NULL, destroyed already, or none of this store; or as below.
 * - The common errors.
 */
nixl_store_status_t nixl_store_queue_destroy(nixl_store_t *store, nixl_store_queue_t *queue);

/**
 * ======== Full layer: memory ========
 *
 * Registers memory of the caller, so that the kernel need not pin its pages for each transfer from and to it.
 *
 * It pays for memory that is used again and again, such as the engine's KV cache: registering pins pages, which
 * counts against RLIMIT_MEMLOCK. Segments anywhere inside the region profit.
 *
 * store: an open store.
 * address, length: the region, at least 1 byte. It stays the caller's, and has to stay mapped until it is
 * unregistered or the store is closed. It must not overlap another registered region.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: registered. Where the system refuses to pin pages, that is logged once and transfers go on as
 *   without a registration.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: address is NULL, length 0; the region wraps around the end of memory, is not
 *   mapped, or overlaps a registered one.
 * - NIXL_STORE_ERROR_BUSY: the table of regions is full.
 * - The common errors.
 */
nixl_store_status_t nixl_store_memory_register(nixl_store_t *store, void *address, size_t length);

/**
 * Takes back a registration, after waiting for the transfers that use it.
 *
 * store: an open store. address: exactly as it was registered.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: the library will not touch the region through this registration again.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: address is NULL or not the start of a registered region.
 * - The common errors.
 */
nixl_store_status_t nixl_store_memory_unregister(nixl_store_t *store, void *address);

/**
 * Allocates from the store's own registered memory, the staging buffer of nixl_buffer_size bytes. It is
 * page-aligned, so transfers from and to it need no copy.
 *
 * What is allocated is missing for staging; a store keeps back what it needs for that.
 *
 * store: an open store.
 * length: bytes, at least 1.
 * address_out: gets the address, aligned to 4096 bytes, content undefined. The caller frees it with
 * nixl_store_memory_free(), or leaves that to nixl_store_close(), after which it must not be touched.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: allocated.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: length is 0; address_out is NULL or misaligned.
 * - NIXL_STORE_ERROR_OUT_OF_MEMORY: the buffer has no free stretch of that length.
 * - The common errors.
 */
nixl_store_status_t nixl_store_memory_allocate(nixl_store_t *store, size_t length, void **address_out);

/**
 * Frees what nixl_store_memory_allocate() gave, after waiting for the transfers that use it.
 *
 * store: an open store.
 * address: exactly as it was given. NULL is not accepted.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: freed.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: address is NULL, freed already, or was not given by this store.
 * - The common errors.
 */
nixl_store_status_t nixl_store_memory_free(nixl_store_t *store, void *address);

/**
 * ======== Full layer: keys ========
 *
 * Says whether a key is stored. It may be gone a moment later, unless it is pinned.
 *
 * On a static pool this looks at a keyed 64-bit hash of the key, not at the key: a key that is not stored can pass for
 * one that is with a chance of 2^-64 for each stored key that it is compared with, mostly a few. A get compares keys.
 *
 * store: an open store.
 * key: key_length bytes of any content, 1 to NIXL_STORE_KEY_BYTES_MAX.
 *
 * May be called from any thread, several at a time. Does no I/O on a static pool.
 *
 * Returns:
 * - NIXL_STORE_OK: stored.
 * - NIXL_STORE_NOT_FOUND: not stored.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: key is NULL, empty or too long.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
 * - The common errors.
 */
nixl_store_status_t nixl_store_key_contains(nixl_store_t *store, const void *key, size_t key_length);

/**
 * Tells the length of a stored object.
 *
 * store: an open store.
 * key: key_length bytes of any content, 1 to NIXL_STORE_KEY_BYTES_MAX.
 * length_out: gets the length in bytes.
 *
 * May be called from any thread, several at a time. Does no I/O on a static pool.
 *
 * Returns:
 * - NIXL_STORE_OK: *length_out is the length.
 * - NIXL_STORE_NOT_FOUND: not stored.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: key is NULL, empty or too long; length_out is NULL or misaligned.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
 * - The common errors.
 */
nixl_store_status_t nixl_store_key_length(nixl_store_t *store,
                                          const void *key,
                                          size_t key_length,
                                          uint64_t *length_out);

/**
 * Tells how many keys at the start of a chain are stored: the longest prefix that need not be computed again.
 *
 * store: an open store.
 * keys: key_count keys in the order of the chain, at most NIXL_STORE_BATCH_ITEMS_MAX. Read during the call only. May
 * be NULL if key_count is 0.
 * matched_out: gets the number of leading keys that are stored, 0 to key_count. Keys after the first that is not
 * stored do not count.
 *
 * May be called from any thread, several at a time. Does no I/O on a static pool.
 *
 * Returns:
 * - NIXL_STORE_OK: *matched_out is the number, also if it is 0.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: keys, a key or matched_out is NULL or misaligned; a key is empty or too long,
 *   at any place of the chain; key_count is too large.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
 * - The common errors.
 */
nixl_store_status_t nixl_store_prefix_match(nixl_store_t *store,
                                            const nixl_store_key_t *keys,
                                            size_t key_count,
                                            size_t *matched_out);

/**
 * Removes a key and its object. Gets that are under way still deliver the object.
 *
 * store: an open store.
 * key: key_length bytes of any content, 1 to NIXL_STORE_KEY_BYTES_MAX.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: removed.
 * - NIXL_STORE_NOT_FOUND: not stored.
 * - NIXL_STORE_PINNED: not removed, because it is pinned.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: key is NULL, empty or too long.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage refused.
 * - The common errors.
 */
nixl_store_status_t nixl_store_key_remove(nixl_store_t *store, const void *key, size_t key_length);

/**
 * Pins a key: its object is neither evicted nor removed until it was unpinned as often as it was pinned, or the store
 * is closed, or this process ends.
 *
 * store: an open store.
 * key: key_length bytes of any content, 1 to NIXL_STORE_KEY_BYTES_MAX.
 *
 * May be called from any thread. In a dynamic store it waits for another process that evicts the key at that moment, at
 * most 10 s.
 *
 * Returns:
 * - NIXL_STORE_OK: pinned.
 * - NIXL_STORE_NOT_FOUND: not stored; nothing was pinned.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: key is NULL, empty or too long.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage refused.
 * - The common errors.
 */
nixl_store_status_t nixl_store_key_pin(nixl_store_t *store, const void *key, size_t key_length);

/**
 * Takes back one pin.
 *
 * store: an open store.
 * key: key_length bytes of any content, 1 to NIXL_STORE_KEY_BYTES_MAX.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: one pin fewer.
 * - NIXL_STORE_NOT_FOUND: this store holds no pin on the key.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: key is NULL, empty or too long.
 * - NIXL_STORE_ERROR_IO: storage refused.
 * - The common errors.
 */
nixl_store_status_t nixl_store_key_unpin(nixl_store_t *store, const void *key, size_t key_length);

/**
 * Removes every key that is not pinned. Gets that are under way still deliver their objects.
 *
 * store: an open store.
 * removed_out: gets the number of keys removed; NULL: not wanted.
 *
 * May be called from any thread. Keys that are put meanwhile may stay.
 *
 * Returns:
 * - NIXL_STORE_OK: removed, possibly 0 keys.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: removed_out is misaligned.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage refused; some keys may be removed.
 * - The common errors.
 */
nixl_store_status_t nixl_store_clear(nixl_store_t *store, uint64_t *removed_out);

/**
 * ======== Full layer: operations ========
 *
 * Makes durable what was put: waits for the puts that were submitted before, then for the device to have them. They
 * survive a loss of power from then on.
 *
 * store: an open store.
 *
 * May be called from any thread. Puts that are submitted meanwhile are not waited for.
 *
 * Returns:
 * - NIXL_STORE_OK: durable, as far as puts completed.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION: the device reported an error; what was put since the last flush may
 *   be lost with the power.
 * - The common errors.
 */
nixl_store_status_t nixl_store_flush(nixl_store_t *store);

/**
 * Reads gauges and counters.
 *
 * store: an open store.
 * stats_out: its struct_size is set by the caller. As much is written as that says, and what this version of the
 * library does not know is set to 0.
 *
 * May be called from any thread, as often as one likes.
 *
 * Returns:
 * - NIXL_STORE_OK: read.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: stats_out is NULL or misaligned; struct_size is no possible size.
 * - The common errors.
 */
nixl_store_status_t nixl_store_stats_read(nixl_store_t *store, nixl_store_stats_t *stats_out);

/**
 * Tells which backend and path are in effect, and why not a better one.
 *
 * store: an open store.
 * capabilities_out: its struct_size is set by the caller. As much is written as that says, and what this version of
 * the library does not know is set to 0.
 *
 * May be called from any thread.
 *
 * Returns:
 * - NIXL_STORE_OK: told.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: capabilities_out is NULL or misaligned; struct_size is no possible size.
 * - The common errors.
 */
nixl_store_status_t nixl_store_capabilities_read(nixl_store_t *store, nixl_store_capabilities_t *capabilities_out);

/**
 * The version of the library that is loaded, such as "0.1.0". A constant string, never NULL.
 *
 * May be called from any thread. Leaves nixl_store_error_message() as it is.
 */
const char *nixl_store_version(void);

/**
 * The NIXL_STORE_ABI_VERSION of the library that is loaded; it serves programs that were compiled with the same.
 *
 * May be called from any thread. Leaves nixl_store_error_message() as it is.
 */
uint32_t nixl_store_abi_version(void);

/**
 * The name of a status, such as "NIXL_STORE_NOT_FOUND"; "NIXL_STORE_UNKNOWN" for a number that is none. A constant
 * string, never NULL.
 *
 * May be called from any thread. Leaves nixl_store_error_message() as it is.
 */
const char *nixl_store_status_name(nixl_store_status_t status);

/**
 * Says what went wrong in this thread's last call: which function, why, and what to do about it. "" if that call
 * succeeded or answered without an error, or if there was none. Never NULL, never holds a credential; meant for
 * people, its wording may change.
 *
 * The string belongs to the library and to this thread, and is valid until this thread's next call.
 */
const char *nixl_store_error_message(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NIXL_STORE_H */
