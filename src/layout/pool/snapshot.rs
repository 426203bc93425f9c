//! The snapshot: the index as it was at a clean close, which open trusts instead of reading every slot.
//!
//! It is believed as a whole or not at all, and is removed before the pool is used again, so that a
//! snapshot never outlives the state it describes. Slots that are out of use are in it too, so that the next
//! process keeps them so without looking at them. The same bytes under another name serve [`super::survivors`].

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use twox_hash::XxHash3_64;

use super::geometry::Geometry;
use super::out_of_use::{OLD_RECORDS_MAX, OldRecord, OutOfUse, Why};
use super::recovery::{GENERATION_MAX, Recovered, RecoveredEntry, RecoveredKeys, Source, push};
use super::replace::replace;
use crate::layout::record::wire::{Fields, FieldsMut};
use crate::layout::record::{EFFECTIVE_KEY_BYTES_MAX, is_effective};
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::{file_size_limit, retry_on_interrupt};

const MAGIC: [u8; 8] = *b"NXLSSNP1";
const FORMAT_VERSION: u32 = 2;
/// A version that knew of no slots out of use and left their number zero: read as that.
const FORMAT_VERSION_WITHOUT_SLOTS: u32 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 32;
const OUT_OF_USE_BYTES: usize = 32;
/// Why a slot is out of use, as a number.
const DAMAGED: u32 = 1;
const UNCLEAN: u32 = 2;
/// Number of entries, then the checksum of everything before the checksum.
const FOOTER_BYTES: usize = 16;
const CHECKSUM_BYTES: u64 = 8;
/// Attempts in a row to write that may answer EAGAIN before that counts, as for a transfer.
const FRUITLESS_ATTEMPTS_MAX: u32 = 100;
/// Bytes that are read or written at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// One key of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEntry<'a> {
    /// Where it is.
    pub slot: u32,
    /// Of its put.
    pub generation: u64,
    /// Length of its payload.
    pub payload_bytes: u64,
    /// How often it was used, as the eviction policy counts.
    pub frequency: u32,
    /// The effective key.
    pub key: &'a [u8],
}

/// What a snapshot tells.
pub(super) struct Contents<'a, 'k> {
    /// Above every generation in the pool.
    pub(super) generation_next: u64,
    /// Each slot once, and none that has an entry.
    pub(super) out_of_use: &'a [OutOfUse],
    /// The keys, the one to be evicted first in front.
    pub(super) entries: &'a mut dyn Iterator<Item = SnapshotEntry<'k>>,
}

/// What was found under the snapshot's name.
pub(super) enum Found {
    Absent,
    Valid(Recovered),
    /// Not to be believed, and why.
    Invalid(String),
}

/// Writes a snapshot as `name`, first under the other. The slots it lists must be durable already.
///
/// # Errors
/// What the system answers; `InvalidInput` for an entry that could not be read back.
pub(super) fn write(
    directory: &Dir,
    (temporary_name, name): (&str, &str),
    pool_id: u128,
    geometry: &Geometry,
    contents: Contents<'_, '_>,
) -> io::Result<()> {
    let Contents { generation_next, out_of_use, entries } = contents;
    replace(directory, temporary_name, name, |file| {
        let file = Limited { inner: file, left: file_size_limit() };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, Hashing::new(file));
        out.write_all(&header(pool_id, generation_next, out_of_use.len()).ok_or_else(invalid)?)?;
        for slot in out_of_use {
            out.write_all(&encode_out_of_use(slot).ok_or_else(invalid)?)?;
        }
        let mut count = 0u64;
        for entry in entries {
            check(&entry, geometry, generation_next).map_err(|why| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("entry of slot {}: {why}", entry.slot))
            })?;
            out.write_all(&encode_entry(&entry).ok_or_else(invalid)?)?;
            out.write_all(entry.key)?;
            count += 1;
        }
        out.write_all(&count.to_le_bytes())?;
        let mut hashing = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let checksum = hashing.hasher.finish();
        hashing.write_all(&checksum.to_le_bytes())
    })
}

/// Reads the snapshot `name`, if there is one and it is whole.
///
/// # Errors
/// What opening it answers, and `OutOfMemory`; other errors while reading make it merely invalid.
pub(super) fn read(directory: &Dir, name: &str, pool_id: u128, geometry: &Geometry) -> io::Result<Found> {
    let file = match directory.open_file(OsStr::new(name), OpenMode::default()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        other => other?,
    };
    match parse(&file, pool_id, geometry) {
        Ok(recovered) => Ok(Found::Valid(recovered)),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(error),
        Err(error) => Ok(Found::Invalid(error.to_string())),
    }
}

