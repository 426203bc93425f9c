//! Completion queues.

use std::ffi::c_int;

use super::check;
use super::handle::{queue_id, queue_pointer, store_bits};
use super::panic::with_store;
use super::types::{nixl_store_completion_t, nixl_store_queue_t, nixl_store_status_t, nixl_store_t};
use crate::error::Status;
use crate::store::Completion;

/// ======== Full layer: completion queues ========
///
/// Creates a queue that tells which batches completed, for programs that wait for many things at once.
///
/// store: an open store.
/// queue_out: gets the handle, to be given in submit options; the caller destroys it with nixl_store_queue_destroy(),
/// or leaves that to nixl_store_close().
///
/// May be called from any thread.
///
/// Returns:
/// - NIXL_STORE_OK: created.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: queue_out is NULL or misaligned.
/// - NIXL_STORE_ERROR_BUSY: the store has as many queues as it can have.
/// - NIXL_STORE_ERROR_IO, _OUT_OF_MEMORY: no eventfd could be had.
/// - The common errors.
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
/// store: an open store. queue: a queue of this store.
/// fd_out: gets the descriptor. It belongs to the queue: give it to poll(), epoll or io_uring, but do not read, write
/// or close it, and do not use it after the queue was destroyed.
///
/// May be called from any thread.
///
/// Returns:
/// - NIXL_STORE_OK: *fd_out is the descriptor.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: fd_out is NULL or misaligned.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: queue is NULL, destroyed, or none of this store; or as below.
/// - The common errors.
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
/// store: an open store. queue: a queue of this store.
/// completions_out: gets up to capacity completions, at least 1, oldest first.
/// count_out: gets their number; 0 if none was waiting. Must not lie in completions_out.
///
/// May be called from any thread; of several that drain one queue, each gets completions of its own.
///
/// Returns:
/// - NIXL_STORE_OK: *count_out completions were taken, possibly 0.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: completions_out or count_out is NULL or misaligned; capacity is 0; count_out
///   lies in completions_out.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: queue is NULL, destroyed, or none of this store; or as below.
/// - The common errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_queue_drain(
    store: *mut nixl_store_t,
    queue: *mut nixl_store_queue_t,
    completions_out: *mut nixl_store_completion_t,
    capacity: usize,
    count_out: *mut usize,
) -> nixl_store_status_t {
    with_store("nixl_store_queue_drain", store, |open| {
        let queue = queue_id(store_bits(store), queue)?;
        let capacity = check::array("completions_out", completions_out, capacity as u64, usize::MAX)?;
        // Cannot wrap: `array` checked the product.
        let bytes = capacity * size_of::<nixl_store_completion_t>();
        if check::overlap(completions_out.addr(), bytes, count_out.addr(), size_of::<usize>()) {
            return Err(check::invalid("count_out lies in completions_out"));
        }
        // SAFETY: the header asks for a pointer to a size_t.
        let count_out = unsafe { check::output("count_out", count_out) }?;
        let mut taken = 0;
        open.store.queue_drain(queue, capacity, &mut |completion| {
            if taken < capacity {
                // SAFETY: below the capacity that the caller vouched for; aligned and not NULL.
                unsafe { completions_out.add(taken).write(completion_to_c(&completion)) };
                taken += 1;
            }
        })?;
        count_out.write(taken);
        Ok(Status::Ok)
    })
}

/// Destroys a queue and closes its eventfd.
///
/// Batches that were submitted with it go on; their tickets are consumed as ever, only no completion tells of them.
///
/// store: an open store. queue: a queue of this store.
///
/// May be called from any thread.
///
/// Returns:
/// - NIXL_STORE_OK: destroyed.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: queue is NULL, destroyed already, or none of this store; or as below.
/// - The common errors.
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

fn completion_to_c(completion: &Completion) -> nixl_store_completion_t {
    nixl_store_completion_t {
        ticket: completion.ticket,
        user_data: completion.user_data,
        status: completion.status.code(),
        reserved: 0,
    }
}
