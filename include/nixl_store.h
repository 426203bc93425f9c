/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nixl-store: KV-cache chunks on storage, for inference engines in C and C++.
 *
 * Made from src/capi of the project by scripts/header.sh. Do not edit: your changes would be lost.
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
 * - No call ends the process over wrong arguments, wrong handles, damaged storage or a bug of the library: these come
 *   back as a status. The exception is memory that the caller names and does not have: a pointer to what is not mapped,
 *   or is freed while a batch uses it, may end the process as any stray pointer does.
 *
 *
 * COMMON RULES: they hold for every function, and are not said again at each.
 *
 * STATUSES
 *   Every call that can fail returns nixl_store_status_t: 0 is success, positive is an answer that is no error,
 *   negative is an error. Numbers never change their meaning; new ones may come, so take an unknown negative one for an
 *   error. After an error, nixl_store_error_message() says in this thread what went wrong. A status that is not looked
 *   at makes the compiler warn, where it can; to have no such warnings, define NIXL_STORE_NODISCARD as nothing before
 *   this header is included. Any call may return these, and its own list leaves them out:
 *     NIXL_STORE_ERROR_INVALID_ARGUMENT  a pointer is NULL or misaligned; a length or count is 0, too large, or reaches
 *                                        past the end of memory; a flag, kind or struct_size is unknown; a reserved
 *                                        field is not 0. Nothing was done.
 *     NIXL_STORE_ERROR_INVALID_HANDLE    the store is NULL, closed, or never was one
 *     NIXL_STORE_ERROR_CLOSING           another thread is closing it
 *     NIXL_STORE_ERROR_FORKED            it was opened by this process's parent
 *     NIXL_STORE_ERROR_POISONED          the library caught a bug of its own, and the store serves no more
 *     NIXL_STORE_ERROR_INTERNAL          a bug in the library that does not concern the store
 * ARGUMENTS
 *   store is a store from nixl_store_open() that is not closed yet, queue one of its queues. key is key_length bytes of
 *   any content, 1 to NIXL_STORE_KEY_BYTES_MAX. Inputs come before outputs. Outputs end in _out and are written on
 *   success only, unless the function says otherwise. No pointer may be NULL unless the function says so. Strings are
 *   NUL-terminated; those that the library gives are UTF-8. Memory that a call reads must not be changed by another
 *   thread until the call returns.
 * UNITS
 *   Lengths, sizes, capacities and offsets are bytes, where nothing else is said; counts are numbers of things.
 * TIMES
 *   They are milliseconds and end in _ms.
 *   A timeout_ms bounds how long one call waits: 0 does not wait at all, NIXL_STORE_TIMEOUT_INFINITE waits for ever.
 *   A deadline_ms bounds how long after its submit an item may be started: NIXL_STORE_DEADLINE_DEFAULT, which is 0, so
 *   that a cleared struct has it, is the setting nixl_store_timeout_ms of the configuration (30000 if it has none), and
 *   NIXL_STORE_DEADLINE_NONE is no deadline. An item that is under way at its deadline is completed.
 * OWNERSHIP
 *   What is passed in stays the caller's, and is copied if it is needed after the call, except for the memory of
 *   payloads. Who releases what a call gives is said there. nixl_store_close() releases all that is left.
 * HANDLES
 *   nixl_store_t and nixl_store_queue_t pointers and tickets are numbers that are looked up, never addresses that are
 *   followed. A stale or made up one gets NIXL_STORE_ERROR_INVALID_HANDLE.
 * THREADS
 *   Every function may be called from any thread, and by many threads on one store at a time. The library does its work
 *   in threads of its own: no thread of the caller is needed to make progress. nixl_store_put() and nixl_store_get() of
 *   a small object may do it in the calling thread, whose signal mask is after every call what it was before.
 * STRUCTS THAT GROW
 *   A struct that begins with struct_size may get new members at its end. Clear it, then set struct_size:
 *     nixl_store_open_options_t options = {0};     (in C++: = {};)
 *     options.struct_size = sizeof options;
 *   Members that an older caller does not have are taken as 0; members that the library does not know must be 0.
 * FIXED STRUCTS
 *   The other structs keep their size. They have reserved fields, which must be 0 when passed in, or they could never
 *   get a meaning, and are 0 when given: clear the whole struct, then fill it in.
 * FORK
 *   A store belongs to the process that opened it. In a child, every call on it but nixl_store_close() returns
 *   NIXL_STORE_ERROR_FORKED. A child that goes on to exec needs to do nothing.
 * SYSTEM CALLS AND SIGNALS
 *   Interrupted system calls are repeated. errno is not part of the interface: results carry the number in os_error.
 *   SIGBUS alone has a handler, from the first open of a static pool on tmpfs that is read through mappings
 *   (nixl_store_map_files in docs/CONFIGURATION.md): it survives files that others cut, and passes all else on to the
 *   handler that was there.
 *
 *
 * CONTENTS
 *
 * Constants, then types, then functions:
 *   simple layer    nixl_store_open, _put, _get, _close
 *   batches         nixl_store_batch_put, _batch_get
 *   of keys         nixl_store_batch_lookup, _batch_remove, _batch_pin, _batch_unpin
 *   tickets         nixl_store_ticket_wait, _ticket_poll, _ticket_cancel, _ticket_progress
 *   streams         nixl_store_stream_wait
 *   queues          nixl_store_queue_create, _queue_fd, _queue_drain, _queue_destroy
 *   memory          nixl_store_memory_register, _memory_unregister, _memory_allocate, _memory_free
 *   keys            nixl_store_key_contains, _key_length, _prefix_match, _key_remove, _key_pin, _key_unpin, _clear
 *   operations      nixl_store_flush, _stats_read, _capabilities_read, _metrics_text, _version, _abi_version,
 *                   _status_name, _error_message
 */

#ifndef NIXL_STORE_H
#define NIXL_STORE_H

#include <stddef.h>
#include <stdint.h>

/** Makes the compiler warn where a status is not looked at. */
#if !defined(NIXL_STORE_NODISCARD)
#if (defined(__cplusplus) && __cplusplus >= 201703L) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)
#define NIXL_STORE_NODISCARD [[nodiscard]]
#elif defined(__GNUC__)
#define NIXL_STORE_NODISCARD __attribute__((warn_unused_result))
#else
#define NIXL_STORE_NODISCARD
#endif
#endif

/* ======== Versions ======== */

/**
 * Of the binary interface, and the number in the soname. A library serves a program that was compiled with the same
 * number; within one number, structs with a struct_size member may grow and functions may be added.
 */
#define NIXL_STORE_ABI_VERSION 0

#define NIXL_STORE_VERSION_MAJOR 0              /**< Of this header; nixl_store_version() has the library's. */
#define NIXL_STORE_VERSION_MINOR 1              /**< See NIXL_STORE_VERSION_MAJOR. */
#define NIXL_STORE_VERSION_PATCH 0              /**< See NIXL_STORE_VERSION_MAJOR. */
#define NIXL_STORE_VERSION_STRING "0.1.0"       /**< All three together. */

/* ======== Statuses: success, and answers that are no errors ======== */

#define NIXL_STORE_OK 0                         /**< Success. */
#define NIXL_STORE_NOT_FOUND 1                  /**< Not stored, or not proven right, which to a cache is the same. */
#define NIXL_STORE_IN_PROGRESS 2                /**< The batch is not completed yet. */
#define NIXL_STORE_PINNED 3                     /**< Not removed, because it is pinned. */

/**
 * Not stored, because under cache_policy REUSE it is not worth displacing anything for; nothing was written. See
 * NIXL_STORE_ITEM_ADMIT. Take REUSE where the store is smaller than what comes back, where writes matter, or below a
 * cache in memory; LRU, the default, where every put has to be stored, or the store holds most of what comes back; LFU,
 * FIFO and MRU to do as LMCache does. More is in docs/EVICTION.md.
 */
