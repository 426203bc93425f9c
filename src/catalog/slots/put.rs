//! A put's way through the catalog: reserve a slot, then publish the key in it or abandon it.

use super::ledger::{Ledger, State};
use super::{Cleanups, DirtySlot, Entry, SlotCatalog, entry, tag_of};
use crate::catalog::order::{Admitted, Moment, Verdict, Victims};

/// A slot that one put owns until it is published or abandoned.
#[derive(Debug)]
#[must_use = "a reservation that is neither published nor abandoned keeps its slot for ever"]
pub struct Reservation {
    slot: u32,
    tag: u32,
    generation: u64,
    evicted: bool,
    /// See `durability`.
    began: u32,
    /// When in which request the put was admitted, and why.
    moment: Moment,
    admitted: Admitted,
}

impl Reservation {
    /// The slot to write.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Generation to write into the record: higher than that of every put reserved before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a key was evicted for this. Its valid record is on storage until it is overwritten.
    pub fn evicted(&self) -> bool {
        self.evicted
    }
}

/// Answer to [`SlotCatalog::reserve`].
#[derive(Debug)]
#[must_use]
pub enum Reserve {
    /// A slot for the put.
    Slot(Reservation),
    /// No slot now, but a put, a read or a cleaning is under way whose end may yield one.
    Busy,
    /// Every slot is pinned or out of use.
    Full,
    /// The policy finds that the key is not worth displacing another for.
    Declined,
}

/// Who asks for a slot.
#[derive(Clone, Copy, Debug)]
struct Asks {
    tag: u32,
    moment: Moment,
    verdict: Verdict,
    /// It may be declined.
    may_decline: bool,
}

/// How [`SlotCatalog::publish`] ended.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Published {
    /// A put of the same key that was reserved later had completed already: its bytes stay.
    pub superseded: bool,
    /// Slots due for cleaning: of the replaced bytes if nobody is reading them, or of this put if it
    /// was superseded, and one that waited for the evicted record to be overwritten.
    pub clean: Cleanups,
}

impl SlotCatalog {
    /// Finds a slot for a put of the key, whose digest that is: a free one, else that of the key which
    /// leaves first by the policy. Keys that are pinned, being read, or of which an older record may
    /// still be on storage are passed over. In a full pool the key's own old bytes go before any other.
    ///
    /// `must`: whatever the policy finds, it is not declined. Neither is a key that is stored, whose old bytes are not to stay.
    pub fn reserve(&self, digest: u128, key: &[u8], must: bool) -> Reserve {
        let tag = tag_of(digest);
        let sight = self.sight(tag);
        let mut ledger = self.ledger();
        let mut moment = ledger.order.begin(sight);
        let free = ledger.take_free();
        let stored = if free.is_none() { self.slot_of(tag, key) } else { None };
        let verdict = match stored {
            Some((slot, _)) => {
                let verdict = ledger.order.judge_stored(slot, moment);
                moment = ledger.order.begin_again(slot, moment);
                verdict
            }
            None => ledger.order.judge(tag, moment),
        };
        let may_decline = !must && stored.is_none() && ledger.order.declines();
        let (slot, evicted) = match free {
            Some(slot) => {
                ledger.order.admit(tag, &verdict);
                (slot, false)
            }
            None => {
                let own = stored.and_then(|(slot, is_pinned)| (!is_pinned).then_some(slot));
                match self.evict(&mut ledger, &Asks { tag, moment, verdict, may_decline }, own) {
                    Ok(slot) => (slot, true),
                    Err(refusal) => {
                        if matches!(refusal, Reserve::Declined) {
                            ledger.order.decline(tag, moment, &verdict);
                        }
                        return refusal;
                    }
                }
            }
        };
        let generation = ledger.next_generation;
        ledger.next_generation = generation.saturating_add(1);
        let began = ledger.durability.now();
        let admitted = verdict.admitted();
        Reserve::Slot(Reservation { slot, tag, generation, evicted, began, moment, admitted })
    }

    /// Makes a completed put visible in place of what was stored under the key before. Pins of the
    /// key carry over to it.
    ///
    /// Call it when the whole record is in the slot, with the key whose digest was given to
    /// [`SlotCatalog::reserve`].
    pub fn publish(&self, reservation: Reservation, key: &[u8], length: u64) -> Published {
        let Reservation { slot, tag, generation, began, mut moment, admitted, .. } = reservation;
        debug_assert!(key.len() <= entry::KEY_BYTES_MAX, "keys are checked where they come in");
        let mut ledger = self.ledger();
        // The new record has overwritten the evicted one.
        let Cleanups([unblocked, _]) = ledger.settle(slot);
        ledger.set_tag(slot, tag);

        let mut table = self.index.shard(tag);
        let found = table.find(tag, entry::is_key(key));
        let old = found.map(|found| Entry::unpack(table.at(found)));
        let newest = old.map(|old| old.generation).max(ledger.ghosts.newest(tag));
        if newest.is_some_and(|newest| newest > generation) || key.len() > entry::KEY_BYTES_MAX {
            drop(table);
            ledger.ghosts.add(slot, tag, generation);
            let own = ledger.send_to_cleaning(slot);
            return Published { superseded: true, clean: Cleanups([Some(own), unblocked]) };
        }

        let mut replaced = None;
        let mut returns = admitted.returns;
        let pins = old.map_or(0, |old| old.pins);
        let entry = Entry { generation, length, slot, pins };
        match found {
            Some(found) => entry::rewrite(table.at_mut(found), &entry),
            None => table.insert(tag, self.check_of(key), key, &entry.fields()),
        }
        if let Some(old) = old {
            if !returns {
                // It took a free slot, and only now it is known that the key was stored.
                let verdict = ledger.order.judge_stored(old.slot, moment);
                ledger.order.admit(tag, &verdict);
                moment = ledger.order.begin_again(old.slot, moment);
                returns = true;
            }
            ledger.order.remove(old.slot);
            ledger.bytes -= u128::from(old.length);
            ledger.ghosts.add(old.slot, tag, old.generation);
            ledger.set(old.slot, State::Replaced);
            // Under the shard's lock or not, no reader can come any more: the entry names another slot.
            if self.leases.retire(old.slot) {
                replaced = ledger.last_reader_gone(old.slot);
            }
        }
        drop(table);
        if pins > 0 {
            ledger.order.insert_parked(slot, moment, returns);
        } else {
            ledger.order.insert(slot, moment, returns);
        }
        ledger.bytes += u128::from(length);
        ledger.set(slot, State::Live);
        ledger.durability.written(slot, began);
        Published { superseded: false, clean: Cleanups([replaced, unblocked]) }
    }

