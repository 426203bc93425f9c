//! Keys that leave or are held: remove, quarantine, clear, pin, and what follows on their slots.

use super::ledger::{Ledger, State};
use super::{Cleanups, Cleared, DirtySlot, Entry, Lease, Remove, SlotCatalog, entry, tag_of};

/// Slots looked at by [`SlotCatalog::clear`] before it lets others have the ledger.
const CLEAR_SLOTS_PER_LOCK: u32 = 1024;

impl SlotCatalog {
    /// Removes a key. Its readers are not disturbed.
    pub fn remove(&self, digest: u128, key: &[u8]) -> Remove {
        let tag = tag_of(digest);
        let mut ledger = self.ledger();
        let entry = {
            let mut table = self.index.shard(tag);
            let Some(found) = table.find(tag, entry::is_key(key)) else { return Remove::Absent };
            let entry = Entry::unpack(table.at(found));
            if entry.pins > 0 {
                return Remove::Pinned;
            }
            if ledger.is_obstructed(tag) {
                return Remove::Obstructed;
            }
            table.remove(found);
            entry
        };
        match self.retire(&mut ledger, tag, entry) {
            Some(dirty) => Remove::Clean(dirty),
            None => Remove::Deferred,
        }
    }

    /// A read under this lease found other bytes than were put. The key is removed, pinned or not,
    /// if it is still in that slot, and the slot is not used again. Returns whether the key was
    /// removed by this call. The slot is handed out for cleaning by the last reader's release.
    pub fn quarantine(&self, digest: u128, key: &[u8], lease: &Lease) -> bool {
        let mut ledger = self.ledger();
        // No other key comes into the slot while the lease is held. So the slot that is marked here is the one that gave the
        // wrong bytes, even if the key was put elsewhere meanwhile.
        ledger.doom(lease.slot);
        self.take_leased(&mut ledger, digest, key, lease)
    }

    /// Takes the key out of the index if it is still in the slot under the lease.
    pub(super) fn take_leased(&self, ledger: &mut Ledger, digest: u128, key: &[u8], lease: &Lease) -> bool {
        let tag = tag_of(digest);
        let still_there = |packed: &[u8]| entry::is_in(lease.slot)(packed) && entry::key(packed) == key;
        let Some(entry) = self.take_out(tag, still_there) else { return false };
        let dirty = self.retire(ledger, tag, entry);
        debug_assert!(dirty.is_none(), "the lease itself is a reader of the slot");
        true
    }

    /// Removes every key that is not pinned and not obstructed. Keys put meanwhile may survive it.
    pub fn clear(&self) -> Cleared {
        let mut cleared = Cleared::default();
        let slots = self.leases.len();
        let mut from = 0;
        while from < slots {
            let to = from.saturating_add(CLEAR_SLOTS_PER_LOCK).min(slots);
            let mut ledger = self.ledger();
            for slot in from..to {
                if !ledger.order.is_listed(slot) {
                    continue;
                }
                let tag = ledger.tag(slot);
                if ledger.is_obstructed(tag) {
                    cleared.obstructed += 1;
                    continue;
                }
                if let Some(entry) = self.take_out(tag, entry::is_in(slot)) {
                    cleared.removed += 1;
                    cleared.clean.extend(self.retire(&mut ledger, tag, entry));
                }
            }
            from = to;
        }
        cleared
    }

    /// The slot was tombstoned. Returns slots that had to wait for that.
    pub fn slot_cleaned(&self, dirty: DirtySlot) -> Cleanups {
        let DirtySlot { slot, began } = dirty;
        let mut ledger = self.ledger();
        ledger.durability.written(slot, began);
        if ledger.durability.failed_since(began) {
            // The tombstone may be among what the failed sync lost.
            self.give_up(&mut ledger, slot);
            return Cleanups::default();
        }
        self.leases.renew(slot);
        ledger.cleaned(slot)
    }

    /// The slot could not be tombstoned. It is out of use until it gets [another chance](SlotCatalog::reclaim), and
    /// until then the keys of which it may hold old bytes stay: after a crash those bytes would come back.
    pub fn not_cleaned(&self, dirty: DirtySlot) {
        let mut ledger = self.ledger();
        self.give_up(&mut ledger, dirty.slot);
    }

    /// Keeps the key from eviction and removal until [`SlotCatalog::unpin`] was called as often.
    /// False: no such key.
    pub fn pin(&self, digest: u128, key: &[u8]) -> bool {
        let tag = tag_of(digest);
        let mut ledger = self.ledger();
        let mut table = self.index.shard(tag);
        let Some(found) = table.find(tag, entry::is_key(key)) else { return false };
        let entry = Entry::unpack(table.at(found));
        entry::rewrite(table.at_mut(found), &Entry { pins: entry.pins.saturating_add(1), ..entry });
        if entry.pins == 0 {
            ledger.order.park(entry.slot);
            ledger.keys_pinned += 1;
        }
        true
    }

    /// Takes back one pin. The last one makes the key evictable again, as the most recent.
    /// False: no such key, or not pinned.
    pub fn unpin(&self, digest: u128, key: &[u8]) -> bool {
        let tag = tag_of(digest);
        let sight = self.sight(tag);
        let mut ledger = self.ledger();
        let mut table = self.index.shard(tag);
        let Some(found) = table.find(tag, entry::is_key(key)) else { return false };
        let entry = Entry::unpack(table.at(found));
        match entry.pins {
            0 => return false,
            // More pins than can be counted: nobody knows any more which one is the last.
            u32::MAX => {}
            pins => entry::rewrite(table.at_mut(found), &Entry { pins: pins - 1, ..entry }),
        }
        if entry.pins == 1 {
            ledger.order.unpark(entry.slot, sight);
            ledger.keys_pinned -= 1;
        }
        true
    }

    /// Takes the entry that `is_it` accepts out of the index.
    fn take_out(&self, tag: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<Entry> {
        let mut table = self.index.shard(tag);
        let found = table.find(tag, is_it)?;
        let entry = Entry::unpack(table.at(found));
        table.remove(found);
        Some(entry)
    }

    /// Sees a slot off whose key was just taken out of the index.
    fn retire(&self, ledger: &mut Ledger, tag: u32, entry: Entry) -> Option<DirtySlot> {
        ledger.order.remove(entry.slot);
        ledger.bytes -= u128::from(entry.length);
        ledger.keys_pinned -= u64::from(entry.pins > 0);
        ledger.ghosts.add(entry.slot, tag, entry.generation);
        ledger.set(entry.slot, State::Removed);
        // The ledger is locked: a last reader that is told now finds the slot in its new state.
        if self.leases.retire(entry.slot) { ledger.last_reader_gone(entry.slot) } else { None }
    }
}
