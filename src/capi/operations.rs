//! Operating a store: flush, stats, capabilities, versions, messages.

use std::ffi::c_char;

use super::constants::{NIXL_STORE_ABI_VERSION, status_name};
use super::handle::STORES;
use super::panic::{boundary, with_store};
use super::text::{bytes_for_c, fitting};
use super::types::{nixl_store_capabilities_t, nixl_store_stats_t, nixl_store_status_t, nixl_store_t};
use super::{check, error, extensible};
use crate::error::{Error, Status};
use crate::metrics::Snapshot;
use crate::store::{Capabilities, DeviceService, Reading, Stats, metrics_text};
use crate::sys::fork;

/// Room that is asked for beside the text of metrics: a size class that was not counted in yet has some 3 KiB.
const METRICS_GROWTH_BYTES: usize = 4096;

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

/// Writes all that is measured as text in the form of OpenMetrics 1.0, for an engine's own /metrics: every counter and gauge
/// of nixl_store_stats_t, histograms of how long gets and puts took, and what the store is; docs/METRICS.md lists them.
/// Each sample has the label store, which tells the stores of a process apart.
///
/// store: an open store. NULL: all stores that are open in this process, in one text, which is what a process with several
/// serves: two texts, one behind the other, are none.
/// text_out: gets the text, which is UTF-8 and NUL-terminated. May be NULL if capacity is 0.
/// capacity: bytes of text_out.
/// length_out: gets the length of the text in bytes, without the NUL. Must not lie in text_out.
///
/// Returns:
/// - NIXL_STORE_OK: written.
/// - NIXL_STORE_ERROR_BUFFER_TOO_SMALL: nothing is written but *length_out, which is the capacity that is needed, with room for
///   what the text grows by until the next call. One of 80 KiB for each store is always enough.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_metrics_text(
    store: *mut nixl_store_t,
    text_out: *mut c_char,
    capacity: usize,
    length_out: *mut usize,
) -> nixl_store_status_t {
    let write = |readings: &[Reading]| {
        if capacity > 0 {
            check::memory("text_out", text_out.addr(), capacity as u64)?;
        }
        if check::overlap(text_out.addr(), capacity, length_out.addr(), size_of::<usize>()) {
            return Err(check::invalid("length_out lies in text_out"));
        }
        // SAFETY: the header asks for a pointer to a size_t.
        let length_out = unsafe { check::output("length_out", length_out) }?;
        let text = metrics_text(readings);
        if text.len() >= capacity {
            let needed = text.len() + 1 + METRICS_GROWTH_BYTES;
            length_out.write(needed);
            let message = format!("the text has {} bytes, the buffer {capacity}; have {needed}", text.len());
            return Err(Error::new(Status::BufferTooSmall, message));
        }
        length_out.write(text.len());
        for (index, byte) in bytes_for_c(&text).chain([0]).enumerate() {
            // SAFETY: `text` and its NUL have at most `capacity` bytes, which the header asks to be writable.
            unsafe { text_out.add(index).write(byte.cast_signed() as c_char) };
        }
        Ok(Status::Ok)
    };
    if !store.is_null() {
        return with_store("nixl_store_metrics_text", store, |open| write(&[open.store.reading()?]));
    }
    boundary("nixl_store_metrics_text", || {
        let mut readings = Vec::new();
        STORES.for_each(|open| {
            // A parent's store is not this process's, and one that closes has ended.
            if open.epoch == fork::epoch() {
                readings.extend(open.store.reading());
            }
        });
        write(&readings)
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
