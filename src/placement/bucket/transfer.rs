//! A store in a bucket around a transfer: which object is read, and how; where a put goes, and how it becomes visible.
//!
//! A record below the bound of parts is one request each way: a get of known or guessed size, a put that replaces what
//! was there as a whole. Larger ones take round trips before and after, so lanes are given work for other threads.

use std::io;

use super::in_use::{Reader, Turn};
use super::keys::note_of;
use super::sizes::RecordBytes;
use super::undo::{Unknown, Upload};
use super::{Buckets, Core, Kind};
use crate::backend::Target;
use crate::backend::obj::{Learnt, Object};
use crate::catalog::{ObjectReservation, RoomRefused, Victim};
use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::files::ObjectName;
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES};
use crate::placement::objects::OBJECT_BYTES_MAX;
use crate::placement::{
    Answer, Extent, Foreign, GetWish, Key, Never, OwnedKey, Placement, PutPlace, Sink, Source, Tombstones,
};
use crate::s3::{FailureKind, UploadId};
use crate::sync::{Arc, Ordering};

/// Payload bytes of one part of a large object: at least the 5 MiB that S3 asks for, and small enough that a large get or
/// put has many under way.
const PART_BYTES: u64 = 8 << 20;
/// Parts that an upload may have.
const PARTS_MAX: u64 = 10_000;

// The largest object fits into that many parts, and parts are whole checksum blocks.
const _: () = assert!(OBJECT_BYTES_MAX / PART_BYTES < PARTS_MAX);
const _: () = assert!(PART_BYTES.is_multiple_of(CHECKSUM_BLOCK_BYTES as u64) && PART_BYTES >= 5 << 20);

/// An object being read.
#[derive(Debug)]
pub struct Reading {
    name: ObjectName,
    id: u128,
    object: Arc<Object>,
    /// What its size was guessed from; `None`: it was known.
    guessed: Option<GetWish>,
    _reader: Reader,
}

/// An object being written.
#[derive(Debug)]
pub struct Draft {
    name: ObjectName,
    id: u128,
    object: Arc<Object>,
    reservation: ObjectReservation,
    generation: u64,
    upload: Option<UploadId>,
    _turn: Turn,
}

/// A put whose room is counted, but not made yet.
struct Begun {
    name: ObjectName,
    id: u128,
    parts: RecordBytes,
    reservation: ObjectReservation,
    victims: Vec<Victim>,
    turn: Turn,
}

impl Placement for Buckets {
    type GetClaim = Reading;
    type PutClaim = Draft;
    type TombClaim = Never;

    fn payload_bytes_max(&self) -> Option<u64> {
        match self.core.kind {
            Kind::Pool { chunk_bytes, .. } => Some(chunk_bytes),
            Kind::Dynamic => None,
        }
    }

    fn find(self: &Arc<Self>, key: &Key<'_>) -> Answer<Result<Option<u64>>> {
        let (core, key) = (Arc::clone(&self.core), key.to_owned());
        Answer::later(move || {
            let asking = Arc::clone(&core);
            core.bucket.client.block_on(async move { asking.length(&key, None).await })
        })
    }

    fn open_get(self: &Arc<Self>, key: &Key<'_>, wish: GetWish) -> Answer<Result<Option<Source<Reading>>>> {
        let core = &self.core;
        let name = match core.name(key) {
            Ok(name) => name,
            Err(error) => return Answer::Now(Err(error)),
        };
        let id = core.names.id_of(&name);
        let known = core.catalog.noted(id).map(|(bytes, _)| bytes);
        if core.is_pool() && known.is_none() {
            return Answer::Now(Ok(None));
        }
        core.catalog.touch(id);
        let reader = core.in_use.read(id);
        let known = core.sizes.met(id).or(known.filter(|bytes| *bytes > 0));
        let bytes = known.or_else(|| core.sizes.guess(wish));
        match bytes {
            Some(bytes) if bytes < core.bucket.multipart_bytes_min => {
                let guessed = known.is_none().then_some(wish);
                Answer::Now(core.begin_reading(name, reader, bytes, guessed))
            }
            // Too large for one request, or nothing tells how large.
            _ => {
                let (core, key) = (Arc::clone(core), key.to_owned());
                Answer::later(move || {
                    let opening = Arc::clone(&core);
                    core.bucket.client.block_on(async move { opening.open_by_tail(name, reader, key).await })
                })
            }
        }
    }