    /// Gives up a put that failed after anything may have been written.
    pub fn abandon(&self, reservation: Reservation) -> DirtySlot {
        let Reservation { slot, tag, moment, admitted, .. } = reservation;
        let mut ledger = self.ledger();
        ledger.order.take_back(tag, moment, admitted);
        // The write may have got as far as a valid record before it was reported as failed. But a
        // failed put supersedes nothing, so it counts as the oldest.
        ledger.ghosts.add(slot, tag, 0);
        ledger.send_to_cleaning(slot)
    }

    /// Gives up a put of which nothing was written. The slot needs cleaning if a key was evicted for it, as that key's
    /// record is still there.
    pub fn abandon_unwritten(&self, reservation: Reservation) -> Option<DirtySlot> {
        let mut ledger = self.ledger();
        ledger.order.take_back(reservation.tag, reservation.moment, reservation.admitted);
        // A tombstone that a free slot had may be among what a sync lost that failed meanwhile.
        if reservation.evicted || ledger.durability.failed_since(reservation.began) {
            return Some(ledger.send_to_cleaning(reservation.slot));
        }
        ledger.give_free(reservation.slot);
        None
    }

    /// Takes a slot for a put from a key. From that key itself (`own`) if it can be, so that putting the same keys again into a
    /// full pool costs no other key its place; else from the one that leaves first, if that is worth it.
    fn evict(&self, ledger: &mut Ledger, asks: &Asks, own: Option<u32>) -> Result<u32, Reserve> {
        let Asks { tag: wanted_by, moment, verdict, may_decline } = *asks;
        if !ledger.ghosts.haunt(wanted_by)
            && let Some(slot) = own
            && self.evict_slot(ledger, slot, wanted_by)
        {
            ledger.order.remove(slot);
            ledger.order.admit(wanted_by, &verdict);
            return Ok(slot);
        }
        if may_decline && ledger.order.has_declined(moment) {
            return Err(Reserve::Declined);
        }
        let mut being_read = false;
        let mut victims = ledger.order.victims(moment, may_decline);
        while let Some(slot) = self.next_victim(ledger, &mut victims) {
            let tag = ledger.tag(slot);
            if may_decline && !ledger.order.is_worth(slot, moment, &verdict) {
                return Err(Reserve::Declined);
            }
            if self.evict_slot(ledger, slot, tag) {
                ledger.order.admit(wanted_by, &verdict);
                ledger.order.evict(slot, tag);
                return Ok(slot);
            }
            being_read = true;
        }
        // A haunted key can leave when no older record of it is on storage any more. Whatever sees to that is in motion,
        // but for slots that could not be cleaned: they haunt until they get another chance.
        Err(if victims.has_spared {
            Reserve::Declined
        } else if being_read || ledger.in_motion() {
            Reserve::Busy
        } else {
            Reserve::Full
        })
    }

    /// The next slot whose key may leave unless it is being read: none of which an older record may still be on storage.
    pub(super) fn next_victim(&self, ledger: &Ledger, victims: &mut Victims) -> Option<u32> {
        let is_coming = |slot, moment: Moment| self.sight(ledger.tag(slot)).request == moment.request;
        loop {
            let slot = ledger.order.next_of_others(victims, is_coming)?;
            if !ledger.ghosts.haunt(ledger.tag(slot)) {
                return Some(slot);
            }
        }
    }

    /// The slot of the key, and whether it is pinned.
    fn slot_of(&self, tag: u32, key: &[u8]) -> Option<(u32, bool)> {
        let table = self.index.shard(tag);
        let entry = table.get(tag, entry::is_key(key)).map(Entry::unpack)?;
        Some((entry.slot, entry.pins > 0))
    }

    /// Takes the key in a slot out of the index unless someone is reading it. The order still has it.
    fn evict_slot(&self, ledger: &mut Ledger, slot: u32, tag: u32) -> bool {
        let evicted = {
            let mut table = self.index.shard(tag);
            // Under the shard's lock, so no new reader can come before the key is out.
            if !self.leases.is_idle(slot) {
                return false;
            }
            let Some(found) = table.find(tag, entry::is_in(slot)) else { return false };
            let evicted = Entry::unpack(table.at(found));
            table.remove(found);
            evicted
        };
        ledger.bytes -= u128::from(evicted.length);
        ledger.ghosts.add(slot, tag, evicted.generation);
        ledger.set(slot, State::Reserved);
        true
    }
}
