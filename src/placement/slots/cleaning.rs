//! Slots that must not be found again: their records are overwritten with a tombstone before the slots are used
//! for anything else.
//!
//! Two halves, so that whoever has an I/O queue can write a tombstone through it: [`Slots::tombstone`] says where
//! it goes, [`Slots::cleaned`] takes the outcome. [`Slots::clean`] does both, and blocks meanwhile.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::Slots;
use crate::catalog::{Cleanups, DirtySlot};
use crate::layout::pool::tombstone;
use crate::sync::{Arc, lock};

/// Longest wait of a removal for the key's readers. They are transfers under way, so this is for a device that hangs.
const REMOVAL_WAIT_MAX: Duration = Duration::from_secs(10);

/// Where the tombstone of a slot goes: a [`zero_page`](crate::memory::zero_page), at `offset` of `file`.
#[derive(Debug)]
pub struct Tombstone {
    /// The file that the slot lies in.
    pub file: Arc<File>,
    /// Offset of the slot's trailer, a multiple of what O_DIRECT asks for.
    pub offset: u64,
}

impl Slots {
    /// Where the tombstone of a slot is to be written.
    ///
    /// # Errors
    /// `InvalidInput` for a slot that the pool does not have, which the catalog does not hand out.
    pub fn tombstone(&self, dirty: &DirtySlot) -> io::Result<Tombstone> {
        let place = self.geometry.place(dirty.slot());
        let file = self.files.get(place.file_index as usize).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Tombstone { file: Arc::clone(&file.file), offset: self.geometry.trailer_offset(place) })
    }

    /// Takes back a slot after its tombstone was written, or was not: `outcome`. Returns slots that had to wait
    /// for that and are to be tombstoned now.
    pub fn cleaned(&self, dirty: DirtySlot, outcome: io::Result<()>) -> Cleanups {
        let outcome = match outcome {
            Err(error) if self.is_needless(&dirty, &error) => Ok(()),
            other => other,
        };
        let due = match outcome {
            Ok(()) => self.catalog.slot_cleaned(dirty),
            Err(error) => {
                self.logger.error(format_args!(
                    "slot {} cannot be cleaned ({error}); it is taken out of use",
                    dirty.slot()
                ));
                self.catalog.quarantine_slot(dirty);
                Cleanups::default()
            }
        };
        // Under the lock, so that nobody is between a look at the catalog and the wait.
        *lock(&self.cleaned) += 1;
        self.cleaned_changed.notify_all();
        due
    }

    /// Tombstones a slot, and whatever had to wait for that. Blocks for as long as the device does.
    pub(super) fn clean(&self, dirty: DirtySlot) {
        let mut next = Some(dirty);
        // Only a slot that two others waited for leaves more than one to go on with.
        let mut others = Vec::new();
        while let Some(dirty) = next {
            let outcome = self.tombstone(&dirty).and_then(|at| tombstone::write(&at.file, at.offset));
            let mut due = self.cleaned(dirty, outcome).into_iter();
            next = due.next();
            others.extend(due);
            next = next.or_else(|| others.pop());
        }
    }

    /// Waits until no crash can bring a removed key back: until its last reader has left and its record is gone.
    pub(super) fn wait_until_clean(&self, digest: u128) {
        let deadline = Instant::now() + REMOVAL_WAIT_MAX;
        let mut cleaned = lock(&self.cleaned);
        while self.catalog.is_haunted(digest) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.cleaned_changed.wait_timeout(cleaned, left);
            cleaned = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn is_needless(&self, dirty: &DirtySlot, error: &io::Error) -> bool {
        self.tombstone(dirty).is_ok_and(|at| tombstone::is_needless(&at.file, at.offset, error))
    }
}
