//! Completion queues.

use std::ffi::c_int;

use super::check;
use super::constants::NIXL_STORE_ERROR_NO_RESULT;
use super::handle::{queue_id, queue_pointer, store_bits};
use super::panic::with_store;
use super::types::{nixl_store_completion_t, nixl_store_queue_t, nixl_store_status_t, nixl_store_t};
use crate::error::Status;
use crate::store::Completion;

/// ======== Full layer: completion queues ========
///
/// Creates a queue that tells which batches completed, for programs that wait for many things at once.
///
/// queue_out: gets the handle, to be given in submit options; the caller destroys it with nixl_store_queue_destroy(),
/// or leaves that to nixl_store_close().
///
/// Returns:
/// - NIXL_STORE_OK: created.
/// - NIXL_STORE_ERROR_BUSY: the store has as many queues as it can have.
/// - NIXL_STORE_ERROR_IO, _OUT_OF_MEMORY: no eventfd could be had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_queue_create(
    store: *mut nixl_store_t,
    queue_out: *mut *mut nixl_store_queue_t,
) -> nixl_store_status_t {
    with_store("nixl_store_queue_create", store, |open| {
        // SAFETY: the header asks for a pointer to a handle.
        let queue_out = unsafe { check::output("queue_out", queue_out) }?;
        let queue = open.store.queue_create()?;
        match queue_pointer(store_bits(store), queue) {
            Ok(pointer) => queue_out.write(pointer),
            Err(error) => {
                open.store.queue_destroy(queue)?;
                return Err(error);
            }
        }
        Ok(Status::Ok)
    })
}

/// Gives the queue's eventfd, which polls readable while completions are waiting.
///
/// fd_out: gets the descriptor. It belongs to the queue: give it to poll(), epoll or io_uring, do not close it, and do
/// not use it after the queue was destroyed. Nothing is counted in it, so a program may also read it, if it drains the
/// queue until nothing is left after each read, and may write to it, which wakes whoever polls it until the next drain.
///
/// Returns:
/// - NIXL_STORE_OK: *fd_out is the descriptor.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if queue is NULL, destroyed, or none of this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_queue_fd(
    store: *mut nixl_store_t,
    queue: *mut nixl_store_queue_t,
    fd_out: *mut c_int,
) -> nixl_store_status_t {
    with_store("nixl_store_queue_fd", store, |open| {
        let queue = queue_id(store_bits(store), queue)?;
        // SAFETY: the header asks for a pointer to an int.
        let fd_out = unsafe { check::output("fd_out", fd_out) }?;
        fd_out.write(open.store.queue_fd(queue)?);
        Ok(Status::Ok)
    })
}

/// Takes completions out of a queue, without waiting.
///
/// Each batch that was submitted with this queue shows up once. Its ticket still has to be consumed with
/// nixl_store_ticket_wait(), which gives the results and does not block.
///
/// completions_out: gets up to capacity completions, oldest first. All capacity entries, at least 1, are written
/// whatever this call returns: those without a completion get ticket 0 and NIXL_STORE_ERROR_NO_RESULT.
/// count_out: gets the number of completions; 0 if none was waiting, and with every error. Must not lie in
/// completions_out.
///
/// Of several threads that drain one queue, each gets completions of its own.
///
/// Returns:
/// - NIXL_STORE_OK: *count_out completions were taken, possibly 0.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if queue is NULL, destroyed, or none of this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_queue_drain(
    store: *mut nixl_store_t,
    queue: *mut nixl_store_queue_t,
    completions_out: *mut nixl_store_completion_t,
    capacity: usize,
    count_out: *mut usize,
) -> nixl_store_status_t {
    // Before the store is looked up, so that the completions say that there are none also if it is closed.
    // SAFETY: the header asks for an array of that capacity and a pointer to a size_t.
    let completions = unsafe {
        check::output_array(
            "completions_out",
            completions_out,
            capacity,
            NO_COMPLETION,
            "count_out",
            count_out,
        )
    };
    with_store("nixl_store_queue_drain", store, move |open| {
        let mut completions = completions?;
        let queue = queue_id(store_bits(store), queue)?;
        open.store.queue_drain(queue, completions.capacity(), &mut |completion| {
            completions.push(completion_to_c(&completion));
        })?;
        Ok(Status::Ok)
    })
}

/// Destroys a queue and closes its eventfd.
///
/// Batches that were submitted with it go on; their tickets are consumed as ever, only no completion tells of them.
///
/// Returns:
/// - NIXL_STORE_OK: destroyed.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if queue is NULL, destroyed already, or none of this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_queue_destroy(
    store: *mut nixl_store_t,
    queue: *mut nixl_store_queue_t,
) -> nixl_store_status_t {
    with_store("nixl_store_queue_destroy", store, |open| {
        let queue = queue_id(store_bits(store), queue)?;
        open.store.queue_destroy(queue).map(|()| Status::Ok)
    })
}

/// An entry without a completion.
const NO_COMPLETION: nixl_store_completion_t =
    nixl_store_completion_t { ticket: 0, user_data: 0, status: NIXL_STORE_ERROR_NO_RESULT, reserved: [0; 3] };

fn completion_to_c(completion: &Completion) -> nixl_store_completion_t {
    nixl_store_completion_t {
        ticket: completion.ticket,
        user_data: completion.user_data,
        status: completion.status.code(),
        reserved: [0; 3],
    }
}
