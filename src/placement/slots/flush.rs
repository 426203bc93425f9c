//! Flush: everything that was put is made durable, or the caller is told, for good.
//!
//! A sync that fails may have lost what was written before it, and the next one would answer OK all the same (see
//! `catalog/slots/durability.rs`). So after a failure the next flush first writes anew what may be lost, from what
//! can still be read and proven right, or drops it from the index; then it syncs.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::PoisonError;

use super::Slots;
use super::storage::{Index, SlotStorage};
use crate::catalog::{self, Release, Suspect};
use crate::error::{Error, Result, Status};
use crate::layout::pool::{OldRecord, OutOfUse, SnapshotEntry, Why, tombstone};
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES, Trailer};
use crate::memory::{AlignedBuffer, bytes};
use crate::placement::{Extent, Key};
use crate::sync::lock;

/// Bytes of a record that are read, proven and written back at a time: a multiple of a checksum's block.
const COPY_BYTES: usize = 1 << 20;

const _: () = assert!(COPY_BYTES.is_multiple_of(CHECKSUM_BLOCK_BYTES));

/// Why a record was not written anew.
enum Failed {
    /// It cannot be read, or what is read is not what was put.
    Lost(String),
    /// It is there, and cannot be written.
    Write(Error),
}

impl Slots {
    /// Makes durable what was put and removed before. One at a time: of two syncs at once, the kernel would tell only one
    /// of a failure.
    pub(super) fn flush(&self) -> Result<()> {
        let _turn = lock(&self.flushing);
        let kept = self.keep()?;
        kept.storage().map_or(Ok(()), |storage| self.make_durable(storage))
    }

    /// Ends it: makes all durable, and writes down the index if that succeeded. No transfer is under way any more.
    pub(super) fn end(&self) -> Result<()> {
        let _turn = lock(&self.flushing);
        let storage = self.storage.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(storage) = storage else { return Ok(()) };
        let durable = self.make_durable(&*storage).or_else(|error| {
            // What a sync that failed may have lost is written anew while this process still knows what it was: the next
            // one would find older records in its place.
            self.logger.warn(format_args!("closing {}: {error}; trying once more", self.place));
            self.make_durable(&*storage)
        });
        if let Err(error) = durable {
            // An index that listed records which may be lost would be believed.
            drop(storage.close(None));
            return Err(error);
        }
        if self.catalog.gauges().slots_leaving > 0 {
            self.logger
                .info(format_args!("slots are still being cleaned; the next open scans {}", self.place));
            return storage.close(None);
        }
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let mut entries = Vec::new();
        self.catalog.export(&mut |entry| {
            keys.push(entry.key.into());
            entries.push((entry.slot, entry.generation, entry.length, entry.frequency));
        });
        let mut entries = keys.iter().zip(entries).map(|(key, entry)| {
            let (slot, generation, payload_bytes, frequency) = entry;
            SnapshotEntry { slot, generation, payload_bytes, frequency, key }
        });
        let generation_next = self.catalog.generation_next();
        let out_of_use: Vec<OutOfUse> =
            self.catalog.export_out_of_use().iter().map(told_out_of_use).collect();
        storage.close(Some(Index { generation_next, out_of_use: &out_of_use, entries: &mut entries }))
    }

    fn make_durable(&self, storage: &dyn SlotStorage) -> Result<()> {
        self.restore_suspects()?;
        self.restore_tombstones()?;
        // The others were told of when they could not be cleaned; it may go better now.
        drop(self.clean_leftovers());
        self.catalog.sync_begins();
        let mut failed = Vec::new();
        let synced = storage.sync(&mut |file| failed.push(file));
        let Err(error) = synced else {
            self.catalog.sync_succeeded();
            storage.trust();
            return Ok(());
        };
        storage.doubt();
        self.catalog.sync_failed(&|slot| failed.contains(&self.geometry.place(slot).file_index));
        // At once, as a tombstone that the kernel has given up is gone as soon as memory is short. What cannot be written
        // now waits for the next flush.
        drop(self.clean_leftovers());
        Err(error)
    }

    /// Writes anew what a failed sync may have lost, or drops it.
    ///
    /// # Errors
    /// What the system answers to the first write that fails; the rest stays suspect.
    fn restore_suspects(&self) -> Result<()> {
        let mut buffers = None;
        let (mut from, mut restored, mut lost) = (0, 0u64, 0u64);
        while let Some(suspect) = self.catalog.suspect(from) {
            from = suspect.lease.slot().saturating_add(1);
            let outcome = Buffers::once(&mut buffers, self.geometry.trailer_bytes())
                .map_err(Failed::Write)
                .and_then(|buffers| self.write_anew(&suspect, buffers));
            let outcome = match outcome {
                Ok(()) => {
                    self.catalog.written_anew(&suspect.lease);
                    restored += 1;
                    self.let_go(suspect, None)
                }
                Err(Failed::Lost(why)) => {
                    lost += 1;
                    self.let_go(suspect, Some(&why))
                }
                Err(Failed::Write(error)) => self.let_go(suspect, None).and(Err(error)),
            };
            if let Err(error) = outcome {
                self.lost.add(lost);
                return Err(error);
            }
        }
        self.lost.add(lost);
        if restored + lost > 0 {
            self.logger.warn(format_args!(
                "{}: of what the last flush could not make durable, {restored} keys were written anew, {lost} are lost",
                self.place
            ));
        }
        Ok(())
    }

