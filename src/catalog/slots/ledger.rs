//! The books of a static pool: what state each slot is in, which slots are free, in which order keys
//! leave, and which outdated records may still be on storage. All of it is behind one mutex that is
//! never held across I/O; the catalog's methods move slots from state to state.

use std::collections::{HashSet, TryReserveError};

use crate::catalog::chains::Chains;
use crate::catalog::filled;
use crate::catalog::order::Order;
use crate::config::Eviction;
use crate::sync::Arc;

use super::durability::Durability;
use super::ghosts::Ghosts;
use super::{Cleanups, DirtySlot, Gauges};

/// End of the free list.
const NIL: u32 = u32::MAX;

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// May be handed to a put. Holds no valid record on storage.
    Free,
    /// A put is writing it.
    Reserved,
    /// Holds the current bytes of a key.
    Live,
    /// Its key was removed; readers remain.
    Removed,
    /// Its key was published elsewhere; readers remain.
    Replaced,
    /// Its key was removed, and an older record of that key must be cleaned first.
    Waiting,
    /// Handed out as a [`DirtySlot`].
    Cleaning,
    /// Could not be tombstoned, or its tombstone may be lost: out of use until it is tombstoned after all.
    Unclean,
    /// Its key was removed, and an older record of that key must be cleaned first, which is in a slot that is
    /// unclean or blocked itself.
    Blocked,
    /// Its bytes proved wrong: out of use for good.
    Quarantined,
}

const STATES: usize = State::Quarantined as usize + 1;

pub(super) struct Ledger {
    pub(super) order: Order,
    pub(super) ghosts: Ghosts,
    pub(super) next_generation: u64,
    /// Payload bytes of live slots. Wide enough for any sum of lengths read from storage.
    pub(super) bytes: u128,
    pub(super) keys_pinned: u64,
    states: Box<[State]>,
    counts: [u32; STATES],
    /// What the next sync has to cover.
    pub(super) durability: Durability,
    /// The tag of a slot's key; of a free slot, the next on the free list.
    words: Box<[u32]>,
    /// Slots returned to the free list, last in first out.
    free_head: u32,
    /// Free slots from here on were never handed out and are not on the free list.
    fresh: u32,
    /// Slots whose bytes proved wrong: not to be used again once they are clean.
    doomed: HashSet<u32>,
}

impl Ledger {
    pub(super) fn new(
        slots: u32,
        eviction: Eviction,
        chains: Option<&Arc<Chains>>,
    ) -> Result<Ledger, TryReserveError> {
        let mut counts = [0; STATES];
        counts[State::Free as usize] = slots;
        Ok(Ledger {
            order: Order::new(eviction, chains, Some(slots))?,
            ghosts: Ghosts::new(),
            next_generation: 1,
            bytes: 0,
            keys_pinned: 0,
            states: filled(State::Free, slots as usize)?,
            counts,
            durability: Durability::new(slots)?,
            words: filled(0, slots as usize)?,
            free_head: NIL,
            fresh: 0,
            doomed: HashSet::new(),
        })
    }

    /// Takes a free slot for a put.
    pub(super) fn take_free(&mut self) -> Option<u32> {
        let slot = if self.free_head != NIL {
            let slot = self.free_head;
            self.free_head = self.words[slot as usize];
            slot
        } else {
            // Slots that recovery filled or withheld lie among the fresh ones. Each is passed over once: where none is left, the
            // next put must not look again.
            let fresh = self.states.get(self.fresh as usize..)?;
            let ahead = fresh.iter().position(|&state| state == State::Free);
            let slot = self.fresh + ahead.unwrap_or(fresh.len()) as u32;
            self.fresh = slot + u32::from(ahead.is_some());
            ahead?;
            slot
        };
        self.set(slot, State::Reserved);
        Some(slot)
    }

    /// Puts a slot without a valid record on the free list.
    pub(super) fn give_free(&mut self, slot: u32) {
        self.set(slot, State::Free);
        self.words[slot as usize] = self.free_head;
        self.free_head = slot;
    }

    /// Takes a slot that was never handed out, for recovery. False if it is not such a slot.
    pub(super) fn claim_fresh(&mut self, slot: u32, state: State) -> bool {
        let fresh = slot >= self.fresh && self.states.get(slot as usize) == Some(&State::Free);
        if fresh {
            self.set(slot, state);
        }
        fresh
    }

    pub(super) fn state(&self, slot: u32) -> State {
        self.states[slot as usize]
    }

    pub(super) fn set(&mut self, slot: u32, state: State) {
        let old = std::mem::replace(&mut self.states[slot as usize], state);
        self.counts[old as usize] -= 1;
        self.counts[state as usize] += 1;
    }

    /// The tag of the key that is, or was last, in a slot that is not free.
    pub(super) fn tag(&self, slot: u32) -> u32 {
        self.words[slot as usize]
    }

    pub(super) fn set_tag(&mut self, slot: u32, tag: u32) {
        self.words[slot as usize] = tag;
    }

    /// The slot must not be used again once it is clean.
    pub(super) fn doom(&mut self, slot: u32) {
        self.doomed.insert(slot);
    }

    /// Whether slots are on their way to being free or evictable without anyone's further call.
    pub(super) fn in_motion(&self) -> bool {
        [State::Reserved, State::Removed, State::Replaced, State::Waiting, State::Cleaning]
            .into_iter()
            .any(|state| self.counts[state as usize] > 0)
    }

    /// Hands out a slot for cleaning.
    pub(super) fn send_to_cleaning(&mut self, slot: u32) -> DirtySlot {
        self.set(slot, State::Cleaning);
        DirtySlot { slot, began: self.durability.now() }
    }