#define NIXL_STORE_NOT_ADMITTED 4

/* ======== Statuses: errors ======== */

#define NIXL_STORE_ERROR_INVALID_ARGUMENT -1    /**< An argument cannot be accepted; nothing was done. */
#define NIXL_STORE_ERROR_INVALID_HANDLE -2      /**< NULL or 0, closed or consumed, or never one of this store. */
#define NIXL_STORE_ERROR_CONFIG -3              /**< The configuration cannot be used; the message has the line. */
#define NIXL_STORE_ERROR_UNSUPPORTED -4         /**< Backend not built in, device missing, or not served. */
#define NIXL_STORE_ERROR_IO -5                  /**< The operating system or the backend reported an error. */
#define NIXL_STORE_ERROR_NO_SPACE -6            /**< Device full (ENOSPC, EDQUOT), and eviction could not help. */
#define NIXL_STORE_ERROR_POOL_FULL -7           /**< Every slot is pinned, in use or quarantined. */
#define NIXL_STORE_ERROR_BUFFER_TOO_SMALL -8    /**< The memory given to a get is smaller than the object. */
#define NIXL_STORE_ERROR_TOO_LARGE -9           /**< The object is larger than a slot or than the capacity. */
#define NIXL_STORE_ERROR_OUT_OF_RANGE -10       /**< A range get reaches past the end of the object. */
#define NIXL_STORE_ERROR_BUSY -11               /**< A bounded queue or table is full; try again later. */

/** The deadline passed first. With the backend OBJ a put that ends so may be stored all the same. */
#define NIXL_STORE_ERROR_TIMED_OUT -12

#define NIXL_STORE_ERROR_CANCELLED -13          /**< Cancelled before it was started. */
#define NIXL_STORE_ERROR_CLOSING -14            /**< Another thread is closing the store. */
#define NIXL_STORE_ERROR_LOCKED -15             /**< Another process or store owns the static pool. */
#define NIXL_STORE_ERROR_FORMAT -16             /**< What is on storage was made with other parameters. */
#define NIXL_STORE_ERROR_PERMISSION -17         /**< The operating system denied access. */
#define NIXL_STORE_ERROR_OUT_OF_MEMORY -18      /**< Memory, or a thread, could not be had. */
#define NIXL_STORE_ERROR_POISONED -19           /**< A bug was caught in this store; it refuses all but close. */
#define NIXL_STORE_ERROR_FORKED -20             /**< The process forked after open; the child may only close. */
#define NIXL_STORE_ERROR_INTERNAL -21           /**< A bug in the library. */
#define NIXL_STORE_ERROR_NO_RESULT -22          /**< In an entry of an array of answers that was not filled. */

/* ======== Times ======== */

#define NIXL_STORE_TIMEOUT_INFINITE UINT64_MAX  /**< As a timeout_ms: wait for ever. */
#define NIXL_STORE_DEADLINE_DEFAULT 0           /**< As a deadline_ms: the setting nixl_store_timeout_ms. */
#define NIXL_STORE_DEADLINE_NONE UINT64_MAX     /**< As a deadline_ms: none. */

/* ======== Limits ======== */

#define NIXL_STORE_KEY_BYTES_MAX 1024           /**< Longest key, in bytes. */
#define NIXL_STORE_NAMESPACE_BYTES_MAX 255      /**< Longest cache_namespace, in bytes without its NUL. */
#define NIXL_STORE_PATH_BYTES_MAX 4096          /**< Longest config_path, in bytes with its NUL. */
#define NIXL_STORE_CONFIG_BYTES_MAX 1048576     /**< Longest configuration, file or text, in bytes. */
#define NIXL_STORE_BATCH_ITEMS_MAX 65536        /**< Most items of a batch, and most keys of a prefix match. */

/** Most keys that nixl_store_prefix_plan() looks at behind the prefix. */
#define NIXL_STORE_PLAN_KEYS_MAX 4096

#define NIXL_STORE_SEGMENTS_PER_ITEM_MAX 65536  /**< Most segments of an item. */
#define NIXL_STORE_OVERLAP_SEGMENTS_MAX 65536   /**< Segments of a get batch up to which items are compared. */
#define NIXL_STORE_STORES_MAX 1024              /**< Most stores open at one time in a process. */
#define NIXL_STORE_STRUCT_BYTES_MAX 4096        /**< Largest struct_size accepted, in bytes. */

/* ======== Kinds of memory ======== */

/** The library finds out: where the process has loaded CUDA's driver it is asked, else it is host memory. */
#define NIXL_STORE_MEMORY_AUTO 0

#define NIXL_STORE_MEMORY_HOST 1                /**< Host memory, pageable or pinned. */

/** CUDA device memory: cuMemAlloc, pools, mapped ranges, managed memory. */
#define NIXL_STORE_MEMORY_CUDA 2

/* ======== Flags of an item ======== */

/**
 * Of a get: read the range of the object that starts at object_offset and is as long as the segments together, instead
 * of the whole object.
 */
#define NIXL_STORE_ITEM_RANGE 1

/**
 * Of a get: an object of any other length than that of the segments is NIXL_STORE_NOT_FOUND. For engines whose objects
 * all have one length, so that a shorter one cannot pass for a whole. Of a put: see NIXL_STORE_ITEM_KEEP.
 */
#define NIXL_STORE_ITEM_EXACT 2

/**
 * Of a put: if the key is stored, leave it and move nothing; the result has bytes 0 and the stored object_length. For
 * keys that stand for their content, such as hashes of token blocks. With NIXL_STORE_ITEM_EXACT only an object of the
 * same length is left, and one of another length, or of a length that nobody knows without asking, is replaced: so that
 * gets with NIXL_STORE_ITEM_EXACT find what was put.
 */
#define NIXL_STORE_ITEM_KEEP 4

/**
 * Of a get: prove bytes from the front, so that they can be used while the rest is on its way; see
 * nixl_store_ticket_progress() and nixl_store_stream_wait().
 */
#define NIXL_STORE_ITEM_FRONT 8

/**
 * Of a put: store it whatever the policy REUSE finds, so that it does not end with NIXL_STORE_NOT_ADMITTED. What makes
 * room for it is the item that leaves first.
 */
#define NIXL_STORE_ITEM_ADMIT 16

/** As an item_index of nixl_store_stream_wait(): all items of the batch. */
#define NIXL_STORE_ITEMS_ALL SIZE_MAX

/* ======== Flags of a submit ======== */

/**
 * Of a lookup: the keys are a chain, in their order. An item behind the first that is not found may be
 * NIXL_STORE_NOT_FOUND without being looked up.
 */
#define NIXL_STORE_SUBMIT_CHAIN 1

/**
 * Of puts or gets: they start after the work that is on cuda_stream when they are submitted. The memory of a put is
 * still being written by that work, or that of a get still in use.
 */
#define NIXL_STORE_SUBMIT_AFTER_STREAM 2

/**
 * Of puts or gets: work that is put on cuda_stream after the submit waits until every item of the batch has ended,
 * however it ended. See nixl_store_stream_wait() for what the stream is promised.
 */
#define NIXL_STORE_SUBMIT_BEFORE_STREAM 4

/* ======== Levels of the log ======== */

#define NIXL_STORE_LOG_ERROR 1                  /**< Something failed. */
#define NIXL_STORE_LOG_WARN 2                   /**< Something works, but not as it was asked for. */
#define NIXL_STORE_LOG_INFO 3                   /**< A fact about how the store runs. */
#define NIXL_STORE_LOG_DEBUG 4                  /**< Detail for the library's developers. */

/* ======== Types ======== */

/** A completion queue of a store. A handle, see HANDLES above. */
typedef struct nixl_store_queue_t nixl_store_queue_t;

/** An open store. A handle, see HANDLES above. */
typedef struct nixl_store_t nixl_store_t;

/** Outcome of a call: one of the statuses above. */
typedef int32_t nixl_store_status_t;

