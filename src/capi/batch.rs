//! Submitting batches: items and segments are read once, checked, and handed to the store.

use std::ffi::c_void;

use super::check::{self, invalid};
use super::constants::{
    ITEM_FLAGS, NIXL_STORE_BATCH_ITEMS_MAX, NIXL_STORE_ITEM_ADMIT, NIXL_STORE_ITEM_EXACT,
    NIXL_STORE_ITEM_FRONT, NIXL_STORE_ITEM_KEEP, NIXL_STORE_ITEM_RANGE, NIXL_STORE_MEMORY_AUTO,
    NIXL_STORE_MEMORY_CUDA, NIXL_STORE_MEMORY_HOST, NIXL_STORE_SEGMENTS_PER_ITEM_MAX,
};
use super::handle::store_bits;
use super::options;
use super::overlap::OverlapCheck;
use super::panic::with_store;
use super::types::{
    nixl_store_item_t, nixl_store_segment_t, nixl_store_status_t, nixl_store_submit_options_t, nixl_store_t,
    nixl_store_ticket_t,
};
use crate::cuda::{Detector, Found, Library};
use crate::error::{Error, Result, Status};
use crate::memory::{DevicePtr, DeviceSlice, HostPtr, HostSlice, Stretch};
use crate::store::{BatchBuilder, Direction, Wish};

/// ======== Full layer: batches ========
///
/// Submits puts of many objects and returns at once. Each item is a put of its own: it succeeds or fails by itself, as
/// described at nixl_store_put(), and becomes visible as a whole.
///
/// items: item_count items, 1 to NIXL_STORE_BATCH_ITEMS_MAX. An object is the bytes of its item's segments, one after
/// the other. The arrays of items, segments and keys are copied: they may be freed when the call returns. The memory
/// that the segments describe is read until the batch completed. With NIXL_STORE_ITEM_KEEP an item whose key is stored
/// already ends with NIXL_STORE_OK at once, and nothing is written; with NIXL_STORE_ITEM_EXACT beside it, only if the
/// object stored has the length of this one.
/// options: deadline, completion queue, user data, the request that the batch belongs to, and a CUDA stream with which the
/// batch is ordered: see nixl_store_stream_wait(). May be NULL.
/// ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the batch.
///
/// Give the keys of a prompt in the order of its chain: eviction by LRU and REUSE lets its end leave before its beginning.
///
/// Waits only while the submission queue is full, up to the deadline. Batches have no order among each other: wait for
/// one before submitting what depends on it.
///
/// Returns:
/// - NIXL_STORE_OK: submitted.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if NIXL_STORE_ITEM_RANGE, _FRONT or object_offset is set, or
///   NIXL_STORE_ITEM_EXACT without _KEEP. Nothing was submitted, as with every error below, and no stream waits.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
/// - NIXL_STORE_ERROR_UNSUPPORTED: memory of this kind, or a stream, is not served in this build or on this machine.
/// - NIXL_STORE_ERROR_BUSY: the submission queue stayed full until the deadline; or too many tickets were not consumed
///   yet, or completions not drained, or too many streams wait; the message says which.
/// - NIXL_STORE_ERROR_IO: with a stream: CUDA's driver reported an error.
/// - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
///
/// What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_NOT_ADMITTED (under cache_policy
/// REUSE, without NIXL_STORE_ITEM_ADMIT), NIXL_STORE_ERROR_TOO_LARGE, _POOL_FULL,
/// _NO_SPACE, _INVALID_ARGUMENT (a key without a file name in the layout lmcache), _IO, _PERMISSION, _OUT_OF_MEMORY,
/// _TIMED_OUT, _CANCELLED, _POISONED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_batch_put(
    store: *mut nixl_store_t,
    items: *const nixl_store_item_t,
    item_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `submit`'s.
    unsafe { submit("nixl_store_batch_put", Direction::Put, store, items, item_count, options, ticket_out) }
}

