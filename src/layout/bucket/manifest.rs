//! The manifest of a static pool in a bucket: what the pool was made with. It is made once, where the server honours
//! If-None-Match by one of those who try, and never overwritten.

use std::time::Instant;

use crate::error::{Error, Result, Status};
use crate::layout::difference::differences;
use crate::layout::record;
use crate::layout::record::wire::{Fields, FieldsMut};
use crate::s3::{Client, Condition, FailureKind, Part};
use crate::sys::random_u128;

/// Name of the manifest in its pool.
pub const MANIFEST: &str = "manifest";

const MAGIC: [u8; 8] = *b"NXLSBKT1";
const FORMAT_VERSION: u32 = 1;
const MANIFEST_BYTES: usize = 256;
const CHECKSUM_OFFSET: usize = 8;
const CHECKSUM_END: usize = CHECKSUM_OFFSET + size_of::<u64>();

/// What a pool is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Most objects in it.
    pub object_count: u32,
    /// Bytes of the largest payload.
    pub chunk_bytes: u64,
    /// `chunk_size` of the configuration.
    pub chunk_size_tokens: u64,
}

/// A pool's identity and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manifest {
    pool_id: u128,
    shape: PoolShape,
}

/// Reads the manifest at `name`, making it where there is none, and answers the pool's identity.
///
/// # Errors
/// [`Status::Format`] for a pool that was made with another shape, or whose manifest cannot be read: it names every
/// difference and how to proceed. Nothing is changed then. Else what the server answers.
pub async fn open_or_make(
    client: &Client,
    name: &str,
    shape: PoolShape,
    deadline: Option<Instant>,
) -> Result<u128> {
    if let Some(found) = read(client, name, deadline).await? {
        return checked(name, found, shape);
    }
    let pool_id = random_u128().map_err(|error| Error::os("choosing the identity of a pool", &error))?.max(1);
    let bytes = encode(&Manifest { pool_id, shape })
        .ok_or_else(|| Error::new(Status::Internal, "manifest fields do not fit"))?;
    match client.put_small(name, bytes.to_vec(), Condition::IfAbsent, deadline).await {
        Ok(_) => {}
        // Another process made it at this moment; the caller asks for the lease next.
        Err(failure) if failure.kind() == FailureKind::Changed => {}
        Err(failure) => return Err(failure.into()),
    }
    // Read back in either case: a server that ignores the condition has kept the one that came last.
    match read(client, name, deadline).await? {
        Some(found) => checked(name, found, shape),
        None => Err(Error::new(Status::Io, format!("{name}: the manifest is gone as soon as it is made"))),
    }
}

/// The pool at `name`: its identity and shape; `None` if there is none.
///
/// # Errors
/// [`Status::Format`] for a manifest that cannot be read; what the server answers.
pub async fn look(
    client: &Client,
    name: &str,
    deadline: Option<Instant>,
) -> Result<Option<(u128, PoolShape)>> {
    Ok(read(client, name, deadline).await?.map(|found| (found.pool_id, found.shape)))
}

/// What the pool at `name` has otherwise than it is asked for.
///
/// # Errors
/// [`Status::Format`] naming every difference.
pub fn check(name: &str, made: PoolShape, asked: PoolShape) -> Result<()> {
    checked(name, Manifest { pool_id: record::NO_POOL, shape: made }, asked).map(drop)
}

