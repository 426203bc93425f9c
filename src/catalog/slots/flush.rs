//! What a flush does to the catalog: it learns what a sync covered, and what a failed one may have lost.
//!
//! There is one sync at a time; the caller sees to that.

use crate::sync::Ordering;

use super::ledger::State;
use super::{DirtySlot, Entry, Lease, SlotCatalog, entry};

/// A key whose record a failed sync may have lost, with a lease on its slot.
#[derive(Debug)]
#[must_use = "a lease that is not released keeps its slot for ever"]
pub struct Suspect {
    /// The effective key.
    pub key: Vec<u8>,
    /// Its slot, kept from being overwritten. Give it back with [`SlotCatalog::release`].
    pub lease: Lease,
}

impl SlotCatalog {
    /// A sync of the storage is about to begin.
    pub fn sync_begins(&self) {
        self.ledger().durability.begin();
    }

    /// The sync that began last made durable all that was written before it.
    pub fn sync_succeeded(&self) {
        self.ledger().durability.succeed();
    }

    /// The sync that began last failed, and may have lost what was written to the slots that `is_lost` names and was
    /// not durable before. Those of them that hold a key are *suspect*; those that were free are unclean, as their
    /// tombstones may be lost.
    pub fn sync_failed(&self, is_lost: &dyn Fn(u32) -> bool) {
        let mut ledger = self.ledger();
        ledger.durability.fail(is_lost);
        ledger.distrust_free(&|durability, slot| durability.is_suspect(slot));
        if ledger.first_unclean(0).is_some() {
            self.is_any_unclean.store(true, Ordering::Relaxed);
        }
    }

    /// A process before this one met a sync that failed, and nobody knows any more what it may have lost: everything that
    /// was taken in is suspect, and every slot that seems free is unclean. Before the first reservation.
    pub fn distrust_everything(&self) {
        {
            let mut ledger = self.ledger();
            let now = ledger.durability.now();
            for slot in 0..self.leases.len() {
                if matches!(ledger.state(slot), State::Live | State::Free) {
                    ledger.durability.written(slot, now);
                }
            }
        }
        self.sync_failed(&|_| true);
    }

    /// The first suspect key in a slot from number `from` on.
    pub fn suspect(&self, from: u32) -> Option<Suspect> {
        let ledger = self.ledger();
        let mut from = from;
        while let Some(slot) = ledger.durability.first_suspect(from) {
            if ledger.state(slot) == State::Live {
                let tag = ledger.tag(slot);
                let table = self.index.shard(tag);
                if let Some(packed) = table.get(tag, entry::is_in(slot)) {
                    let key = entry::key(packed).to_vec();
                    let Entry { generation, length, .. } = Entry::unpack(packed);
                    self.leases.add_reader(slot);
                    return Some(Suspect { key, lease: Lease { slot, length, generation } });
                }
            }
            // Whatever else is in such a slot, a put or a tombstone will be written over it.
            from = slot.saturating_add(1);
        }
        None
    }

    /// Hands out a slot whose tombstone a failed sync may have lost, from number `from` on. It counts as told of from then
    /// on: if it cannot be cleaned now, it is out of use as any other that cannot.
    pub fn reclaim_suspect(&self, from: u32) -> Option<DirtySlot> {
        let mut ledger = self.ledger();
        let mut from = from;
        while let Some(slot) = ledger.durability.first_suspect(from) {
            if ledger.state(slot) == State::Unclean {
                ledger.durability.acquit(slot);
                return Some(ledger.send_to_cleaning(slot));
            }
            from = slot.saturating_add(1);
        }
        None
    }

    /// The record under the suspect's lease was written anew, so that the next sync covers it.
    pub fn written_anew(&self, lease: &Lease) {
        let mut ledger = self.ledger();
        let now = ledger.durability.now();
        ledger.durability.written(lease.slot, now);
    }

    /// The record under the suspect's lease is lost: takes the key out of the index, pinned or not. The slot is handed
    /// out for cleaning by the last reader's release. False: the key has other bytes by now, or none.
    pub fn forget(&self, digest: u128, key: &[u8], lease: &Lease) -> bool {
        let mut ledger = self.ledger();
        self.take_leased(&mut ledger, digest, key, lease)
    }
}
