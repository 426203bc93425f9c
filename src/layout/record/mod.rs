//! The trailer that follows every stored payload: what was stored, under which key, where, and how to prove it.
//!
//! Pure functions over bytes, the same for pool slots, files and objects; `docs/FORMAT.md` has the
//! table of fields. Whatever [`decode`] is given, it answers with a trailer whose every field was
//! checked or with the reason why there is none; it never panics and never allocates.

mod key;
mod size;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::fmt;

use crate::error::{Error, Result, Status};
use wire::{Fields, FieldsMut};

pub(crate) use key::is_effective;
pub use key::{EFFECTIVE_KEY_BYTES_MAX, EffectiveKey, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, digest, parts};
pub use size::{
    CHECKSUM_BLOCK_BYTES, RECORD_ALIGNMENT, TRAILER_BYTES_MIN, block_count, padded, split_file, trailer_bytes,
};

/// First bytes of a trailer.
pub const MAGIC: [u8; 8] = *b"NXLSREC1";
/// The format this code writes and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The slot number in records that lie in no pool slot.
pub const NO_SLOT: u64 = u64::MAX;
/// The pool identity in records that belong to no pool.
pub const NO_POOL: u128 = 0;
/// Zeroing this many bytes at the start of a trailer makes the record absent: one aligned page,
/// which storage replaces as a whole or not at all.
pub const TOMBSTONE_BYTES: usize = RECORD_ALIGNMENT as usize;

/// Where the checksum of the trailer lies within it.
const CHECKSUM_OFFSET: usize = 8;
const CHECKSUM_END: usize = CHECKSUM_OFFSET + size_of::<u64>();
/// Where the effective key starts.
const KEY_OFFSET: usize = 256;
/// Where the block checksums start.
const BLOCKS_OFFSET: usize = size::TRAILER_FIXED_BYTES;

const _: () = assert!(KEY_OFFSET + EFFECTIVE_KEY_BYTES_MAX <= BLOCKS_OFFSET);

/// What a record is: everything that a reader must find right before it believes the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The static pool it was written for, else [`NO_POOL`].
    pub pool_id: u128,
    /// The slot it was written to, else [`NO_SLOT`].
    pub slot: u64,
    /// Grows with every put of a pool; of two records with one key the higher is the newer.
    pub generation: u64,
    /// Payload bytes without padding; never 0.
    pub payload_bytes: u64,
    /// The effective key (see [`EffectiveKey`]).
    pub key: &'a [u8],
}

/// A decoded trailer, borrowed from the bytes it was read into.
#[derive(Clone, Copy, Debug)]
pub struct Trailer<'a> {
    identity: Identity<'a>,
    block_checksums: &'a [u8],
}

impl<'a> Trailer<'a> {
    /// Whose bytes these are.
    pub fn identity(&self) -> Identity<'a> {
        self.identity
    }

    /// How many payload blocks have a checksum.
    pub fn block_count(&self) -> usize {
        self.block_checksums.len() / size_of::<u64>()
    }

    /// The XXH3-64 of payload block `index`; `None` past the last.
    pub fn block_checksum(&self, index: usize) -> Option<u64> {
        let start = index.checked_mul(size_of::<u64>())?;
        Fields::new(self.block_checksums.get(start..)?).u64()
    }
}

/// Why some bytes are not a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Never written, or tombstoned: the place of the magic is zero.
    Absent,
    /// The slice cannot be a trailer: too short or not a whole number of pages.
    Length,
    /// Something else's bytes.
    Magic,
    /// A trailer once; its bytes changed since.
    Checksum,
    /// A proper trailer of a format that this code does not know.
    Version(u32),
    /// A proper checksum over a field that cannot be; it names the field.
    Bounds(&'static str),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Absent => f.write_str("no record"),
            Invalid::Length => f.write_str("not the length of a trailer"),
            Invalid::Magic => f.write_str("not a trailer"),
            Invalid::Checksum => f.write_str("trailer checksum mismatch"),
            Invalid::Version(version) => write!(f, "record format {version}, known is {FORMAT_VERSION}"),
            Invalid::Bounds(field) => write!(f, "trailer field {field} out of bounds"),
        }
    }
}

