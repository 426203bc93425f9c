//! CUDA streams of the caller's.

use std::ffi::c_void;

use super::check::invalid;
use super::constants::NIXL_STORE_ITEMS_ALL;
use super::panic::with_store;
use super::ticket::check_ticket;
use super::types::{nixl_store_status_t, nixl_store_t, nixl_store_ticket_t};
use crate::cuda::StreamHandle;
use crate::error::Status;

/// ======== Full layer: CUDA streams ========
///
/// Makes work that is put on a stream after this call wait until so many bytes of an item are proven and in place, or
/// the item has ended. No thread waits, and nothing on the stream before is held up.
///
/// What a stream that waits is promised: it goes on, whatever becomes of the item: hit, miss, error, deadline, cancel,
/// a store that is poisoned or closed. Work behind the wait therefore runs also where bytes are missing: ask
/// nixl_store_ticket_progress() or nixl_store_ticket_wait() whether they are there before its outcome is used. The same
/// holds for NIXL_STORE_SUBMIT_BEFORE_STREAM, which is this call for all items, made before the batch begins.
///
/// ticket: from a submit of puts or gets to this store, not consumed yet. Memory of any kind, and any backend.
/// item_index: the item's place in its batch, from 0 on; NIXL_STORE_ITEMS_ALL: wait until all items have ended.
/// bytes: from the item's first on. For a get without NIXL_STORE_ITEM_FRONT, and for a put, any number but 0 stands for
/// the item's end. Must be 0 with NIXL_STORE_ITEMS_ALL.
/// cuda_stream: a CUstream or cudaStream_t of any context of this process; NULL is the legacy default stream of the
/// calling thread's current context.
///
/// If the bytes are in place already, or the item has ended, nothing is put on the stream.
///
/// The calling thread waits for no device, and its contexts are afterwards what they were. What the first stream of a
/// context
/// takes is had by the call that brings it, and may wait for the device: name the device in the open options
/// (has_cuda_device), and it is had for its primary context when the store is opened. A stream that waits holds up what
/// the driver puts behind it; so allocate device and pinned memory, and load modules, before.
///
/// With NIXL_STORE_SUBMIT_AFTER_STREAM a batch is held until the stream has come so far, up to its deadline: without
/// one, nixl_store_close() waits for the stream. The context must not be destroyed before the batch has ended.
///
/// A stream that is being captured is refused: a graph would repeat the wait and not the transfer.
///
/// Returns:
/// - NIXL_STORE_OK: the stream waits, or need not.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the batch has no such item, or moves no bytes; the stream is being
///   captured, or is none; it is a default stream, and no context is current in this thread. The stream does not wait,
///   as with every error.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if the ticket is 0, was consumed, or is none of this store.
/// - NIXL_STORE_ERROR_UNSUPPORTED: no driver of CUDA 12 or newer, or a device that cannot wait for values in memory;
///   the message says what is missing.
/// - NIXL_STORE_ERROR_BUSY: 4096 items are waited for by streams of one context, or the process has given streams of 64
///   contexts.
/// - NIXL_STORE_ERROR_IO, _OUT_OF_MEMORY: CUDA's driver reported an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_stream_wait(
    store: *mut nixl_store_t,
    ticket: nixl_store_ticket_t,
    item_index: usize,
    bytes: u64,
    cuda_stream: *mut c_void,
) -> nixl_store_status_t {
    with_store("nixl_store_stream_wait", store, |open| {
        check_ticket(ticket)?;
        let item = (item_index != NIXL_STORE_ITEMS_ALL).then_some(item_index);
        if item.is_none() && bytes != 0 {
            return Err(invalid(format!("bytes is {bytes}; with NIXL_STORE_ITEMS_ALL it must be 0")));
        }
        let stream = StreamHandle::new(cuda_stream);
        open.store.stream_wait(ticket, item, bytes, stream).map(|()| Status::Ok)
    })
}
