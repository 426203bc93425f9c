//! Tickets: waiting, polling, cancelling.

use std::io;
use std::time::Duration;

use super::check::{self, invalid};
use super::constants::{NIXL_STORE_TIMEOUT_INFINITE, status_name};
use super::panic::with_store;
use super::types::{nixl_store_result_t, nixl_store_status_t, nixl_store_t, nixl_store_ticket_t};
use crate::error::{Error, Result, Status};
use crate::store::ItemResult;

/// ======== Full layer: tickets ========
///
/// Waits until a batch completed, gives the result of each item, and releases the ticket.
///
/// store: an open store.
/// ticket: from a submit to this store, not consumed yet.
/// timeout_ms: milliseconds to wait; 0: do not; NIXL_STORE_TIMEOUT_INFINITE: for ever. It bounds this call alone: the
/// batch goes on, and its memory stays in use, until the batch completed.
/// results_out: gets one result per item, in the order of the items, whenever the batch completed, whatever its
/// status; NULL: not wanted.
/// result_capacity: results that results_out has room for, at least the number of items. Not used if results_out is
/// NULL.
///
/// May be called from any thread; of several that wait for one ticket, one gets the results, the others
/// NIXL_STORE_ERROR_INVALID_HANDLE.
///
/// Returns, with the batch completed and the ticket released:
/// - NIXL_STORE_OK: all items ended with NIXL_STORE_OK.
/// - NIXL_STORE_NOT_FOUND: at least one item ended with NIXL_STORE_NOT_FOUND, and none with an error.
/// - The first error among the items: NIXL_STORE_ERROR_TOO_LARGE, _POOL_FULL, _NO_SPACE, _BUFFER_TOO_SMALL,
///   _OUT_OF_RANGE, _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED.
///
/// Returns, with the ticket kept:
/// - NIXL_STORE_IN_PROGRESS: not completed within timeout_ms.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: results_out is misaligned, or result_capacity below the number of items.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: the ticket is 0, was consumed, or is none of this store; or as below.
/// - The common errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_ticket_wait(
    store: *mut nixl_store_t,
    ticket: nixl_store_ticket_t,
    timeout_ms: u64,
    results_out: *mut nixl_store_result_t,
    result_capacity: usize,
) -> nixl_store_status_t {
    with_store("nixl_store_ticket_wait", store, |open| {
        check_ticket(ticket)?;
        let wanted = !results_out.is_null();
        if wanted {
            check::typed("results_out", results_out)?;
            let items = open.store.ticket_item_count(ticket)?;
            if result_capacity < items {
                return Err(invalid(format!(
                    "result_capacity is {result_capacity}, the batch has {items} items"
                )));
            }
        }
        let timeout = (timeout_ms != NIXL_STORE_TIMEOUT_INFINITE).then(|| Duration::from_millis(timeout_ms));
        let mut failed = None;
        let status = open.store.ticket_wait(ticket, timeout, &mut |index, result, message| {
            if result.status.is_error() && failed.is_none() {
                failed = Some((index, item_error(&result, message)));
            }
            if wanted && index < result_capacity {
                // SAFETY: below the capacity that the caller vouched for; aligned and not NULL.
                unsafe { results_out.add(index).write(result_to_c(&result)) };
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
/// store: an open store. ticket: from a submit to this store, not consumed yet.
///
/// May be called from any thread.
///
/// Returns:
/// - NIXL_STORE_IN_PROGRESS: not completed.
/// - What nixl_store_ticket_wait() will return: completed.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: the ticket is 0, was consumed, or is none of this store; or as below.
/// - The common errors.
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
/// store: an open store. ticket: from a submit to this store, not consumed yet.
///
/// May be called from any thread.
///
/// Returns:
/// - NIXL_STORE_OK: asked for.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: the ticket is 0, was consumed, or is none of this store; or as below.
/// - The common errors.
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

fn check_ticket(ticket: nixl_store_ticket_t) -> Result<()> {
    if ticket == 0 { Err(Error::new(Status::InvalidHandle, "0 is no ticket")) } else { Ok(()) }
}

fn result_to_c(result: &ItemResult) -> nixl_store_result_t {
    nixl_store_result_t {
        status: result.status.code(),
        os_error: result.os_error,
        bytes: result.bytes,
        object_length: result.object_length,
        reserved: 0,
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
