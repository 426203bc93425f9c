//! Slots that must not be found again: their records are overwritten with a tombstone before the slots are used
//! for anything else.
//!
//! Two halves, so that a lane can write a tombstone through its queue: [`Slots::tombstones`] says where it goes,
//! [`Slots::cleaned`] takes the outcome. [`Slots::clean`] does all of it, and blocks meanwhile.
//!
//! A slot that could not be cleaned is out of use until it gets another chance: from a removal of a key that it may
//! hold an older record of, from `clear` and `flush`, and from puts that find no slot free ([`Slots::another_chance`]).

use std::io;
use std::time::{Duration, Instant};

use super::{SlotFile, Slots};
use crate::catalog::{Cleanups, DirtySlot, Haunted, Reserve};
use crate::error::{Error, Result, Status};
use crate::layout::pool::tombstone;
use crate::placement::{Key, Tombstone, Tombstones};
use crate::sync::lock;

/// Longest wait of a removal for the key's readers. They are transfers under way, so this is for a device that hangs.
pub(super) const REMOVAL_WAIT_MAX: Duration = Duration::from_secs(10);
/// The pause after a chance that failed, before a put gives another while it could as well evict a key. It doubles with
/// each that fails, up to the longest, as a device may take its time to fail, and puts wait for it.
const CHANCE_PAUSE_MIN: Duration = Duration::from_secs(1);
const CHANCE_PAUSE_MAX: Duration = Duration::from_secs(64);
/// Chances that may fail before a put that can have no slot otherwise is told so.
const CHANCES_PER_PUT_MAX: u32 = 4;

/// Whose turn it is to get another chance, and from when on.
#[derive(Debug)]
pub(super) struct Chances {
    slot_next: u32,
    /// The slot that got the last chance, if that is not known to have succeeded.
    tried: Option<u32>,
    not_before: Option<Instant>,
    pause: Duration,
}

impl Default for Chances {
    fn default() -> Chances {
        Chances { slot_next: 0, tried: None, not_before: None, pause: CHANCE_PAUSE_MIN }
    }
}

impl Slots {
    /// The file that a slot's tombstone is written to, and the offset of the slot's trailer in it, which is a multiple of
    /// what O_DIRECT asks for.
    ///
    /// # Errors
    /// `InvalidInput` for a slot that the pool does not have, which the catalog does not hand out.
    fn grave(&self, dirty: &DirtySlot) -> io::Result<(&SlotFile, u64)> {
        let place = self.geometry.place(dirty.slot());
        let file = self.files.get(place.file_index as usize).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((file, self.geometry.trailer_offset(place)))
    }

    /// The tombstones of these slots, for a lane.
    pub(super) fn tombstones(&self, slots: impl IntoIterator<Item = DirtySlot>) -> Tombstones<DirtySlot> {
        Tombstones::of(slots.into_iter().filter_map(|dirty| match self.grave(&dirty) {
            Ok((file, offset)) => Some(Tombstone { target: file.target.clone(), offset, claim: dirty }),
            Err(error) => {
                drop(self.take_back(dirty, Err(error)));
                None
            }
        }))
    }

    /// Takes back a slot after its tombstone was written, or was not: `outcome`. Returns slots that had to wait
    /// for that and are to be tombstoned now.
    pub fn cleaned(&self, dirty: DirtySlot, outcome: io::Result<()>) -> Cleanups {
        self.take_back(dirty, outcome).unwrap_or_default()
    }

    /// A slot that could not be cleaned, to be tried again, if there is one and it is time: one after the other while that
    /// succeeds, after a failure with a pause. An urgent wish comes from who cannot go on without, and waits for no pause.
    pub fn another_chance(&self, is_urgent: bool) -> Option<DirtySlot> {
        if !self.catalog.is_any_unclean() {
            return None;
        }
        let mut chances = lock(&self.chances);
        let now = Instant::now();
        if !is_urgent && chances.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let dirty = self.catalog.reclaim(chances.slot_next).or_else(|| self.catalog.reclaim(0))?;
        chances.slot_next = dirty.slot().saturating_add(1);
        // As if it failed; a success takes that back.
        chances.tried = Some(dirty.slot());
        chances.not_before = now.checked_add(chances.pause);
        chances.pause = CHANCE_PAUSE_MAX.min(chances.pause.saturating_mul(2));
        Some(dirty)
    }

    /// Reserves a slot for a put. Where none is free, a slot that could not be cleaned gets another chance before a key has
    /// to leave; where no key can leave either, a few get one, and at once.
    pub(super) fn reserve(&self, key: &Key<'_>, must: bool) -> Reserve {
        if self.catalog.is_any_unclean()
            && !self.catalog.is_any_free()
            && let Some(dirty) = self.another_chance(false)
        {
            drop(self.clean(dirty));
        }
        let mut failures = 0;
        loop {
            let answer = self.catalog.reserve(key.digest, key.effective, must);
            if !matches!(answer, Reserve::Full) || failures >= CHANCES_PER_PUT_MAX {
                return answer;
            }
            let Some(dirty) = self.another_chance(true) else { return answer };
            failures += u32::from(self.clean(dirty).is_err());
        }
    }

    /// Tombstones a slot, and whatever had to wait for that. Blocks for as long as the device does.
    ///
    /// # Errors
    /// The first that the system answered.
    pub(super) fn clean(&self, dirty: DirtySlot) -> io::Result<()> {
        let mut next = Some(dirty);
        // Only a slot that two others waited for leaves more than one to go on with.
        let mut others = Vec::new();
        let mut all = Ok(());
        while let Some(dirty) = next {
            next = None;
            let outcome = self.grave(&dirty).and_then(|(at, offset)| tombstone::write(&at.file, offset));
            match self.take_back(dirty, outcome) {
                Ok(due) => {
                    let mut due = due.into_iter();
                    next = due.next();
                    others.extend(due);
                }
                Err(error) => all = all.and(Err(error)),
            }
            next = next.or_else(|| others.pop());
        }
        all
    }