/**
 * Receives the library's messages. message is NUL-terminated UTF-8, one line, valid during the call only; level is one
 * of NIXL_STORE_LOG_*. Levels up to INFO arrive, unless the environment variable NIXL_STORE_LOG says otherwise (off,
 * error, warn, info, debug).
 *
 * It is called from threads of the caller and of the library, several at a time, from inside nixl_store_open() until
 * nixl_store_close() returned; context has to live as long. It must return soon, throw nothing, and call no function of
 * this library.
 */
typedef void (*nixl_store_log_fn_t)(void *context, uint32_t level, const char *message);

/** One message of the log. Valid during the call only. */
typedef struct {
    /** sizeof(nixl_store_log_record_t) of the library; members behind it are not there. */
    size_t struct_size;
    /** When it was sent: nanoseconds since 1970-01-01 00:00:00 UTC. */
    uint64_t time_unix_ns;
    /** One of NIXL_STORE_LOG_*. */
    uint32_t level;
    /** 0. */
    uint32_t reserved;
    /** The message: NUL-terminated UTF-8, one line, without time and level. */
    const char *message;
} nixl_store_log_record_t;

/** As nixl_store_log_fn_t, with all that belongs to a message in fields. */
typedef void (*nixl_store_log_record_fn_t)(void *context, const nixl_store_log_record_t *record);

/** What the engine knows and the configuration does not. All zero but struct_size means: defaults. */
typedef struct {
    /** sizeof(nixl_store_open_options_t). */
    size_t struct_size;
    /** Bytes of the largest object, for the slots of a static pool; 0: as the configuration says. */
    uint64_t chunk_bytes;
    /** Rank of this worker, below world_size. */
    uint32_t worker_id;
    /** Workers that work together; 0 is taken as 1. */
    uint32_t world_size;
    /** 1 if cuda_device is set, else 0. */
    uint32_t has_cuda_device;
    /** Ordinal of the CUDA device that this worker uses; 0 unless has_cuda_device is 1. */
    uint32_t cuda_device;
    /**
     * Separates the keys of users who share one store: NUL-terminated, at most NIXL_STORE_NAMESPACE_BYTES_MAX bytes;
     * NULL or "": none. Copied.
     */
    const char *cache_namespace;
    /**
     * Where messages go. If this and log_record_function are NULL: to standard error, each with its time and level,
     * errors and warnings only.
     */
    nixl_store_log_fn_t log_function;
    /** Given to log_function or log_record_function with each message. */
    void *log_context;
    /**
     * The configuration itself instead of a file: YAML of at most NIXL_STORE_CONFIG_BYTES_MAX bytes, NUL-terminated,
     * read during the call only; config_path must then be NULL. NULL: none.
     */
    const char *config_text;
    /** Where messages go as records, instead of log_function, which must then be NULL. NULL: see there. */
    nixl_store_log_record_fn_t log_record_function;
} nixl_store_open_options_t;

/** A stretch of the caller's memory. */
typedef struct {
    /** First byte, of any alignment; aligned to direct_alignment of the capabilities, transfers need no copy. */
    void *address;
    /** Bytes; never 0. */
    uint64_t length;
    /** One of NIXL_STORE_MEMORY_*. */
    uint32_t memory_kind;
    /**
     * NIXL_STORE_MEMORY_CUDA only: 0: find out whose memory it is; else the ordinal of its device plus 1. Then the
     * driver is not asked what the address is, and wrong words end as an error of the item.
     */
    uint32_t cuda_device;
    /** Must be 0. */
    uint32_t reserved[2];
} nixl_store_segment_t;

/** One object of a batch: its key and the memory that its bytes come from or go to, in the order of the segments. */
typedef struct {
    /** The key: any bytes. Copied at submit. */
    const void *key;
    /** Bytes of the key: 1 to NIXL_STORE_KEY_BYTES_MAX. */
    uint64_t key_length;
    /** The segments; the array is copied at submit, the memory is used until completion. */
    const nixl_store_segment_t *segments;
    /** Number of segments: 1 to NIXL_STORE_SEGMENTS_PER_ITEM_MAX. */
    uint64_t segment_count;
    /** With NIXL_STORE_ITEM_RANGE: first byte of the object to read; else 0. */
    uint64_t object_offset;
    /** NIXL_STORE_ITEM_* together, or 0. */
    uint32_t flags;
    /** Must be 0. */
    uint32_t reserved[5];
} nixl_store_item_t;

/** How a batch is submitted. All zero but struct_size means: defaults. */
typedef struct {
    /** sizeof(nixl_store_submit_options_t). */
    size_t struct_size;
    /**
     * Deadline, in milliseconds from submit: items that were not started by then end with NIXL_STORE_ERROR_TIMED_OUT,
     * and with the backend OBJ those that were not done. NIXL_STORE_DEADLINE_DEFAULT (0): that of the store;
     * NIXL_STORE_DEADLINE_NONE: none.
     */
    uint64_t deadline_ms;
    /** Queue of the same store that gets a completion for the batch; NULL: none. */
    nixl_store_queue_t *queue;
    /** Any number; it comes back in the completion. */
    uint64_t user_data;
    /** NIXL_STORE_SUBMIT_* together, or 0. */
    uint32_t flags;
    /** Must be 0. */
    uint32_t reserved;
    /**
     * With NIXL_STORE_SUBMIT_AFTER_STREAM or _BEFORE_STREAM: the stream, a CUstream or cudaStream_t; NULL is the legacy
     * default stream of the calling thread's context. Else NULL.
     */
    void *cuda_stream;
    /**
     * Of lookups, gets and puts: any number for the request that the batch belongs to; 0: none. Batches with one number
     * are one request, whose keys follow one another in the order in which they come: eviction by LRU and REUSE keeps
     * chains in order and counts each key of a request once. Not needed where a lookup of the whole chain, such as
     * nixl_store_prefix_match(), came before its gets and puts, nor where one batch has all of it. Some 1000 requests
     * are remembered.
     */
    uint64_t request;
} nixl_store_submit_options_t;

/** A submitted batch: never 0, never given out twice by one store. */
typedef uint64_t nixl_store_ticket_t;

/** A key, as an element of a chain or a batch. */
typedef struct {
    /** The key: any bytes. */
    const void *key;
    /** Bytes of the key: 1 to NIXL_STORE_KEY_BYTES_MAX. */
    uint64_t key_length;
    /** Must be 0. */
    uint32_t reserved[4];
} nixl_store_key_t;

/** How one item of a batch ended. */
typedef struct {
    /** How it ended; NIXL_STORE_ERROR_NO_RESULT in an entry that was not filled. */
    nixl_store_status_t status;
    /** The errno behind it; 0: none. */
    int32_t os_error;
    /** Payload bytes moved to or from the segments. They count only if status is NIXL_STORE_OK. */
    uint64_t bytes;
    /** Bytes of the stored object where it is known, else 0; with NIXL_STORE_ERROR_BUFFER_TOO_SMALL, what is needed. */
    uint64_t object_length;
    /** 0. */
    uint64_t reserved[3];
} nixl_store_result_t;

/** Says that a batch finished. */
typedef struct {
    /**
     * The batch, still to be consumed with nixl_store_ticket_wait(), which will not block; 0 in an entry that was not
     * filled.
     */
    nixl_store_ticket_t ticket;
    /** user_data of its submit options. */
    uint64_t user_data;
    /** What nixl_store_ticket_wait() will return for it; NIXL_STORE_ERROR_NO_RESULT in an entry that was not filled. */
    nixl_store_status_t status;
    /** 0. */
    uint32_t reserved[3];
} nixl_store_completion_t;

