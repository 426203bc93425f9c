//! The simple layer: open, put, get, close.
//!
//! A put or get here is a batch of one that is waited for; there is no second path for bytes.

use std::ffi::{c_char, c_void};

use super::batch::stretch;
use super::check;
use super::handle::{OpenStore, STORES, store_bits, store_pointer};
use super::options;
use super::panic::{boundary, poison_on_panic, with_store};
use super::ticket::item_error;
use super::types::{nixl_store_open_options_t, nixl_store_status_t, nixl_store_t};
use crate::config::Config;
use crate::cuda::Detector;
use crate::error::{Error, Result, Status};
use crate::store::{Direction, ItemResult, Store, SubmitOptions, Wish};
use crate::sys::fork;

/// ======== Simple layer: one blocking call each ========
///
/// Opens the store that a configuration describes, and recovers what it holds.
///
/// The configuration is, in this order: the file config_path; options->config_text; the file that the environment
/// variable LMCACHE_CONFIG_FILE names; the environment alone, if LMCACHE_EXTRA_CONFIG turns NIXL storage on. As in
/// LMCache, variables LMCACHE_* win over a file and over a text; docs/CONFIGURATION.md lists them and every setting.
///
/// config_path: LMCache's YAML file, NUL-terminated, at most NIXL_STORE_PATH_BYTES_MAX bytes. May be NULL.
/// options: what the configuration does not say. May be NULL. Copied, but for the function and context of the log, which are
/// used until nixl_store_close() returned.
/// store_out: gets the handle, which the caller closes with nixl_store_close().
///
/// Blocks while it recovers: about 1 s for 100000 slots after a clean close, up to 10 s after a crash.
///
/// Returns:
/// - NIXL_STORE_OK: *store_out is open.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if config_path or config_text is empty or too long, or both are given.
/// - NIXL_STORE_ERROR_CONFIG: there is no configuration, it cannot be read, or a setting cannot be used.
/// - NIXL_STORE_ERROR_UNSUPPORTED: the backend is not built in, or lacks a device, driver or library that the message
///   names.
/// - NIXL_STORE_ERROR_LOCKED: another process or store owns the static pool; the message says which.
/// - NIXL_STORE_ERROR_FORMAT: the pool was made with other parameters; nothing in it was touched.
/// - NIXL_STORE_ERROR_BUSY: NIXL_STORE_STORES_MAX stores are open in this process.
/// - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _OUT_OF_MEMORY: as named.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_open(
    config_path: *const c_char,
    options: *const nixl_store_open_options_t,
    store_out: *mut *mut nixl_store_t,
) -> nixl_store_status_t {
    boundary("nixl_store_open", || {
        // SAFETY: the header asks for a pointer to a handle.
        let store_out = unsafe { check::output("store_out", store_out) }?;
        // SAFETY: the header asks for NUL-terminated strings and a struct of the size that it states.
        let (source, options) = unsafe { options::open(config_path, options, &environment) }?;
        fork::install()
            .map_err(|error| Error::os("pthread_atfork", &error).with_status(Status::OutOfMemory))?;
        let reservation = STORES.reserve()?;
        let epoch = fork::epoch();
        let config = Config::load(source, &environment)?;
        let store = Store::open(&config, &options)?;
        store_out.write(store_pointer(reservation.fill(OpenStore::new(store, epoch))));
        Ok(Status::Ok)
    })
}

/// Stores one object under a key, replacing what the key had, and waits until it is visible.
///
/// When it returns NIXL_STORE_OK, every thread and process on the same storage gets these bytes, also if this process
/// is killed right after; nixl_store_flush() makes them survive a loss of power. After an error nothing of the object
/// is
/// visible: the key has what it had before, or nothing where room had to be made. A static pool without a free slot
/// makes room for a stored key in the key's own slot first; until the put is complete the key is then not found.
///
/// data: length bytes of host or CUDA device memory, at least 1; read until the call returns and never after. Host memory
/// aligned to direct_alignment of the capabilities moves without a copy; registered memory also spares the kernel pinning
/// it.
///
/// Has the deadline of the setting nixl_store_timeout_ms. What is under way by then is waited for, because the device
/// may still be using the memory.
///
/// Returns:
/// - NIXL_STORE_OK: stored.
/// - NIXL_STORE_NOT_ADMITTED: not stored, under cache_policy REUSE alone.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the key has no file name in the layout lmcache.
/// - NIXL_STORE_ERROR_TOO_LARGE: length is beyond object_bytes_max of the capabilities.
/// - NIXL_STORE_ERROR_POOL_FULL: every slot is pinned, in use or quarantined.
/// - NIXL_STORE_ERROR_NO_SPACE: the device is full and eviction could not help.
/// - NIXL_STORE_ERROR_BUSY, _TIMED_OUT: the submission queue stayed full, or the deadline passed.
/// - NIXL_STORE_ERROR_IO, _PERMISSION, _OUT_OF_MEMORY: as named.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_put(
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
    data: *const c_void,
    length: usize,
) -> nixl_store_status_t {
    with_store("nixl_store_put", store, |open| {
        // SAFETY: the header asks for `key_length` readable bytes.
        let key = unsafe { check::key(key, key_length as u64) }?;
        let length = check::memory("data", data.addr(), length as u64)?;
        // A put only reads, so losing the `const` here leads to no write.
        let result = transfer_one(open, Direction::Put, key, data.cast_mut(), length)?;
        match result.status {
            Status::Ok | Status::NotAdmitted => Ok(result.status),
            status => Err(Error::new(status, "a put cannot end like this")),
        }
    })
}

