//! Gets of a store in a bucket: how an object is read whose size is known, guessed, or not known at all; and what a get
//! learns about its object.

use std::time::Instant;

use super::in_use::Reader;
use super::keys::note_of;
use super::put::PART_BYTES;
use super::sizes::RecordBytes;
use super::{Core, counted};
use crate::backend::Target;
use crate::backend::obj::{Learnt, Object};
use crate::config::Layout;
use crate::error::Result;
use crate::layout::files::ObjectName;
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES};
use crate::placement::{Extent, Foreign, GetWish, OwnedKey, Source};
use crate::s3::Version;
use crate::sync::{Arc, Ordering};

/// An object being read.
#[derive(Debug)]
pub struct Reading {
    pub(super) name: ObjectName,
    id: u128,
    pub(super) object: Arc<Object>,
    /// What its size was guessed from; `None`: it was known.
    guessed: Option<GetWish>,
    /// Removals by this process before it was opened.
    removals: u64,
    _reader: Reader,
}

impl Core {
    /// What an object of this length is if it holds no trailer of ours where it should have one.
    fn foreign(&self, bytes: u64) -> Foreign {
        match self.names.layout() {
            Layout::Sharded => Foreign::Damaged,
            Layout::Lmcache if self.serves_unproven(bytes) => Foreign::Served { bytes },
            Layout::Lmcache => Foreign::Ignored,
        }
    }

    /// Whether nothing of this length can be an object of this store, nor another's to be left alone.
    pub(super) fn is_damaged(&self, bytes: u64) -> bool {
        RecordBytes::split(bytes).is_none() && self.foreign(bytes) == Foreign::Damaged
    }

    /// Takes out what stands in an object's place and is no record.
    pub(super) async fn remove_no_record(
        self: Arc<Self>,
        name: ObjectName,
        bytes: u64,
        version: Option<Version>,
    ) {
        self.damaged.increment();
        self.logger.warn(format_args!(
            "object {}: {bytes} bytes are no record; treated as not found and removed",
            self.names.whole(&name)
        ));
        self.forget(self.names.id_of(&name));
        self.remove_damaged(name, bytes, version).await;
    }

    /// A get of an object that has, or is thought to have, `bytes` bytes: one request brings all of it, unless it is large.
    pub(super) fn begin_reading(
        &self,
        name: ObjectName,
        reader: Reader,
        bytes: u64,
        version: Option<Version>,
        guessed: Option<GetWish>,
    ) -> Option<Source<Reading>> {
        let foreign = self.foreign(bytes);
        let (parts, payload_bytes) = match (RecordBytes::split(bytes), foreign) {
            (Some(parts), _) => (parts, None),
            (None, Foreign::Served { bytes }) => {
                let padded = record::padded(bytes).unwrap_or(bytes);
                (RecordBytes { padded, trailer: 0 }, Some(bytes))
            }
            (None, Foreign::Damaged | Foreign::Ignored) => return None,
        };
        let object = Arc::new(Object::to_read(self.names.whole(&name), bytes, version));
        let extent = self.extent(&object, parts, self.read_bytes(parts));
        let claim = self.reading(name, object, guessed, reader);
        Some(Source { extent, payload_bytes, generation: None, foreign, claim })
    }

    fn reading(
        &self,
        name: ObjectName,
        object: Arc<Object>,
        guessed: Option<GetWish>,
        reader: Reader,
    ) -> Reading {
        let id = self.names.id_of(&name);
        let removals = self.removals.load(Ordering::Acquire);
        Reading { name, id, object, guessed, removals, _reader: reader }
    }

    /// Payload bytes of one request of a get: all, in whole checksum blocks, unless the object is large.
    fn read_bytes(&self, parts: RecordBytes) -> u64 {
        if parts.whole() < self.bucket.multipart_bytes_min {
            return parts.padded.next_multiple_of(CHECKSUM_BLOCK_BYTES as u64);
        }
        PART_BYTES
    }

    pub(super) fn extent(&self, object: &Arc<Object>, parts: RecordBytes, piece_bytes: u64) -> Extent {
        Extent {
            target: Target::Object(Arc::clone(object)),
            payload_offset: 0,
            padded_bytes: parts.padded,
            trailer_bytes: parts.trailer,
            pool_id: self.pool_id(),
            slot: record::NO_SLOT,
            alignment: None,
            piece_bytes: Some(piece_bytes),
        }
    }

    /// The end of the object first: it tells size, version and record in one answer. Ranges of that version follow.
    pub(super) async fn open_by_tail(
        self: Arc<Self>,
        name: ObjectName,
        reader: Reader,
        key: OwnedKey,
        deadline: Option<Instant>,
    ) -> Result<Option<Source<Reading>>> {
        let id = self.names.id_of(&name);
        let Some(seen) = self.look(&name, deadline).await? else {
            if let Some(_turn) = self.in_use.try_turn(id) {
                self.forget(id);
            }
            return Ok(None);
        };
        self.sizes.learn(id, None, seen.bytes);
        let ours =
            seen.ours.filter(|ours| *ours.key == *key.key().effective && ours.pool_id == self.pool_id());
        let Some(ours) = ours else {
            if self.is_damaged(seen.bytes) {
                self.remove_no_record(name, seen.bytes, seen.version).await;
                return Ok(None);
            }
            // The lane judges what is no record of this key, as it does where the size was known.
            return Ok(self.begin_reading(name, reader, seen.bytes, seen.version, None));
        };
        if self.names.layout() == Layout::Sharded && !self.catalog.contains(id) {
            self.observe(&name, seen.bytes);
        }
        self.catalog.note(id, seen.bytes, note_of(ours.payload_bytes));
        let object = Arc::new(Object::to_read(self.names.whole(&name), seen.bytes, seen.version));
        let extent = self.extent(&object, ours.parts, self.read_bytes(ours.parts));
        Ok(Some(Source {
            extent,
            payload_bytes: Some(ours.payload_bytes),
            generation: Some(ours.generation),
            foreign: self.foreign(seen.bytes),
            claim: self.reading(name, object, None, reader),
        }))
    }

    /// Takes in what a get learnt about its object.
    pub(super) fn learn(&self, claim: &Reading) {
        let id = claim.id;
        match claim.object.learnt() {
            Some(Learnt::Other { bytes, .. }) => {
                self.sizes.learn(id, claim.guessed, bytes);
                self.met(claim, bytes);
            }
            // Unless a put of the key is under way, whose object may have come into the catalog since.
            Some(Learnt::Missing) => {
                if let Some(_turn) = self.in_use.try_turn(id) {
                    self.forget(id);
                }
            }
            Some(Learnt::Changed) => self.sizes.forget(id),
            None if claim.object.version().is_some() => self.met(claim, claim.object.bytes()),
            None => {}
        }
    }

    /// An object is there with this size. In the lmcache layout only its trailer would tell that it is this store's.
    fn met(&self, claim: &Reading, bytes: u64) {
        if self.names.layout() != Layout::Sharded {
            return;
        }
        // What this process removed meanwhile must not become known again; in a pool, nothing else may.
        let is_gone = self.removals.load(Ordering::Acquire) != claim.removals || self.is_pool();
        let known = self.catalog.length(claim.id);
        if known.is_some_and(|known| known != counted(bytes)) || (known.is_none() && !is_gone) {
            self.observe(&claim.name, bytes);
        }
    }
}
