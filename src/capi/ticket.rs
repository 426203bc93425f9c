//! Tickets: waiting, polling, cancelling.

use std::io;
use std::time::Duration;

use super::check::{self, OutputArray, invalid};
use super::constants::{NIXL_STORE_ERROR_NO_RESULT, NIXL_STORE_TIMEOUT_INFINITE, status_name};
use super::panic::with_store;
use super::types::{nixl_store_result_t, nixl_store_status_t, nixl_store_t, nixl_store_ticket_t};
use crate::error::{Error, Result, Status};
use crate::store::ItemResult;

/// ======== Full layer: tickets ========
///
/// Waits until a batch completed, gives the result of each item, and releases the ticket.
///
/// ticket: from a submit to this store, not consumed yet.
/// timeout_ms: see TIMES. It bounds this call alone: the batch goes on, and its memory stays in use, until the batch
/// completed.
/// results_out: gets one result per item, in the order of the items, once the batch completed, whatever its status. All
/// result_capacity entries are written whatever this call returns: those without a result get
/// NIXL_STORE_ERROR_NO_RESULT. May be NULL: not wanted.
/// result_capacity: entries that results_out has room for, at least the number of items. Not used if results_out is
/// NULL.
/// result_count_out: gets the number of results: the number of items once the batch completed, else 0. May be NULL if
/// results_out is. Must not lie in results_out.
///
/// Of several threads that wait for one ticket, one gets the results, the others NIXL_STORE_ERROR_INVALID_HANDLE.
///
/// Returns, with the batch completed and the ticket released:
/// - NIXL_STORE_OK: all items ended with NIXL_STORE_OK.
/// - NIXL_STORE_NOT_FOUND: at least one item ended with NIXL_STORE_NOT_FOUND, and none with NIXL_STORE_PINNED or an
///   error.
/// - NIXL_STORE_PINNED: at least one item of a removal ended with NIXL_STORE_PINNED, and none with an error.
/// - The first error among the items: NIXL_STORE_ERROR_TOO_LARGE, _POOL_FULL, _NO_SPACE, _BUFFER_TOO_SMALL,
///   _OUT_OF_RANGE, _INVALID_ARGUMENT, _BUSY, _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED.
///
/// Returns, with the ticket kept:
/// - NIXL_STORE_IN_PROGRESS: not completed within timeout_ms.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if result_capacity is below the number of items.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_ticket_wait(
    store: *mut nixl_store_t,
    ticket: nixl_store_ticket_t,
    timeout_ms: u64,
    results_out: *mut nixl_store_result_t,
    result_capacity: usize,
    result_count_out: *mut usize,
) -> nixl_store_status_t {
    // Before the store is looked up, so that the results say that there are none also if it is closed.
    // SAFETY: the header asks for an array of that capacity and a pointer to a size_t.
    let results = unsafe { results(results_out, result_capacity, result_count_out) };
    with_store("nixl_store_ticket_wait", store, move |open| {
        let mut results = results?;
        check_ticket(ticket)?;
        if results.is_some() {
            let items = open.store.ticket_item_count(ticket)?;
            if result_capacity < items {
                return Err(invalid(format!(
                    "result_capacity is {result_capacity}, the batch has {items} items"
                )));
            }
        }
        let timeout = timeout(timeout_ms);
        let mut failed = None;
        let status = open.store.ticket_wait(ticket, timeout, &mut |index, result, message| {
            if result.status.is_error() && failed.is_none() {
                failed = Some((index, item_error(&result, message)));
            }
            if let Some(results) = &mut results {
                results.push(result_to_c(&result));
            }
        })?;
        match failed {
            Some((index, error)) if status.is_error() => {
                Err(Error::new(status, format!("item {index}: {error}")))
            }
            _ => Ok(status),
        }
    })
}

/// Says how a batch is doing, without waiting and without releasing the ticket.
///
/// ticket: from a submit to this store, not consumed yet.
///
/// Returns:
/// - NIXL_STORE_IN_PROGRESS: not completed.
/// - What nixl_store_ticket_wait() will return: completed.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_ticket_poll(
    store: *mut nixl_store_t,
    ticket: nixl_store_ticket_t,
) -> nixl_store_status_t {
    with_store("nixl_store_ticket_poll", store, |open| {
        check_ticket(ticket)?;
        open.store.ticket_poll(ticket)
    })
}

