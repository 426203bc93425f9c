//! Keys: what is stored, and what may be evicted.

use std::ffi::c_void;

use super::check::{self, invalid};
use super::constants::NIXL_STORE_BATCH_ITEMS_MAX;
use super::handle::OpenStore;
use super::panic::with_store;
use super::types::{nixl_store_key_t, nixl_store_status_t, nixl_store_t};
use crate::error::{Result, Status};
use crate::store::{PREFIX_GROUP_KEYS, PrefixMatch, Store};

/// ======== Full layer: keys ========
///
/// Says whether a key is stored. It may be gone a moment later, unless it is pinned.
///
/// On a static pool this does no I/O, and looks at a keyed 64-bit hash of the key, not at the key: a key that is not
/// stored can pass for one that is with a chance of 2^-64 for each stored key that it is compared with, mostly a few. A
/// get compares keys.
///
/// In a dynamic store the file system is asked, and 3FS answers up to 30 s late for what other hosts put or removed.
///
/// Returns:
/// - NIXL_STORE_OK: stored.
/// - NIXL_STORE_NOT_FOUND: not stored.
/// - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_key_contains(
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `with_key`'s.
    unsafe {
        with_key("nixl_store_key_contains", store, key, key_length, |open, key| {
            Ok(found(open.store.contains(key)?))
        })
    }
}

/// Tells the length of a stored object. Does no I/O on a static pool.
///
/// length_out: gets the length in bytes.
///
/// Returns:
/// - NIXL_STORE_OK: *length_out is the length.
/// - NIXL_STORE_NOT_FOUND: not stored.
/// - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_key_length(
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
    length_out: *mut u64,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `with_key`'s.
    unsafe {
        with_key("nixl_store_key_length", store, key, key_length, |open, key| {
            // The header asks for a pointer to a uint64_t.
            let length_out = check::output("length_out", length_out)?;
            match open.store.length(key)? {
                Some(length) => length_out.write(length),
                None => return Ok(Status::NotFound),
            }
            Ok(Status::Ok)
        })
    }
}

/// Tells how many keys at the start of a chain are stored: the longest prefix that need not be computed again. Does no
/// I/O on a static pool.
///
/// keys: key_count keys in the order of the chain, at most NIXL_STORE_BATCH_ITEMS_MAX. May be NULL if key_count is 0.
/// matched_out: gets the number of leading keys that are stored, 0 to key_count. Keys after the first that is not
/// stored do not count.
///
/// The gets and puts of these keys that follow, in whatever batches, are taken for one request: see cache_policy in
/// docs/EVICTION.md.
///
/// Returns:
/// - NIXL_STORE_OK: *matched_out is the number, also if it is 0.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if a key cannot be one, at any place of the chain.
/// - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage could not be asked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_prefix_match(
    store: *mut nixl_store_t,
    keys: *const nixl_store_key_t,
    key_count: usize,
    matched_out: *mut usize,
) -> nixl_store_status_t {
    with_store("nixl_store_prefix_match", store, |open| {
        // SAFETY: the header asks for a pointer to a size_t.
        let matched_out = unsafe { check::output("matched_out", matched_out) }?;
        // SAFETY: this function's promises are `look_up`'s.
        let prefix = unsafe { look_up(&open.store, keys, key_count, None, false) }?;
        matched_out.write(prefix.map_or(0, |prefix| prefix.matched()));
        Ok(Status::Ok)
    })
}

/// As nixl_store_prefix_match(), and tells how many of the keys behind the prefix would be stored if they were put now: for
/// engines that copy a chunk before they put it, and need not copy one that would be declined.
///
/// keys: as there.
/// object_bytes: bytes of each object; 0: as many as the stored ones have on average. A static pool does not ask.
/// request: any number for the request, as in nixl_store_submit_options_t; 0: none.
/// matched_out: as there.
/// admitted_out: gets the number of keys right behind the prefix that puts would store, at most
/// NIXL_STORE_PLAN_KEYS_MAX. Without cache_policy REUSE all of them would be stored.
///
/// The keys behind those are declined herewith, as if they had been put, so that they need not be: they count as wanted.
/// So call it once for a request, where its new keys would be put, or give the request's number; to look what is stored is
/// what nixl_store_prefix_match() is for. Nothing is reserved: what is put, got and pinned meanwhile may change the answer.
///
/// Returns: as nixl_store_prefix_match().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_prefix_plan(
    store: *mut nixl_store_t,
    keys: *const nixl_store_key_t,
    key_count: usize,
    object_bytes: u64,
    request: u64,
    matched_out: *mut usize,
    admitted_out: *mut usize,
) -> nixl_store_status_t {
    with_store("nixl_store_prefix_plan", store, |open| {
        // SAFETY: the header asks for pointers to a size_t.
        let matched_out = unsafe { check::output("matched_out", matched_out) }?;
        // SAFETY: as above.
        let admitted_out = unsafe { check::output("admitted_out", admitted_out) }?;
        // SAFETY: this function's promises are `look_up`'s.
        let prefix =
            unsafe { look_up(&open.store, keys, key_count, (request != 0).then_some(request), true) }?;
        matched_out.write(prefix.as_ref().map_or(0, PrefixMatch::matched));
        admitted_out.write(prefix.map_or(0, |prefix| prefix.plan(object_bytes)));
        Ok(Status::Ok)
    })
}