/// Submits gets of many objects and returns at once. Each item is a get of its own. Gets go ahead of puts that were not
/// started.
///
/// items: item_count items, 1 to NIXL_STORE_BATCH_ITEMS_MAX. An object fills its item's segments one after the other;
/// they may hold more than the object, and what is beyond it stays as it was. With NIXL_STORE_ITEM_EXACT an object of
/// any other length than theirs is not found. With NIXL_STORE_ITEM_RANGE exactly the bytes from object_offset on are
/// read that the segments have room for. The arrays of items, segments and keys are copied: they may be freed when the
/// call returns. The memory that the segments describe is written until the batch completed, and its content counts
/// only where the item's status is NIXL_STORE_OK; with NIXL_STORE_ITEM_FRONT also as far as nixl_store_ticket_progress()
/// says.
/// options: deadline, completion queue, user data, and a CUDA stream with which the batch is ordered: see
/// nixl_store_stream_wait(). May be NULL.
/// ticket_out: gets the ticket, which the caller consumes with nixl_store_ticket_wait(), whatever became of the batch.
/// Must not lie in a segment.
///
/// No two segments may share a byte. That is checked within an item always, and across items in batches of up to
/// NIXL_STORE_OVERLAP_SEGMENTS_MAX segments; it costs least when segments come in ascending order of address.
///
/// Waits only while the submission queue is full, up to the deadline.
///
/// Returns:
/// - NIXL_STORE_OK: submitted.
/// - NIXL_STORE_ERROR_INVALID_ARGUMENT: also if object_offset is set without NIXL_STORE_ITEM_RANGE, or segments
///   overlap. Nothing was submitted, as with every error below, and no stream waits.
/// - NIXL_STORE_ERROR_INVALID_HANDLE: also if options->queue is no queue of this store.
/// - NIXL_STORE_ERROR_UNSUPPORTED: memory of this kind, or a stream, is not served in this build or on this machine.
/// - NIXL_STORE_ERROR_BUSY: the submission queue stayed full until the deadline; or too many tickets were not consumed
///   yet, or completions not drained, or too many streams wait; the message says which.
/// - NIXL_STORE_ERROR_IO: with a stream: CUDA's driver reported an error.
/// - NIXL_STORE_ERROR_OUT_OF_MEMORY: as named.
///
/// What the items can end with, see nixl_store_ticket_wait(): NIXL_STORE_OK, NIXL_STORE_NOT_FOUND,
/// NIXL_STORE_ERROR_BUFFER_TOO_SMALL, _OUT_OF_RANGE, _IO, _PERMISSION, _OUT_OF_MEMORY, _TIMED_OUT, _CANCELLED,
/// _POISONED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nixl_store_batch_get(
    store: *mut nixl_store_t,
    items: *const nixl_store_item_t,
    item_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    // SAFETY: this function's promises are `submit`'s.
    unsafe { submit("nixl_store_batch_get", Direction::Get, store, items, item_count, options, ticket_out) }
}

/// # Safety
/// The pointers are as the header asks for: arrays of the stated counts, memory that is the
/// library's until completion.
unsafe fn submit(
    operation: &'static str,
    direction: Direction,
    store: *mut nixl_store_t,
    items: *const nixl_store_item_t,
    item_count: usize,
    options: *const nixl_store_submit_options_t,
    ticket_out: *mut nixl_store_ticket_t,
) -> nixl_store_status_t {
    with_store(operation, store, |open| {
        // SAFETY: as this function's.
        let ticket_out = unsafe { check::output("ticket_out", ticket_out) }?;
        // SAFETY: as this function's.
        let (options, chain) = unsafe { options::submit(options, store_bits(store)) }?;
        if chain {
            return Err(invalid("NIXL_STORE_SUBMIT_CHAIN is for lookups"));
        }
        let item_count = check::array("items", items, item_count as u64, NIXL_STORE_BATCH_ITEMS_MAX)?;
        let mut batch = open.store.batch(direction, item_count)?;
        let mut overlaps = match direction {
            Direction::Get => Some(OverlapCheck::new(batch.take_ranges()?)),
            // A put may read the same bytes twice.
            Direction::Put => None,
        };
        let mut detector = Detector::new();
        for index in 0..item_count {
            // SAFETY: within the array; read once, so that what was checked is what is used.
            let item = unsafe { items.add(index).read() };
            // SAFETY: as this function's.
            unsafe { add_item(&mut batch, &item, direction, overlaps.as_mut(), &mut detector) }
                .map_err(|error| Error::new(error.status(), format!("item {index}: {error}")))?;
        }
        if let Some(mut overlaps) = overlaps {
            overlaps.finish()?;
            batch.keep_ranges(overlaps.into_room())?;
        }
        ticket_out.write(batch.submit(options)?);
        Ok(Status::Ok)
    })
}