/// Asks for a batch to end early: items that were not started end with NIXL_STORE_ERROR_CANCELLED, the others finish.
///
/// It neither waits nor releases the ticket: the batch's memory is in use until nixl_store_ticket_wait() says that it
/// completed. A batch that completed already stays as it is.
///
/// ticket: from a submit to this store, not consumed yet.
///
/// Returns:
/// - NIXL_STORE_OK: asked for.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_ticket_cancel(
    store: *mut nixl_store_t,
    ticket: nixl_store_ticket_t,
) -> nixl_store_status_t {
    with_store("nixl_store_ticket_cancel", store, |open| {
        check_ticket(ticket)?;
        open.store.ticket_cancel(ticket).map(|()| Status::Ok)
    })
}

/// Says how many bytes of an item, from its first on, are proven and in place, and waits for them if told to. What this
/// says can be used while the rest is on its way.
///
/// That is known before the end of an item only for gets with NIXL_STORE_ITEM_FRONT. For the others, and for puts, it
/// is 0 until the item has ended.
///
/// ticket: from a submit to this store, not consumed yet.
/// item_index: the item's place in its batch, from 0 on.
/// bytes_wanted: waits until so many are in place, or the item has ended, or the time is up; 0: does not wait.
/// timeout_ms: see TIMES.
/// bytes_out: gets the bytes, whatever is returned but an error of this call itself. After NIXL_STORE_OK they are all
/// of the item's; after any other end those that had been proven, which stay right.
///
/// Several threads may wait for one item. The ticket must not be consumed meanwhile.
///
/// Returns:
/// - NIXL_STORE_IN_PROGRESS: the item has not ended; *bytes_out may be less than bytes_wanted, if the time was up.
/// - What the item ended with, see nixl_store_ticket_wait(): it has ended.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the batch has no such item.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_ticket_progress(
    store: *mut nixl_store_t,
    ticket: nixl_store_ticket_t,
    item_index: usize,
    bytes_wanted: u64,
    timeout_ms: u64,
    bytes_out: *mut u64,
) -> nixl_store_status_t {
    with_store("nixl_store_ticket_progress", store, |open| {
        // SAFETY: the header asks for a place to write to.
        let bytes_out = unsafe { check::output("bytes_out", bytes_out) }?;
        check_ticket(ticket)?;
        let timeout = timeout(timeout_ms);
        let (result, bytes, message) =
            open.store.ticket_progress(ticket, item_index, bytes_wanted, timeout)?;
        bytes_out.write(bytes);
        match result.status.is_error() {
            true => Err(item_error(&result, message.as_deref())),
            false => Ok(result.status),
        }
    })
}

/// How long to wait; `None`: for ever.
fn timeout(timeout_ms: u64) -> Option<Duration> {
    (timeout_ms != NIXL_STORE_TIMEOUT_INFINITE).then(|| Duration::from_millis(timeout_ms))
}

/// Where the results go; `None` if they are not wanted.
///
/// # Safety
/// As [`check::output_array`].
unsafe fn results<'a>(
    results_out: *mut nixl_store_result_t,
    capacity: usize,
    count_out: *mut usize,
) -> Result<Option<OutputArray<'a, nixl_store_result_t>>> {
    if results_out.is_null() {
        if !count_out.is_null() {
            // SAFETY: as this function's.
            unsafe { check::output("result_count_out", count_out) }?.write(0);
        }
        return Ok(None);
    }
    // SAFETY: as this function's.
    unsafe {
        check::output_array("results_out", results_out, capacity, NO_RESULT, "result_count_out", count_out)
    }
    .map(Some)
}

/// An entry without a result.
const NO_RESULT: nixl_store_result_t = nixl_store_result_t {
    status: NIXL_STORE_ERROR_NO_RESULT,
    os_error: 0,
    bytes: 0,
    object_length: 0,
    reserved: [0; 3],
};

pub(super) fn check_ticket(ticket: nixl_store_ticket_t) -> Result<()> {
    if ticket == 0 { Err(Error::new(Status::InvalidHandle, "0 is no ticket")) } else { Ok(()) }
}

fn result_to_c(result: &ItemResult) -> nixl_store_result_t {
    nixl_store_result_t {
        status: result.status.code(),
        os_error: result.os_error,
        bytes: result.bytes,
        object_length: result.object_length,
        reserved: [0; 3],
    }
}

/// What to say about an item that failed: what the store said, else what its status and OS error tell.
pub(super) fn item_error(result: &ItemResult, message: Option<&str>) -> Error {
    let name = status_name(result.status.code()).unwrap_or(c"").to_string_lossy();
    let text = match (message, result.os_error) {
        (Some(message), _) => message.to_owned(),
        (None, 0) => format!("ended with {name}"),
        (None, os_error) => format!("ended with {name}: {}", io::Error::from_raw_os_error(os_error)),
    };
    Error::new(result.status, text)
}
