//! Which slots the next sync has to make durable, and which a sync that failed may have lost.
//!
//! The kernel reports a failed write-back once and then forgets it: the pages count as clean, a later `fsync(2)`
//! answers OK, and the bytes are gone when the page cache lets go of them. So what was written since the last sync
//! that succeeded is kept here, three bits a slot, and turns *suspect* when a sync fails:
//!
//! ```text
//! written ──▶ unsynced ──sync begins──▶ syncing ──succeeds──▶ durable
//!                 └───────────────────────┴──────fails──▶ suspect ──written anew──▶ unsynced
//! ```
//!
//! A put that ends while a sync is under way stays unsynced if that succeeds, as it may have come too late for it,
//! and is suspect if it fails, as it may have come in time. A write that began before a sync failed and ended
//! after it is suspect too: whoever writes holds the number of failed syncs from when it began ([`Durability::now`]).

use std::collections::TryReserveError;

use crate::catalog::filled;

const BITS: u32 = u64::BITS;

/// A set of slots.
struct Marks(Box<[u64]>);

impl Marks {
    fn new(slots: u32) -> Result<Marks, TryReserveError> {
        filled(0, slots.div_ceil(BITS) as usize).map(Marks)
    }

    fn set(&mut self, slot: u32) {
        if let Some(word) = self.0.get_mut((slot / BITS) as usize) {
            *word |= 1 << (slot % BITS);
        }
    }

    fn clear(&mut self, slot: u32) {
        if let Some(word) = self.0.get_mut((slot / BITS) as usize) {
            *word &= !(1 << (slot % BITS));
        }
    }

    fn clear_all(&mut self) {
        self.0.fill(0);
    }

    fn take(&mut self, other: &mut Marks) {
        for (mine, theirs) in self.0.iter_mut().zip(&mut other.0) {
            *mine |= std::mem::take(theirs);
        }
    }

    /// The first slot of the set from `from` on.
    fn first(&self, from: u32) -> Option<u32> {
        let mut at = (from / BITS) as usize;
        let mut word = self.0.get(at)? & (u64::MAX << (from % BITS));
        while word == 0 {
            at += 1;
            word = *self.0.get(at)?;
        }
        Some(at as u32 * BITS + word.trailing_zeros())
    }
}

/// What is known of the slots' durability.
pub(super) struct Durability {
    unsynced: Marks,
    syncing: Marks,
    suspect: Marks,
    syncs_failed: u32,
}

impl Durability {
    pub(super) fn new(slots: u32) -> Result<Durability, TryReserveError> {
        Ok(Durability {
            unsynced: Marks::new(slots)?,
            syncing: Marks::new(slots)?,
            suspect: Marks::new(slots)?,
            syncs_failed: 0,
        })
    }

    /// To be remembered by who begins to write a slot.
    pub(super) fn now(&self) -> u32 {
        self.syncs_failed
    }

    /// Whether a sync failed since `began`, so that what was written from then on may be lost.
    pub(super) fn failed_since(&self, began: u32) -> bool {
        self.syncs_failed != began
    }

    /// A slot was written as a whole, from `began` until now.
    pub(super) fn written(&mut self, slot: u32, began: u32) {
        if self.failed_since(began) {
            self.suspect.set(slot);
        } else {
            self.suspect.clear(slot);
            self.unsynced.set(slot);
        }
    }

    /// A sync begins. There is one at a time.
    pub(super) fn begin(&mut self) {
        self.syncing.take(&mut self.unsynced);
    }

    /// The sync succeeded.
    pub(super) fn succeed(&mut self) {
        self.syncing.clear_all();
    }

    /// The sync failed, for the slots of which `is_lost` says so.
    pub(super) fn fail(&mut self, is_lost: &dyn Fn(u32) -> bool) {
        self.syncs_failed = self.syncs_failed.wrapping_add(1);
        self.syncing.take(&mut self.unsynced);
        let mut from = 0;
        while let Some(slot) = self.syncing.first(from) {
            // Where the sync of a slot's file succeeded, a put may still have ended after it.
            if is_lost(slot) {
                self.suspect.set(slot)
            } else {
                self.unsynced.set(slot)
            }
            from = slot + 1;
        }
        self.syncing.clear_all();
    }

    /// The first suspect from `from` on.
    pub(super) fn first_suspect(&self, from: u32) -> Option<u32> {
        self.suspect.first(from)
    }

    /// Whether a failed sync may have lost what the slot holds.
    pub(super) fn is_suspect(&self, slot: u32) -> bool {
        self.suspect.first(slot) == Some(slot)
    }

    /// The slot is not suspect any more.
    pub(super) fn acquit(&mut self, slot: u32) {
        self.suspect.clear(slot);
    }
}

/// Memory for each slot in bits, for the catalog's estimate.
#[cfg(all(test, not(feature = "shuttle")))]
pub(super) const SLOT_BITS: usize = 3;

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn suspects(durability: &Durability) -> Vec<u32> {
        let mut found = Vec::new();
        while let Some(slot) = durability.first_suspect(found.last().map_or(0, |last| last + 1)) {
            found.push(slot);
        }
        found
    }

    /// A sync vouches for what was written before it began, and a failed one casts doubt on all that was written
    /// before it ended.
    #[test]
    fn a_sync_covers_what_came_before_and_spoils_what_came_meanwhile() {
        let mut durability = Durability::new(200).unwrap();
        let began = durability.now();
        durability.written(3, began);
        durability.begin();
        durability.written(64, began);
        durability.succeed();
        durability.begin();
        durability.written(199, began);
        durability.fail(&|_| true);
        assert_eq!(suspects(&durability), [64, 199], "slot 3 was durable before");

        durability.written(100, began);
        durability.written(101, durability.now());
        assert_eq!(suspects(&durability), [64, 100, 199], "its writing began before the failure");
        durability.written(64, durability.now());
        assert_eq!(suspects(&durability), [100, 199]);
    }

    /// Each file is synced apart; the slots of one that failed are suspect, the others wait for the next sync.
    #[test]
    fn only_the_slots_of_a_file_that_failed_are_suspect() {
        let mut durability = Durability::new(10).unwrap();
        (0..10).for_each(|slot| durability.written(slot, 0));
        durability.begin();
        durability.fail(&|slot| slot % 5 == 2);
        assert_eq!(suspects(&durability), [2, 7]);
        durability.begin();
        durability.fail(&|_| true);
        assert_eq!(suspects(&durability).len(), 10);
    }
}