/// Writes the trailer of a record over all of `out`, which has exactly the trailer's length.
///
/// # Errors
/// [`Status::Internal`] if the pieces do not fit together; `out` is then unspecified.
pub fn encode(out: &mut [u8], identity: &Identity<'_>, block_checksums: &[u64]) -> Result<()> {
    let misfit = |what: &str| Error::new(Status::Internal, format!("record trailer: {what}"));
    check_trailer_length(out.len(), identity.payload_bytes).map_err(|_| misfit("wrong length"))?;
    if block_count(identity.payload_bytes) != Some(block_checksums.len()) {
        return Err(misfit("wrong number of block checksums"));
    }
    if !is_effective(identity.key) {
        return Err(misfit("not an effective key"));
    }
    out.fill(0);
    write_fields(out, identity, block_checksums).ok_or_else(|| misfit("does not fit"))?;
    let checksum = checksum_with_hole(out, CHECKSUM_OFFSET).ok_or_else(|| misfit("does not fit"))?;
    let place = out.get_mut(CHECKSUM_OFFSET..CHECKSUM_END).ok_or_else(|| misfit("does not fit"))?;
    place.copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Reads a trailer out of `bytes`, which holds it and nothing more.
///
/// Whether the record belongs where it was found (pool, slot, key, file size) is for the caller to
/// compare; everything that can be judged from the bytes alone is judged here.
///
/// # Errors
/// Why there is no trailer.
pub fn decode(bytes: &[u8]) -> std::result::Result<Trailer<'_>, Invalid> {
    let magic: &[u8; 8] = bytes.first_chunk().ok_or(Invalid::Length)?;
    if *magic == [0; 8] {
        return Err(Invalid::Absent);
    }
    if *magic != MAGIC {
        return Err(Invalid::Magic);
    }
    if bytes.len() < TRAILER_BYTES_MIN as usize || !bytes.len().is_multiple_of(RECORD_ALIGNMENT as usize) {
        return Err(Invalid::Length);
    }
    let stored = bytes.get(CHECKSUM_OFFSET..).and_then(|rest| Fields::new(rest).u64());
    if stored != checksum_with_hole(bytes, CHECKSUM_OFFSET) {
        return Err(Invalid::Checksum);
    }
    // A matching checksum proves no origin: anybody can compute it, so every field is still checked.
    read_fields(bytes)
}

/// Reads again a trailer that [`decode`] found right in the same bytes, without computing their checksum once more.
///
/// # Errors
/// As for [`decode`], but for the checksum.
pub fn decode_again(bytes: &[u8]) -> std::result::Result<Trailer<'_>, Invalid> {
    read_fields(bytes)
}

/// The length of the trailer that begins with `head`, as far as its first fields tell; `None` if they are not a trailer's.
///
/// Nothing is proven by it. It tells whether it is worth it to read so many bytes and to take memory for them.
pub fn announced_bytes(head: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(head.strip_prefix(&MAGIC)?.get(size_of::<u64>()..)?);
    let (version, trailer_bytes) = (fields.u32()?, fields.u32()?);
    (version == FORMAT_VERSION).then_some(u64::from(trailer_bytes))
}

fn write_fields(out: &mut [u8], identity: &Identity<'_>, block_checksums: &[u64]) -> Option<()> {
    let trailer_bytes = u32::try_from(out.len()).ok()?;
    let mut fields = FieldsMut::new(out);
    fields.bytes(&MAGIC)?;
    fields.u64(0)?;
    fields.u32(FORMAT_VERSION)?;
    fields.u32(trailer_bytes)?;
    fields.u128(identity.pool_id)?;
    fields.u64(identity.slot)?;
    fields.u64(identity.generation)?;
    fields.u64(identity.payload_bytes)?;
    fields.u32(CHECKSUM_BLOCK_BYTES as u32)?;
    fields.u32(u32::try_from(block_checksums.len()).ok()?)?;
    fields.u32(u32::try_from(identity.key.len()).ok()?)?;
    fields.u32(0)?;
    FieldsMut::new(out.get_mut(KEY_OFFSET..)?).bytes(identity.key)?;
    let mut blocks = FieldsMut::new(out.get_mut(BLOCKS_OFFSET..)?);
    block_checksums.iter().try_for_each(|checksum| blocks.u64(*checksum))
}