    pub(super) fn is_any_free(&self) -> bool {
        self.count_free() > 0
    }

    pub(super) fn count_free(&self) -> u32 {
        self.counts[State::Free as usize]
    }

    /// The first unclean slot from `from` on.
    pub(super) fn first_unclean(&self, from: u32) -> Option<u32> {
        if self.counts[State::Unclean as usize] == 0 {
            return None;
        }
        let states = self.states.get(from as usize..)?;
        let ahead = states.iter().position(|&state| state == State::Unclean)?;
        Some(from + ahead as u32)
    }

    /// Whether an older record of the tag is in a slot that could not be cleaned, so that the newest must stay.
    pub(super) fn is_obstructed(&self, tag: u32) -> bool {
        self.ghosts.slots_of(tag).any(|slot| self.is_stuck(slot))
    }

    fn is_stuck(&self, slot: u32) -> bool {
        matches!(self.state(slot), State::Unclean | State::Blocked)
    }

    /// A slot whose key is gone has no reader any more. Hands it out for cleaning, unless an older
    /// record of its key must be cleaned first: then the slot waits, and comes out of
    /// [`Ledger::settle`].
    pub(super) fn last_reader_gone(&mut self, slot: u32) -> Option<DirtySlot> {
        if self.state(slot) == State::Removed && self.ghosts.ahead_of(slot).next().is_some() {
            let is_blocked = self.ghosts.ahead_of(slot).any(|other| self.is_stuck(other));
            self.set(slot, if is_blocked { State::Blocked } else { State::Waiting });
            return None;
        }
        Some(self.send_to_cleaning(slot))
    }

    /// The slot holds no outdated record any more. Returns slots that waited for that.
    pub(super) fn settle(&mut self, slot: u32) -> Cleanups {
        // The first in a tag's queue has nothing more to wait for, and every other still has.
        Cleanups(self.ghosts.settle(slot).map(|next| {
            let next = next.filter(|&next| matches!(self.state(next), State::Waiting | State::Blocked))?;
            Some(self.send_to_cleaning(next))
        }))
    }

    /// Puts a cleaned slot back into service, unless it is doomed.
    pub(super) fn cleaned(&mut self, slot: u32) -> Cleanups {
        if self.doomed.remove(&slot) {
            self.set(slot, State::Quarantined);
        } else {
            self.give_free(slot);
        }
        self.settle(slot)
    }

    /// A slot was not cleaned: it is out of use, and those that wait for it can only go on when it is cleaned.
    pub(super) fn give_up(&mut self, slot: u32) {
        self.set(slot, State::Unclean);
        let waiting: Vec<u32> =
            self.ghosts.behind(slot).filter(|&other| self.state(other) == State::Waiting).collect();
        for other in waiting {
            self.set(other, State::Blocked);
        }
    }

    /// Takes slots that `is_lost` names from those that are free: their tombstones may be lost.
    pub(super) fn distrust_free(&mut self, is_lost: &dyn Fn(&Durability, u32) -> bool) {
        let mut slot = std::mem::replace(&mut self.free_head, NIL);
        while slot != NIL {
            let next = self.words[slot as usize];
            if is_lost(&self.durability, slot) {
                self.set(slot, State::Unclean);
            } else {
                self.words[slot as usize] = self.free_head;
                self.free_head = slot;
            }
            slot = next;
        }
        for slot in self.fresh..self.states.len() as u32 {
            if self.state(slot) == State::Free && is_lost(&self.durability, slot) {
                self.set(slot, State::Unclean);
            }
        }
    }

    pub(super) fn gauges(&self) -> Gauges {
        let count = |state: State| self.counts[state as usize];
        Gauges {
            keys: count(State::Live),
            bytes: u64::try_from(self.bytes).unwrap_or(u64::MAX),
            keys_pinned: self.keys_pinned,
            slots_free: count(State::Free),
            slots_reserved: count(State::Reserved),
            slots_leaving: count(State::Removed)
                + count(State::Replaced)
                + count(State::Waiting)
                + count(State::Cleaning),
            slots_quarantined: count(State::Unclean) + count(State::Blocked) + count(State::Quarantined),
            slots_unclean: count(State::Unclean),
        }
    }

    /// Length of the free list, never-used slots included, and whether every slot on it is free.
    #[cfg(test)]
    pub(super) fn audit_free(&self) -> (u32, bool) {
        let mut length = 0;
        let mut sound = true;
        let mut slot = self.free_head;
        while slot != NIL && length <= self.states.len() as u32 {
            sound &= self.state(slot) == State::Free && slot < self.fresh;
            length += 1;
            slot = self.words[slot as usize];
        }
        let fresh = self.states[self.fresh as usize..].iter().filter(|&&state| state == State::Free).count();
        (length + fresh as u32, sound)
    }
}

/// Memory for each slot, for the catalog's estimate.
#[cfg(all(test, not(feature = "shuttle")))]
pub(super) const SLOT_BYTES: usize = size_of::<State>() + size_of::<u32>();

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;
    use crate::config::CachePolicy;

    /// A pool that is full when it is opened is not searched for a free slot by every put.
    #[test]
    fn slots_that_recovery_filled_are_passed_over_once() {
        let mut ledger = Ledger::new(4, CachePolicy::Lru.into(), None).unwrap();
        assert!([0, 1, 3].into_iter().all(|slot| ledger.claim_fresh(slot, State::Live)));
        assert_eq!(ledger.take_free(), Some(2));
        assert_eq!((ledger.take_free(), ledger.fresh), (None, 4));
        assert_eq!((ledger.take_free(), ledger.fresh), (None, 4));
        ledger.give_free(1);
        assert_eq!((ledger.take_free(), ledger.take_free()), (Some(1), None));
    }
}
