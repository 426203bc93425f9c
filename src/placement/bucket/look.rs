//! One question to the server: whether an object is there, and what it is. The end of an object tells all: its trailer
//! comes with the object's size and version in one answer.

use std::time::Instant;

use super::Core;
use super::sizes::RecordBytes;

use crate::layout::files::ObjectName;
use crate::layout::record;
use crate::s3::{Answer, FailureKind, Part, Small, Version};
use crate::sync::Arc;

/// Bytes of the end that are asked for: the trailer of any payload up to 48 MiB.
const TAIL_BYTES: u64 = 8 << 10;
/// Rounds in which an object that is replaced meanwhile is looked at anew.
const ROUNDS_MAX: u32 = 3;

/// An object as it was met.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Its size.
    pub(super) bytes: u64,
    /// Its version, if the server told.
    pub(super) version: Option<Version>,
    /// Its parts and its record, if it ends with a trailer of ours.
    pub(super) ours: Option<Ours>,
}

/// A record of this library's.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub(super) parts: RecordBytes,
    pub(super) payload_bytes: u64,
    pub(super) generation: u64,
    pub(super) pool_id: u128,
    /// Its effective key.
    pub(super) key: Box<[u8]>,
}

impl Core {
    /// Looks at the end of an object. `None`: there is none.
    ///
    /// # Errors
    /// What the server answers.
    pub(super) async fn look(
        self: &Arc<Self>,
        name: &ObjectName,
        deadline: Option<Instant>,
    ) -> Answer<Option<Seen>> {
        let whole = self.names.whole(name);
        let mut small = None;
        for _ in 0..ROUNDS_MAX {
            let Some(tail) = self.read(&whole, Part::Tail(TAIL_BYTES), TAIL_BYTES, deadline).await? else {
                return Ok(None);
            };
            let parts = RecordBytes::split(tail.object_bytes);
            let Some(parts) = parts.filter(|parts| parts.trailer > tail.bytes.len() as u64) else {
                small = Some(tail);
                break;
            };
            // A long trailer is asked for by itself; its length has a bound, as the object's has.
            let part = Part::Range(parts.padded..tail.object_bytes);
            let Some(trailer) = self.read(&whole, part, parts.trailer, deadline).await? else {
                return Ok(None);
            };
            if trailer.version == tail.version && trailer.object_bytes == tail.object_bytes {
                small = Some(trailer);
                break;
            }
        }
        Ok(small.map(|small| {
            let ours = RecordBytes::split(small.object_bytes).and_then(|parts| ours(&small, parts));
            Seen { bytes: small.object_bytes, version: small.version, ours }
        }))
    }

    async fn read(
        &self,
        name: &str,
        part: Part,
        limit_bytes: u64,
        deadline: Option<Instant>,
    ) -> Answer<Option<Small>> {
        let limit_bytes = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        match self.bucket.client.get_small(name, part, limit_bytes, deadline).await {
            Ok(small) => Ok(Some(small)),
            Err(failure) if failure.kind() == FailureKind::Missing => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

fn ours(small: &Small, parts: RecordBytes) -> Option<Ours> {
    let at = small.bytes.len().checked_sub(usize::try_from(parts.trailer).ok()?)?;
    let trailer = record::decode(small.bytes.get(at..)?).ok()?;
    let identity = trailer.identity();
    let fits = record::padded(identity.payload_bytes) == Some(parts.padded);
    fits.then(|| Ours {
        parts,
        payload_bytes: identity.payload_bytes,
        generation: identity.generation,
        pool_id: identity.pool_id,
        key: identity.key.into(),
    })
}
