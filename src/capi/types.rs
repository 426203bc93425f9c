//! The structs of the C API, with their layout asserted field by field.
//!
//! The same numbers stand in `tests/header/layout.c`, where a C compiler asserts them. The types carry the names that C
//! sees. Two kinds of struct exist. Those that begin with `struct_size` may grow at their end. The others are elements
//! of arrays, whose size programs have compiled in: they never grow, and keep reserved fields for what is to come.

#![allow(non_camel_case_types, reason = "these are the names in the C header")]

use std::ffi::{c_char, c_void};

/// Outcome of a call: one of the statuses above.
pub type nixl_store_status_t = i32;

/// A submitted batch: never 0, never given out twice by one store.
pub type nixl_store_ticket_t = u64;

/// An open store. A handle, see HANDLES above.
pub struct nixl_store_t {
    _opaque: (),
}

/// ======== Types ========
///
/// A completion queue of a store. A handle, see HANDLES above.
pub struct nixl_store_queue_t {
    _opaque: (),
}

/// Receives the library's messages. message is NUL-terminated UTF-8, one line, valid during the call only; level is one
/// of NIXL_STORE_LOG_*. Levels up to INFO arrive, unless the environment variable NIXL_STORE_LOG says otherwise (off,
/// error, warn, info, debug).
///
/// It is called from threads of the caller and of the library, several at a time, from inside nixl_store_open() until
/// nixl_store_close() returned; context has to live as long. It must return soon, throw nothing, and call no function
/// of this library.
pub type nixl_store_log_fn_t =
    Option<unsafe extern "C" fn(context: *mut c_void, level: u32, message: *const c_char)>;

/// One message of the log. Valid during the call only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_log_record_t {
    /// sizeof(nixl_store_log_record_t) of the library; members behind it are not there.
    pub struct_size: usize,
    /// When it was sent: nanoseconds since 1970-01-01 00:00:00 UTC.
    pub time_unix_ns: u64,
    /// One of NIXL_STORE_LOG_*.
    pub level: u32,
    /// 0.
    pub reserved: u32,
    /// The message: NUL-terminated UTF-8, one line, without time and level.
    pub message: *const c_char,
}

/// As nixl_store_log_fn_t, with all that belongs to a message in fields.
pub type nixl_store_log_record_fn_t =
    Option<unsafe extern "C" fn(context: *mut c_void, record: *const nixl_store_log_record_t)>;

/// What the engine knows and the configuration does not. All zero but struct_size means: defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_open_options_t {
    /// sizeof(nixl_store_open_options_t).
    pub struct_size: usize,
    /// Bytes of the largest object, for the slots of a static pool; 0: as the configuration says.
    pub chunk_bytes: u64,
    /// Rank of this worker, below world_size.
    pub worker_id: u32,
    /// Workers that work together; 0 is taken as 1.
    pub world_size: u32,
    /// 1 if cuda_device is set, else 0.
    pub has_cuda_device: u32,
    /// Ordinal of the CUDA device that this worker uses; 0 unless has_cuda_device is 1.
    pub cuda_device: u32,
    /// Separates the keys of users who share one store: NUL-terminated, at most NIXL_STORE_NAMESPACE_BYTES_MAX
    /// bytes; NULL or "": none. Copied.
    pub cache_namespace: *const c_char,
    /// Where messages go. If this and log_record_function are NULL: to standard error, each with its time and level,
    /// errors and warnings only.
    pub log_function: nixl_store_log_fn_t,
    /// Given to log_function or log_record_function with each message.
    pub log_context: *mut c_void,
    /// The configuration itself instead of a file: YAML of at most NIXL_STORE_CONFIG_BYTES_MAX bytes, NUL-terminated,
    /// read during the call only; config_path must then be NULL. NULL: none.
    pub config_text: *const c_char,
    /// Where messages go as records, instead of log_function, which must then be NULL. NULL: see there.
    pub log_record_function: nixl_store_log_record_fn_t,
}

