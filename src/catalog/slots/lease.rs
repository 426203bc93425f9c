//! Who is reading which slot: one atomic word for each slot.
//!
//! The low bits count readers; [`RETIRED`] says that the slot's key was removed or replaced and the
//! last reader has to see to the slot. A reader is counted only under the lock of the shard in which
//! it found the key, and a key is taken out under that same lock. So once a key is out, its slot's
//! count can only fall, and a count of zero seen under that lock stays zero.

use std::collections::TryReserveError;

use crate::sync::{AtomicU32, Ordering};

/// The slot's key is gone; set once, by whoever took it out, and cleared when the slot is clean.
const RETIRED: u32 = 1 << 31;

/// The lease words of a pool.
pub(super) struct Leases {
    words: Box<[AtomicU32]>,
}

impl Leases {
    pub(super) fn new(slots: u32) -> Result<Leases, TryReserveError> {
        let mut words = Vec::new();
        words.try_reserve_exact(slots as usize)?;
        words.resize_with(slots as usize, || AtomicU32::new(0));
        Ok(Leases { words: words.into_boxed_slice() })
    }

    /// Slots of the pool.
    pub(super) fn len(&self) -> u32 {
        self.words.len() as u32
    }

    /// Counts a reader. Only under the lock of the shard that says the slot is in use.
    #[inline]
    pub(super) fn add_reader(&self, slot: u32) {
        // The shard's lock orders this after whatever made the slot what it is.
        self.words[slot as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a reader. True: it was the last one of a retired slot.
    pub(super) fn drop_reader(&self, slot: u32) -> bool {
        // Release: our reading is over before the slot's next owner sees the count fall.
        // Acquire: if we are that owner, the other readers' reading is over too.
        self.words[slot as usize].fetch_sub(1, Ordering::AcqRel) == RETIRED | 1
    }

    /// Whether nobody is reading the slot. Lasting only under the lock of its key's shard.
    pub(super) fn is_idle(&self, slot: u32) -> bool {
        self.words[slot as usize].load(Ordering::Acquire) == 0
    }

    /// Marks a slot whose key was just taken out. True: nobody is reading it; false: the last
    /// reader will be told. Exactly one of the two sees to the slot, as both are one atomic step.
    pub(super) fn retire(&self, slot: u32) -> bool {
        self.words[slot as usize].fetch_or(RETIRED, Ordering::AcqRel) == 0
    }

    /// Makes a retired slot without readers fit for a new key.
    pub(super) fn renew(&self, slot: u32) {
        self.words[slot as usize].store(0, Ordering::Release);
    }

    /// Readers of a slot.
    #[cfg(test)]
    pub(super) fn readers(&self, slot: u32) -> u32 {
        self.words[slot as usize].load(Ordering::Acquire) & !RETIRED
    }
}

/// Memory for each slot, for the catalog's estimate.
#[cfg(all(test, not(feature = "shuttle")))]
pub(super) const WORD_BYTES: usize = size_of::<AtomicU32>();
