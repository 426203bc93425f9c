//! The numbers of the C API. They are pinned: a number that was given away is never given to something else.
//!
//! They are written out as literals because the header is made from this text; the assertions at
//! the end hold them equal to the values that the rest of the library uses.

use super::types::nixl_store_status_t;
use crate::config;
use crate::error::Status;
use crate::log::Level;
use crate::store;

/// ======== Versions ========
///
/// Of the binary interface, and the number in the soname. A library serves a program that was compiled with the same
/// number; within one number, structs with a struct_size member may grow and functions may be added.
pub const NIXL_STORE_ABI_VERSION: u32 = 0;
/// Of this header; nixl_store_version() has the library's.
pub const NIXL_STORE_VERSION_MAJOR: u32 = 0;
/// See NIXL_STORE_VERSION_MAJOR.
pub const NIXL_STORE_VERSION_MINOR: u32 = 1;
/// See NIXL_STORE_VERSION_MAJOR.
pub const NIXL_STORE_VERSION_PATCH: u32 = 0;

/// ======== Statuses: success, and answers that are no errors ========
///
/// Success.
pub const NIXL_STORE_OK: i32 = 0;
/// Not stored, or not proven right, which to a cache is the same.
pub const NIXL_STORE_NOT_FOUND: i32 = 1;
/// The batch is not completed yet.
pub const NIXL_STORE_IN_PROGRESS: i32 = 2;
/// Not removed, because it is pinned.
pub const NIXL_STORE_PINNED: i32 = 3;
/// Not stored, because under cache_policy REUSE it is not worth displacing anything for; nothing was written. See
/// NIXL_STORE_ITEM_ADMIT. Take REUSE where the store is smaller than what comes back, where writes matter, or below a cache in
/// memory; LRU, the default, where every put has to be stored, or the store holds most of what comes back; LFU, FIFO and MRU
/// to do as LMCache does. More is in docs/EVICTION.md.
pub const NIXL_STORE_NOT_ADMITTED: i32 = 4;

/// ======== Statuses: errors ========
///
/// An argument cannot be accepted; nothing was done.
pub const NIXL_STORE_ERROR_INVALID_ARGUMENT: i32 = -1;
/// NULL or 0, closed or consumed, or never one of this store.
pub const NIXL_STORE_ERROR_INVALID_HANDLE: i32 = -2;
/// The configuration cannot be used; the message has the line.
pub const NIXL_STORE_ERROR_CONFIG: i32 = -3;
/// Backend not built in, device missing, or not served.
pub const NIXL_STORE_ERROR_UNSUPPORTED: i32 = -4;
/// The operating system or the backend reported an error.
pub const NIXL_STORE_ERROR_IO: i32 = -5;
/// Device full (ENOSPC, EDQUOT), and eviction could not help.
pub const NIXL_STORE_ERROR_NO_SPACE: i32 = -6;
/// Every slot is pinned, in use or quarantined.
pub const NIXL_STORE_ERROR_POOL_FULL: i32 = -7;
/// The memory given to a get is smaller than the object.
pub const NIXL_STORE_ERROR_BUFFER_TOO_SMALL: i32 = -8;
/// The object is larger than a slot or than the capacity.
pub const NIXL_STORE_ERROR_TOO_LARGE: i32 = -9;
/// A range get reaches past the end of the object.
pub const NIXL_STORE_ERROR_OUT_OF_RANGE: i32 = -10;
/// A bounded queue or table is full; try again later.
pub const NIXL_STORE_ERROR_BUSY: i32 = -11;
/// The deadline passed first. With the backend OBJ a put that ends so may be stored all the same.
pub const NIXL_STORE_ERROR_TIMED_OUT: i32 = -12;
/// Cancelled before it was started.
pub const NIXL_STORE_ERROR_CANCELLED: i32 = -13;
/// Another thread is closing the store.
pub const NIXL_STORE_ERROR_CLOSING: i32 = -14;
/// Another process or store owns the static pool.
pub const NIXL_STORE_ERROR_LOCKED: i32 = -15;
/// What is on storage was made with other parameters.
pub const NIXL_STORE_ERROR_FORMAT: i32 = -16;
/// The operating system denied access.
pub const NIXL_STORE_ERROR_PERMISSION: i32 = -17;
/// Memory, or a thread, could not be had.
pub const NIXL_STORE_ERROR_OUT_OF_MEMORY: i32 = -18;
/// A bug was caught in this store; it refuses all but close.
pub const NIXL_STORE_ERROR_POISONED: i32 = -19;
/// The process forked after open; the child may only close.
pub const NIXL_STORE_ERROR_FORKED: i32 = -20;
/// A bug in the library.
pub const NIXL_STORE_ERROR_INTERNAL: i32 = -21;
/// In an entry of an array of answers that was not filled.
pub const NIXL_STORE_ERROR_NO_RESULT: i32 = -22;

