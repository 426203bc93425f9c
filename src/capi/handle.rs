//! Handles: what C holds instead of addresses.
//!
//! A store handle is a pointer-sized number, `tag:16 | serial:38 | index:10`, and is never
//! dereferenced. The index names a slot of a fixed table; the serial, new for every open, tells
//! whether the slot still holds that store and not a later one. The tag sets bits that no address of a 64-bit system
//! has, so that no real pointer passes for a handle.
//!
//! Every call looks its store up, so the lookup takes no lock and writes nothing that threads share:
//! a slot is an `ArcSwapOption`, read through a thread's own hazard slot. Having no lock also means that a forked child
//! cannot inherit one that another thread of the parent held.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;

use super::constants::NIXL_STORE_STORES_MAX;
use super::types::{nixl_store_queue_t, nixl_store_t};
use crate::error::{Error, Result, Status};
use crate::store::{QueueId, Store};

// A handle needs 64 bits of pointer.
const _: () = assert!(usize::BITS == 64);

const INDEX_BITS: u32 = 10;
const SERIAL_BITS: u32 = 38;
const PAYLOAD_BITS: u32 = INDEX_BITS + SERIAL_BITS;
const PAYLOAD_MASK: u64 = (1 << PAYLOAD_BITS) - 1;
/// "NX": bit 62 set and bit 63 clear, in no address of user or kernel space.
const STORE_TAG: u64 = 0x4e58;
/// "NQ".
const QUEUE_TAG: u64 = 0x4e51;

const _: () = assert!(NIXL_STORE_STORES_MAX == 1 << INDEX_BITS);

/// The stores that are open in this process.
pub(super) static STORES: Registry<OpenStore> = Registry::new();

/// A store with what the C layer has to know about it.
pub(super) struct OpenStore {
    pub(super) store: Store,
    /// The epoch of [`super::fork`] in which it was opened.
    pub(super) epoch: u64,
    closing: AtomicBool,
}

impl OpenStore {
    pub(super) fn new(store: Store, epoch: u64) -> OpenStore {
        OpenStore { store, epoch, closing: AtomicBool::new(false) }
    }

    /// Claims the right to close for the calling thread.
    pub(super) fn begin_close(&self) -> Result<()> {
        if self.closing.swap(true, Ordering::AcqRel) {
            return Err(Error::new(Status::Closing, "another thread is closing the store"));
        }
        Ok(())
    }
}

/// A fixed table of open things and the handles on them.
pub(super) struct Registry<T> {
    slots: [ArcSwapOption<Entry<T>>; NIXL_STORE_STORES_MAX],
    used: AtomicUsize,
    serial_last: AtomicU64,
}

struct Entry<T> {
    /// Never used twice, so a slot that was closed and opened again cannot pass for the old one.
    serial: u64,
    value: T,
}

/// The right to one slot of the table, given back when dropped unused.
pub(super) struct Reservation<'a, T> {
    registry: &'a Registry<T>,
    serial: u64,
    spent: bool,
}

impl<T> Registry<T> {
    pub(super) const fn new() -> Registry<T> {
        Registry {
            slots: [const { ArcSwapOption::const_empty() }; NIXL_STORE_STORES_MAX],
            used: AtomicUsize::new(0),
            serial_last: AtomicU64::new(0),
        }
    }