/// Reads the object under a key into memory.
///
/// buffer: capacity bytes of host or CUDA device memory, at least 1; written until the call returns and never after.
/// After an error or NIXL_STORE_NOT_FOUND their content is undefined. Host memory aligned to direct_alignment of the
/// capabilities moves without a copy; registered memory also spares the kernel pinning it.
/// length_out: gets the length of the object in bytes. Must not lie in buffer.
///
/// Has the deadline of the setting nixl_store_timeout_ms. What is under way by then is waited for, because the device
/// may still be using the memory.
///
/// Returns:
/// - NIXL_STORE_OK: the first *length_out bytes of buffer are the object.
/// - NIXL_STORE_NOT_FOUND: the key is not stored, or its bytes could not be proven right.
/// - NIXL_STORE_ERROR_BUFFER_TOO_SMALL: *length_out is the capacity that is needed, written although this is an error.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if length_out lies in buffer.
/// - NIXL_STORE_ERROR_BUSY, _TIMED_OUT: the submission queue stayed full, or the deadline passed.
/// - NIXL_STORE_ERROR_IO, _PERMISSION, _OUT_OF_MEMORY: as named.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_get(
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
    buffer: *mut c_void,
    capacity: usize,
    length_out: *mut usize,
) -> nixl_store_status_t {
    with_store("nixl_store_get", store, |open| {
        // SAFETY: the header asks for `key_length` readable bytes.
        let key = unsafe { check::key(key, key_length as u64) }?;
        let capacity = check::memory("buffer", buffer.addr(), capacity as u64)?;
        if check::overlap(buffer.addr(), capacity, length_out.addr(), size_of::<usize>()) {
            return Err(check::invalid("length_out lies in buffer"));
        }
        // SAFETY: the header asks for a pointer to a size_t.
        let length_out = unsafe { check::output("length_out", length_out) }?;
        let result = transfer_one(open, Direction::Get, key, buffer, capacity)?;
        match result.status {
            Status::Ok => length_out.write(result.bytes as usize),
            Status::NotFound => return Ok(Status::NotFound),
            Status::BufferTooSmall => {
                length_out.write(result.object_length as usize);
                let needed = result.object_length;
                let message = format!("the object has {needed} bytes, the buffer {capacity}");
                return Err(Error::new(Status::BufferTooSmall, message));
            }
            status => return Err(Error::new(status, "a get cannot end like this")),
        }
        Ok(Status::Ok)
    })
}

/// Closes a store: refuses new work, completes what is outstanding, keeps the index for the next open, and releases
/// everything.
///
/// Tickets that are waited for in other threads complete first. Registered memory is the caller's alone again;
/// allocated memory, queues and their descriptors are gone. The handle is stale from the moment this returns, and using
/// it is
/// harmless: every call answers NIXL_STORE_ERROR_INVALID_HANDLE.
///
/// Not to be called from a function of the log. In a child of fork() it releases the child's share without touching the parent's
/// store.
///
/// Returns:
/// - NIXL_STORE_OK: closed.
/// - NIXL_STORE_ERROR_CLOSING: another thread is closing it now.
/// - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _OUT_OF_MEMORY: closed, but the index could not be kept; the next
///   open recovers as after a crash.
/// - NIXL_STORE_ERROR_POISONED, _INTERNAL: closed; a bug in the library kept it from being done cleanly.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_close(store: *mut nixl_store_t) -> nixl_store_status_t {
    let bits = store_bits(store);
    boundary("nixl_store_close", || {
        STORES.with(bits, |open| {
            if open.epoch != fork::epoch() {
                return abandon(bits, open);
            }
            open.begin_close()?;
            let _stale = RemoveOnDrop(bits);
            poison_on_panic(
                "nixl_store_close",
                |why| open.store.poison(why),
                || open.store.close().map(|()| Status::Ok),
            )
        })
    })
}

/// A variable of the process. Bytes that are no UTF-8 are replaced and not taken for a variable that is not set: the
/// error is then about a path or value that the user recognises.
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Takes a handle out of the table however the close ends, a panic included.
struct RemoveOnDrop(u64);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        STORES.remove(self.0);
    }
}

/// Closes a parent's store in its child.
fn abandon(bits: u64, open: &OpenStore) -> Result<Status> {
    // Dropping the store would wait for threads that only the parent has, so it stays allocated
    // until the child ends.
    if !STORES.remove_leaking(bits) {
        return Err(Error::new(Status::InvalidHandle, "the store was closed already"));
    }
    open.store.abandon_after_fork();
    Ok(Status::Ok)
}

fn transfer_one(
    open: &OpenStore,
    direction: Direction,
    key: &[u8],
    address: *mut c_void,
    length: usize,
) -> Result<ItemResult> {
    let mut batch = open.store.batch(direction, 1)?;
    batch.item(key, Wish::default())?;
    let found = Detector::new().find(address.addr() as u64, length)?;
    // SAFETY: the header asks the caller to keep the memory valid during the call, which ends after the item has.
    batch.stretch(unsafe { stretch(address, length, found) })?;
    let ticket = batch.run(SubmitOptions::default())?;
    let mut outcome = None;
    // No timeout here: the caller gets its memory back when this returns, so the item must have ended by then. The
    // item's deadline sees to it that it ends.
    open.store.ticket_wait(ticket, None, &mut |_, result, message| {
        outcome = Some(match result.status {
            // The callers of this function handle these; any other status is an error.
            Status::Ok | Status::NotFound | Status::NotAdmitted | Status::BufferTooSmall => Ok(result),
            _ => Err(item_error(&result, message)),
        });
    })?;
    outcome.unwrap_or_else(|| Err(Error::new(Status::Internal, "the batch ended without a result")))
}