    /// Gives every slot that could not be cleaned another chance, up to the first that fails.
    ///
    /// # Errors
    /// What the system answered.
    pub(super) fn clean_leftovers(&self) -> io::Result<()> {
        let mut from = 0;
        while self.catalog.is_any_unclean()
            && let Some(dirty) = self.catalog.reclaim(from)
        {
            from = dirty.slot().saturating_add(1);
            self.clean(dirty)?;
        }
        Ok(())
    }

    /// Sees to it that no crash brings a removed key back: waits until its last reader has left and its record is gone, and
    /// tries again where that could not be cleaned.
    ///
    /// # Errors
    /// What the system answered; [`Status::Busy`] if a reader does not leave.
    pub(super) fn see_off(&self, key: &Key<'_>, deadline: Instant) -> Result<()> {
        loop {
            while let Some(dirty) = self.catalog.reclaim_of(key.digest) {
                self.erase(key, dirty)?;
            }
            match self.wait_while_haunted(key.digest, deadline) {
                Haunted::No => return Ok(()),
                Haunted::Stuck => {}
                Haunted::ForNow => return Err(self.still_under_way(key, "is gone from this process's index")),
            }
        }
    }

    /// Waits until no older record of the key is on storage, or one is in a slot that could not be cleaned.
    fn wait_while_haunted(&self, digest: u128, deadline: Instant) -> Haunted {
        let mut cleaned = lock(&self.cleaned_rounds);
        loop {
            let haunted = self.catalog.haunted(digest);
            let left = deadline.saturating_duration_since(Instant::now());
            if haunted != Haunted::ForNow || left.is_zero() {
                return haunted;
            }
            let waited = self.cleaned_changed.wait_timeout(cleaned, left);
            cleaned = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Erases older records of the key that could not be erased before, so that its newest may be.
    ///
    /// # Errors
    /// What the system answered; [`Status::Busy`] if somebody else is at it, and does not come to an end.
    pub(super) fn erase_older(&self, key: &Key<'_>, deadline: Instant) -> Result<()> {
        while let Some(dirty) = self.catalog.reclaim_of(key.digest) {
            let slot = dirty.slot();
            self.clean(dirty).map_err(|error| {
                Error::os(
                    format_args!(
                        "removing key {}: an older record of it in slot {slot} of {} cannot be erased, so the key stays stored: \
                         were its newest record erased, a crash would bring the older one back. Removing it again tries once \
                         more",
                        key.shown(),
                        self.place
                    ),
                    &error,
                )
            })?;
        }
        // Somebody else may be at the last of them.
        match self.wait_while_haunted(key.digest, deadline) {
            Haunted::ForNow => Err(self.still_under_way(key, "stays stored")),
            Haunted::No | Haunted::Stuck => Ok(()),
        }
    }

    /// Erases the record of a key that was taken out of the index.
    ///
    /// # Errors
    /// What the system answered, and what that means.
    pub(super) fn erase(&self, key: &Key<'_>, dirty: DirtySlot) -> Result<()> {
        let slot = dirty.slot();
        self.clean(dirty).map_err(|error| {
            Error::os(
                format_args!(
                    "removing key {}: its record in slot {slot} of {} cannot be erased. The key is gone from this process's \
                     index, but may be back after the pool is opened again; removing it again tries once more",
                    key.shown(),
                    self.place
                ),
                &error,
            )
        })
    }

    fn still_under_way(&self, key: &Key<'_>, outcome: &str) -> Error {
        Error::new(
            Status::Busy,
            format!(
                "removing key {}: a transfer from or to a slot that holds a record of it has not ended for {} s. The key \
                 {outcome}; until that transfer ends, it may be back after the pool in {} is opened again",
                key.shown(),
                REMOVAL_WAIT_MAX.as_secs(),
                self.place
            ),
        )
    }

    /// The book-keeping behind [`Slots::cleaned`]. The error is `outcome`'s, if it counts.
    fn take_back(&self, dirty: DirtySlot, outcome: io::Result<()>) -> io::Result<Cleanups> {
        let outcome = match outcome {
            Err(error) if self.is_needless(&dirty, &error) => Ok(()),
            other => other,
        };
        let taken = match outcome {
            Ok(()) => {
                self.note_success(dirty.slot());
                Ok(self.catalog.slot_cleaned(dirty))
            }
            Err(error) => {
                self.logger.error(format_args!(
                    "slot {} of {} cannot be cleaned ({error}); it is out of use until it can be",
                    dirty.slot(),
                    self.place
                ));
                self.catalog.not_cleaned(dirty);
                Err(error)
            }
        };
        // Who waits looks at the catalog and begins to wait under this lock. So whoever saw the slot unclean is waiting by now,
        // and is woken.
        *lock(&self.cleaned_rounds) += 1;
        self.cleaned_changed.notify_all();
        taken
    }

    /// The device took a slot that it had not taken before: the others need not wait.
    fn note_success(&self, slot: u32) {
        if !self.catalog.is_any_unclean() {
            return;
        }
        let mut chances = lock(&self.chances);
        if chances.tried == Some(slot) {
            *chances = Chances { slot_next: chances.slot_next, ..Chances::default() };
        }
    }

    fn is_needless(&self, dirty: &DirtySlot, error: &io::Error) -> bool {
        self.grave(dirty).is_ok_and(|(at, offset)| tombstone::is_needless(&at.file, offset, error))
    }
}