/// A stretch of the caller's memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_segment_t {
    /// First byte, of any alignment; aligned to direct_alignment of the capabilities, transfers need no copy.
    pub address: *mut c_void,
    /// Bytes; never 0.
    pub length: u64,
    /// One of NIXL_STORE_MEMORY_*.
    pub memory_kind: u32,
    /// NIXL_STORE_MEMORY_CUDA only: 0: find out whose memory it is; else the ordinal of its device plus 1. Then the driver
    /// is not asked what the address is, and wrong words end as an error of the item.
    pub cuda_device: u32,
    /// Must be 0.
    pub reserved: [u32; 2],
}

/// One object of a batch: its key and the memory that its bytes come from or go to, in the order of the segments.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_item_t {
    /// The key: any bytes. Copied at submit.
    pub key: *const c_void,
    /// Bytes of the key: 1 to NIXL_STORE_KEY_BYTES_MAX.
    pub key_length: u64,
    /// The segments; the array is copied at submit, the memory is used until completion.
    pub segments: *const nixl_store_segment_t,
    /// Number of segments: 1 to NIXL_STORE_SEGMENTS_PER_ITEM_MAX.
    pub segment_count: u64,
    /// With NIXL_STORE_ITEM_RANGE: first byte of the object to read; else 0.
    pub object_offset: u64,
    /// NIXL_STORE_ITEM_* together, or 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: [u32; 5],
}

/// How one item of a batch ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_result_t {
    /// How it ended; NIXL_STORE_ERROR_NO_RESULT in an entry that was not filled.
    pub status: nixl_store_status_t,
    /// The errno behind it; 0: none.
    pub os_error: i32,
    /// Payload bytes moved to or from the segments. They count only if status is NIXL_STORE_OK.
    pub bytes: u64,
    /// Bytes of the stored object where it is known, else 0; with NIXL_STORE_ERROR_BUFFER_TOO_SMALL, what is needed.
    pub object_length: u64,
    /// 0.
    pub reserved: [u64; 3],
}

/// How a batch is submitted. All zero but struct_size means: defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_submit_options_t {
    /// sizeof(nixl_store_submit_options_t).
    pub struct_size: usize,
    /// Deadline, in milliseconds from submit: items that were not started by then end with NIXL_STORE_ERROR_TIMED_OUT, and
    /// with the backend OBJ those that were not done.
    /// NIXL_STORE_DEADLINE_DEFAULT (0): that of the store; NIXL_STORE_DEADLINE_NONE: none.
    pub deadline_ms: u64,
    /// Queue of the same store that gets a completion for the batch; NULL: none.
    pub queue: *mut nixl_store_queue_t,
    /// Any number; it comes back in the completion.
    pub user_data: u64,
    /// NIXL_STORE_SUBMIT_* together, or 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
    /// With NIXL_STORE_SUBMIT_AFTER_STREAM or _BEFORE_STREAM: the stream, a CUstream or cudaStream_t; NULL is the legacy
    /// default stream of the calling thread's context. Else NULL.
    pub cuda_stream: *mut c_void,
    /// Of lookups, gets and puts: any number for the request that the batch belongs to; 0: none. Batches with one number are one
    /// request, whose keys follow one another in the order in which they come: eviction by LRU and REUSE keeps chains
    /// in order and counts each key of a request once. Not needed where a lookup of the whole chain, such as
    /// nixl_store_prefix_match(), came before its gets and puts, nor where one batch has all of it. Some 1000 requests are
    /// remembered.
    pub request: u64,
}

/// Says that a batch finished.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_completion_t {
    /// The batch, still to be consumed with nixl_store_ticket_wait(), which will not block; 0 in an entry that was not
    /// filled.
    pub ticket: nixl_store_ticket_t,
    /// user_data of its submit options.
    pub user_data: u64,
    /// What nixl_store_ticket_wait() will return for it; NIXL_STORE_ERROR_NO_RESULT in an entry that was not filled.
    pub status: nixl_store_status_t,
    /// 0.
    pub reserved: [u32; 3],
}