    fn close_get(
        self: &Arc<Self>,
        _key: &Key<'_>,
        claim: Reading,
        corrupt: bool,
    ) -> Answer<Tombstones<Never>> {
        let core = &self.core;
        core.learn(&claim);
        if !corrupt {
            return Answer::Now(Tombstones::NONE);
        }
        let core = Arc::clone(core);
        Answer::later(move || {
            let removing = Arc::clone(&core);
            core.bucket.client.block_on(async move {
                let Reading { name, object, _reader, .. } = claim;
                removing.remove_damaged(name, object.bytes(), object.version()).await;
            });
            Tombstones::NONE
        })
    }

    fn open_put(self: &Arc<Self>, key: &Key<'_>, length: u64) -> Answer<Result<PutPlace<Draft>>> {
        let core = &self.core;
        let begun = match core.begin_writing(key, length) {
            Ok(Some(begun)) => begun,
            Ok(None) => return Answer::Now(Ok(PutPlace::Busy)),
            Err(error) => return Answer::Now(Err(error)),
        };
        if begun.victims.is_empty() && begun.parts.whole() < core.bucket.multipart_bytes_min {
            let Begun { name, id, parts, reservation, turn, .. } = begun;
            return Answer::Now(Ok(core.ready(name, id, parts, reservation, turn, None)));
        }
        let core = Arc::clone(core);
        Answer::later(move || core.make_ready(begun))
    }

    fn commit_put(
        self: &Arc<Self>,
        _key: &Key<'_>,
        claim: Draft,
        length: u64,
    ) -> Answer<Result<Tombstones<Never>>> {
        if claim.upload.is_none() {
            self.core.publish(claim, length);
            return Answer::Now(Ok(Tombstones::NONE));
        }
        let core = Arc::clone(&self.core);
        Answer::later(move || {
            let completing = Arc::clone(&core);
            core.bucket.client.block_on(async move { completing.complete(claim, length).await })?;
            Ok(Tombstones::NONE)
        })
    }

    fn abort_put(self: &Arc<Self>, claim: Draft, touched: bool) -> Answer<Tombstones<Never>> {
        let core = Arc::clone(&self.core);
        if claim.upload.is_none() {
            // A put that failed may be there all the same, if it was its answer that failed.
            core.give_up(claim, touched);
            return Answer::Now(Tombstones::NONE);
        }
        Answer::later(move || {
            let aborting = Arc::clone(&core);
            core.bucket.client.block_on(async move { aborting.abort(claim).await });
            Tombstones::NONE
        })
    }

    fn make_room(self: &Arc<Self>, bytes: u64) -> Answer<bool> {
        if self.core.is_pool() {
            return Answer::Now(false);
        }
        let core = Arc::clone(&self.core);
        Answer::later(move || core.evict_at_least(bytes))
    }

    fn entombed(self: &Arc<Self>, claim: Never, _outcome: io::Result<()>) -> Answer<Tombstones<Never>> {
        match claim {}
    }
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

    /// A get of an object that has, or is thought to have, `bytes` bytes: one request brings all of it.
    fn begin_reading(
        &self,
        name: ObjectName,
        reader: Reader,
        bytes: u64,
        guessed: Option<GetWish>,
    ) -> Result<Option<Source<Reading>>> {
        let foreign = self.foreign(bytes);
        let (parts, payload_bytes) = match (RecordBytes::split(bytes), foreign) {
            (Some(parts), _) => (parts, None),
            (None, Foreign::Served { bytes }) => {
                let padded = record::padded(bytes).unwrap_or(bytes);
                (RecordBytes { padded, trailer: 0 }, Some(bytes))
            }
            // No put made it. What it is now is looked at by the next one that lists, or replaced by the next put.
            (None, Foreign::Damaged) => {
                self.damaged.increment();
                self.logger.warn(format_args!(
                    "object {}: {bytes} bytes are no record; treated as not found",
                    self.names.whole(&name)
                ));
                self.forget(self.names.id_of(&name));
                return Ok(None);
            }
            (None, Foreign::Ignored) => return Ok(None),
        };
        let object = Arc::new(Object::to_read(self.names.whole(&name), bytes, None));
        // One request, of whole checksum blocks.
        let piece_bytes = parts.padded.next_multiple_of(CHECKSUM_BLOCK_BYTES as u64);
        let extent = self.extent(&object, parts, piece_bytes);
        let id = self.names.id_of(&name);
        let claim = Reading { name, id, object, guessed, _reader: reader };
        Ok(Some(Source { extent, payload_bytes, generation: None, foreign, claim }))
    }

