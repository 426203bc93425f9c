//! Recovery without a snapshot: every trailer of the pool is read and judged.
//!
//! A slot that cannot be read costs the chunk in it, never the pool.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::geometry::Geometry;
use super::out_of_use::OutOfUse;
use crate::error::{Error, Result, Status};
use crate::layout::record::{self, Identity, Invalid};
use crate::memory::AlignedBuffer;
use crate::sys::thread::{STACK_BYTES, spawn_scoped};

/// Threads that read trailers. Each waits for the device most of the time; sixteen keep an NVMe busy.
const SCAN_THREADS_MAX: u64 = 16;
/// Slots that a thread takes at a time.
const SCAN_BATCH_SLOTS: u64 = 64;
/// Largest generation that a record or a snapshot may name. Half the number range is left above it,
/// so that the counter cannot be driven to its end by what is on storage.
pub const GENERATION_MAX: u64 = 1 << 63;
/// How far the counter leaps past a scan that could not read everything: what stayed hidden then
/// never outranks what is put from now on.
pub const GENERATION_LEAP: u64 = 1 << 40;
/// The frequency of an entry whose count of uses was lost.
const FREQUENCY_AFTER_SCAN: u32 = 1;

/// The effective keys of many entries, one after the other.
///
/// Together, because they are freed when the catalog has copies: a million small pieces of the heap, with the catalog's
/// own memory behind them, would stay with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredKeys(Vec<u8>);

/// Where an entry's key is in its [`RecoveredKeys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    start: usize,
    length: usize,
}