/// A key, as an element of a chain or a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_key_t {
    /// The key: any bytes.
    pub key: *const c_void,
    /// Bytes of the key: 1 to NIXL_STORE_KEY_BYTES_MAX.
    pub key_length: u64,
    /// Must be 0.
    pub reserved: [u32; 4],
}

/// Gauges and counters of a store. Counters are totals since open; each is exact, together they are not one instant.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_stats_t {
    /// sizeof(nixl_store_stats_t), set by the caller and left as it is.
    pub struct_size: usize,
    /// Gauge: keys stored now, as far as this process knows.
    pub keys: u64,
    /// Gauge, bytes: payload stored now; in a dynamic store and in a bucket whole files or objects, as far as this process
    /// knows them.
    pub bytes_stored: u64,
    /// Gauge: slots of a static pool; 0 if the store is dynamic.
    pub slots: u64,
    /// Gauge: slots that hold nothing.
    pub slots_free: u64,
    /// Gauge, bytes: capacity; 0: unlimited.
    pub capacity_bytes: u64,
    /// Gauge: keys pinned by this process.
    pub keys_pinned: u64,
    /// Gauge: items waiting or under way.
    pub items_in_flight: u64,
    /// Counter: puts that completed.
    pub puts_ok: u64,
    /// Counter: puts that failed.
    pub puts_failed: u64,
    /// Counter: gets that delivered bytes.
    pub gets_hit: u64,
    /// Counter: gets that found nothing.
    pub gets_missed: u64,
    /// Counter: gets that failed.
    pub gets_failed: u64,
    /// Counter, bytes: payload of completed puts.
    pub bytes_put: u64,
    /// Counter, bytes: payload delivered by gets.
    pub bytes_got: u64,
    /// Counter, bytes: payload that moved straight between caller memory and storage.
    pub bytes_direct: u64,
    /// Counter, bytes: payload that passed through the staging buffer.
    pub bytes_staged: u64,
    /// Counter: entries evicted to make room.
    pub evictions: u64,
    /// Counter: reads whose record did not prove right (key, length or checksum); each was a miss.
    pub corruptions: u64,
    /// Gauge: slots that are out of use because of that or because of I/O errors.
    pub quarantined_slots: u64,
    /// Counter: gets served without a checksum because LMCache wrote the object and the configuration allows it.
    pub gets_unverified: u64,
    /// Counter: short transfers that were completed by a further one.
    pub short_transfers: u64,
    /// Counter: transfers repeated after EINTR or EAGAIN.
    pub retries: u64,
    /// Counter: items that ended because their deadline passed.
    pub timed_out: u64,
    /// Counter: items that ended because their ticket was cancelled.
    pub cancelled: u64,
    /// Counter: puts that ended with NIXL_STORE_NOT_ADMITTED.
    pub puts_declined: u64,
}

/// Which path is in effect, and why. Strings are NUL-terminated, cut off where they do not fit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nixl_store_capabilities_t {
    /// sizeof(nixl_store_capabilities_t), set by the caller and left as it is.
    pub struct_size: usize,
    /// Bytes of the largest object that can be put; 0: nothing but the device bounds it.
    pub object_bytes_max: u64,
    /// Bytes: segments whose address and length are multiples of it move without a copy; 1: all do.
    pub direct_alignment: u64,
    /// Threads that do the I/O.
    pub io_threads: u32,
    /// 1 if O_DIRECT is in effect, else 0.
    pub direct_io: u32,
    /// 1 if the staging buffer is registered with the kernel, else 0.
    pub registered_buffers: u32,
    /// 0.
    pub reserved: u32,
    /// The backend: "POSIX", ….
    pub backend: [c_char; 16],
    /// How it moves bytes: "io_uring"; "threads" where that is refused; "inline" where files lie in memory (tmpfs);
    /// "cufile_batch" (GDS) and "cufile" (GDS_MT), with "_compat" behind it where bytes pass the processor; "usrbio" (HF3FS).
    pub io_path: [c_char; 32],
    /// Where bytes are: "static", "dynamic/sharded", "dynamic/lmcache".
    pub layout: [c_char; 32],
    /// Why a better path is not in effect; empty if nothing was degraded.
    pub reason: [c_char; 512],
    /// Where the staging buffer is: "cpu", or "cuda:N" on the device of that ordinal.
    pub buffer_device: [c_char; 16],
    /// What becomes of CUDA device memory: "staged": it is copied through the staging buffer; "direct": cuFile moves it, where
    /// its alignment allows; "direct_compat": the same in cuFile's compatibility mode, in which bytes pass the processor; "none"
    /// while no CUDA driver is loaded in the process.
    pub device_path: [c_char; 16],
    /// What computes the checksums of device memory that the processor does not see: "cuda"; "cpu" where all of it passes the
    /// processor; "none" as above.
    pub device_checksums: [c_char; 16],
    /// Why device memory is not served better; empty if nothing was degraded.
    pub device_reason: [c_char; 256],
}