fn parse(file: &File, pool_id: u128, geometry: &Geometry) -> io::Result<Recovered> {
    let file_bytes = retry_on_interrupt(|| file.metadata())?.len();
    let fixed = (HEADER_BYTES + FOOTER_BYTES) as u64;
    // A slot is listed as holding a key or as out of use, and the latter is the shorter.
    let longest = u64::from(geometry.slot_count()) * (ENTRY_BYTES + EFFECTIVE_KEY_BYTES_MAX) as u64 + fixed;
    if file_bytes < fixed || file_bytes > longest {
        return Err(refused("it has an impossible length"));
    }
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, file_bytes - FOOTER_BYTES as u64)?;
    let mut fields = Fields::new(&footer);
    let (count, checksum) = (fields.u64().ok_or_else(invalid)?, fields.u64().ok_or_else(invalid)?);

    let hashing = Hashing::new(file.take(file_bytes - CHECKSUM_BYTES));
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, hashing);
    let (generation_next, slots_out_of_use) = read_header(&mut reader, pool_id)?;
    let mut body_bytes = file_bytes - fixed;
    let mut entries = Entries::new(geometry, generation_next)?;
    for _ in 0..slots_out_of_use {
        body_bytes = body_bytes
            .checked_sub(entries.read_out_of_use(&mut reader)?)
            .ok_or_else(|| refused("its last slot out of use is cut"))?;
    }
    while body_bytes > 0 {
        body_bytes = body_bytes
            .checked_sub(entries.read_one(&mut reader)?)
            .ok_or_else(|| refused("its last entry is cut"))?;
    }
    // The number of entries is still to be read, so that everything before the checksum was hashed.
    reader.read_exact(&mut [0; FOOTER_BYTES - CHECKSUM_BYTES as usize])?;
    if reader.get_ref().hasher.finish() != checksum {
        return Err(refused("its checksum does not match"));
    }
    if entries.list.len() as u64 != count {
        return Err(refused("it does not have the number of entries it names"));
    }
    let mut keys = HashSet::new();
    keys.try_reserve(entries.list.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    if !entries.list.iter().all(|entry| keys.insert(entries.keys.get(entry.key))) {
        return Err(refused("it lists a key twice"));
    }
    drop(keys);
    let Entries { list, keys, out_of_use, .. } = entries;
    Ok(Recovered { entries: list, keys, generation_next, source: Source::Snapshot, out_of_use })
}

fn header(pool_id: u128, generation_next: u64, slots_out_of_use: usize) -> Option<[u8; HEADER_BYTES]> {
    let mut bytes = [0; HEADER_BYTES];
    let mut fields = FieldsMut::new(&mut bytes);
    fields.bytes(&MAGIC)?;
    fields.u32(FORMAT_VERSION)?;
    fields.u32(0)?;
    fields.u128(pool_id)?;
    fields.u64(generation_next)?;
    fields.u32(u32::try_from(slots_out_of_use).ok()?)?;
    Some(bytes)
}

/// The next generation, and how many slots are out of use.
fn read_header(reader: &mut impl Read, pool_id: u128) -> io::Result<(u64, u32)> {
    let mut bytes = [0; HEADER_BYTES];
    reader.read_exact(&mut bytes)?;
    let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| refused("it is not a snapshot"))?;
    let mut fields = Fields::new(rest);
    let version = fields.u32().ok_or_else(invalid)?;
    if !matches!(version, FORMAT_VERSION_WITHOUT_SLOTS | FORMAT_VERSION) {
        return Err(refused("it is of another format version"));
    }
    fields.u32().ok_or_else(invalid)?;
    if fields.u128() != Some(pool_id) {
        return Err(refused("it is another pool's"));
    }
    let generation_next = fields
        .u64()
        .filter(|next| (1..=GENERATION_MAX).contains(next))
        .ok_or_else(|| refused("its generation is out of bounds"))?;
    let slots_out_of_use = fields.u32().ok_or_else(invalid)?;
    Ok((generation_next, if version == FORMAT_VERSION { slots_out_of_use } else { 0 }))
}

fn encode_out_of_use(out: &OutOfUse) -> Option<[u8; OUT_OF_USE_BYTES]> {
    let (why, records) = match out.why {
        Why::Damaged => (DAMAGED, [None; OLD_RECORDS_MAX]),
        Why::Unclean(records) => (UNCLEAN, records),
    };
    // A tag is never 0, so 0 says that there is none.
    let records = records.map(|record| record.unwrap_or(OldRecord { tag: 0, generation: 0 }));
    let mut bytes = [0; OUT_OF_USE_BYTES];
    let mut fields = FieldsMut::new(&mut bytes);
    fields.u32(out.slot)?;
    fields.u32(why)?;
    records.iter().try_for_each(|record| fields.u32(record.tag))?;
    records.iter().try_for_each(|record| fields.u64(record.generation))?;
    Some(bytes)
}

fn encode_entry(entry: &SnapshotEntry<'_>) -> Option<[u8; ENTRY_BYTES]> {
    let mut bytes = [0; ENTRY_BYTES];
    let mut fields = FieldsMut::new(&mut bytes);
    fields.u32(entry.slot)?;
    fields.u32(u32::try_from(entry.key.len()).ok()?)?;
    fields.u64(entry.generation)?;
    fields.u64(entry.payload_bytes)?;
    fields.u32(entry.frequency)?;
    Some(bytes)
}