/** Gauges and counters of a store. Counters are totals since open; each is exact, together they are not one instant. */
typedef struct {
    /** sizeof(nixl_store_stats_t), set by the caller and left as it is. */
    size_t struct_size;
    /** Gauge: keys stored now, as far as this process knows. */
    uint64_t keys;
    /**
     * Gauge, bytes: payload stored now; in a dynamic store and in a bucket whole files or objects, as far as this
     * process knows them.
     */
    uint64_t bytes_stored;
    /** Gauge: slots of a static pool; 0 if the store is dynamic. */
    uint64_t slots;
    /** Gauge: slots that hold nothing. */
    uint64_t slots_free;
    /** Gauge, bytes: capacity; 0: unlimited. */
    uint64_t capacity_bytes;
    /** Gauge: keys pinned by this process. */
    uint64_t keys_pinned;
    /** Gauge: items waiting or under way. */
    uint64_t items_in_flight;
    /** Counter: puts that completed. */
    uint64_t puts_ok;
    /** Counter: puts that failed. */
    uint64_t puts_failed;
    /** Counter: gets that delivered bytes. */
    uint64_t gets_hit;
    /** Counter: gets that found nothing. */
    uint64_t gets_missed;
    /** Counter: gets that failed. */
    uint64_t gets_failed;
    /** Counter, bytes: payload of completed puts. */
    uint64_t bytes_put;
    /** Counter, bytes: payload delivered by gets. */
    uint64_t bytes_got;
    /** Counter, bytes: payload that moved straight between caller memory and storage. */
    uint64_t bytes_direct;
    /** Counter, bytes: payload that passed through the staging buffer. */
    uint64_t bytes_staged;
    /** Counter: entries evicted to make room. */
    uint64_t evictions;
    /** Counter: reads whose record did not prove right (key, length or checksum); each was a miss. */
    uint64_t corruptions;
    /** Gauge: slots that are out of use because of that or because of I/O errors. */
    uint64_t quarantined_slots;
    /** Counter: gets served without a checksum because LMCache wrote the object and the configuration allows it. */
    uint64_t gets_unverified;
    /** Counter: short transfers that were completed by a further one. */
    uint64_t short_transfers;
    /** Counter: transfers repeated after EINTR or EAGAIN. */
    uint64_t retries;
    /** Counter: items that ended because their deadline passed. */
    uint64_t timed_out;
    /** Counter: items that ended because their ticket was cancelled. */
    uint64_t cancelled;
    /** Counter: puts that ended with NIXL_STORE_NOT_ADMITTED. */
    uint64_t puts_declined;
} nixl_store_stats_t;

/** Which path is in effect, and why. Strings are NUL-terminated, cut off where they do not fit. */
typedef struct {
    /** sizeof(nixl_store_capabilities_t), set by the caller and left as it is. */
    size_t struct_size;
    /** Bytes of the largest object that can be put; 0: nothing but the device bounds it. */
    uint64_t object_bytes_max;
    /** Bytes: segments whose address and length are multiples of it move without a copy; 1: all do. */
    uint64_t direct_alignment;
    /** Threads that do the I/O. */
    uint32_t io_threads;
    /** 1 if O_DIRECT is in effect, else 0. */
    uint32_t direct_io;
    /** 1 if the staging buffer is registered with the kernel, else 0. */
    uint32_t registered_buffers;
    /** 0. */
    uint32_t reserved;
    /** The backend: "POSIX", …. */
    char backend[16];
    /**
     * How it moves bytes: "io_uring"; "threads" where that is refused; "inline" where files lie in memory (tmpfs);
     * "cufile_batch" (GDS) and "cufile" (GDS_MT), with "_compat" behind it where bytes pass the processor; "usrbio"
     * (HF3FS).
     */
    char io_path[32];
    /** Where bytes are: "static", "dynamic/sharded", "dynamic/lmcache". */
    char layout[32];
    /** Why a better path is not in effect; empty if nothing was degraded. */
    char reason[512];
    /** Where the staging buffer is: "cpu", or "cuda:N" on the device of that ordinal. */
    char buffer_device[16];
    /**
     * What becomes of CUDA device memory: "staged": it is copied through the staging buffer; "direct": cuFile moves it,
     * where its alignment allows; "direct_compat": the same in cuFile's compatibility mode, in which bytes pass the
     * processor; "none" while no CUDA driver is loaded in the process.
     */
    char device_path[16];
    /**
     * What computes the checksums of device memory that the processor does not see: "cuda"; "cpu" where all of it
     * passes the processor; "none" as above.
     */
    char device_checksums[16];
    /** Why device memory is not served better; empty if nothing was degraded. */
    char device_reason[256];
} nixl_store_capabilities_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* ======== Simple layer: one blocking call each ======== */

/**
 * Opens the store that a configuration describes, and recovers what it holds.
 *
 * The configuration is, in this order: the file config_path; options->config_text; the file that the environment
 * variable LMCACHE_CONFIG_FILE names; the environment alone, if LMCACHE_EXTRA_CONFIG turns NIXL storage on. As in
 * LMCache, variables LMCACHE_* win over a file and over a text; docs/CONFIGURATION.md lists them and every setting.
 *
 * config_path: LMCache's YAML file, NUL-terminated, at most NIXL_STORE_PATH_BYTES_MAX bytes. May be NULL.
 * options: what the configuration does not say. May be NULL. Copied, but for the function and context of the log, which
 * are used until nixl_store_close() returned.
 * store_out: gets the handle, which the caller closes with nixl_store_close().
 *
 * Blocks while it recovers: about 1 s for 100000 slots after a clean close, up to 10 s after a crash.
 *
 * Returns:
 * - NIXL_STORE_OK: *store_out is open.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if config_path or config_text is empty or too long, or both are given.
 * - NIXL_STORE_ERROR_CONFIG: there is no configuration, it cannot be read, or a setting cannot be used.
 * - NIXL_STORE_ERROR_UNSUPPORTED: the backend is not built in, or lacks a device, driver or library that the message
 *   names.
 * - NIXL_STORE_ERROR_LOCKED: another process or store owns the static pool; the message says which.
 * - NIXL_STORE_ERROR_FORMAT: the pool was made with other parameters; nothing in it was touched.
 * - NIXL_STORE_ERROR_BUSY: NIXL_STORE_STORES_MAX stores are open in this process.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _OUT_OF_MEMORY: as named.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_open(const char *config_path,
                                    const nixl_store_open_options_t *options,
                                    nixl_store_t **store_out);

/**
 * Stores one object under a key, replacing what the key had, and waits until it is visible.
 *
 * When it returns NIXL_STORE_OK, every thread and process on the same storage gets these bytes, also if this process is
 * killed right after; nixl_store_flush() makes them survive a loss of power. After an error nothing of the object is
 * visible: the key has what it had before, or nothing where room had to be made. A static pool without a free slot
 * makes room for a stored key in the key's own slot first; until the put is complete the key is then not found.
 *
 * data: length bytes of host or CUDA device memory, at least 1; read until the call returns and never after. Host
 * memory aligned to direct_alignment of the capabilities moves without a copy; registered memory also spares the kernel
 * pinning it.
 *
 * Has the deadline of the setting nixl_store_timeout_ms. What is under way by then is waited for, because the device
 * may still be using the memory.
 *
 * Returns:
 * - NIXL_STORE_OK: stored.
 * - NIXL_STORE_NOT_ADMITTED: not stored, under cache_policy REUSE alone.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the key has no file name in the layout lmcache.
 * - NIXL_STORE_ERROR_TOO_LARGE: length is beyond object_bytes_max of the capabilities.
 * - NIXL_STORE_ERROR_POOL_FULL: every slot is pinned, in use or quarantined.
 * - NIXL_STORE_ERROR_NO_SPACE: the device is full and eviction could not help.
 * - NIXL_STORE_ERROR_BUSY, _TIMED_OUT: the submission queue stayed full, or the deadline passed.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _OUT_OF_MEMORY: as named.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_put(nixl_store_t *store,
                                   const void *key,
                                   size_t key_length,
                                   const void *data,
                                   size_t length);

/**
 * Reads the object under a key into memory.
 *
 * buffer: capacity bytes of host or CUDA device memory, at least 1; written until the call returns and never after.
 * After an error or NIXL_STORE_NOT_FOUND their content is undefined. Host memory aligned to direct_alignment of the
 * capabilities moves without a copy; registered memory also spares the kernel pinning it.
 * length_out: gets the length of the object in bytes. Must not lie in buffer.
 *
 * Has the deadline of the setting nixl_store_timeout_ms. What is under way by then is waited for, because the device
 * may still be using the memory.
 *
 * Returns:
 * - NIXL_STORE_OK: the first *length_out bytes of buffer are the object.
 * - NIXL_STORE_NOT_FOUND: the key is not stored, or its bytes could not be proven right.
 * - NIXL_STORE_ERROR_BUFFER_TOO_SMALL: *length_out is the capacity that is needed, written although this is an error.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if length_out lies in buffer.
 * - NIXL_STORE_ERROR_BUSY, _TIMED_OUT: the submission queue stayed full, or the deadline passed.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _OUT_OF_MEMORY: as named.
 */