    fn extent(&self, object: &Arc<Object>, parts: RecordBytes, piece_bytes: u64) -> Extent {
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
    async fn open_by_tail(
        self: Arc<Self>,
        name: ObjectName,
        reader: Reader,
        key: OwnedKey,
    ) -> Result<Option<Source<Reading>>> {
        let id = self.names.id_of(&name);
        let Some(seen) = self.look(&name, None).await? else {
            if let Some(_turn) = self.in_use.try_turn(id) {
                self.forget(id);
            }
            return Ok(None);
        };
        self.sizes.learn(id, None, seen.bytes);
        let ours =
            seen.ours.filter(|ours| *ours.key == *key.key().effective && ours.pool_id == self.pool_id());
        let Some(ours) = ours else {
            // The lane judges what is no record of this key, as it does where the size was known.
            return self.begin_reading(name, reader, seen.bytes, None);
        };
        if self.names.layout() == Layout::Sharded && !self.catalog.contains(id) {
            self.observe(&name, seen.bytes);
        }
        self.catalog.note(id, seen.bytes, note_of(ours.payload_bytes));
        let object = Arc::new(Object::to_read(self.names.whole(&name), seen.bytes, seen.version));
        let piece_bytes = if seen.bytes < self.bucket.multipart_bytes_min {
            ours.parts.padded.next_multiple_of(CHECKSUM_BLOCK_BYTES as u64)
        } else {
            PART_BYTES
        };
        let extent = self.extent(&object, ours.parts, piece_bytes);
        Ok(Some(Source {
            extent,
            payload_bytes: Some(ours.payload_bytes),
            generation: Some(ours.generation),
            foreign: self.foreign(seen.bytes),
            claim: Reading { name, id, object, guessed: None, _reader: reader },
        }))
    }

    /// Takes in what a get learnt about its object.
    fn learn(&self, claim: &Reading) {
        let id = claim.id;
        match claim.object.learnt() {
            Some(Learnt::Other { bytes, .. }) => {
                self.sizes.learn(id, claim.guessed, bytes);
                self.met(&claim.name, bytes);
            }
            // Unless a put of the key is under way, whose object may have come into the catalog since.
            Some(Learnt::Missing) => {
                if let Some(_turn) = self.in_use.try_turn(id) {
                    self.forget(id);
                }
            }
            Some(Learnt::Changed) => self.sizes.forget(id),
            None if claim.object.version().is_some() => self.met(&claim.name, claim.object.bytes()),
            None => {}
        }
    }

    /// An object is there with this size. In the lmcache layout only its trailer would tell that it is this store's.
    fn met(&self, name: &ObjectName, bytes: u64) {
        if self.names.layout() == Layout::Sharded {
            let known = self.catalog.length(self.names.id_of(name));
            // In a pool nobody else puts: what the catalog does not know was removed meanwhile.
            let corrects = known.is_some_and(|known| known != counted_or(bytes));
            if corrects || (known.is_none() && !self.is_pool()) {
                self.observe(name, bytes);
            }
        }
    }

    /// Counts a put in. `None`: the key is being put or removed, or there will be room when something ends.
    fn begin_writing(&self, key: &Key<'_>, length: u64) -> Result<Option<Begun>> {
        let name = self.name(key)?;
        let too_large =
            |what: &str| Err(Error::new(Status::TooLarge, format!("object of {length} bytes; {what}")));
        let Some(parts) = RecordBytes::of(length) else {
            return too_large(&format!("a store in a bucket takes at most {OBJECT_BYTES_MAX}"));
        };
        if let Kind::Pool { owner, chunk_bytes, .. } = &self.kind {
            if length > *chunk_bytes {
                return too_large(&format!(
                    "an object of this pool has at most {chunk_bytes} (chunk_bytes in the open options, else \
                     nixl_store_chunk_bytes, else nixl_buffer_size / nixl_pool_size)"
                ));
            }
            owner.check()?;
        }
        let id = self.names.id_of(&name);
        let Some(turn) = self.in_use.try_turn(id) else { return Ok(None) };
        match self.catalog.reserve_for(id, parts.whole()) {
            Ok((reservation, victims)) => Ok(Some(Begun { name, id, parts, reservation, victims, turn })),
            Err(refused) => self.refused(refused, length).map(|()| None),
        }
    }

    /// Why there is no room; `Ok`: there will be.
    fn refused(&self, refused: RoomRefused, length: u64) -> Result<()> {
        let full = |message: &str| Err(Error::new(Status::PoolFull, message));
        match refused {
            RoomRefused::Busy => Ok(()),
            RoomRefused::TooLarge => Err(Error::new(
                Status::TooLarge,
                format!("object of {length} bytes takes more than nixl_store_capacity_bytes"),
            )),
            RoomRefused::Full if self.is_pool() => {
                full("every object of the pool is pinned; unpin keys or use a larger nixl_pool_size")
            }
            RoomRefused::Full => {
                full("nixl_store_capacity_bytes is reached and everything is pinned; unpin keys or raise it")
            }
        }
    }

    /// Makes room, and begins an upload for what is too large for one request.
    fn make_ready(self: &Arc<Self>, begun: Begun) -> Result<PutPlace<Draft>> {
        let Begun { name, id, parts, reservation, victims, turn } = begun;
        let reservation = match self.make_room_for(reservation, victims) {
            Ok(reservation) => reservation,
            Err(refused) => return self.refused(refused, parts.padded).map(|()| PutPlace::Busy),
        };
        if parts.whole() < self.bucket.multipart_bytes_min {
            return Ok(self.ready(name, id, parts, reservation, turn, None));
        }
        let (client, whole) = (self.bucket.client.clone(), self.names.whole(&name));
        match self.bucket.client.block_on(async move { client.create_upload(&whole, None).await }) {
            Ok(upload) => Ok(self.ready(name, id, parts, reservation, turn, Some(upload))),
            Err(failure) => {
                self.catalog.cancel(reservation);
                if matches!(failure.kind(), FailureKind::TimedOut | FailureKind::Unreachable) {
                    self.undo_later(Unknown { name, generation: None, upload: Upload::Perhaps, tries: 0 });
                }
                Err(failure.into())
            }
        }
    }

    fn ready(
        &self,
        name: ObjectName,
        id: u128,
        parts: RecordBytes,
        reservation: ObjectReservation,
        turn: Turn,
        upload: Option<UploadId>,
    ) -> PutPlace<Draft> {
        let (whole, bytes) = (self.names.whole(&name), parts.whole());
        let (object, piece_bytes) = match &upload {
            None => {
                (Object::to_put(whole, bytes), parts.padded.next_multiple_of(CHECKSUM_BLOCK_BYTES as u64))
            }
            Some(upload) => (Object::to_upload(whole, bytes, upload.clone(), PART_BYTES), PART_BYTES),
        };
        let object = Arc::new(object);
        let extent = self.extent(&object, parts, piece_bytes);
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let claim = Draft { name, id, object, reservation, generation, upload, _turn: turn };
        PutPlace::Ready(Sink { extent, generation, invalidate_first: false, hidden: true, claim })
    }

    /// The object is there.
    fn publish(&self, claim: Draft, length: u64) {
        let Draft { name, id, object, reservation, _turn, .. } = claim;
        let bytes = object.bytes();
        let before = self.catalog.length(id).unwrap_or(0);
        self.catalog.commit(reservation, id, self.names.flat(&name).as_deref(), bytes);
        self.catalog.note(id, bytes, note_of(length));
        self.sizes.forget(id);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.count_change(id, signed(bytes) - signed(before));
    }

    async fn complete(self: &Arc<Self>, claim: Draft, length: u64) -> Result<()> {
        let whole = self.names.whole(&claim.name);
        let (Some(upload), Some(parts)) = (&claim.upload, claim.object.parts()) else {
            self.abort(claim).await;
            return Err(Error::new(
                Status::Internal,
                format!("publishing object {whole}: parts of it are missing"),
            ));
        };
        let failure = match self.bucket.client.complete_upload(&whole, upload, &parts, None).await {
            Ok(_) => {
                self.publish(claim, length);
                return Ok(());
            }
            Err(failure) => failure,
        };
        // An upload that is not known any more was completed by an attempt whose answer was lost.
        if failure.kind() == FailureKind::Missing {
            let seen = self.look(&claim.name, None).await.unwrap_or_default();
            if seen.and_then(|seen| seen.ours).is_some_and(|ours| ours.generation == claim.generation) {
                self.publish(claim, length);
                return Ok(());
            }
        }
        self.abort(claim).await;
        Err(failure.into())
    }

    /// Gives up a put in parts. Where the server does not say that the upload is gone, it is seen to later.
    async fn abort(self: &Arc<Self>, mut claim: Draft) {
        let whole = self.names.whole(&claim.name);
        if let Some(upload) = &claim.upload
            && self.bucket.client.abort_upload(&whole, upload, None).await.is_ok()
        {
            claim.upload = None;
        }
        // Once all parts are down, completing it may have been tried.
        let touched = claim.upload.is_some() || claim.object.parts().is_some();
        self.give_up(claim, touched);
    }

    /// Ends a put that failed, and has what it may have left looked for.
    fn give_up(&self, claim: Draft, touched: bool) {
        let Draft { name, reservation, generation, upload, .. } = claim;
        self.catalog.cancel(reservation);
        if touched {
            let upload = upload.map_or(Upload::None, Upload::Known);
            self.undo_later(Unknown { name, generation: Some(generation), upload, tries: 0 });
        }
    }
}

fn counted_or(bytes: u64) -> u64 {
    super::counted(bytes)
}