    /// Ends the lease on a suspect; one that is lost leaves the index, for the reason given.
    fn let_go(&self, suspect: Suspect, lost: Option<&str>) -> Result<()> {
        let Suspect { key, lease } = suspect;
        let digest = record::digest(&key);
        let key = Key { effective: &key, digest };
        if let Some(why) = lost
            && self.catalog.forget(digest, key.effective, &lease)
        {
            self.logger.error(format_args!(
                "key {} in slot {} of {} was lost by a flush that failed ({why}); it is no longer stored",
                key.shown(),
                lease.slot(),
                self.place
            ));
        }
        match self.catalog.release(lease) {
            Release::Kept => Ok(()),
            Release::Clean(dirty) => self.erase(&key, dirty),
        }
    }

    fn write_anew(&self, suspect: &Suspect, buffers: &mut Buffers) -> std::result::Result<(), Failed> {
        let Suspect { key, lease } = suspect;
        let extent = self.extent(lease.slot(), lease.length()).map_err(Failed::Write)?;
        let file = self.file_of(lease.slot()).map_err(Failed::Write)?;
        let Buffers { trailer: trailer_page, data } = buffers;
        let unread = |error: io::Error| Failed::Lost(error.to_string());
        let unwritten = |error: io::Error| {
            Failed::Write(Error::os(
                format_args!("writing anew the record in slot {} of {}", lease.slot(), self.place),
                &error,
            ))
        };
        let trailer_offset = extent.payload_offset.saturating_add(extent.padded_bytes);
        file.read_exact_at(trailer_page.as_mut_slice(), trailer_offset).map_err(unread)?;
        let trailer = record::decode(trailer_page.as_slice()).map_err(|why| Failed::Lost(why.to_string()))?;
        let expected = record::Identity {
            pool_id: extent.pool_id,
            slot: extent.slot,
            generation: lease.generation(),
            payload_bytes: lease.length(),
            key,
        };
        if trailer.identity() != expected {
            return Err(Failed::Lost("another record is in its place".to_owned()));
        }
        let mut done = 0;
        while done < extent.padded_bytes {
            let length = (extent.padded_bytes - done).min(COPY_BYTES as u64);
            let piece = data.as_mut_slice().get_mut(..length as usize).unwrap_or_default();
            let offset = extent.payload_offset.saturating_add(done);
            file.read_exact_at(piece, offset).map_err(unread)?;
            if !is_proven(&trailer, &extent, lease.length(), done, piece) {
                return Err(Failed::Lost("its checksums do not match".to_owned()));
            }
            tombstone::write_whole(file, piece, offset).map_err(unwritten)?;
            done += length;
        }
        // Last, as in a put: a loss of power in between leaves no trailer that vouches for what is not there.
        tombstone::write_whole(file, trailer_page.as_slice(), trailer_offset).map_err(unwritten)
    }

    /// Writes anew the tombstones that a failed sync may have lost.
    ///
    /// # Errors
    /// What the system answers to the first that fails. The caller is told once of each.
    fn restore_tombstones(&self) -> Result<()> {
        let mut from = 0;
        while let Some(dirty) = self.catalog.reclaim_suspect(from) {
            let slot = dirty.slot();
            from = slot.saturating_add(1);
            self.clean(dirty).map_err(|error| {
                Error::os(
                    format_args!(
                        "flushing {}: slot {slot} cannot be cleaned, so that a key which was removed from it may be back after                          the pool is opened again",
                        self.place
                    ),
                    &error,
                )
            })?;
        }
        Ok(())
    }
}

/// Whether the blocks of a piece of payload, which starts with a block, have their checksums.
fn is_proven(trailer: &Trailer<'_>, extent: &Extent, payload_bytes: u64, from: u64, piece: &[u8]) -> bool {
    debug_assert!(from.is_multiple_of(CHECKSUM_BLOCK_BYTES as u64) && from < extent.padded_bytes);
    let payload = payload_bytes.saturating_sub(from).min(piece.len() as u64) as usize;
    let first = (from / CHECKSUM_BLOCK_BYTES as u64) as usize;
    let blocks = piece.get(..payload).unwrap_or_default().chunks(CHECKSUM_BLOCK_BYTES);
    (first..)
        .zip(blocks)
        .all(|(index, block)| trailer.block_checksum(index) == Some(bytes::checksum_bytes(block)))
}

/// What the catalog tells of a slot, as a snapshot takes it.
fn told_out_of_use(out: &catalog::OutOfUse) -> OutOfUse {
    let why = match out.why {
        catalog::Why::Damaged => Why::Damaged,
        catalog::Why::Unclean(records) => {
            Why::Unclean(records.map(|record| record.map(|(tag, generation)| OldRecord { tag, generation })))
        }
    };
    OutOfUse { slot: out.slot, why }
}

/// What records are copied through.
struct Buffers {
    trailer: AlignedBuffer,
    data: AlignedBuffer,
}

impl Buffers {
    /// Makes them when they are first needed.
    fn once(made: &mut Option<Buffers>, trailer_bytes: u64) -> Result<&mut Buffers> {
        if made.is_none() {
            let buffer = |length: u64| {
                usize::try_from(length).ok().and_then(|length| AlignedBuffer::new(length).ok()).ok_or_else(
                    || {
                        Error::new(
                            Status::OutOfMemory,
                            format!("no memory for {length} bytes to write records anew"),
                        )
                    },
                )
            };
            *made = Some(Buffers { trailer: buffer(trailer_bytes)?, data: buffer(COPY_BYTES as u64)? });
        }
        made.as_mut().ok_or_else(|| Error::new(Status::Internal, "no buffers"))
    }
}