NIXL_STORE_NODISCARD
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
 * Tickets that are waited for in other threads complete first. Registered memory is the caller's alone again; allocated
 * memory, queues and their descriptors are gone. The handle is stale from the moment this returns, and using it is
 * harmless: every call answers NIXL_STORE_ERROR_INVALID_HANDLE.
 *
 * Not to be called from a function of the log. In a child of fork() it releases the child's share without touching the
 * parent's store.
 *
 * Returns:
 * - NIXL_STORE_OK: closed.
 * - NIXL_STORE_ERROR_CLOSING: another thread is closing it now.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _OUT_OF_MEMORY: closed, but the index could not be kept; the next open
 *   recovers as after a crash.
 * - NIXL_STORE_ERROR_POISONED, _INTERNAL: closed; a bug in the library kept it from being done cleanly.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_close(nixl_store_t *store);

/* ======== Full layer: batches ======== */

/**
 * Submits puts of many objects and returns at once. Each item is a put of its own: it succeeds or fails by itself, as
 * described at nixl_store_put(), and becomes visible as a whole.
 *
 * items: item_count items, 1 to NIXL_STORE_BATCH_ITEMS_MAX. An object is the bytes of its item's segments, one after
 * the other. The arrays of items, segments and keys are copied: they may be freed when the call returns. The memory
 * that the segments describe is read until the batch completed. With NIXL_STORE_ITEM_KEEP an item whose key is stored
 * already ends with NIXL_STORE_OK at once, and nothing is written; with NIXL_STORE_ITEM_EXACT beside it, only if the
 * object stored has the length of this one.
 * options: deadline, completion queue, user data, the request that the batch belongs to, and a CUDA stream with which
 * the batch is ordered: see nixl_store_stream_wait(). May be NULL.
 * ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the batch.
 *
 * Give the keys of a prompt in the order of its chain: eviction by LRU and REUSE lets its end leave before its
 * beginning.
 *
 * Waits only while the submission queue is full, up to the deadline. Batches have no order among each other: wait for
 * one before submitting what depends on it.
 *
 * Returns:
 * - NIXL_STORE_OK: submitted.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if NIXL_STORE_ITEM_RANGE, _FRONT or object_offset is set, or
 *   NIXL_STORE_ITEM_EXACT without _KEEP. Nothing was submitted, as with every error below, and no stream waits.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
 * - NIXL_STORE_ERROR_UNSUPPORTED: memory of this kind, or a stream, is not served in this build or on this machine.
 * - NIXL_STORE_ERROR_BUSY: the submission queue stayed full until the deadline; or too many tickets were not consumed
 *   yet, or completions not drained, or too many streams wait; the message says which.
 * - NIXL_STORE_ERROR_IO: with a stream: CUDA's driver reported an error.
 * - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
 *
 * What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_NOT_ADMITTED (under cache_policy
 * REUSE, without NIXL_STORE_ITEM_ADMIT), NIXL_STORE_ERROR_TOO_LARGE, _POOL_FULL, _NO_SPACE, _INVALID_ARGUMENT (a key
 * without a file name in the layout lmcache), _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED, _POISONED.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_batch_put(nixl_store_t *store,
                                         const nixl_store_item_t *items,
                                         size_t item_count,
                                         const nixl_store_submit_options_t *options,
                                         nixl_store_ticket_t *ticket_out);

/**
 * Submits gets of many objects and returns at once. Each item is a get of its own. Gets go ahead of puts that were not
 * started.
 *
 * items: item_count items, 1 to NIXL_STORE_BATCH_ITEMS_MAX. An object fills its item's segments one after the other;
 * they may hold more than the object, and what is beyond it stays as it was. With NIXL_STORE_ITEM_EXACT an object of
 * any other length than theirs is not found. With NIXL_STORE_ITEM_RANGE exactly the bytes from object_offset on are
 * read that the segments have room for. The arrays of items, segments and keys are copied: they may be freed when the
 * call returns. The memory that the segments describe is written until the batch completed, and its content counts only
 * where the item's status is NIXL_STORE_OK; with NIXL_STORE_ITEM_FRONT also as far as nixl_store_ticket_progress()
 * says.
 * options: deadline, completion queue, user data, and a CUDA stream with which the batch is ordered: see
 * nixl_store_stream_wait(). May be NULL.
 * ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the batch.
 * Must not lie in a segment.
 *
 * No two segments may share a byte. That is checked within an item always, and across items in batches of up to
 * NIXL_STORE_OVERLAP_SEGMENTS_MAX segments; it costs least when segments come in ascending order of address.
 *
 * Waits only while the submission queue is full, up to the deadline.
 *
 * Returns:
 * - NIXL_STORE_OK: submitted.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if object_offset is set without NIXL_STORE_ITEM_RANGE, or segments overlap.
 *   Nothing was submitted, as with every error below, and no stream waits.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
 * - NIXL_STORE_ERROR_UNSUPPORTED: memory of this kind, or a stream, is not served in this build or on this machine.
 * - NIXL_STORE_ERROR_BUSY: the submission queue stayed full until the deadline; or too many tickets were not consumed
 *   yet, or completions not drained, or too many streams wait; the message says which.
 * - NIXL_STORE_ERROR_IO: with a stream: CUDA's driver reported an error.
 * - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
 *
 * What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_NOT_FOUND,
 * NIXL_STORE_ERROR_BUFFER_TOO_SMALL, _OUT_OF_RANGE, _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED,
 * _POISONED.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_batch_get(nixl_store_t *store,
                                         const nixl_store_item_t *items,
                                         size_t item_count,
                                         const nixl_store_submit_options_t *options,
                                         nixl_store_ticket_t *ticket_out);

/* ======== Full layer: batches of keys ======== */