    /// Sets a slot aside before the work of opening begins, so that a full table is told at once.
    ///
    /// # Errors
    /// [`Status::Busy`] if all slots are taken, or all serials were used, which takes 2^38 opens.
    pub(super) fn reserve(&self) -> Result<Reservation<'_, T>> {
        let serial = self.serial_last.fetch_add(1, Ordering::Relaxed) + 1;
        let below_max = |used: usize| (used < NIXL_STORE_STORES_MAX).then_some(used + 1);
        let reserved = self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, below_max).is_ok();
        // From here on, dropping it gives the slot back.
        let reservation = Reservation { registry: self, serial, spent: !reserved };
        if !reserved || serial >> SERIAL_BITS != 0 {
            let message =
                format!("{NIXL_STORE_STORES_MAX} stores are open in this process, the most there can be");
            return Err(Error::new(Status::Busy, message));
        }
        Ok(reservation)
    }

    /// Runs `body` on the value that the handle `bits` names. The value lives until `body` returns, even if another
    /// thread removes it meanwhile.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`] for NULL, for what never was a handle, and for what was closed.
    // Every call goes through here, and through what calls it: in one piece it takes a twentieth less of a lookup.
    #[inline(always)]
    pub(super) fn with<R>(&self, bits: u64, body: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        if let Some((slot, serial)) = self.slot(bits)
            && let Some(entry) = slot.load().as_deref()
            && entry.serial == serial
        {
            return body(&entry.value);
        }
        Err(Error::new(
            Status::InvalidHandle,
            match bits {
                0 => "the store is NULL".to_owned(),
                _ => format!("{bits:#x} is no open store: closed already, or never a handle"),
            },
        ))
    }

    /// Runs `body` on every value that is there, one after the other.
    pub(super) fn for_each(&self, mut body: impl FnMut(&T)) {
        for slot in &self.slots {
            if let Some(entry) = slot.load().as_deref() {
                body(&entry.value);
            }
        }
    }

    /// Makes the handle `bits` stale. Of several callers one gets true.
    pub(super) fn remove(&self, bits: u64) -> bool {
        self.take(bits).is_some()
    }

    /// As [`Registry::remove`], but the value is never dropped.
    pub(super) fn remove_leaking(&self, bits: u64) -> bool {
        self.take(bits).map(std::mem::forget).is_some()
    }

    fn take(&self, bits: u64) -> Option<Arc<Entry<T>>> {
        let (slot, serial) = self.slot(bits)?;
        let current = slot.load_full().filter(|entry| entry.serial == serial)?;
        // Comparing addresses is enough: while `current` keeps this entry allocated, no other can have its address.
        let previous = slot.compare_and_swap(Arc::as_ptr(&current), None);
        previous.as_deref().filter(|entry| entry.serial == serial)?;
        self.used.fetch_sub(1, Ordering::AcqRel);
        Some(current)
    }

    fn slot(&self, bits: u64) -> Option<(&ArcSwapOption<Entry<T>>, u64)> {
        let payload = payload_of(bits, STORE_TAG)?;
        let index = payload % NIXL_STORE_STORES_MAX as u64;
        Some((self.slots.get(index as usize)?, payload >> INDEX_BITS))
    }
}

impl<T> Reservation<'_, T> {
    /// Puts `value` into the table and answers its handle.
    pub(super) fn fill(mut self, value: T) -> u64 {
        let entry = Arc::new(Entry { serial: self.serial, value });
        let mut index = self.serial as usize % NIXL_STORE_STORES_MAX;
        // This ends. There are never more entries than reservations, so some slot is always free, and this misses it
        // only if another thread takes it first; whoever does so is done and competes no more.
        loop {
            if let Some(slot) = self.registry.slots.get(index)
                && slot.load().is_none()
                && slot.compare_and_swap(ptr::null::<Entry<T>>(), Some(Arc::clone(&entry))).is_none()
            {
                self.spent = true;
                return with_tag(STORE_TAG, self.serial << INDEX_BITS | index as u64);
            }
            index = (index + 1) % NIXL_STORE_STORES_MAX;
        }
    }
}