/// # Safety
/// The item's pointers are as the header asks for.
unsafe fn add_item(
    batch: &mut BatchBuilder<'_>,
    item: &nixl_store_item_t,
    direction: Direction,
    mut overlaps: Option<&mut OverlapCheck>,
    detector: &mut Detector,
) -> Result<()> {
    // SAFETY: as this function's.
    let key = unsafe { check::key(item.key, item.key_length) }?;
    let segment_count =
        check::array("segments", item.segments, item.segment_count, NIXL_STORE_SEGMENTS_PER_ITEM_MAX)?;
    batch.item(key, wish(item, direction)?)?;
    let mut bytes_total = 0u64;
    for index in 0..segment_count {
        // SAFETY: within the array; read once, as the item.
        let raw = unsafe { item.segments.add(index).read() };
        let segment =
            segment(&raw, detector).map_err(|error| invalid(format!("segment {index}: {error}")))?;
        bytes_total = bytes_total
            .checked_add(segment.length() as u64)
            .and_then(|total| item.object_offset.checked_add(total).map(|_| total))
            .ok_or_else(|| invalid("the lengths of the segments add up past the end of any object"))?;
        if let Some(overlaps) = &mut overlaps {
            overlaps.segment(segment.addr(), segment.length())?;
        }
        batch.stretch(segment)?;
    }
    match overlaps {
        Some(overlaps) => overlaps.item_ends(),
        None => Ok(()),
    }
}

fn wish(item: &nixl_store_item_t, direction: Direction) -> Result<Wish> {
    check::reserved_fields(&item.reserved)?;
    check::reserved("flags, apart from the known ones,", (item.flags & !ITEM_FLAGS).into())?;
    let has = |flag: u32| item.flags & flag != 0;
    if !has(NIXL_STORE_ITEM_RANGE) {
        check::reserved("object_offset without NIXL_STORE_ITEM_RANGE", item.object_offset)?;
    }
    match direction {
        Direction::Get if has(NIXL_STORE_ITEM_KEEP) => Err(invalid("NIXL_STORE_ITEM_KEEP is for puts")),
        Direction::Get if has(NIXL_STORE_ITEM_ADMIT) => Err(invalid("NIXL_STORE_ITEM_ADMIT is for puts")),
        Direction::Get if has(NIXL_STORE_ITEM_RANGE) && has(NIXL_STORE_ITEM_EXACT) => {
            Err(invalid("NIXL_STORE_ITEM_EXACT is for gets of whole objects; a range is always exact"))
        }
        Direction::Put if has(NIXL_STORE_ITEM_RANGE) => {
            Err(invalid("NIXL_STORE_ITEM_RANGE is for gets; a put is of a whole object"))
        }
        Direction::Put if has(NIXL_STORE_ITEM_EXACT) && !has(NIXL_STORE_ITEM_KEEP) => {
            Err(invalid("NIXL_STORE_ITEM_EXACT of a put says what NIXL_STORE_ITEM_KEEP leaves, and needs it"))
        }
        Direction::Put if has(NIXL_STORE_ITEM_FRONT) => {
            Err(invalid("NIXL_STORE_ITEM_FRONT is for gets; a put is stored as a whole"))
        }
        _ => Ok(Wish {
            range_offset: has(NIXL_STORE_ITEM_RANGE).then_some(item.object_offset),
            exact: has(NIXL_STORE_ITEM_EXACT),
            keep: has(NIXL_STORE_ITEM_KEEP),
            must: has(NIXL_STORE_ITEM_ADMIT),
            front: has(NIXL_STORE_ITEM_FRONT),
        }),
    }
}

fn segment(raw: &nixl_store_segment_t, detector: &mut Detector) -> Result<Stretch> {
    if !matches!(raw.memory_kind, NIXL_STORE_MEMORY_AUTO | NIXL_STORE_MEMORY_HOST | NIXL_STORE_MEMORY_CUDA) {
        return Err(invalid(format!("memory_kind {} is unknown", raw.memory_kind)));
    }
    check::reserved_fields(&raw.reserved)?;
    let length = check::memory("address", raw.address.addr(), raw.length)?;
    let address = raw.address.addr() as u64;
    if raw.memory_kind != NIXL_STORE_MEMORY_CUDA {
        check::reserved("cuda_device without NIXL_STORE_MEMORY_CUDA", raw.cuda_device.into())?;
    }
    let found = match raw.memory_kind {
        NIXL_STORE_MEMORY_HOST => Found::Host,
        NIXL_STORE_MEMORY_CUDA if raw.cuda_device > 0 => named(raw.cuda_device)?,
        NIXL_STORE_MEMORY_CUDA => Found::Device(detector.find_device(address, length)?),
        _ => detector.find(address, length)?,
    };
    // SAFETY: the header asks the caller to keep an item's memory valid, and to itself, until completion.
    Ok(unsafe { stretch(raw.address, length, found) })
}