/**
 * Submits lookups of many keys and returns at once: which are stored, and how long their objects are. No thread of the
 * caller waits for storage. The ticket is one like any other, with nixl_store_ticket_wait(), _poll, _cancel and
 * completions; the results have object_length, and bytes 0.
 *
 * keys: key_count keys, 1 to NIXL_STORE_BATCH_ITEMS_MAX, the items of the batch in that order. The array and the keys
 * are copied: they may be freed when the call returns.
 * options: deadline, completion queue, user data. May be NULL. With NIXL_STORE_SUBMIT_CHAIN the keys are a chain, of
 * which a prefix is wanted: an item behind the first that ends with NIXL_STORE_NOT_FOUND may end so too without being
 * looked up. The prefix are the items before the first that did not end with NIXL_STORE_OK.
 * ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the batch.
 *
 * What is stored may be gone a moment later, unless it is pinned. With nixl_presence_cache a key that this process
 * knows to be stored is NIXL_STORE_OK without asking storage, and its object_length 0.
 *
 * On a static pool this does no I/O, and all items have ended when the call returns. Elsewhere threads of the library
 * ask; a deadline or a cancel ends what they have not begun to ask about, also while storage hangs.
 *
 * Returns:
 * - NIXL_STORE_OK: submitted.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: nothing was submitted, as with every error below.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
 * - NIXL_STORE_ERROR_BUSY: as many questions as nixl_store_queue_items allows were not answered until the deadline; or
 *   too many tickets were not consumed yet, or completions not drained; the message says which.
 * - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
 *
 * What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_NOT_FOUND,
 * NIXL_STORE_ERROR_INVALID_ARGUMENT (a key without a file name in the layout lmcache), _IO, _PERMISSION, _TIMED_OUT,
 * _CANCELLED, _POISONED.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_batch_lookup(nixl_store_t *store,
                                            const nixl_store_key_t *keys,
                                            size_t key_count,
                                            const nixl_store_submit_options_t *options,
                                            nixl_store_ticket_t *ticket_out);

/**
 * Submits removals of many keys and returns at once. Each item is a removal of its own, as nixl_store_key_remove()
 * describes it: gets that are under way still deliver the object.
 *
 * keys, options, ticket_out: as for nixl_store_batch_lookup(); there are no chains.
 *
 * Returns: as nixl_store_batch_lookup().
 *
 * What the items can end with: NIXL_STORE_OK, NIXL_STORE_NOT_FOUND, NIXL_STORE_PINNED, and errors: those of
 * nixl_store_key_remove(), with their meaning there, and NIXL_STORE_ERROR_INVALID_ARGUMENT, _TIMED_OUT, _CANCELLED,
 * _POISONED as for a lookup.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_batch_remove(nixl_store_t *store,
                                            const nixl_store_key_t *keys,
                                            size_t key_count,
                                            const nixl_store_submit_options_t *options,
                                            nixl_store_ticket_t *ticket_out);

/**
 * Submits pins of many keys and returns at once. Each item is a pin of its own, as nixl_store_key_pin() describes it: a
 * key that is twice in the batch is pinned twice.
 *
 * keys, options, ticket_out: as for nixl_store_batch_lookup(); there are no chains.
 *
 * Only the items that ended with NIXL_STORE_OK are pinned, and are to be unpinned, also if the batch as a whole failed
 * or was cancelled.
 *
 * Returns: as nixl_store_batch_lookup().
 *
 * What the items can end with: as for nixl_store_batch_lookup(), where NIXL_STORE_NOT_FOUND is a key that is not stored
 * and was not pinned.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_batch_pin(nixl_store_t *store,
                                         const nixl_store_key_t *keys,
                                         size_t key_count,
                                         const nixl_store_submit_options_t *options,
                                         nixl_store_ticket_t *ticket_out);

/**
 * Submits unpins of many keys and returns at once: one pin of each is taken back.
 *
 * keys, options, ticket_out: as for nixl_store_batch_lookup(); there are no chains.
 *
 * Returns: as nixl_store_batch_lookup().
 *
 * What the items can end with: as for nixl_store_batch_lookup(), where NIXL_STORE_NOT_FOUND is a key on which this
 * store holds no pin.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_batch_unpin(nixl_store_t *store,
                                           const nixl_store_key_t *keys,
                                           size_t key_count,
                                           const nixl_store_submit_options_t *options,
                                           nixl_store_ticket_t *ticket_out);

/* ======== Full layer: tickets ======== */

/**
 * Waits until a batch completed, gives the result of each item, and releases the ticket.
 *
 * ticket: from a submit to this store, not consumed yet.
 * timeout_ms: see TIMES. It bounds this call alone: the batch goes on, and its memory stays in use, until the batch
 * completed.
 * results_out: gets one result per item, in the order of the items, once the batch completed, whatever its status. All
 * result_capacity entries are written whatever this call returns: those without a result get
 * NIXL_STORE_ERROR_NO_RESULT. May be NULL: not wanted.
 * result_capacity: entries that results_out has room for, at least the number of items. Not used if results_out is
 * NULL.
 * result_count_out: gets the number of results: the number of items once the batch completed, else 0. May be NULL if
 * results_out is. Must not lie in results_out.
 *
 * Of several threads that wait for one ticket, one gets the results, the others NIXL_STORE_ERROR_INVALID_HANDLE.
 *
 * Returns, with the batch completed and the ticket released:
 * - NIXL_STORE_OK: all items ended with NIXL_STORE_OK.
 * - NIXL_STORE_NOT_FOUND: at least one item ended with NIXL_STORE_NOT_FOUND, and none with NIXL_STORE_PINNED or an
 *   error.
 * - NIXL_STORE_PINNED: at least one item of a removal ended with NIXL_STORE_PINNED, and none with an error.
 * - The first error among the items: NIXL_STORE_ERROR_TOO_LARGE, _POOL_FULL, _NO_SPACE, _BUFFER_TOO_SMALL,
 *   _OUT_OF_RANGE, _INVALID_ARGUMENT, _BUSY, _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED.
 *
 * Returns, with the ticket kept:
 * - NIXL_STORE_IN_PROGRESS: not completed within timeout_ms.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if result_capacity is below the number of items.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_ticket_wait(nixl_store_t *store,
                                           nixl_store_ticket_t ticket,
                                           uint64_t timeout_ms,
                                           nixl_store_result_t *results_out,
                                           size_t result_capacity,
                                           size_t *result_count_out);

/**
 * Says how a batch is doing, without waiting and without releasing the ticket.
 *
 * ticket: from a submit to this store, not consumed yet.
 *
 * Returns:
 * - NIXL_STORE_IN_PROGRESS: not completed.
 * - What nixl_store_ticket_wait() will return: completed.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_ticket_poll(nixl_store_t *store, nixl_store_ticket_t ticket);

/**
 * Asks for a batch to end early: items that were not started end with NIXL_STORE_ERROR_CANCELLED, the others finish.
 *
 * It neither waits nor releases the ticket: the batch's memory is in use until nixl_store_ticket_wait() says that it
 * completed. A batch that completed already stays as it is.
 *
 * ticket: from a submit to this store, not consumed yet.
 *
 * Returns:
 * - NIXL_STORE_OK: asked for.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_ticket_cancel(nixl_store_t *store, nixl_store_ticket_t ticket);

/**
 * Says how many bytes of an item, from its first on, are proven and in place, and waits for them if told to. What this
 * says can be used while the rest is on its way.
 *
 * That is known before the end of an item only for gets with NIXL_STORE_ITEM_FRONT. For the others, and for puts, it is
 * 0 until the item has ended.
 *
 * ticket: from a submit to this store, not consumed yet.
 * item_index: the item's place in its batch, from 0 on.
 * bytes_wanted: waits until so many are in place, or the item has ended, or the time is up; 0: does not wait.
 * timeout_ms: see TIMES.
 * bytes_out: gets the bytes, whatever is returned but an error of this call itself. After NIXL_STORE_OK they are all of
 * the item's; after any other end those that had been proven, which stay right.
 *
 * Several threads may wait for one item. The ticket must not be consumed meanwhile.
 *
 * Returns:
 * - NIXL_STORE_IN_PROGRESS: the item has not ended; *bytes_out may be less than bytes_wanted, if the time was up.
 * - What the item ended with, see nixl_store_ticket_wait(): it has ended.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the batch has no such item.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_ticket_progress(nixl_store_t *store,
                                               nixl_store_ticket_t ticket,
                                               size_t item_index,
                                               uint64_t bytes_wanted,
                                               uint64_t timeout_ms,
                                               uint64_t *bytes_out);

/* ======== Full layer: CUDA streams ======== */