impl<T> Drop for Reservation<'_, T> {
    fn drop(&mut self) {
        if !self.spent {
            self.registry.used.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn with_tag(tag: u64, payload: u64) -> u64 {
    tag << PAYLOAD_BITS | payload
}

fn payload_of(bits: u64, tag: u64) -> Option<u64> {
    (bits >> PAYLOAD_BITS == tag).then_some(bits & PAYLOAD_MASK)
}

/// The number behind a store handle.
pub(super) fn store_bits(store: *const nixl_store_t) -> u64 {
    store.addr() as u64
}

/// The handle for a number from [`Reservation::fill`].
pub(super) fn store_pointer(bits: u64) -> *mut nixl_store_t {
    ptr::without_provenance_mut(bits as usize)
}

/// The handle that C gets for a queue of the store `store_bits`.
///
/// The identifier is mixed with a pattern of the store's own, so that another store, whose queues
/// have the same small numbers, does not take it for one of its own.
///
/// # Errors
/// [`Status::Internal`] if the identifier does not fit a handle.
pub(super) fn queue_pointer(store_bits: u64, queue: QueueId) -> Result<*mut nixl_store_queue_t> {
    if queue == 0 || queue > PAYLOAD_MASK {
        return Err(Error::new(Status::Internal, format!("queue identifier {queue:#x} fits no handle")));
    }
    let bits = with_tag(QUEUE_TAG, queue ^ queue_pattern(store_bits));
    Ok(ptr::without_provenance_mut(bits as usize))
}

/// The number of the queue that a handle names. The store then says whether it has a queue of that number.
///
/// # Errors
/// [`Status::InvalidHandle`] for NULL and what never was a queue of this store.
pub(super) fn queue_id(store_bits: u64, queue: *const nixl_store_queue_t) -> Result<QueueId> {
    let bits = queue.addr() as u64;
    match payload_of(bits, QUEUE_TAG).map(|payload| payload ^ queue_pattern(store_bits)) {
        Some(queue) if queue != 0 => Ok(queue),
        _ if bits == 0 => Err(Error::new(Status::InvalidHandle, "the queue is NULL")),
        _ => Err(Error::new(Status::InvalidHandle, format!("{bits:#x} is no queue of this store"))),
    }
}

/// 48 bits that differ from store to store: the finaliser of SplitMix64 over the store's handle.
fn queue_pattern(store_bits: u64) -> u64 {
    let mut mixed = store_bits;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) & PAYLOAD_MASK
}

/// The table in isolation, with numbers in place of stores.
#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn opened(registry: &Registry<u32>, value: u32) -> u64 {
        registry.reserve().unwrap().fill(value)
    }

    fn get(registry: &Registry<u32>, bits: u64) -> Option<u32> {
        registry.with(bits, |value| Ok(*value)).ok()
    }

    /// A closed handle must stay invalid for ever, also when its slot serves the next store.
    #[test]
    fn a_stale_handle_never_reaches_the_next_store() {
        let registry = Box::new(Registry::new());
        let mut stale = Vec::new();
        for value in 0..3000 {
            let bits = opened(&registry, value);
            assert_eq!(get(&registry, bits), Some(value));
            assert!(registry.remove(bits));
            assert!(!registry.remove(bits));
            stale.push(bits);
        }
        let alive: Vec<u64> =
            (0..NIXL_STORE_STORES_MAX as u32).map(|value| opened(&registry, value)).collect();
        assert!(stale.iter().all(|bits| get(&registry, *bits).is_none()));
        assert!(alive.iter().enumerate().all(|(i, bits)| get(&registry, *bits) == Some(i as u32)));
    }

    /// Numbers that a confused caller may pass: none may name a store, whatever the table holds.
    #[test]
    fn garbage_is_no_handle() {
        let registry = Box::new(Registry::new());
        let bits = opened(&registry, 7);
        let local = 0u64;
        let real_address = (&raw const local).addr() as u64;
        for garbage in
            [0, 1, 0xdead_beef, u64::MAX, real_address, bits + 1, bits ^ (1 << 63), bits & PAYLOAD_MASK]
        {
            assert_eq!(get(&registry, garbage), None, "{garbage:#x}");
            assert!(!registry.remove(garbage));
        }
        for bit in 0..64 {
            assert_eq!(get(&registry, bits ^ (1 << bit)), None);
        }
        assert_eq!(get(&registry, bits), Some(7));
    }

    /// The table is bounded; a full one says so, and has room again as soon as one store closes.
    #[test]
    fn a_full_table_is_busy_until_a_store_closes() {
        let registry = Box::new(Registry::new());
        let alive: Vec<u64> =
            (0..NIXL_STORE_STORES_MAX as u32).map(|value| opened(&registry, value)).collect();
        assert_eq!(registry.reserve().err().map(|error| error.status()), Some(Status::Busy));
        assert!(registry.remove(alive[500]));
        drop(registry.reserve().unwrap());
        opened(&registry, 1);
        assert_eq!(registry.reserve().err().map(|error| error.status()), Some(Status::Busy));
    }

    /// Threads that open, use and close at once, and close each other's handles: each handle is
    /// closed once, never serves another's value, and the table ends as empty as it began.
    #[test]
    fn a_handle_is_closed_once_whoever_tries() {
        let registry = Box::new(Registry::new());
        let closed = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (registry, closed) = (&registry, &closed);
                scope.spawn(move || {
                    for round in 0..500 {
                        let value = thread * 1000 + round;
                        let bits = opened(registry, value);
                        std::thread::scope(|inner| {
                            for _ in 0..2 {
                                inner.spawn(|| {
                                    assert!(get(registry, bits).is_none_or(|seen| seen == value));
                                    closed.fetch_add(u32::from(registry.remove(bits)), Ordering::Relaxed);
                                });
                            }
                        });
                        assert_eq!(get(registry, bits), None);
                    }
                });
            }
        });
        assert_eq!(closed.into_inner(), 8 * 500);
        assert_eq!(registry.used.load(Ordering::Relaxed), 0);
    }

    /// Two stores both have a queue number 1; giving one store's queue to the other must not work.
    #[test]
    fn a_queue_handle_belongs_to_one_store() {
        let registry = Box::new(Registry::new());
        let (one, two) = (opened(&registry, 1), opened(&registry, 2));
        for id in 1..1000 {
            let handle = queue_pointer(one, id).unwrap();
            assert_eq!(queue_id(one, handle).unwrap(), id);
            assert!(queue_id(two, handle).is_ok_and(|other| other > 1 << 20));
        }
        assert!(queue_id(one, ptr::null()).is_err());
        assert!(queue_id(one, ptr::without_provenance(1)).is_err());
        assert!(queue_id(one, ptr::without_provenance(one as usize)).is_err());
        assert!(queue_pointer(one, 0).is_err());
        assert!(queue_pointer(one, PAYLOAD_MASK + 1).is_err());
    }
}