/// Looks the keys of a chain up, all of which are checked. `None`: it has none, as a prompt shorter than a chunk, which is nothing
/// wrong.
///
/// # Safety
/// `keys` points to `key_count` keys, whose bytes are readable during the call.
unsafe fn look_up(
    store: &Store,
    keys: *const nixl_store_key_t,
    key_count: usize,
    request: Option<u64>,
    with_rest: bool,
) -> Result<Option<PrefixMatch<'_>>> {
    if key_count == 0 {
        store.check_open()?;
        return Ok(None);
    }
    let count = check::array("keys", keys, key_count as u64, NIXL_STORE_BATCH_ITEMS_MAX)?;
    // SAFETY: within the array, whose keys are as this function's promise says.
    let last = unsafe { key_at(keys, count - 1) }?;
    let mut prefix = store.prefix_match(request, with_rest, count, last)?;
    for first in (0..count).step_by(PREFIX_GROUP_KEYS) {
        let mut group: [&[u8]; PREFIX_GROUP_KEYS] = [&[]; PREFIX_GROUP_KEYS];
        let group = &mut group[..PREFIX_GROUP_KEYS.min(count - first)];
        for (index, place) in (first..).zip(&mut *group) {
            // SAFETY: as above.
            *place = unsafe { key_at(keys, index) }?;
        }
        // Keys behind the end of the prefix are checked too, though not looked up. A wrong key is then refused at
        // once, and not only later, when all keys before it are stored.
        prefix.add(group)?;
    }
    Ok(Some(prefix))
}

/// A key of an array.
///
/// # Safety
/// The array has more than `index` keys, whose bytes are readable for `'a`.
#[inline(always)]
unsafe fn key_at<'a>(keys: *const nixl_store_key_t, index: usize) -> Result<&'a [u8]> {
    // SAFETY: within the array.
    let raw = unsafe { keys.add(index).read() };
    let checked = check::reserved_fields(&raw.reserved);
    checked
        // SAFETY: as this function's.
        .and_then(|()| unsafe { check::key(raw.key, raw.key_length) })
        .map_err(|error| invalid(format!("key {index}: {error}")))
}

/// Removes a key and its object. Gets that are under way still deliver the object. In the layout lmcache, where several keys
/// can have one file name, a record of another key is left alone; a file without a record is removed.
///
/// Returns:
/// - NIXL_STORE_OK: removed.
/// - NIXL_STORE_NOT_FOUND: not stored.
/// - NIXL_STORE_PINNED: not removed, because it is pinned.
/// - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _TIMED_OUT: storage refused. The message says whether the key is gone
///   from this process's index, and may be back after the pool is opened again, or stays stored. Removing it again tries
///   once more.
/// - NIXL_STORE_ERROR_BUSY: a transfer of the object has not ended for 10 seconds; as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_key_remove(
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `with_key`'s.
    unsafe { with_key("nixl_store_key_remove", store, key, key_length, |open, key| open.store.remove(key)) }
}

/// Pins a key: its object is neither evicted nor removed until it was unpinned as often as it was pinned, or the store
/// is closed, or this process ends.
///
/// In a dynamic store it waits for another process that evicts the key at that moment, at most 10 s. On a file system whose locks
/// bind one host (3FS) so does a pin: processes of other hosts may evict or remove the key all the same.
///
/// Returns:
/// - NIXL_STORE_OK: pinned.
/// - NIXL_STORE_NOT_FOUND: not stored; nothing was pinned.
/// - NIXL_STORE_ERROR_IO, _PERMISSION, _TIMED_OUT: storage refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_key_pin(
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `with_key`'s.
    unsafe {
        with_key("nixl_store_key_pin", store, key, key_length, |open, key| Ok(found(open.store.pin(key)?)))
    }
}

/// Takes back one pin.
///
/// Returns:
/// - NIXL_STORE_OK: one pin fewer.
/// - NIXL_STORE_NOT_FOUND: this store holds no pin on the key.
/// - NIXL_STORE_ERROR_IO: storage refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_key_unpin(
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `with_key`'s.
    unsafe {
        with_key("nixl_store_key_unpin", store, key, key_length, |open, key| {
            Ok(found(open.store.unpin(key)?))
        })
    }
}

/// Removes every key that is not pinned. Gets that are under way still deliver their objects; keys that are put
/// meanwhile may stay.
///
/// removed_out: gets the number of keys removed. May be NULL: not wanted.
///
/// Returns:
/// - NIXL_STORE_OK: removed, possibly 0 keys.
/// - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION, _TIMED_OUT: storage refused; some keys may be removed, and of those some
///   may be back after the pool is opened again, as with nixl_store_key_remove().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_clear(
    store: *mut nixl_store_t,
    removed_out: *mut u64,
) -> nixl_store_status_t {
    with_store("nixl_store_clear", store, |open| {
        let removed_out = if removed_out.is_null() {
            None
        } else {
            // SAFETY: the header asks for a pointer to a uint64_t or NULL.
            Some(unsafe { check::output("removed_out", removed_out) }?)
        };
        let removed = open.store.clear()?;
        if let Some(removed_out) = removed_out {
            removed_out.write(removed);
        }
        Ok(Status::Ok)
    })
}

/// Runs a call on one key.
///
/// # Safety
/// A key that is not NULL points to `key_length` readable bytes which do not change during the call.
unsafe fn with_key(
    operation: &'static str,
    store: *mut nixl_store_t,
    key: *const c_void,
    key_length: usize,
    body: impl FnOnce(&OpenStore, &[u8]) -> Result<Status>,
) -> nixl_store_status_t {
    with_store(operation, store, |open| {
        // SAFETY: as this function's.
        let key = unsafe { check::key(key, key_length as u64) }?;
        body(open, key)
    })
}

fn found(found: bool) -> Status {
    if found { Status::Ok } else { Status::NotFound }
}
