//! Registered and allocated memory.

use std::ffi::c_void;

use super::batch::stretch;
use super::check;
use super::panic::with_store;
use super::types::{nixl_store_status_t, nixl_store_t};
use crate::cuda::Detector;
use crate::error::Status;

/// ======== Full layer: memory ========
///
/// Registers memory of the caller, so that the kernel need not pin its pages for each transfer from and to it.
///
/// It pays for memory that is used again and again, such as the engine's KV cache: registering pins pages, which counts
/// against RLIMIT_MEMLOCK. Segments anywhere inside the region profit. CUDA device memory is made known to
/// cuFile, where that moves it directly, and gains nothing elsewhere.
///
/// address, length: the region, at least 1 byte. It stays the caller's, and has to stay mapped until it is unregistered
/// or the store is closed. It must not overlap another registered region.
///
/// Returns:
/// - NIXL_STORE_OK: registered. Where the system refuses to pin pages, that is logged once and transfers go on as
///   without a registration.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if the region is not mapped, or overlaps a registered one.
/// - NIXL_STORE_ERROR_BUSY: the table of regions is full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_memory_register(
    store: *mut nixl_store_t,
    address: *mut c_void,
    length: usize,
) -> nixl_store_status_t {
    with_store("nixl_store_memory_register", store, |open| {
        let length = check::memory("address", address.addr(), length as u64)?;
        let found = Detector::new().find(address.addr() as u64, length)?;
        // SAFETY: the header asks that registered memory stays valid until it is unregistered.
        let memory = unsafe { stretch(address, length, found) };
        open.store.memory_register(memory).map(|()| Status::Ok)
    })
}

/// Takes back a registration, after waiting for the transfers that use it.
///
/// address: exactly as it was registered.
///
/// Returns:
/// - NIXL_STORE_OK: the library will not touch the region through this registration again.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if address is not the start of a registered region.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_memory_unregister(
    store: *mut nixl_store_t,
    address: *mut c_void,
) -> nixl_store_status_t {
    with_store("nixl_store_memory_unregister", store, |open| {
        check::memory("address", address.addr(), 1)?;
        open.store.memory_unregister(address.addr()).map(|()| Status::Ok)
    })
}

/// Allocates from the store's own registered memory, the staging buffer of nixl_buffer_size bytes. It is page-aligned,
/// so transfers from and to it need no copy. With nixl_buffer_device cuda it is CUDA device memory. With HF3FS it is shared with 3FS's
/// daemon, and no other memory goes without a copy. What is allocated is missing for staging; a store keeps back what it needs for that.
///
/// length: bytes, at least 1.
/// address_out: gets the address, aligned to 4096 bytes, content undefined. The caller frees it with
/// nixl_store_memory_free(), or leaves that to nixl_store_close(), after which it must not be touched.
///
/// Returns:
/// - NIXL_STORE_OK: allocated.
/// - NIXL_STORE_ERROR_OUT_OF_MEMORY: the buffer has no free stretch of that length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_memory_allocate(
    store: *mut nixl_store_t,
    length: usize,
    address_out: *mut *mut c_void,
) -> nixl_store_status_t {
    with_store("nixl_store_memory_allocate", store, |open| {
        // SAFETY: the header asks for a pointer to a pointer.
        let address_out = unsafe { check::output("address_out", address_out) }?;
        // Only the length is checked; 1 stands for an address, which there is none of yet.
        let length = check::memory("length", 1, length as u64)?;
        address_out.write(open.store.memory_allocate(length)?.as_ptr().cast());
        Ok(Status::Ok)
    })
}

/// Frees what nixl_store_memory_allocate() gave, after waiting for the transfers that use it.
///
/// address: exactly as it was given. NULL is not accepted.
///
/// Returns:
/// - NIXL_STORE_OK: freed.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if address was freed already, or was not given by this store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_memory_free(
    store: *mut nixl_store_t,
    address: *mut c_void,
) -> nixl_store_status_t {
    with_store("nixl_store_memory_free", store, |open| {
        check::memory("address", address.addr(), 1)?;
        open.store.memory_free(address.addr()).map(|()| Status::Ok)
    })
}