/**
 * Makes work that is put on a stream after this call wait until so many bytes of an item are proven and in place, or
 * the item has ended. No thread waits, and nothing on the stream before is held up.
 *
 * What a stream that waits is promised: it goes on, whatever becomes of the item: hit, miss, error, deadline, cancel, a
 * store that is poisoned or closed. Work behind the wait therefore runs also where bytes are missing: ask
 * nixl_store_ticket_progress() or nixl_store_ticket_wait() whether they are there before its outcome is used. The same
 * holds for NIXL_STORE_SUBMIT_BEFORE_STREAM, which is this call for all items, made before the batch begins.
 *
 * ticket: from a submit of puts or gets to this store, not consumed yet. Memory of any kind, and any backend.
 * item_index: the item's place in its batch, from 0 on; NIXL_STORE_ITEMS_ALL: wait until all items have ended.
 * bytes: from the item's first on. For a get without NIXL_STORE_ITEM_FRONT, and for a put, any number but 0 stands for
 * the item's end. Must be 0 with NIXL_STORE_ITEMS_ALL.
 * cuda_stream: a CUstream or cudaStream_t of any context of this process; NULL is the legacy default stream of the
 * calling thread's current context.
 *
 * If the bytes are in place already, or the item has ended, nothing is put on the stream.
 *
 * The calling thread waits for no device, and its contexts are afterwards what they were. What the first stream of a
 * context takes is had by the call that brings it, and may wait for the device: name the device in the open options
 * (has_cuda_device), and it is had for its primary context when the store is opened. A stream that waits holds up what
 * the driver puts behind it; so allocate device and pinned memory, and load modules, before.
 *
 * With NIXL_STORE_SUBMIT_AFTER_STREAM a batch is held until the stream has come so far, up to its deadline: without
 * one, nixl_store_close() waits for the stream. The context must not be destroyed before the batch has ended.
 *
 * A stream that is being captured is refused: a graph would repeat the wait and not the transfer.
 *
 * Returns:
 * - NIXL_STORE_OK: the stream waits, or need not.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the batch has no such item, or moves no bytes; the stream is being
 *   captured, or is none; it is a default stream, and no context is current in this thread. The stream does not wait,
 *   as with every error.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
 * - NIXL_STORE_ERROR_UNSUPPORTED: no driver of CUDA 12 or newer, or a device that cannot wait for values in memory; the
 *   message says what is missing.
 * - NIXL_STORE_ERROR_BUSY: 4096 items are waited for by streams of one context, or the process has given streams of 64
 *   contexts.
 * - NIXL_STORE_ERROR_IO, _OUT_OF_MEMORY: CUDA's driver reported an error.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_stream_wait(nixl_store_t *store,
                                           nixl_store_ticket_t ticket,
                                           size_t item_index,
                                           uint64_t bytes,
                                           void *cuda_stream);

/* ======== Full layer: completion queues ======== */

/**
 * Creates a queue that tells which batches completed, for programs that wait for many things at once.
 *
 * queue_out: gets the handle, to be given in submit options; the caller destroys it with nixl_store_queue_destroy(), or
 * leaves that to nixl_store_close().
 *
 * Returns:
 * - NIXL_STORE_OK: created.
 * - NIXL_STORE_ERROR_BUSY: the store has as many queues as it can have.
 * - NIXL_STORE_ERROR_IO, _OUT_OF_MEMORY: no eventfd could be had.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_queue_create(nixl_store_t *store, nixl_store_queue_t **queue_out);

/**
 * Gives the queue's eventfd, which polls readable while completions are waiting.
 *
 * fd_out: gets the descriptor. It belongs to the queue: give it to poll(), epoll or io_uring, do not close it, and do
 * not use it after the queue was destroyed. Nothing is counted in it, so a program may also read it, if it drains the
 * queue until nothing is left after each read, and may write to it, which wakes whoever polls it until the next drain.
 *
 * Returns:
 * - NIXL_STORE_OK: *fd_out is the descriptor.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if queue is NULL, destroyed, or none of this store.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_queue_fd(nixl_store_t *store, nixl_store_queue_t *queue, int *fd_out);

/**
 * Takes completions out of a queue, without waiting.
 *
 * Each batch that was submitted with this queue shows up once. Its ticket still has to be consumed with
 * nixl_store_ticket_wait(), which gives the results and does not block.
 *
 * completions_out: gets up to capacity completions, oldest first. All capacity entries, at least 1, are written
 * whatever this call returns: those without a completion get ticket 0 and NIXL_STORE_ERROR_NO_RESULT.
 * count_out: gets the number of completions; 0 if none was waiting, and with every error. Must not lie in
 * completions_out.
 *
 * Of several threads that drain one queue, each gets completions of its own.
 *
 * Returns:
 * - NIXL_STORE_OK: *count_out completions were taken, possibly 0.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if queue is NULL, destroyed, or none of this store.
 */
NIXL_STORE_NODISCARD
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
 * Returns:
 * - NIXL_STORE_OK: destroyed.
 * - NIXL_STORE_ERROR_INVALID_HANDLE: also if queue is NULL, destroyed already, or none of this store.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_queue_destroy(nixl_store_t *store, nixl_store_queue_t *queue);

/* ======== Full layer: memory ======== */

/**
 * Registers memory of the caller, so that the kernel need not pin its pages for each transfer from and to it.
 *
 * It pays for memory that is used again and again, such as the engine's KV cache: registering pins pages, which counts
 * against RLIMIT_MEMLOCK. Segments anywhere inside the region profit. CUDA device memory is made known to cuFile, where
 * that moves it directly, and gains nothing elsewhere.
 *
 * address, length: the region, at least 1 byte. It stays the caller's, and has to stay mapped until it is unregistered
 * or the store is closed. It must not overlap another registered region.
 *
 * Returns:
 * - NIXL_STORE_OK: registered. Where the system refuses to pin pages, that is logged once and transfers go on as
 *   without a registration.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the region is not mapped, or overlaps a registered one.
 * - NIXL_STORE_ERROR_BUSY: the table of regions is full.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_memory_register(nixl_store_t *store, void *address, size_t length);

/**
 * Takes back a registration, after waiting for the transfers that use it.
 *
 * address: exactly as it was registered.
 *
 * Returns:
 * - NIXL_STORE_OK: the library will not touch the region through this registration again.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if address is not the start of a registered region.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_memory_unregister(nixl_store_t *store, void *address);

/**
 * Allocates from the store's own registered memory, the staging buffer of nixl_buffer_size bytes. It is page-aligned,
 * so transfers from and to it need no copy. With nixl_buffer_device cuda it is CUDA device memory. With HF3FS it is
 * shared with 3FS's daemon, and no other memory goes without a copy. What is allocated is missing for staging; a store
 * keeps back what it needs for that.
 *
 * length: bytes, at least 1.
 * address_out: gets the address, aligned to 4096 bytes, content undefined. The caller frees it with
 * nixl_store_memory_free(), or leaves that to nixl_store_close(), after which it must not be touched.
 *
 * Returns:
 * - NIXL_STORE_OK: allocated.
 * - NIXL_STORE_ERROR_OUT_OF_MEMORY: the buffer has no free stretch of that length.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_memory_allocate(nixl_store_t *store,
                                               size_t length,
                                               void **address_out);

/**
 * Frees what nixl_store_memory_allocate() gave, after waiting for the transfers that use it.
 *
 * address: exactly as it was given. NULL is not accepted.
 *
 * Returns:
 * - NIXL_STORE_OK: freed.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if address was freed already, or was not given by this store.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_memory_free(nixl_store_t *store, void *address);

/* ======== Full layer: keys ======== */