/// Asserts size, alignment and every field's offset, in bytes.
macro_rules! layout {
    ($type:ident: size $size:literal, align $align:literal, { $($field:ident @ $offset:literal),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == $align);
            $(assert!(std::mem::offset_of!($type, $field) == $offset);)+
            // Fails to compile when a field is missing from the list above.
            #[allow(dead_code, unused_variables, reason = "a check of names only")]
            fn every_field_is_listed(value: &$type) {
                let $type { $($field),+ } = value;
            }
        };
    };
}

layout!(nixl_store_log_record_t: size 32, align 8, {
    struct_size @ 0, time_unix_ns @ 8, level @ 16, reserved @ 20, message @ 24,
});
layout!(nixl_store_open_options_t: size 72, align 8, {
    struct_size @ 0, chunk_bytes @ 8, worker_id @ 16, world_size @ 20, has_cuda_device @ 24, cuda_device @ 28,
    cache_namespace @ 32, log_function @ 40, log_context @ 48, config_text @ 56,
    log_record_function @ 64,
});
layout!(nixl_store_segment_t: size 32, align 8, {
    address @ 0, length @ 8, memory_kind @ 16, cuda_device @ 20, reserved @ 24,
});
layout!(nixl_store_item_t: size 64, align 8, {
    key @ 0, key_length @ 8, segments @ 16, segment_count @ 24, object_offset @ 32, flags @ 40, reserved @ 44,
});
layout!(nixl_store_result_t: size 48, align 8, {
    status @ 0, os_error @ 4, bytes @ 8, object_length @ 16, reserved @ 24,
});
layout!(nixl_store_submit_options_t: size 56, align 8, {
    struct_size @ 0, deadline_ms @ 8, queue @ 16, user_data @ 24, flags @ 32, reserved @ 36, cuda_stream @ 40,
    request @ 48,
});
layout!(nixl_store_completion_t: size 32, align 8, { ticket @ 0, user_data @ 8, status @ 16, reserved @ 20 });
layout!(nixl_store_key_t: size 32, align 8, { key @ 0, key_length @ 8, reserved @ 16 });
layout!(nixl_store_stats_t: size 208, align 8, {
    struct_size @ 0, keys @ 8, bytes_stored @ 16, slots @ 24, slots_free @ 32, capacity_bytes @ 40,
    keys_pinned @ 48, items_in_flight @ 56, puts_ok @ 64, puts_failed @ 72, gets_hit @ 80, gets_missed @ 88,
    gets_failed @ 96, bytes_put @ 104, bytes_got @ 112, bytes_direct @ 120, bytes_staged @ 128, evictions @ 136,
    corruptions @ 144, quarantined_slots @ 152, gets_unverified @ 160, short_transfers @ 168, retries @ 176,
    timed_out @ 184, cancelled @ 192, puts_declined @ 200,
});
layout!(nixl_store_capabilities_t: size 936, align 8, {
    struct_size @ 0, object_bytes_max @ 8, direct_alignment @ 16, io_threads @ 24, direct_io @ 28,
    registered_buffers @ 32, reserved @ 36, backend @ 40, io_path @ 56, layout @ 88, reason @ 120,
    buffer_device @ 632, device_path @ 648, device_checksums @ 664, device_reason @ 680,
});
