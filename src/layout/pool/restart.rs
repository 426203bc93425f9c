//! How the index comes back when a pool is opened: from the snapshot of a clean close, else from the trailers of all slots.

use std::io;
use std::time::Instant;

use super::out_of_use::{OldRecord, OutOfUse, Why};
use super::recovery::{self, Recovered, RecoveredKeys, Source};
use super::survivors::Survivors;
use super::{Pool, foreign_or_os, names, snapshot, steps};
use crate::error::{Error, Result};
use crate::layout::record;
use crate::log::Logger;

impl Pool {
    /// Finds out what the pool holds, and leaves on storage what the next open has to know of that. Nothing may be put before.
    ///
    /// # Errors
    /// What the system answers; [`Status::OutOfMemory`](crate::error::Status::OutOfMemory).
    pub(super) fn bring_back(&self, is_new: bool, was_repaired: bool, logger: &Logger) -> Result<Recovered> {
        let keeps_survivors = self.keeps_survivors()?;
        let mut recovered = if is_new { nothing_yet() } else { self.recover(was_repaired, logger)? };
        let becomes_survivors = keeps_survivors && recovered.source == Source::Snapshot;
        self.retire_snapshot(becomes_survivors)?;
        // After that, as it writes to slots.
        let is_renumbered = self.keep_head_room(&mut recovered, logger)?;
        if keeps_survivors && (is_renumbered || !becomes_survivors) {
            if !is_new {
                // An owner that died may have been far ahead of what is seen, and what it wrote may still come.
                let next = recovered.generation_next.saturating_add(recovery::GENERATION_LEAP);
                recovered.generation_next = next.min(recovery::GENERATION_MAX);
            }
            self.write_survivors(&recovered)?;
        }
        Ok(recovered)
    }

    /// Finds out what the pool holds. After a repair the snapshot would list what is gone.
    fn recover(&self, was_repaired: bool, logger: &Logger) -> Result<Recovered> {
        let directory = &self.owned.directory;
        let started = Instant::now();
        let found =
            snapshot::read(directory, names::SNAPSHOT, self.pool_id, &self.geometry).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::OutOfMemory => recovery::no_memory(),
                    _ => foreign_or_os(directory, names::SNAPSHOT, &error),
                }
            })?;
        let recovered = match found {
            snapshot::Found::Valid(recovered) if !was_repaired => recovered,
            snapshot::Found::Valid(_) | snapshot::Found::Absent => self.scan(logger)?,
            snapshot::Found::Invalid(why) => {
                let path = directory.path().join(names::SNAPSHOT);
                logger.warn(format_args!("{} is not used ({why}); scanning all slots", path.display()));
                self.scan(logger)?
            }
        };
        logger.info(format_args!(
            "pool in {}: {} keys in {} slots, recovered from {} in {} ms",
            directory.path().display(),
            recovered.entries.len(),
            self.geometry.slot_count(),
            if recovered.source == Source::Snapshot { "the snapshot" } else { "a scan" },
            started.elapsed().as_millis()
        ));
        Ok(recovered)
    }

    fn scan(&self, logger: &Logger) -> Result<Recovered> {
        let path = self.path();
        let survivors = Survivors::read(&self.owned.directory, self.pool_id, &self.geometry, logger)?;
        let is_believed = |slot, generation| survivors.is_believed(slot, generation);
        let seen = recovery::scan(&self.geometry, self.pool_id, &is_believed, &|slot, out| {
            let place = self.place(slot);
            steps::read(self.file(place)?, out, self.geometry.trailer_offset(place))
        })?;
        if let Some((slot, why)) = seen.damaged.first() {
            logger.warn(format_args!(
                "{} slots in {} hold no record of theirs and count as empty; the first is slot {slot}: {why}",
                seen.damaged.len(),
                path.display()
            ));
        }
        if let Some(late) = seen.late.first() {
            logger.info(format_args!(
                "{} records in {} cannot be told from what a dead owner wrote late, and count as absent; the first is in slot \
                 {}",
                seen.late.len(),
                path.display(),
                late.slot
            ));
        }
        let out_of_use = self.erase_unwanted(&seen, logger);
        // What could not be read may turn up at the next open: the counter leaps over it.
        let is_incomplete = !seen.unreadable.is_empty() || !seen.damaged.is_empty();
        let leap = if is_incomplete { recovery::GENERATION_LEAP } else { 0 };
        let seen_next = seen.generation_max.saturating_add(1).saturating_add(leap);
        Ok(Recovered {
            entries: seen.entries,
            keys: seen.keys,
            generation_next: survivors.raise(seen_next, &seen.late),
            source: Source::Scan,
            out_of_use,
        })
    }

    /// Erases, durably, what must not be found again: the outdated records, as an older one must not come back when the
    /// newer is removed later, what may have been written late, and what could not be read, as it may be either. Returns
    /// the slots where this fails; the others hold nothing and can be used.
    fn erase_unwanted(&self, seen: &recovery::Scan, logger: &Logger) -> Vec<OutOfUse> {
        let outdated = seen.outdated.iter().chain(&seen.late).map(|entry| {
            let digest = record::digest(seen.keys.get(entry.key));
            let record = OldRecord::of(digest, entry.generation);
            OutOfUse { slot: entry.slot, why: Why::Unclean([Some(record), None]) }
        });
        let unread = seen.unreadable.iter().map(|&slot| OutOfUse { slot, why: Why::Unclean([None, None]) });
        let (mut erased, mut stuck) = (Vec::new(), Vec::new());
        let mut first_error = None;
        for unwanted in unread.chain(outdated) {
            match self.tombstone(unwanted.slot) {
                Ok(()) => erased.push(unwanted),
                Err(error) => {
                    stuck.push(unwanted);
                    first_error
                        .get_or_insert(Error::os(format_args!("erasing slot {}", unwanted.slot), &error));
                }
            }
        }
        if !erased.is_empty() {
            let mut failed = Vec::new();
            if let Err(error) = self.sync(&mut |file| failed.push(file)) {
                first_error.get_or_insert(error);
                // It may have been about what a process that died had written.
                self.doubt();
                stuck.extend(erased.iter().filter(|out| failed.contains(&self.place(out.slot).file_index)));
            }
        }
        if let Some(error) = &seen.first_error {
            logger.error(format_args!(
                "{} slots in {} could not be read, and what they held is not served; the first error: {error}",
                seen.unreadable.len(),
                self.path().display()
            ));
        }
        if let Some(error) = first_error {
            logger.error(format_args!(
                "{} slots in {} cannot be erased and are out of use until they can be: {error}",
                stuck.len(),
                self.path().display()
            ));
        }
        stuck.sort_by_key(OutOfUse::generation);
        stuck
    }
}

fn nothing_yet() -> Recovered {
    Recovered {
        entries: Vec::new(),
        keys: RecoveredKeys::default(),
        generation_next: 1,
        source: Source::New,
        out_of_use: Vec::new(),
    }
}