/// ======== Times ========
///
/// As a timeout_ms: wait for ever.
pub const NIXL_STORE_TIMEOUT_INFINITE: u64 = u64::MAX;
/// As a deadline_ms: the setting nixl_store_timeout_ms.
pub const NIXL_STORE_DEADLINE_DEFAULT: u64 = 0;
/// As a deadline_ms: none.
pub const NIXL_STORE_DEADLINE_NONE: u64 = u64::MAX;

/// ======== Limits ========
///
/// Longest key, in bytes.
pub const NIXL_STORE_KEY_BYTES_MAX: usize = 1024;
/// Longest cache_namespace, in bytes without its NUL.
pub const NIXL_STORE_NAMESPACE_BYTES_MAX: usize = 255;
/// Longest config_path, in bytes with its NUL.
pub const NIXL_STORE_PATH_BYTES_MAX: usize = 4096;
/// Longest configuration, file or text, in bytes.
pub const NIXL_STORE_CONFIG_BYTES_MAX: usize = 1048576;
/// Most items of a batch, and most keys of a prefix match.
pub const NIXL_STORE_BATCH_ITEMS_MAX: usize = 65536;
/// Most keys that nixl_store_prefix_plan() looks at behind the prefix.
pub const NIXL_STORE_PLAN_KEYS_MAX: usize = 4096;
/// Most segments of an item.
pub const NIXL_STORE_SEGMENTS_PER_ITEM_MAX: usize = 65536;
/// Segments of a get batch up to which items are compared.
pub const NIXL_STORE_OVERLAP_SEGMENTS_MAX: usize = 65536;
/// Most stores open at one time in a process.
pub const NIXL_STORE_STORES_MAX: usize = 1024;
/// Largest struct_size accepted, in bytes.
pub const NIXL_STORE_STRUCT_BYTES_MAX: usize = 4096;

/// ======== Kinds of memory ========
///
/// The library finds out: where the process has loaded CUDA's driver it is asked, else it is host memory.
pub const NIXL_STORE_MEMORY_AUTO: u32 = 0;
/// Host memory, pageable or pinned.
pub const NIXL_STORE_MEMORY_HOST: u32 = 1;
/// CUDA device memory: cuMemAlloc, pools, mapped ranges, managed memory.
pub const NIXL_STORE_MEMORY_CUDA: u32 = 2;

/// ======== Flags of an item ========
///
/// Of a get: read the range of the object that starts at object_offset and is as long as the segments together, instead
/// of the whole object.
pub const NIXL_STORE_ITEM_RANGE: u32 = 1;
/// Of a get: an object of any other length than that of the segments is NIXL_STORE_NOT_FOUND. For engines whose objects
/// all have one length, so that a shorter one cannot pass for a whole. Of a put: see NIXL_STORE_ITEM_KEEP.
pub const NIXL_STORE_ITEM_EXACT: u32 = 2;
/// Of a put: if the key is stored, leave it and move nothing; the result has bytes 0 and the stored object_length. For
/// keys that stand for their content, such as hashes of token blocks. With NIXL_STORE_ITEM_EXACT only an object of the
/// same length is left, and one of another length, or of a length that nobody knows without asking, is replaced: so that
/// gets with NIXL_STORE_ITEM_EXACT find what was put.
pub const NIXL_STORE_ITEM_KEEP: u32 = 4;
/// Of a get: prove bytes from the front, so that they can be used while the rest is on its way; see
/// nixl_store_ticket_progress() and nixl_store_stream_wait().
pub const NIXL_STORE_ITEM_FRONT: u32 = 8;
/// Of a put: store it whatever the policy REUSE finds, so that it does not end with NIXL_STORE_NOT_ADMITTED. What makes room
/// for it is the item that leaves first.
pub const NIXL_STORE_ITEM_ADMIT: u32 = 16;
/// As an item_index of nixl_store_stream_wait(): all items of the batch.
pub const NIXL_STORE_ITEMS_ALL: usize = u64::MAX as usize;