fn check(entry: &SnapshotEntry<'_>, geometry: &Geometry, generation_next: u64) -> Result<(), &'static str> {
    if entry.slot >= geometry.slot_count() {
        return Err("no such slot");
    }
    if entry.payload_bytes == 0 || entry.payload_bytes > geometry.chunk_bytes() {
        return Err("its length is out of bounds");
    }
    if entry.generation >= generation_next || generation_next > GENERATION_MAX {
        return Err("its generation is out of bounds");
    }
    if !is_effective(entry.key) {
        return Err("not an effective key");
    }
    Ok(())
}

/// The entries read so far, each slot once.
struct Entries<'a> {
    geometry: &'a Geometry,
    generation_next: u64,
    seen: Vec<bool>,
    list: Vec<RecoveredEntry>,
    keys: RecoveredKeys,
    out_of_use: Vec<OutOfUse>,
}

impl<'a> Entries<'a> {
    fn new(geometry: &'a Geometry, generation_next: u64) -> io::Result<Entries<'a>> {
        let slots = geometry.slot_count() as usize;
        let mut seen = Vec::new();
        seen.try_reserve_exact(slots).map_err(|_| io::ErrorKind::OutOfMemory)?;
        seen.resize(slots, false);
        Ok(Entries {
            geometry,
            generation_next,
            seen,
            list: Vec::new(),
            keys: RecoveredKeys::default(),
            out_of_use: Vec::new(),
        })
    }

    /// Reads one slot that is out of use; returns its bytes.
    fn read_out_of_use(&mut self, reader: &mut impl Read) -> io::Result<u64> {
        let mut bytes = [0; OUT_OF_USE_BYTES];
        reader.read_exact(&mut bytes)?;
        let mut fields = Fields::new(&bytes);
        let slot = fields.u32().ok_or_else(invalid)?;
        let why = fields.u32().ok_or_else(invalid)?;
        let mut tags = [0; OLD_RECORDS_MAX];
        for tag in &mut tags {
            *tag = fields.u32().ok_or_else(invalid)?;
        }
        let mut records = [None; OLD_RECORDS_MAX];
        for (record, tag) in records.iter_mut().zip(tags) {
            let generation = fields.u64().ok_or_else(invalid)?;
            if generation >= self.generation_next {
                return Err(refused("a slot out of use has a generation out of bounds"));
            }
            *record = (tag != 0).then_some(OldRecord { tag, generation });
        }
        let why = match why {
            DAMAGED => Why::Damaged,
            UNCLEAN => Why::Unclean(records),
            _ => return Err(refused("a slot is out of use for an unknown reason")),
        };
        self.see(slot)?;
        push(&mut self.out_of_use, OutOfUse { slot, why }).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(OUT_OF_USE_BYTES as u64)
    }

    fn see(&mut self, slot: u32) -> io::Result<()> {
        match self.seen.get_mut(slot as usize) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => return Err(refused("it lists a slot twice")),
            None => return Err(refused("it lists a slot that the pool does not have")),
        }
        Ok(())
    }

    /// Reads one entry; returns its bytes.
    fn read_one(&mut self, reader: &mut impl Read) -> io::Result<u64> {
        let mut bytes = [0; ENTRY_BYTES];
        reader.read_exact(&mut bytes)?;
        let mut fields = Fields::new(&bytes);
        let slot = fields.u32().ok_or_else(invalid)?;
        let key_bytes = fields.u32().ok_or_else(invalid)? as usize;
        let generation = fields.u64().ok_or_else(invalid)?;
        let payload_bytes = fields.u64().ok_or_else(invalid)?;
        let frequency = fields.u32().ok_or_else(invalid)?;
        if key_bytes > EFFECTIVE_KEY_BYTES_MAX {
            return Err(refused("a key is too long"));
        }
        let mut key = [0; EFFECTIVE_KEY_BYTES_MAX];
        let key = &mut key[..key_bytes];
        reader.read_exact(key)?;
        let entry = SnapshotEntry { slot, generation, payload_bytes, frequency, key };
        check(&entry, self.geometry, self.generation_next).map_err(refused)?;
        self.see(slot)?;
        let no_memory = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let key = self.keys.add(entry.key).map_err(no_memory)?;
        let entry = RecoveredEntry { slot, generation, payload_bytes, frequency, key };
        push(&mut self.list, entry).map_err(no_memory)?;
        Ok((ENTRY_BYTES + key_bytes) as u64)
    }
}

/// Passes bytes through and keeps their XXH3-64.
struct Hashing<T> {
    inner: T,
    hasher: XxHash3_64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Hashing<T> {
        Hashing { inner, hasher: XxHash3_64::new() }
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.write(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(buffer)?;
        self.hasher.write(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Refuses to write past a limit on the size of files, at which the kernel would end the process (SIGXFSZ).
struct Limited<T> {
    inner: T,
    left: u64,
}

impl<T: Write> Write for Limited<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(buffer.len() as u64)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))?;
        for _ in 0..FRUITLESS_ATTEMPTS_MAX {
            match self.inner.write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn invalid() -> io::Error {
    refused("a field is missing")
}
