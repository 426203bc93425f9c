//! The manifest: what a pool was made with. It is written last, so a pool without one was never used.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};

use super::geometry::Geometry;
use super::replace::replace;
use super::{PoolParameters, foreign_or_os, names};
use crate::error::{Error, Result, Status};
use crate::layout::difference::differences;
use crate::layout::record;
use crate::layout::record::wire::{Fields, FieldsMut};
use crate::sys::dir::{Dir, OpenMode};

const MAGIC: [u8; 8] = *b"NXLSPOL1";
const FORMAT_VERSION: u32 = 1;
const MANIFEST_BYTES: usize = 256;
const CHECKSUM_OFFSET: usize = 8;
const CHECKSUM_END: usize = CHECKSUM_OFFSET + size_of::<u64>();

/// A pool's identity and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) pool_id: u128,
    pub(super) geometry: Geometry,
    pub(super) chunk_size_tokens: u64,
}

/// Why some bytes are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Damaged(&'static str),
    Version(u32),
}

impl Manifest {
    /// Reads the manifest of the pool in `directory`; `None` if there is none.
    ///
    /// # Errors
    /// [`Status::Format`] for one that is damaged, of another format version, or no file at all.
    pub(super) fn read(directory: &Dir) -> Result<Option<Manifest>> {
        let file = match directory.open_file(OsStr::new(names::MANIFEST), OpenMode::default()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| foreign_or_os(directory, names::MANIFEST, &error))?,
        };
        let path = directory.path().join(names::MANIFEST);
        let mut bytes = Vec::with_capacity(MANIFEST_BYTES + 1);
        // One byte more than a manifest has is enough to see that a file is too long.
        file.take(MANIFEST_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::os(format_args!("reading {}", path.display()), &error))?;
        decode(&bytes).map(Some).map_err(|invalid| {
            let what = match invalid {
                Invalid::Damaged(why) => format!("is damaged ({why}), so the pool cannot be used"),
                Invalid::Version(version) => {
                    format!("is of format version {version}; this library reads version {FORMAT_VERSION}")
                }
            };
            Error::new(
                Status::Format,
                format!(
                    "{} {what}. Nothing was changed: choose another nixl_path, or remove {} by hand to start anew",
                    path.display(),
                    directory.path().display()
                ),
            )
        })
    }

    /// Writes it; from then on the pool exists.
    pub(super) fn write(&self, directory: &Dir) -> io::Result<()> {
        let bytes = self.encode().ok_or_else(|| io::Error::other("manifest fields do not fit"))?;
        replace(directory, names::MANIFEST_TEMPORARY, names::MANIFEST, |mut file| file.write_all(&bytes))
    }

    /// Compares with what is asked for now.
    ///
    /// # Errors
    /// [`Status::Format`] that names every difference with both values and how to proceed.
    pub(super) fn check(&self, directory: &Dir, parameters: &PoolParameters) -> Result<()> {
        let differences = differences(
            [u64::from(self.geometry.slot_count()), self.geometry.chunk_bytes(), self.chunk_size_tokens],
            [u64::from(parameters.slot_count), parameters.chunk_bytes, parameters.chunk_size_tokens],
        );
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Status::Format,
            format!(
                "the pool in {} was made with other parameters{differences}. Nothing was changed: restore the \
                 setting, choose another nixl_path, or remove the directory by hand to start anew",
                directory.path().display()
            ),
        ))
    }

    fn encode(&self) -> Option<[u8; MANIFEST_BYTES]> {
        let mut bytes = [0; MANIFEST_BYTES];
        let mut fields = FieldsMut::new(&mut bytes);
        fields.bytes(&MAGIC)?;
        fields.u64(0)?;
        fields.u32(FORMAT_VERSION)?;
        fields.u32(record::FORMAT_VERSION)?;
        fields.u128(self.pool_id)?;
        fields.u32(self.geometry.slot_count())?;
        fields.u32(self.geometry.file_count())?;
        fields.u64(self.geometry.chunk_bytes())?;
        fields.u64(self.geometry.slot_bytes())?;
        fields.u64(self.chunk_size_tokens)?;
        let checksum = record::checksum_with_hole(&bytes, CHECKSUM_OFFSET)?;
        bytes.get_mut(CHECKSUM_OFFSET..CHECKSUM_END)?.copy_from_slice(&checksum.to_le_bytes());
        Some(bytes)
    }
}