/// ======== Flags of a submit ========
///
/// Of a lookup: the keys are a chain, in their order. An item behind the first that is not found may be
/// NIXL_STORE_NOT_FOUND without being looked up.
pub const NIXL_STORE_SUBMIT_CHAIN: u32 = 1;
/// Of puts or gets: they start after the work that is on cuda_stream when they are submitted. The memory of a put is
/// still being written by that work, or that of a get still in use.
pub const NIXL_STORE_SUBMIT_AFTER_STREAM: u32 = 2;
/// Of puts or gets: work that is put on cuda_stream after the submit waits until every item of the batch has ended,
/// however it ended. See nixl_store_stream_wait() for what the stream is promised.
pub const NIXL_STORE_SUBMIT_BEFORE_STREAM: u32 = 4;

/// ======== Levels of the log ========
///
/// Something failed.
pub const NIXL_STORE_LOG_ERROR: u32 = 1;
/// Something works, but not as it was asked for.
pub const NIXL_STORE_LOG_WARN: u32 = 2;
/// A fact about how the store runs.
pub const NIXL_STORE_LOG_INFO: u32 = 3;
/// Detail for the library's developers.
pub const NIXL_STORE_LOG_DEBUG: u32 = 4;

/// Every flag that an item may carry.
pub(super) const ITEM_FLAGS: u32 = NIXL_STORE_ITEM_RANGE
    | NIXL_STORE_ITEM_EXACT
    | NIXL_STORE_ITEM_KEEP
    | NIXL_STORE_ITEM_FRONT
    | NIXL_STORE_ITEM_ADMIT;
/// Every flag that a submit may carry.
pub(super) const SUBMIT_FLAGS: u32 =
    NIXL_STORE_SUBMIT_CHAIN | NIXL_STORE_SUBMIT_AFTER_STREAM | NIXL_STORE_SUBMIT_BEFORE_STREAM;

macro_rules! statuses {
    ($($constant:ident = $status:ident),+ $(,)?) => {
        const _: () = {
            $(assert!($constant == Status::$status.code());)+
        };

        /// The name of a status's constant; `None` for a number that is none.
        pub(super) fn status_name(status: nixl_store_status_t) -> Option<&'static std::ffi::CStr> {
            match status {
                $($constant => {
                    const NAME: &str = concat!(stringify!($constant), "\0");
                    std::ffi::CStr::from_bytes_with_nul(NAME.as_bytes()).ok()
                })+
                _ => None,
            }
        }

        /// Every status with its name, so that tests miss none.
        #[cfg(test)]
        pub(super) const STATUSES: &[(nixl_store_status_t, &str)] = &[$(($constant, stringify!($constant))),+];
    };
}