/// Memory on a device that the caller names, which is taken for that unseen.
fn named(cuda_device: u32) -> Result<Found> {
    let device = u16::try_from(cuda_device - 1)
        .map_err(|_| invalid(format!("cuda_device {cuda_device} is the ordinal of no device plus 1")))?;
    // Without the driver no memory is a device's.
    Library::load().map(|_| Found::Device(device))
}

/// Memory of the caller's that was found to be that.
///
/// # Safety
/// It stays valid, and left alone, until the operation that it is for has completed.
pub(super) unsafe fn stretch(address: *mut c_void, length: usize, found: Found) -> Stretch {
    match found {
        Found::Device(device) => {
            let pointer = DevicePtr::new(address.addr() as u64);
            Stretch::Device(DeviceSlice { pointer, length, device })
        }
        Found::Host => {
            // SAFETY: as this function's.
            let pointer = unsafe { HostPtr::new(address.cast()) };
            Stretch::Host(HostSlice { pointer, length })
        }
    }
}

/// What can be told from an item alone.
#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    const SEGMENT: nixl_store_segment_t = nixl_store_segment_t {
        address: ptr::without_provenance_mut(0x1000),
        length: 16,
        memory_kind: NIXL_STORE_MEMORY_AUTO,
        cuda_device: 0,
        reserved: [0; 2],
    };

    fn item(flags: u32, object_offset: u64, reserved: u32) -> nixl_store_item_t {
        nixl_store_item_t {
            key: ptr::null(),
            key_length: 0,
            segments: ptr::null(),
            segment_count: 0,
            object_offset,
            flags,
            reserved: [0, 0, 0, 0, reserved],
        }
    }

    /// Fields that mean nothing today have to be zero, or they could never mean something tomorrow.
    #[test]
    fn unknown_flags_and_reserved_fields_are_refused() {
        assert_eq!(wish(&item(0, 0, 0), Direction::Put).unwrap(), Wish::default());
        assert_eq!(wish(&item(1, 9, 0), Direction::Get).unwrap().range_offset, Some(9));
        assert_eq!(wish(&item(1, 0, 0), Direction::Get).unwrap().range_offset, Some(0));
        assert!(wish(&item(2, 0, 0), Direction::Get).unwrap().exact);
        assert!(wish(&item(4, 0, 0), Direction::Put).unwrap().keep);
        assert!(wish(&item(6, 0, 0), Direction::Put).unwrap().exact);
        assert!(wish(&item(8, 0, 0), Direction::Get).unwrap().front);
        assert!(wish(&item(9, 5, 0), Direction::Get).unwrap().front);
        for (flags, offset, reserved, direction) in [
            (16, 0, 0, Direction::Get),
            (8, 0, 0, Direction::Put),
            (3, 0, 0, Direction::Get),
            (4, 0, 0, Direction::Get),
            (6, 0, 0, Direction::Get),
            (1 << 31, 0, 0, Direction::Put),
            (0, 1, 0, Direction::Get),
            (0, 0, 1, Direction::Get),
            (1, 0, 0, Direction::Put),
            (2, 0, 0, Direction::Put),
        ] {
            let refused = wish(&item(flags, offset, reserved), direction);
            assert!(refused.is_err_and(|error| error.status() == Status::InvalidArgument));
        }
    }

    /// Ordinary memory is host memory, whatever the caller leaves open; what is no segment is refused.
    #[test]
    fn a_segment_keeps_its_kind_and_bounds() {
        let segment = |raw: &nixl_store_segment_t| super::segment(raw, &mut Detector::new());
        assert!(segment(&SEGMENT).unwrap().host().is_some());
        for wrong in [
            nixl_store_segment_t { memory_kind: 3, ..SEGMENT },
            nixl_store_segment_t { cuda_device: 1, ..SEGMENT },
            nixl_store_segment_t { cuda_device: 1, memory_kind: NIXL_STORE_MEMORY_HOST, ..SEGMENT },
            nixl_store_segment_t { cuda_device: 1 << 17, memory_kind: NIXL_STORE_MEMORY_CUDA, ..SEGMENT },
            nixl_store_segment_t { reserved: [1, 0], ..SEGMENT },
            nixl_store_segment_t { reserved: [0, 1], ..SEGMENT },
            nixl_store_segment_t { length: 0, ..SEGMENT },
            nixl_store_segment_t { length: u64::MAX, ..SEGMENT },
            nixl_store_segment_t { address: ptr::null_mut(), ..SEGMENT },
            nixl_store_segment_t { address: ptr::without_provenance_mut(usize::MAX - 3), ..SEGMENT },
        ] {
            assert!(segment(&wrong).is_err_and(|error| error.status() == Status::InvalidArgument));
        }
    }
}