/**
 * Says whether a key is stored. It may be gone a moment later, unless it is pinned.
 *
 * On a static pool this does no I/O, and looks at a keyed 64-bit hash of the key, not at the key: a key that is not
 * stored can pass for one that is with a chance of 2^-64 for each stored key that it is compared with, mostly a few. A
 * get compares keys.
 *
 * In a dynamic store the file system is asked, and 3FS answers up to 30 s late for what other hosts put or removed.
 *
 * Returns:
 * - NIXL_STORE_OK: stored.
 * - NIXL_STORE_NOT_FOUND: not stored.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_key_contains(nixl_store_t *store, const void *key, size_t key_length);

/**
 * Tells the length of a stored object. Does no I/O on a static pool.
 *
 * length_out: gets the length in bytes.
 *
 * Returns:
 * - NIXL_STORE_OK: *length_out is the length.
 * - NIXL_STORE_NOT_FOUND: not stored.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_key_length(nixl_store_t *store,
                                          const void *key,
                                          size_t key_length,
                                          uint64_t *length_out);

/**
 * Tells how many keys at the start of a chain are stored: the longest prefix that need not be computed again. Does no
 * I/O on a static pool.
 *
 * keys: key_count keys in the order of the chain, at most NIXL_STORE_BATCH_ITEMS_MAX. May be NULL if key_count is 0.
 * matched_out: gets the number of leading keys that are stored, 0 to key_count. Keys after the first that is not stored
 * do not count.
 *
 * The gets and puts of these keys that follow, in whatever batches, are taken for one request: see cache_policy in
 * docs/EVICTION.md.
 *
 * Returns:
 * - NIXL_STORE_OK: *matched_out is the number, also if it is 0.
 * - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if a key cannot be one, at any place of the chain.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_prefix_match(nixl_store_t *store,
                                            const nixl_store_key_t *keys,
                                            size_t key_count,
                                            size_t *matched_out);

/**
 * As nixl_store_prefix_match(), and tells how many of the keys behind the prefix would be stored if they were put now:
 * for engines that copy a chunk before they put it, and need not copy one that would be declined.
 *
 * keys: as there.
 * object_bytes: bytes of each object; 0: as many as the stored ones have on average. A static pool does not ask.
 * request: any number for the request, as in nixl_store_submit_options_t; 0: none.
 * matched_out: as there.
 * admitted_out: gets the number of keys right behind the prefix that puts would store, at most
 * NIXL_STORE_PLAN_KEYS_MAX. Without cache_policy REUSE all of them would be stored.
 *
 * The keys behind those are declined herewith, as if they had been put, so that they need not be: they count as wanted.
 * So call it once for a request, where its new keys would be put, or give the request's number; to look what is stored
 * is what nixl_store_prefix_match() is for. Nothing is reserved: what is put, got and pinned meanwhile may change the
 * answer.
 *
 * Returns: as nixl_store_prefix_match().
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_prefix_plan(nixl_store_t *store,
                                           const nixl_store_key_t *keys,
                                           size_t key_count,
                                           uint64_t object_bytes,
                                           uint64_t request,
                                           size_t *matched_out,
                                           size_t *admitted_out);

/**
 * Removes a key and its object. Gets that are under way still deliver the object. In the layout lmcache, where several
 * keys can have one file name, a record of another key is left alone; a file without a record is removed.
 *
 * Returns:
 * - NIXL_STORE_OK: removed.
 * - NIXL_STORE_NOT_FOUND: not stored.
 * - NIXL_STORE_PINNED: not removed, because it is pinned.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _TIMED_OUT: storage refused. The message says whether the key is gone
 *   from this process's index, and may be back after the pool is opened again, or stays stored. Removing it again tries
 *   once more.
 * - NIXL_STORE_ERROR_BUSY: a transfer of the object has not ended for 10 seconds; as above.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_key_remove(nixl_store_t *store,
                                          const void *key,
                                          size_t key_length);

/**
 * Pins a key: its object is neither evicted nor removed until it was unpinned as often as it was pinned, or the store
 * is closed, or this process ends.
 *
 * In a dynamic store it waits for another process that evicts the key at that moment, at most 10 s. On a file system
 * whose locks bind one host (3FS) so does a pin: processes of other hosts may evict or remove the key all the same.
 *
 * Returns:
 * - NIXL_STORE_OK: pinned.
 * - NIXL_STORE_NOT_FOUND: not stored; nothing was pinned.
 * - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage refused.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_key_pin(nixl_store_t *store,
                                       const void *key,
                                       size_t key_length);

/**
 * Takes back one pin.
 *
 * Returns:
 * - NIXL_STORE_OK: one pin fewer.
 * - NIXL_STORE_NOT_FOUND: this store holds no pin on the key.
 * - NIXL_STORE_ERROR_IO: storage refused.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_key_unpin(nixl_store_t *store, const void *key, size_t key_length);

/**
 * Removes every key that is not pinned. Gets that are under way still deliver their objects; keys that are put
 * meanwhile may stay.
 *
 * removed_out: gets the number of keys removed. May be NULL: not wanted.
 *
 * Returns:
 * - NIXL_STORE_OK: removed, possibly 0 keys.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _TIMED_OUT: storage refused; some keys may be removed, and of those
 *   some may be back after the pool is opened again, as with nixl_store_key_remove().
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_clear(nixl_store_t *store,
                                     uint64_t *removed_out);

/* ======== Full layer: operations ======== */

/**
 * Makes durable what was put: waits for the puts that were submitted before, then for the device to have them. They
 * survive a loss of power from then on. Puts that are submitted meanwhile are not waited for.
 *
 * Returns:
 * - NIXL_STORE_OK: durable, as far as puts completed.
 * - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION: the device reported an error; what was put since the last flush may be
 *   lost, with the power or at once. The next flush writes it anew, or drops the keys whose bytes cannot be proven
 *   right any more, and is NIXL_STORE_OK only if all that is left is durable.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_flush(nixl_store_t *store);

/**
 * Reads gauges and counters, as often as one likes.
 *
 * stats_out: its struct_size is set by the caller. As much is written as that says, and what this version of the
 * library does not know is set to 0.
 *
 * Returns:
 * - NIXL_STORE_OK: read.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_stats_read(nixl_store_t *store, nixl_store_stats_t *stats_out);

/**
 * Tells which backend and path are in effect, and why not a better one.
 *
 * capabilities_out: its struct_size is set by the caller. As much is written as that says, and what this version of the
 * library does not know is set to 0.
 *
 * Returns:
 * - NIXL_STORE_OK: told.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_capabilities_read(nixl_store_t *store, nixl_store_capabilities_t *capabilities_out);

/**
 * Writes all that is measured as text in the form of OpenMetrics 1.0, for an engine's own /metrics: every counter and
 * gauge of nixl_store_stats_t, histograms of how long gets and puts took, and what the store is; docs/METRICS.md lists
 * them. Each sample has the label store, which tells the stores of a process apart.
 *
 * store: an open store. NULL: all stores that are open in this process, in one text, which is what a process with
 * several serves: two texts, one behind the other, are none.
 * text_out: gets the text, which is UTF-8 and NUL-terminated. May be NULL if capacity is 0.
 * capacity: bytes of text_out.
 * length_out: gets the length of the text in bytes, without the NUL. Must not lie in text_out.
 *
 * Returns:
 * - NIXL_STORE_OK: written.
 * - NIXL_STORE_ERROR_BUFFER_TOO_SMALL: nothing is written but *length_out, which is the capacity that is needed, with
 *   room for what the text grows by until the next call. One of 80 KiB for each store is always enough.
 */
NIXL_STORE_NODISCARD
nixl_store_status_t nixl_store_metrics_text(nixl_store_t *store,
                                            char *text_out,
                                            size_t capacity,
                                            size_t *length_out);

/**
 * The version of the library that is loaded, such as "0.1.0". A constant string, never NULL. Leaves
 * nixl_store_error_message() as it is, as do the next two.
 */
const char *nixl_store_version(void);

/** The NIXL_STORE_ABI_VERSION of the library that is loaded; it serves programs that were compiled with the same. */
uint32_t nixl_store_abi_version(void);

/**
 * The name of a status, such as "NIXL_STORE_NOT_FOUND"; "NIXL_STORE_UNKNOWN" for a number that is none. A constant
 * string, never NULL.
 */
const char *nixl_store_status_name(nixl_store_status_t status);

/**
 * Says what went wrong in this thread's last call: which function, why, and what to do about it. "" if that call
 * succeeded or answered without an error, or if there was none. Never NULL, never holds a credential; meant for people,
 * its wording may change.
 *
 * The string belongs to the library and to this thread, and is valid until this thread's next call.
 */
const char *nixl_store_error_message(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NIXL_STORE_H */
