//! The survivors: what lay in which slot when the pool was opened last, so that no later scan believes a late write.
//!
//! Some file systems go on with the writes of a process that died, for up to a minute, while the pool has its next owner.
//! That owner is not harmed: it knows what it put where. But if it crashes, the scan after that would find a record that
//! was not there when it opened the pool, with a right checksum, in a slot that was free or used again.
//!
//! So an owner writes down, after it knows what the pool holds and before it puts anything, which generation is in which
//! slot, and the next generation, the *floor*. Whatever a dead owner wrote has a generation below it, as the counter leaps at
//! each scan over all that may be under way. A scan believes a record below the floor only where it is listed.
//!
//! The file is a snapshot's bytes: after a clean close the snapshot is just renamed. Once it is there every owner keeps it, also
//! one whose own writes end with it: it may have come after one whose writes do not.

use std::ffi::OsStr;
use std::io;

use super::geometry::Geometry;
use super::recovery::{GENERATION_LEAP, Recovered, RecoveredEntry, no_memory};
use super::renumber::GENERATION_HIGH;
use super::snapshot::{self, Contents, Found, SnapshotEntry};
use super::{Pool, foreign_or_os, names, replace, steps};
use crate::error::{Error, Result};
use crate::log::Logger;
use crate::sys::dir::{Dir, OpenMode};

/// How far the counter leaps where the floor is lost: over that of a thousand scans.
const GENERATION_LEAP_LOST: u64 = GENERATION_LEAP << 10;

/// What is known of the records that were there when the pool was opened last.
#[derive(Debug)]
pub(super) enum Survivors {
    /// Nothing, and no owner's writes outlive it: each record is believed.
    NotKept,
    /// Below the floor only these are believed.
    Kept {
        floor: u64,
        /// By slot; 0: none.
        generations: Vec<u64>,
    },
    /// The file is damaged: no record can be told from a late write.
    Lost,
}

impl Survivors {
    /// Reads the file of the pool in `directory`.
    ///
    /// # Errors
    /// [`Status::Format`](crate::error::Status::Format) for what is no regular file; what opening it answers; `OutOfMemory`.
    pub(super) fn read(
        directory: &Dir,
        pool_id: u128,
        geometry: &Geometry,
        logger: &Logger,
    ) -> Result<Survivors> {
        let found = snapshot::read(directory, names::SURVIVORS, pool_id, geometry);
        let found = found.map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => no_memory(),
            _ => foreign_or_os(directory, names::SURVIVORS, &error),
        })?;
        match found {
            Found::Absent => Ok(Survivors::NotKept),
            Found::Valid(Recovered { entries, generation_next, .. }) => {
                let mut generations = Vec::new();
                let slots = geometry.slot_count() as usize;
                generations.try_reserve_exact(slots).map_err(|_| no_memory())?;
                generations.resize(slots, 0);
                for entry in &entries {
                    if let Some(generation) = generations.get_mut(entry.slot as usize) {
                        *generation = entry.generation;
                    }
                }
                Ok(Survivors::Kept { floor: generation_next, generations })
            }
            Found::Invalid(why) => {
                logger.error(format_args!(
                    "{} is not to be believed ({why}). Without it no record can be told from one that an owner wrote after it \
                     had died, so none is served",
                    directory.path().join(names::SURVIVORS).display()
                ));
                Ok(Survivors::Lost)
            }
        }
    }

    /// Whether a record that is whole, and in its place, is one that was put, and not a dead owner's late write.
    pub(super) fn is_believed(&self, slot: u32, generation: u64) -> bool {
        match self {
            Survivors::NotKept => true,
            // Nobody has put so much since that he has come to where the next leap would land.
            Survivors::Kept { floor, .. } if generation >= *floor => generation - floor < GENERATION_LEAP,
            Survivors::Kept { generations, .. } => {
                generation > 0 && generations.get(slot as usize) == Some(&generation)
            }
            Survivors::Lost => false,
        }
    }

    /// The next generation, where what a scan believes gives this one, and it does not believe these records. The last owner
    /// began at the floor, so that what it wrote, and is not seen yet, is not far above that.
    pub(super) fn raise(&self, generation_next: u64, late: &[RecoveredEntry]) -> u64 {
        match self {
            Survivors::NotKept => generation_next,
            Survivors::Kept { floor, .. } => generation_next.max(*floor),
            Survivors::Lost => {
                // No put has come to those above.
                let seen = late.iter().map(|entry| entry.generation).filter(|seen| *seen < GENERATION_HIGH);
                let seen_next = seen.max().unwrap_or(0).saturating_add(1);
                generation_next.max(seen_next).saturating_add(GENERATION_LEAP_LOST)
            }
        }
    }
}

impl Pool {
    /// Whether the pool has survivors written down, or is to have them from now on.
    ///
    /// # Errors
    /// As for [`Survivors::read`].
    pub(super) fn keeps_survivors(&self) -> Result<bool> {
        let directory = &self.owned.directory;
        match directory.open_file(OsStr::new(names::SURVIVORS), OpenMode::default()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.habits.writes_outlive),
            Err(error) => Err(foreign_or_os(directory, names::SURVIVORS, &error)),
        }
    }

    /// Writes down what the pool holds. Nothing was put since that was found out.
    ///
    /// # Errors
    /// What the system answers; the pool cannot be used then, as a later scan would believe late writes.
    pub(super) fn write_survivors(&self, recovered: &Recovered) -> Result<()> {
        let directory = &self.owned.directory;
        let mut entries = recovered.entries.iter().map(|entry| SnapshotEntry {
            slot: entry.slot,
            generation: entry.generation,
            payload_bytes: entry.payload_bytes,
            frequency: entry.frequency,
            key: recovered.keys.get(entry.key),
        });
        let generation_next = recovered.generation_next;
        // What lies in slots that are out of use is not to be found again, listed or not.
        let contents = Contents { generation_next, out_of_use: &[], entries: &mut entries };
        let written = snapshot::write(
            directory,
            (names::SURVIVORS_TEMPORARY, names::SURVIVORS),
            self.pool_id,
            &self.geometry,
            contents,
        );
        written.map_err(|error| {
            Error::os(format_args!("writing {}", directory.path().join(names::SURVIVORS).display()), &error)
        })
    }

    /// From here on the slots change, and no crash may leave a snapshot of what they were. The one that was believed
    /// becomes the survivors, where the pool keeps them.
    ///
    /// # Errors
    /// What the system answers.
    pub(super) fn retire_snapshot(&self, becomes_survivors: bool) -> Result<()> {
        let directory = &self.owned.directory;
        let retire = || -> io::Result<()> {
            for name in [names::SNAPSHOT_TEMPORARY, names::MANIFEST_TEMPORARY, names::SURVIVORS_TEMPORARY] {
                replace::remove_if_present(directory, name)?;
            }
            steps::done()?;
            let is_changed = if becomes_survivors {
                let (old, new) = (OsStr::new(names::SNAPSHOT), OsStr::new(names::SURVIVORS));
                directory.rename(old, directory, new).map(|()| true)?
            } else {
                replace::remove_if_present(directory, names::SNAPSHOT)?
            };
            if is_changed {
                steps::done()?;
                directory.sync()?;
            }
            steps::done()
        };
        retire().map_err(|error| {
            Error::os(format_args!("removing {}", directory.path().join(names::SNAPSHOT).display()), &error)
        })
    }
}
