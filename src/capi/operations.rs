//! Operating a store: flush, stats, capabilities, versions, messages.

use std::ffi::c_char;

use super::constants::{NIXL_STORE_ABI_VERSION, status_name};
use super::panic::with_store;
use super::text::{bytes_for_c, fitting};
use super::types::{nixl_store_capabilities_t, nixl_store_stats_t, nixl_store_status_t, nixl_store_t};
use super::{error, extensible};
use crate::error::Status;
use crate::metrics::Snapshot;
use crate::store::{Capabilities, DeviceService, Stats};

/// ======== Full layer: operations ========
///
/// Makes durable what was put: waits for the puts that were submitted before, then for the device to have them. They
/// survive a loss of power from then on. Puts that are submitted meanwhile are not waited for.
///
/// Returns:
/// - NIXL_STORE_OK: durable, as far as puts completed.
/// - NIXL_STORE_ERROR_IO, _NO_SPACE, _PERMISSION: the device reported an error; what was put since the last flush may
///   be lost, with the power or at once. The next flush writes it anew, or drops the keys whose bytes cannot be proven
///   right any more, and is NIXL_STORE_OK only if all that is left is durable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_flush(store: *mut nixl_store_t) -> nixl_store_status_t {
    with_store("nixl_store_flush", store, |open| open.store.flush().map(|()| Status::Ok))
}

/// Reads gauges and counters, as often as one likes.
///
/// stats_out: its struct_size is set by the caller. As much is written as that says, and what this version of the
/// library does not know is set to 0.
///
/// Returns:
/// - NIXL_STORE_OK: read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_stats_read(
    store: *mut nixl_store_t,
    stats_out: *mut nixl_store_stats_t,
) -> nixl_store_status_t {
    with_store("nixl_store_stats_read", store, |open| {
        // SAFETY: the header asks for a struct of the size that it states.
        let stats_out = unsafe { extensible::output("stats_out", stats_out) }?;
        stats_out.write(&stats_to_c(&open.store.stats()?));
        Ok(Status::Ok)
    })
}

/// Tells which backend and path are in effect, and why not a better one.
///
/// capabilities_out: its struct_size is set by the caller. As much is written as that says, and what this version of
/// the library does not know is set to 0.
///
/// Returns:
/// - NIXL_STORE_OK: told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_capabilities_read(
    store: *mut nixl_store_t,
    capabilities_out: *mut nixl_store_capabilities_t,
) -> nixl_store_status_t {
    with_store("nixl_store_capabilities_read", store, |open| {
        // SAFETY: the header asks for a struct of the size that it states.
        let capabilities_out = unsafe { extensible::output("capabilities_out", capabilities_out) }?;
        capabilities_out.write(&capabilities_to_c(&open.store.capabilities()?));
        Ok(Status::Ok)
    })
}

/// The version of the library that is loaded, such as "0.1.0". A constant string, never NULL. Leaves
/// nixl_store_error_message() as it is, as do the next two.
#[unsafe(no_mangle)]
pub extern "C" fn nixl_store_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The NIXL_STORE_ABI_VERSION of the library that is loaded; it serves programs that were compiled with the same.
#[unsafe(no_mangle)]
pub extern "C" fn nixl_store_abi_version() -> u32 {
    NIXL_STORE_ABI_VERSION
}

/// The name of a status, such as "NIXL_STORE_NOT_FOUND"; "NIXL_STORE_UNKNOWN" for a number that is none. A constant
/// string, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nixl_store_status_name(status: nixl_store_status_t) -> *const c_char {
    status_name(status).unwrap_or(c"NIXL_STORE_UNKNOWN").as_ptr()
}

/// Says what went wrong in this thread's last call: which function, why, and what to do about it. "" if that call
/// succeeded or answered without an error, or if there was none. Never NULL, never holds a credential; meant for
/// people, its wording may change.
///
/// The string belongs to the library and to this thread, and is valid until this thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn nixl_store_error_message() -> *const c_char {
    error::message()
}

fn stats_to_c(stats: &Stats) -> nixl_store_stats_t {
    // Every field is named, so that this fails to compile when the store gets a counter that is not told here.
    let Stats { totals, keys, bytes_stored, slots, slots_free, capacity_bytes, keys_pinned, items_in_flight } =
        *stats;
    let Snapshot {
        puts_ok,
        puts_failed,
        puts_declined,
        gets_hit,
        gets_missed,
        gets_failed,
        bytes_put,
        bytes_got,
        bytes_direct,
        bytes_staged,
        evictions,
        corruptions,
        quarantined_slots,
        gets_unverified,
        short_transfers,
        retries,
        timed_out,
        cancelled,
    } = totals;
    nixl_store_stats_t {
        struct_size: size_of::<nixl_store_stats_t>(),
        keys,
        bytes_stored,
        slots,
        slots_free,
        capacity_bytes,
        keys_pinned,
        items_in_flight,
        puts_ok,
        puts_failed,
        puts_declined,
        gets_hit,
        gets_missed,
        gets_failed,
        bytes_put,
        bytes_got,
        bytes_direct,
        bytes_staged,
        evictions,
        corruptions,
        quarantined_slots,
        gets_unverified,
        short_transfers,
        retries,
        timed_out,
        cancelled,
    }
}

fn capabilities_to_c(capabilities: &Capabilities) -> nixl_store_capabilities_t {
    let Capabilities {
        backend,
        io_path,
        reason,
        layout,
        direct_io,
        registered_buffers,
        direct_alignment,
        object_bytes_max,
        io_threads,
        buffer_device,
        devices: DeviceService { path, checksums, reason: device_reason },
    } = capabilities;
    nixl_store_capabilities_t {
        struct_size: size_of::<nixl_store_capabilities_t>(),
        object_bytes_max: *object_bytes_max,
        direct_alignment: *direct_alignment,
        io_threads: *io_threads,
        direct_io: u32::from(*direct_io),
        registered_buffers: u32::from(*registered_buffers),
        reserved: 0,
        backend: text_to_c(backend),
        io_path: text_to_c(io_path),
        layout: text_to_c(layout),
        reason: text_to_c(reason),
        buffer_device: text_to_c(buffer_device),
        device_path: text_to_c(path),
        device_checksums: text_to_c(checksums),
        device_reason: text_to_c(device_reason),
    }
}

/// As much of `text` as fits, whole characters, with a NUL behind.
fn text_to_c<const BYTES: usize>(text: &str) -> [c_char; BYTES] {
    let mut array = [0; BYTES];
    let fits = fitting(text, BYTES.saturating_sub(1));
    for (to, from) in array.iter_mut().zip(bytes_for_c(text).take(fits)) {
        *to = from.cast_signed() as c_char;
    }
    array
}

/// Conversions that need no store.
#[cfg(test)]
mod tests {
    use super::*;

    /// C reads these arrays up to the NUL; one that is full would be read past its end.
    #[test]
    fn texts_end_in_a_nul_and_in_a_whole_character() {
        assert_eq!(text_to_c::<4>("ab").map(|c| c as u8), *b"ab\0\0");
        assert_eq!(text_to_c::<4>("abcdef").map(|c| c as u8), *b"abc\0");
        assert_eq!(text_to_c::<4>("aéé").map(|c| c as u8), [b'a', 0xc3, 0xa9, 0]);
        assert_eq!(text_to_c::<4>("abé").map(|c| c as u8), *b"ab\0\0");
    }
}