fn decode(bytes: &[u8]) -> std::result::Result<Manifest, Invalid> {
    if bytes.len() != MANIFEST_BYTES {
        return Err(Invalid::Damaged("wrong length"));
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(Invalid::Damaged("not a manifest"));
    }
    let stored = bytes.get(CHECKSUM_OFFSET..).and_then(|rest| Fields::new(rest).u64());
    if stored != record::checksum_with_hole(bytes, CHECKSUM_OFFSET) {
        return Err(Invalid::Damaged("checksum mismatch"));
    }
    let bounds = || Invalid::Damaged("a field is out of bounds");
    let mut fields = Fields::new(bytes.get(CHECKSUM_END..).ok_or_else(bounds)?);
    let version = fields.u32().ok_or_else(bounds)?;
    if version != FORMAT_VERSION {
        return Err(Invalid::Version(version));
    }
    let record_version = fields.u32().ok_or_else(bounds)?;
    if record_version != record::FORMAT_VERSION {
        return Err(Invalid::Version(record_version));
    }
    let pool_id = fields.u128().ok_or_else(bounds)?;
    let slot_count = fields.u32().ok_or_else(bounds)?;
    let file_count = fields.u32().ok_or_else(bounds)?;
    let chunk_bytes = fields.u64().ok_or_else(bounds)?;
    let slot_bytes = fields.u64().ok_or_else(bounds)?;
    let chunk_size_tokens = fields.u64().ok_or_else(bounds)?;
    let geometry = Geometry::new(slot_count, chunk_bytes, file_count)
        .filter(|geometry| geometry.slot_bytes() == slot_bytes)
        .ok_or_else(bounds)?;
    if pool_id == record::NO_POOL {
        return Err(bounds());
    }
    Ok(Manifest { pool_id, geometry, chunk_size_tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest { pool_id: 5, geometry: Geometry::new(100, 4096, 8).unwrap(), chunk_size_tokens: 256 }
    }

    /// A pool's shape is read back as it was written; a wrong one would misplace every slot.
    #[test]
    fn a_manifest_survives_the_round_trip() {
        let bytes = sample().encode().unwrap();
        assert_eq!(decode(&bytes), Ok(sample()));
        assert_eq!(&bytes[..8], b"NXLSPOL1");
        assert_eq!(bytes[40..44], 100u32.to_le_bytes());
        assert_eq!(bytes[48..56], 4096u64.to_le_bytes());
    }

    /// No changed, cut or added byte passes: a pool laid out by a wrong manifest would be overwritten.
    #[test]
    fn every_damaged_byte_is_noticed() {
        let good = sample().encode().unwrap();
        for at in 0..good.len() {
            let mut bytes = good;
            bytes[at] ^= 0x10;
            assert!(decode(&bytes).is_err(), "byte {at}");
            assert!(decode(&good[..at]).is_err());
        }
        let mut longer = good.to_vec();
        longer.push(0);
        assert!(decode(&longer).is_err());
    }

    /// A proper checksum over impossible numbers gives no geometry to divide by or to allocate.
    #[test]
    fn forged_numbers_are_refused() {
        for (field, value) in
            [(40..44, 0), (44..48, 0), (44..48, 101), (48..56, u64::MAX), (56..64, 1), (24..40, 0)]
        {
            let mut bytes = sample().encode().unwrap();
            bytes[field.clone()].fill(0);
            let length = field.len().min(8);
            bytes[field.start..field.start + length].copy_from_slice(&u64::to_le_bytes(value)[..length]);
            let sum = record::checksum_with_hole(&bytes, 8).unwrap();
            bytes[8..16].copy_from_slice(&sum.to_le_bytes());
            assert!(matches!(decode(&bytes), Err(Invalid::Damaged(_))), "field {field:?}");
        }
    }
}