async fn read(client: &Client, name: &str, deadline: Option<Instant>) -> Result<Option<Manifest>> {
    // A byte more than a manifest has shows that an object is too long.
    let part = Part::Range(0..MANIFEST_BYTES as u64 + 1);
    let small = match client.get_small(name, part, MANIFEST_BYTES + 1, deadline).await {
        Ok(small) => small,
        Err(failure) if failure.kind() == FailureKind::Missing => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    decode(&small.bytes).map(Some).map_err(|why| {
        Error::new(
            Status::Format,
            format!(
                "{name}: {why}. Nothing was changed: choose another nixl_store_prefix, or remove the objects of this pool \
                 by hand to start anew"
            ),
        )
    })
}

/// Compares with what is asked for now.
fn checked(name: &str, found: Manifest, asked: PoolShape) -> Result<u128> {
    let made = found.shape;
    let values =
        |shape: PoolShape| [u64::from(shape.object_count), shape.chunk_bytes, shape.chunk_size_tokens];
    let differences = differences(values(made), values(asked));
    if differences.is_empty() {
        return Ok(found.pool_id);
    }
    let pool = name.strip_suffix(MANIFEST).unwrap_or(name);
    Err(Error::new(
        Status::Format,
        format!(
            "the pool {pool} of the bucket was made with other parameters{differences}. Nothing was changed: restore the \
             setting, choose another nixl_store_prefix, or remove the objects under {pool} by hand to start anew"
        ),
    ))
}

fn encode(manifest: &Manifest) -> Option<[u8; MANIFEST_BYTES]> {
    let mut bytes = [0; MANIFEST_BYTES];
    let mut fields = FieldsMut::new(&mut bytes);
    fields.bytes(&MAGIC)?;
    fields.u64(0)?;
    fields.u32(FORMAT_VERSION)?;
    fields.u32(record::FORMAT_VERSION)?;
    fields.u128(manifest.pool_id)?;
    fields.u32(manifest.shape.object_count)?;
    fields.u32(0)?;
    fields.u64(manifest.shape.chunk_bytes)?;
    fields.u64(manifest.shape.chunk_size_tokens)?;
    let checksum = record::checksum_with_hole(&bytes, CHECKSUM_OFFSET)?;
    bytes.get_mut(CHECKSUM_OFFSET..CHECKSUM_END)?.copy_from_slice(&checksum.to_le_bytes());
    Some(bytes)
}

fn decode(bytes: &[u8]) -> std::result::Result<Manifest, String> {
    let damaged = |why: &str| format!("the manifest is damaged ({why}), so the pool cannot be used");
    if bytes.len() != MANIFEST_BYTES {
        return Err(damaged("wrong length"));
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(damaged("not a manifest"));
    }
    let stored = bytes.get(CHECKSUM_OFFSET..).and_then(|rest| Fields::new(rest).u64());
    if stored != record::checksum_with_hole(bytes, CHECKSUM_OFFSET) {
        return Err(damaged("checksum mismatch"));
    }
    let mut fields = Fields::new(bytes.get(CHECKSUM_END..).unwrap_or_default());
    for (what, known) in [("format", FORMAT_VERSION), ("record format", record::FORMAT_VERSION)] {
        match fields.u32() {
            Some(version) if version == known => {}
            version => {
                return Err(format!(
                    "the manifest is of {what} version {}; this library reads version {known}",
                    version.unwrap_or(0)
                ));
            }
        }
    }
    read_fields(&mut fields)
        .filter(|manifest| {
            manifest.pool_id != 0 && manifest.shape.object_count > 0 && manifest.shape.chunk_bytes > 0
        })
        .ok_or_else(|| damaged("a field is out of bounds"))
}

fn read_fields(fields: &mut Fields<'_>) -> Option<Manifest> {
    let pool_id = fields.u128()?;
    let object_count = fields.u32()?;
    fields.u32()?;
    let (chunk_bytes, chunk_size_tokens) = (fields.u64()?, fields.u64()?);
    Some(Manifest { pool_id, shape: PoolShape { object_count, chunk_bytes, chunk_size_tokens } })
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    const SHAPE: PoolShape = PoolShape { object_count: 64, chunk_bytes: 1 << 20, chunk_size_tokens: 256 };

    /// A pool that was made with other parameters is refused with each difference and how to go on.
    #[test]
    fn another_shape_is_refused_with_what_differs() {
        let manifest = Manifest { pool_id: 9, shape: SHAPE };
        assert_eq!(checked("p/manifest", manifest, SHAPE).unwrap(), 9);
        let asked = PoolShape { object_count: 65, chunk_bytes: 2 << 20, ..SHAPE };
        let error = checked("p/manifest", manifest, asked).unwrap_err();
        assert_eq!(error.status(), Status::Format);
        for part in
            ["nixl_pool_size: made with 64, asked for 65", "asked for 2097152", "nixl_store_prefix", "p/ "]
        {
            assert!(error.message().contains(part), "{part}: {error}");
        }
        assert!(!error.message().contains("chunk_size:"), "{error}");
    }

    /// What lies in the bucket is data of anybody: each changed byte that counts, and each other length, is refused.
    #[test]
    fn a_damaged_manifest_is_refused() {
        let manifest = Manifest { pool_id: 9, shape: SHAPE };
        let good = encode(&manifest).unwrap();
        assert_eq!(decode(&good), Ok(manifest));
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(decode(&bad).is_err(), "{at}");
            assert!(decode(&good[..at]).is_err(), "{at}");
        }
        let empty = encode(&Manifest { pool_id: 9, shape: PoolShape { object_count: 0, ..SHAPE } }).unwrap();
        assert!(decode(&empty).is_err());
    }
}
