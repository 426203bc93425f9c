//! Slots that could not be cleaned get another chance: an I/O error may pass, and a slot that it took out of use
//! should not be lost for as long as the process lives.
//!
//! The catalog hands such a slot out again; when and how often is for its caller to decide.

use crate::sync::Ordering;

use super::ledger::{Ledger, State};
use super::{DirtySlot, SlotCatalog, tag_of};

/// Answer to [`SlotCatalog::haunted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haunted {
    /// No outdated record of the key is on storage.
    No,
    /// There may be one, in a slot that is being read, written or cleaned.
    ForNow,
    /// There may be one, in a slot that [`SlotCatalog::reclaim_of`] hands out.
    Stuck,
}

impl SlotCatalog {
    /// Whether there are slots that [`SlotCatalog::reclaim`] would hand out. Cheap, and right unless that changes at this
    /// very moment.
    pub fn is_any_unclean(&self) -> bool {
        self.is_any_unclean.load(Ordering::Relaxed)
    }

    /// Whether a put would get a slot without a key having to leave.
    pub fn is_any_free(&self) -> bool {
        self.ledger().is_any_free()
    }

    /// Hands out the first unclean slot from number `from` on, to be tombstoned.
    pub fn reclaim(&self, from: u32) -> Option<DirtySlot> {
        let mut ledger = self.ledger();
        let Some(slot) = ledger.first_unclean(from) else {
            if ledger.first_unclean(0).is_none() {
                self.is_any_unclean.store(false, Ordering::Relaxed);
            }
            return None;
        };
        Some(ledger.send_to_cleaning(slot))
    }

    /// Hands out an unclean slot that may hold an older record of the key with this digest.
    pub fn reclaim_of(&self, digest: u128) -> Option<DirtySlot> {
        let mut ledger = self.ledger();
        let slot =
            ledger.ghosts.slots_of(tag_of(digest)).find(|&slot| ledger.state(slot) == State::Unclean)?;
        Some(ledger.send_to_cleaning(slot))
    }

    /// Whether an outdated record of the key may still be on storage.
    pub fn haunted(&self, digest: u128) -> Haunted {
        let ledger = self.ledger();
        let tag = tag_of(digest);
        if !ledger.ghosts.haunt(tag) {
            return Haunted::No;
        }
        let is_unclean = ledger.ghosts.slots_of(tag).any(|slot| ledger.state(slot) == State::Unclean);
        if is_unclean { Haunted::Stuck } else { Haunted::ForNow }
    }

    pub(super) fn give_up(&self, ledger: &mut Ledger, slot: u32) {
        ledger.give_up(slot);
        self.is_any_unclean.store(true, Ordering::Relaxed);
    }
}