fn read_fields(bytes: &[u8]) -> std::result::Result<Trailer<'_>, Invalid> {
    let mut fields = Fields::new(bytes.get(CHECKSUM_END..).ok_or(Invalid::Length)?);
    let version = fields.u32().ok_or(Invalid::Length)?;
    if version != FORMAT_VERSION {
        return Err(Invalid::Version(version));
    }
    let trailer_bytes = fields.u32().ok_or(Invalid::Length)?;
    let pool_id = fields.u128().ok_or(Invalid::Length)?;
    let slot = fields.u64().ok_or(Invalid::Length)?;
    let generation = fields.u64().ok_or(Invalid::Length)?;
    let payload_bytes = fields.u64().ok_or(Invalid::Length)?;
    let block_bytes = fields.u32().ok_or(Invalid::Length)?;
    let blocks = fields.u32().ok_or(Invalid::Length)? as usize;
    let key_bytes = fields.u32().ok_or(Invalid::Length)? as usize;
    let flags = fields.u32().ok_or(Invalid::Length)?;

    if trailer_bytes as usize != bytes.len() {
        return Err(Invalid::Bounds("trailer_bytes"));
    }
    check_trailer_length(bytes.len(), payload_bytes)?;
    if block_bytes as usize != CHECKSUM_BLOCK_BYTES {
        return Err(Invalid::Bounds("checksum_block_bytes"));
    }
    if block_count(payload_bytes) != Some(blocks) {
        return Err(Invalid::Bounds("checksum_block_count"));
    }
    if flags != 0 {
        return Err(Invalid::Bounds("flags"));
    }
    let key = bytes
        .get(KEY_OFFSET..BLOCKS_OFFSET)
        .and_then(|area| area.get(..key_bytes))
        .filter(|key| is_effective(key))
        .ok_or(Invalid::Bounds("key"))?;
    let block_checksums = blocks
        .checked_mul(size_of::<u64>())
        .and_then(|length| bytes.get(BLOCKS_OFFSET..)?.get(..length))
        .ok_or(Invalid::Bounds("checksum_block_count"))?;
    Ok(Trailer { identity: Identity { pool_id, slot, generation, payload_bytes, key }, block_checksums })
}

/// A trailer has whole pages and room for its payload's checksums. A pool slot's may be longer than
/// its own payload needs: all trailers of a pool have the length of the largest chunk's.
fn check_trailer_length(length: usize, payload_bytes: u64) -> std::result::Result<(), Invalid> {
    let needed = padded(payload_bytes).and_then(trailer_bytes);
    match needed {
        Some(needed)
            if length as u64 >= needed
                && (length as u64).is_multiple_of(RECORD_ALIGNMENT)
                && u32::try_from(length).is_ok() =>
        {
            Ok(())
        }
        _ => Err(Invalid::Bounds("payload_bytes")),
    }
}

/// XXH3-64 of `bytes` as if the eight bytes at `hole`, which store it, were zero. `None`: too short to have them.
pub(crate) fn checksum_with_hole(bytes: &[u8], hole: usize) -> Option<u64> {
    use std::hash::Hasher;
    use twox_hash::xxhash3_64::{RawHasher, SecretBuffer};
    let mut hasher = RawHasher::new(SecretBuffer::default());
    hasher.write(bytes.get(..hole)?);
    hasher.write(&[0; size_of::<u64>()]);
    hasher.write(bytes.get(hole.checked_add(size_of::<u64>())?..)?);
    Some(hasher.finish())
}
