//! Generations that leave no head-room: the pool's records are given new ones.
//!
//! Of two records with one key the higher generation wins, so each put gets a higher one than all before. No pool
//! comes near the end of the numbers by its own puts, but a record with a right checksum may claim any generation
//! below the bound, and the puts that follow it would pass the bound, where the next scan takes them for damage.
//! So a pool whose next generation is above [`GENERATION_HIGH`] is renumbered from 1 before it is used.
//!
//! A crash in the middle leaves some records with new generations and some with old ones. That is as good: there is
//! one record of each key then, so no two generations are compared. Where the pool keeps [survivors](super::survivors), those
//! of the last open do not list the new generations: what was renumbered before such a crash is lost with it.

use super::out_of_use::{OldRecord, OutOfUse, Why};
use super::recovery::{
    GENERATION_LEAP, GENERATION_MAX, Recovered, RecoveredEntry, no_memory, trailer_buffer,
};
use super::{Pool, steps, tombstone};
use crate::error::{Error, Result, Status};
use crate::layout::record::{self, Identity};
use crate::log::Logger;
use crate::memory::AlignedBuffer;

/// The next generation above which a pool is renumbered: half of those that a record may have. Leaps of
/// [`GENERATION_LEAP`] would take four million scans to come there.
pub(super) const GENERATION_HIGH: u64 = 1 << 62;

impl Pool {
    /// Renumbers the pool if its generations leave no head-room, and tells whether any record has a new one. Where that cannot
    /// be done in full, the counter goes on from where it is, if there is room for that.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`]; what the system answers, where no room is left.
    pub(super) fn keep_head_room(&self, recovered: &mut Recovered, logger: &Logger) -> Result<bool> {
        let highest = recovered.generation_next;
        if highest <= GENERATION_HIGH {
            return Ok(false);
        }
        let outcome = self.renumber(recovered)?;
        let path = self.path().display();
        match outcome {
            Ok(next) => {
                recovered.generation_next = next;
                logger.warn(format_args!(
                    "a record in {path} claimed a generation near {highest}, which no put can have come to; all records were \
                     renumbered"
                ));
            }
            Err(why) => {
                let message = format!(
                    "a record in {path} claimed a generation near {highest}, and the records cannot be renumbered: {why}"
                );
                // What is put from here on would be taken for damage.
                if highest.saturating_add(GENERATION_LEAP) > GENERATION_MAX {
                    return Err(Error::new(why.status(), message));
                }
                logger.error(format_args!("{message}"));
            }
        }
        Ok(true)
    }

    /// The next generation, or why the counter must stay as high as it is. The outer error is for want of memory.
    fn renumber(&self, recovered: &mut Recovered) -> Result<std::result::Result<u64, Error>> {
        let is_old = |out: &OutOfUse| matches!(out.why, Why::Unclean(_));
        if let Some(out) = recovered.out_of_use.iter().find(|out| is_old(out)) {
            let message = format!("slot {} may hold an older record and cannot be cleaned", out.slot);
            return Ok(Err(Error::new(Status::Io, message)));
        }
        if let Err(error) = self.erase_all_but(recovered)? {
            return Ok(Err(error));
        }
        // In the order of the puts, as far as their generations tell it.
        let mut order: Vec<usize> = Vec::new();
        order.try_reserve_exact(recovered.entries.len()).map_err(|_| no_memory())?;
        order.extend(0..recovered.entries.len());
        order.sort_unstable_by_key(|&at| {
            recovered.entries.get(at).map(|entry| (entry.generation, entry.slot))
        });

        let mut buffer = trailer_buffer(&self.geometry)?;
        let mut generation_next = 1;
        let mut outcome = Ok(());
        let mut lost = Vec::new();
        for at in order {
            let Some(entry) = recovered.entries.get(at).cloned() else { continue };
            let key = recovered.keys.get(entry.key);
            let written = self.give_generation(&entry, key, generation_next, &mut buffer);
            match written {
                Ok(()) => {
                    if let Some(entry) = recovered.entries.get_mut(at) {
                        entry.generation = generation_next;
                    }
                    generation_next += 1;
                }
                Err(error) => {
                    lost.push(entry.slot);
                    if self.tombstone(entry.slot).is_err() {
                        let old = OldRecord::of(record::digest(key), entry.generation);
                        let why = Why::Unclean([Some(old), None]);
                        recovered.out_of_use.push(OutOfUse { slot: entry.slot, why });
                        outcome = outcome.and(Err(error));
                    }
                }
            }
        }
        recovered.entries.retain(|entry| !lost.contains(&entry.slot));
        let synced = self.sync(&mut |_| {});
        if synced.is_err() {
            self.doubt();
        }
        Ok(outcome.and(synced).map(|()| generation_next))
    }

    /// Makes every slot without an entry hold no record: one that is damaged now and is not so later would outrank what is
    /// put under lower generations.
    fn erase_all_but(&self, recovered: &Recovered) -> Result<std::result::Result<(), Error>> {
        let slots = self.geometry.slot_count() as usize;
        let mut kept = Vec::new();
        kept.try_reserve_exact(slots).map_err(|_| no_memory())?;
        kept.resize(slots, false);
        for entry in &recovered.entries {
            if let Some(kept) = kept.get_mut(entry.slot as usize) {
                *kept = true;
            }
        }
        for (slot, _) in (0..).zip(&kept).filter(|(_, kept)| !**kept) {
            if let Err(error) = self.tombstone(slot) {
                return Ok(Err(Error::os(format_args!("erasing slot {slot}"), &error)));
            }
        }
        Ok(self.sync(&mut |_| {}))
    }

    /// Writes the trailer of an entry anew, with another generation.
    fn give_generation(
        &self,
        entry: &RecoveredEntry,
        key: &[u8],
        generation: u64,
        buffer: &mut AlignedBuffer,
    ) -> Result<()> {
        let failed =
            |error: std::io::Error| Error::os(format_args!("renumbering slot {}", entry.slot), &error);
        let place = self.place(entry.slot);
        let (file, offset) = (self.file(place).map_err(failed)?, self.geometry.trailer_offset(place));
        steps::read(file, buffer.as_mut_slice(), offset).map_err(failed)?;
        let not_it = || Error::new(Status::Io, format!("slot {} does not hold its record", entry.slot));
        let checksums: Vec<u64> = {
            let trailer = record::decode(buffer.as_slice()).map_err(|_| not_it())?;
            let expected = Identity {
                pool_id: self.pool_id,
                slot: u64::from(entry.slot),
                generation: entry.generation,
                payload_bytes: entry.payload_bytes,
                key,
            };
            if trailer.identity() != expected {
                return Err(not_it());
            }
            (0..trailer.block_count()).filter_map(|index| trailer.block_checksum(index)).collect()
        };
        let identity = Identity {
            pool_id: self.pool_id,
            slot: u64::from(entry.slot),
            generation,
            payload_bytes: entry.payload_bytes,
            key,
        };
        record::encode(buffer.as_mut_slice(), &identity, &checksums)?;
        tombstone::write_whole(file, buffer.as_slice(), offset).map_err(failed)
    }
}