statuses! {
    NIXL_STORE_OK = Ok,
    NIXL_STORE_NOT_FOUND = NotFound,
    NIXL_STORE_IN_PROGRESS = InProgress,
    NIXL_STORE_PINNED = Pinned,
    NIXL_STORE_NOT_ADMITTED = NotAdmitted,
    NIXL_STORE_ERROR_INVALID_ARGUMENT = InvalidArgument,
    NIXL_STORE_ERROR_INVALID_HANDLE = InvalidHandle,
    NIXL_STORE_ERROR_CONFIG = Config,
    NIXL_STORE_ERROR_UNSUPPORTED = Unsupported,
    NIXL_STORE_ERROR_IO = Io,
    NIXL_STORE_ERROR_NO_SPACE = NoSpace,
    NIXL_STORE_ERROR_POOL_FULL = PoolFull,
    NIXL_STORE_ERROR_BUFFER_TOO_SMALL = BufferTooSmall,
    NIXL_STORE_ERROR_TOO_LARGE = TooLarge,
    NIXL_STORE_ERROR_OUT_OF_RANGE = OutOfRange,
    NIXL_STORE_ERROR_BUSY = Busy,
    NIXL_STORE_ERROR_TIMED_OUT = TimedOut,
    NIXL_STORE_ERROR_CANCELLED = Cancelled,
    NIXL_STORE_ERROR_CLOSING = Closing,
    NIXL_STORE_ERROR_LOCKED = Locked,
    NIXL_STORE_ERROR_FORMAT = Format,
    NIXL_STORE_ERROR_PERMISSION = Permission,
    NIXL_STORE_ERROR_OUT_OF_MEMORY = OutOfMemory,
    NIXL_STORE_ERROR_POISONED = Poisoned,
    NIXL_STORE_ERROR_FORKED = Forked,
    NIXL_STORE_ERROR_INTERNAL = Internal,
    NIXL_STORE_ERROR_NO_RESULT = NoResult,
}

const _: () = {
    assert!(NIXL_STORE_KEY_BYTES_MAX == store::KEY_BYTES_MAX);
    assert!(NIXL_STORE_NAMESPACE_BYTES_MAX == store::NAMESPACE_BYTES_MAX);
    assert!(NIXL_STORE_CONFIG_BYTES_MAX as u64 == config::FILE_BYTES_MAX);
    assert!(NIXL_STORE_BATCH_ITEMS_MAX == store::BATCH_ITEMS_MAX);
    assert!(NIXL_STORE_PLAN_KEYS_MAX == store::PLAN_KEYS_MAX);
    assert!(NIXL_STORE_SEGMENTS_PER_ITEM_MAX == store::SEGMENTS_PER_ITEM_MAX);
    // Whatever one item may hold is checked against itself without exception.
    assert!(NIXL_STORE_OVERLAP_SEGMENTS_MAX >= NIXL_STORE_SEGMENTS_PER_ITEM_MAX);
    assert!(NIXL_STORE_LOG_ERROR == Level::Error as u32);
    assert!(NIXL_STORE_LOG_WARN == Level::Warn as u32);
    assert!(NIXL_STORE_LOG_INFO == Level::Info as u32);
    assert!(NIXL_STORE_LOG_DEBUG == Level::Debug as u32);
};

/// The names of the statuses are read by C programs and by people: each must be there and be right.
#[cfg(test)]
mod tests {
    use super::*;

    /// A status whose number has no name would show as unknown in an engine's log.
    #[test]
    fn every_status_has_the_name_of_its_constant() {
        for (status, name) in STATUSES {
            assert_eq!(status_name(*status).map(|name| name.to_str().unwrap()), Some(*name));
        }
        assert_eq!(status_name(5), None);
        assert_eq!(status_name(-23), None);
    }

    /// The header's version macros are literals; they must not fall behind the crate's version.
    #[test]
    fn version_constants_follow_the_crate() {
        let header =
            format!("{NIXL_STORE_VERSION_MAJOR}.{NIXL_STORE_VERSION_MINOR}.{NIXL_STORE_VERSION_PATCH}");
        assert_eq!(header, env!("CARGO_PKG_VERSION"));
        let text = concat!("\n#define NIXL_STORE_VERSION_STRING \"", env!("CARGO_PKG_VERSION"), "\"");
        assert!(include_str!("../../include/nixl_store.h").contains(text), "run scripts/header.sh");
    }

    /// A program is bound to the ABI that it was compiled with by the soname, which is written down elsewhere.
    #[test]
    fn the_soname_carries_the_abi_version() {
        let soname = format!("-soname,libnixl_store.so.{NIXL_STORE_ABI_VERSION}\"");
        assert!(include_str!("../../build.rs").contains(&soname), "build.rs has another number");
    }
}