impl RecoveredKeys {
    /// The key at a place of these keys.
    pub fn get(&self, place: KeyPlace) -> &[u8] {
        &self.0[place.start..place.start + place.length]
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`].
    pub(super) fn add(&mut self, key: &[u8]) -> Result<KeyPlace> {
        let place = KeyPlace { start: self.0.len(), length: key.len() };
        self.0.try_reserve(key.len()).map_err(|_| no_memory())?;
        self.0.extend_from_slice(key);
        Ok(place)
    }
}

/// A key that survived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredEntry {
    /// Where it is.
    pub slot: u32,
    /// Of its put.
    pub generation: u64,
    /// Length of its payload.
    pub payload_bytes: u64,
    /// How often it was used, as the eviction policy counts; 1 after a scan.
    pub frequency: u32,
    /// The effective key, in the keys that come with the entry.
    pub key: KeyPlace,
}

/// How the index came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The pool was just made.
    New,
    /// From the snapshot of a clean close.
    Snapshot,
    /// From the trailers of all slots.
    Scan,
}

/// What an opened pool holds.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Each key once and each slot at most once, first the one to be evicted first: in the order
    /// of the snapshot, after a scan in the order of the puts.
    pub entries: Vec<RecoveredEntry>,
    /// Their keys.
    pub keys: RecoveredKeys,
    /// Above every generation on storage; at least 1.
    pub generation_next: u64,
    /// Where the entries come from.
    pub source: Source,
    /// Slots that are not to be used; of those that may hold records of one key the older first.
    pub out_of_use: Vec<OutOfUse>,
}

/// What a scan saw.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Newest record of each key, oldest first.
    pub(super) entries: Vec<RecoveredEntry>,
    /// The keys of all records.
    pub(super) keys: RecoveredKeys,
    /// Records that are valid but outdated.
    pub(super) outdated: Vec<RecoveredEntry>,
    /// Records that cannot be told from writes of an owner that had died before the pool was opened last.
    pub(super) late: Vec<RecoveredEntry>,
    /// Slots that could not be read, in either of two attempts.
    pub(super) unreadable: Vec<u32>,
    /// The first error behind [`Scan::unreadable`].
    pub(super) first_error: Option<io::Error>,
    /// Slots that hold something which is no record of theirs, and what is wrong with it.
    pub(super) damaged: Vec<(u32, Invalid)>,
    /// The highest generation that is believed, 0 if none is.
    pub(super) generation_max: u64,
}

/// Reads all trailers through `read` and sorts out which records count; of those that are whole and in their place, the ones of
/// a slot and a generation that `is_believed`.
///
/// # Errors
/// [`Status::OutOfMemory`] if there is none for the buffers. Errors of `read` are not errors of the scan.
pub(super) fn scan(
    geometry: &Geometry,
    pool_id: u128,
    is_believed: &(dyn Fn(u32, u64) -> bool + Sync),
    read: &(dyn Fn(u32, &mut [u8]) -> io::Result<()> + Sync),
) -> Result<Scan> {
    let place = Whose { geometry, pool_id, is_believed };
    let slot_count = u64::from(geometry.slot_count());
    let slot_next = AtomicU64::new(0);
    let work = || -> Result<Scan> {
        let mut buffer = trailer_buffer(geometry)?;
        let mut seen = Scan::default();
        loop {
            let first = slot_next.fetch_add(SCAN_BATCH_SLOTS, Ordering::Relaxed);
            if first >= slot_count {
                return Ok(seen);
            }
            for slot in first..slot_count.min(first + SCAN_BATCH_SLOTS) {
                let Ok(slot) = u32::try_from(slot) else { continue };
                match read(slot, buffer.as_mut_slice()) {
                    Ok(()) => seen.add(slot, buffer.as_slice(), &place)?,
                    Err(_) => push(&mut seen.unreadable, slot)?,
                }
            }
        }
    };
    let threads = slot_count.div_ceil(SCAN_BATCH_SLOTS).min(SCAN_THREADS_MAX);
    let mut all = thread::scope(|scope| {
        // A helper that cannot be had is done without: this thread works as well.
        let helpers: Vec<_> = (1..threads)
            .filter_map(|_| spawn_scoped(scope, "nixl-recover", STACK_BYTES, work).ok())
            .collect();
        let mut all = work()?;
        for helper in helpers {
            let seen =
                helper.join().map_err(|_| Error::new(Status::Internal, "a recovery thread panicked"))??;
            all.merge(seen)?;
        }
        Ok::<_, Error>(all)
    })?;
    all.unreadable.sort_unstable();
    read_again(&mut all, &place, read)?;
    all.late.sort_unstable_by_key(|entry| entry.slot);
    all.damaged.sort_unstable_by_key(|(slot, _)| *slot);
    (all.entries, all.outdated) = newest_of_each_key(all.entries, &all.keys)?;
    Ok(all)
}

/// Reads once more what could not be read: what hindered it may have passed, and a chunk is worth a second look.
fn read_again(
    all: &mut Scan,
    place: &Whose<'_>,
    read: &(dyn Fn(u32, &mut [u8]) -> io::Result<()> + Sync),
) -> Result<()> {
    let unread = std::mem::take(&mut all.unreadable);
    let mut buffer = trailer_buffer(place.geometry)?;
    for slot in unread {
        match read(slot, buffer.as_mut_slice()) {
            Ok(()) => all.add(slot, buffer.as_slice(), place)?,
            Err(error) => {
                push(&mut all.unreadable, slot)?;
                all.first_error.get_or_insert(error);
            }
        }
    }
    Ok(())
}

/// Adds to a list whose length comes from the pool's size.
pub(super) fn push<T>(list: &mut Vec<T>, value: T) -> Result<()> {
    list.try_reserve(1).map_err(|_| no_memory())?;
    list.push(value);
    Ok(())
}

pub(super) fn no_memory() -> Error {
    Error::new(
        Status::OutOfMemory,
        "no memory to recover the pool's index; give this process more, or use a pool with a smaller nixl_pool_size",
    )
}

pub(super) fn trailer_buffer(geometry: &Geometry) -> Result<AlignedBuffer> {
    let bytes = geometry.trailer_bytes();
    usize::try_from(bytes)
        .ok()
        .and_then(|length| AlignedBuffer::new(length).ok())
        .ok_or_else(|| Error::new(Status::OutOfMemory, format!("no memory for a trailer of {bytes} bytes")))
}

/// The pool that a trailer has to be of.
struct Whose<'a> {
    geometry: &'a Geometry,
    pool_id: u128,
    is_believed: &'a (dyn Fn(u32, u64) -> bool + Sync),
}

impl Scan {
    fn add(&mut self, slot: u32, trailer: &[u8], place: &Whose<'_>) -> Result<()> {
        let judged = record::decode(trailer).and_then(|trailer| {
            belongs(&trailer.identity(), slot, place.geometry, place.pool_id).map(|()| trailer.identity())
        });
        match judged {
            Ok(identity) => {
                let is_believed = (place.is_believed)(slot, identity.generation);
                if is_believed {
                    self.generation_max = self.generation_max.max(identity.generation);
                }
                let key = self.keys.add(identity.key)?;
                let entry = RecoveredEntry {
                    slot,
                    generation: identity.generation,
                    payload_bytes: identity.payload_bytes,
                    frequency: FREQUENCY_AFTER_SCAN,
                    key,
                };
                push(if is_believed { &mut self.entries } else { &mut self.late }, entry)?;
            }
            Err(Invalid::Absent) => {}
            Err(why) => push(&mut self.damaged, (slot, why))?,
        }
        Ok(())
    }

    fn merge(&mut self, other: Scan) -> Result<()> {
        let start = self.keys.0.len();
        self.keys.0.try_reserve(other.keys.0.len()).map_err(|_| no_memory())?;
        self.entries.try_reserve(other.entries.len()).map_err(|_| no_memory())?;
        self.late.try_reserve(other.late.len()).map_err(|_| no_memory())?;
        self.unreadable.try_reserve(other.unreadable.len()).map_err(|_| no_memory())?;
        self.keys.0.extend_from_slice(&other.keys.0);
        let moved = |mut entry: RecoveredEntry| {
            entry.key.start += start;
            entry
        };
        self.entries.extend(other.entries.into_iter().map(moved));
        self.late.extend(other.late.into_iter().map(moved));
        self.unreadable.extend(other.unreadable);
        self.damaged.try_reserve(other.damaged.len()).map_err(|_| no_memory())?;
        self.damaged.extend(other.damaged);
        self.generation_max = self.generation_max.max(other.generation_max);
        Ok(())
    }
}

/// Whether a record that is whole was also written for this very place.
pub(super) fn belongs(
    identity: &Identity<'_>,
    slot: u32,
    geometry: &Geometry,
    pool_id: u128,
) -> std::result::Result<(), Invalid> {
    if identity.pool_id != pool_id {
        return Err(Invalid::Bounds("pool_id"));
    }
    if identity.slot != u64::from(slot) {
        return Err(Invalid::Bounds("slot"));
    }
    if identity.payload_bytes > geometry.chunk_bytes() {
        return Err(Invalid::Bounds("payload_bytes"));
    }
    if identity.generation >= GENERATION_MAX {
        return Err(Invalid::Bounds("generation"));
    }
    Ok(())
}

/// Splits into the newest record of each key and the outdated ones, both oldest first.
fn newest_of_each_key(
    mut entries: Vec<RecoveredEntry>,
    all_keys: &RecoveredKeys,
) -> Result<(Vec<RecoveredEntry>, Vec<RecoveredEntry>)> {
    // The slot makes the order the same in every run, should a generation have been forged.
    entries.sort_unstable_by_key(|entry| (entry.generation, entry.slot));
    let mut keys = HashSet::new();
    keys.try_reserve(entries.len()).map_err(|_| no_memory())?;
    let mut outdated = Vec::new();
    for entry in entries.iter().rev() {
        if !keys.insert(all_keys.get(entry.key)) {
            push(&mut outdated, entry.clone())?;
        }
    }
    drop(keys);
    outdated.reverse();
    // Both in one order, so that one walk takes the one out of the other.
    let mut next = outdated.iter().peekable();
    entries.retain(|entry| next.next_if(|old| old.slot == entry.slot).is_none());
    drop(next);
    Ok((entries, outdated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::record::EffectiveKey;

    fn trailer(geometry: &Geometry, pool_id: u128, slot: u64, generation: u64, key: &str) -> Vec<u8> {
        let key = EffectiveKey::new(b"", key.as_bytes()).unwrap();
        let mut bytes = vec![0; geometry.trailer_bytes() as usize];
        let identity = Identity { pool_id, slot, generation, payload_bytes: 10, key: key.bytes() };
        record::encode(&mut bytes, &identity, &[0]).unwrap();
        bytes
    }

    /// One bad sector must not cost the other chunks, nor the process: the slot is named, counted, skipped.
    #[test]
    fn an_unreadable_slot_costs_only_itself() {
        let geometry = Geometry::new(1000, 4096, 8).unwrap();
        let seen = scan(&geometry, 7, &|_, _| true, &|slot, out| {
            if slot % 100 == 3 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            out.copy_from_slice(&trailer(
                &geometry,
                7,
                slot.into(),
                u64::from(slot) + 1,
                &format!("key {slot}"),
            ));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.unreadable, (0..10).map(|n| n * 100 + 3).collect::<Vec<_>>());
        assert_eq!(seen.first_error.unwrap().raw_os_error(), Some(libc::EIO));
        assert_eq!(seen.entries.len(), 990);
        assert!(seen.entries.is_sorted_by_key(|entry| entry.generation));
        assert_eq!(seen.generation_max, 1000);
    }

    /// A crash while a key was replaced leaves both records; the newer one counts, whatever the slots' order.
    #[test]
    fn of_two_records_with_one_key_the_newer_counts() {
        let geometry = Geometry::new(6, 4096, 6).unwrap();
        let generations = [5, 9, 2, 7, 8, 1];
        let keys = ["a", "b", "b", "a", "c", "a"];
        let seen = scan(&geometry, 7, &|_, _| true, &|slot, out| {
            let index = slot as usize;
            out.copy_from_slice(&trailer(&geometry, 7, slot.into(), generations[index], keys[index]));
            Ok(())
        })
        .unwrap();
        let kept: Vec<u32> = seen.entries.iter().map(|entry| entry.slot).collect();
        assert_eq!(kept, [3, 4, 1]);
        let outdated: Vec<u32> = seen.outdated.iter().map(|entry| entry.slot).collect();
        assert_eq!(outdated, [5, 2, 0]);
    }

    /// Whole records in the wrong place (another pool's file, swapped files) are damage, not entries.
    #[test]
    fn records_of_another_place_do_not_count() {
        let geometry = Geometry::new(5, 4096, 5).unwrap();
        let seen = scan(&geometry, 7, &|_, _| true, &|slot, out| {
            let bytes = match slot {
                0 => trailer(&geometry, 8, 0, 1, "other pool"),
                1 => trailer(&geometry, 7, 2, 1, "other slot"),
                2 => trailer(&geometry, 7, record::NO_SLOT, 1, "a file's"),
                3 => trailer(&geometry, 7, 3, GENERATION_MAX, "the end of time"),
                _ => trailer(&geometry, 7, 4, GENERATION_MAX - 1, "fine"),
            };
            out.copy_from_slice(&bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.entries.len(), 1);
        assert_eq!(seen.damaged.len(), 4);
        assert_eq!(seen.generation_max, GENERATION_MAX - 1);
    }
}
