//! A store in a bucket around a transfer: which object is read, and how; where a put goes, and how it becomes visible.
//!
//! A record below the bound of parts is one request each way: a get of known or guessed size, a put that replaces what
//! was there as a whole. Larger ones take round trips before and after, so lanes are given work for other threads.

use std::io;
use std::time::Instant;

use super::in_use::{Change, Reader, Taken, Turn};
use super::keys::{TURN_TIME_MAX, busy, note_of};
use super::sizes::RecordBytes;
use super::undo::{Unknown, Upload};
use super::{Buckets, Core, Kind, counted};
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
use crate::s3::{FailureKind, UploadId, Version};
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
    /// Removals by this process before it was opened.
    removals: u64,
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
        if let Some(bytes) = known.filter(|bytes| core.is_damaged(*bytes)) {
            let core = Arc::clone(core);
            return Answer::later(move || {
                let removing = Arc::clone(&core);
                core.bucket
                    .client
                    .block_on(async move { removing.remove_no_record(name, bytes, None).await });
                Ok(None)
            });
        }
        let bytes = known.or_else(|| core.sizes.guess(wish));
        match bytes {
            Some(bytes) if bytes < core.bucket.multipart_bytes_min => {
                let guessed = known.is_none().then_some(wish);
                Answer::Now(Ok(core.begin_reading(name, reader, bytes, None, guessed)))
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
        let name = match core.name(key) {
            Ok(name) => name,
            Err(error) => return Answer::Now(Err(error)),
        };
        let turn = match core.in_use.try_put(core.names.id_of(&name)) {
            Ok(turn) => turn,
            // Its end lets this put go on.
            Err(Taken::ByTransfer) => return Answer::Now(Ok(PutPlace::Busy)),
            Err(Taken::ForAMoment) => {
                let (core, key) = (Arc::clone(core), key.to_owned());
                return Answer::later(move || core.wait_and_write(name, &key, length));
            }
        };
        let begun = match core.begin_writing(name, turn, length) {
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

    /// Whether nothing of this length can be an object of this store, nor another's to be left alone.
    fn is_damaged(&self, bytes: u64) -> bool {
        RecordBytes::split(bytes).is_none() && self.foreign(bytes) == Foreign::Damaged
    }

    /// Takes out what stands in an object's place and is no record.
    async fn remove_no_record(self: Arc<Self>, name: ObjectName, bytes: u64, version: Option<Version>) {
        self.damaged.increment();
        self.logger.warn(format_args!(
            "object {}: {bytes} bytes are no record; treated as not found and removed",
            self.names.whole(&name)
        ));
        self.forget(self.names.id_of(&name));
        self.remove_damaged(name, bytes, version).await;
    }

    /// A get of an object that has, or is thought to have, `bytes` bytes: one request brings all of it, unless it is large.
    fn begin_reading(
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
    fn learn(&self, claim: &Reading) {
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

    /// Counts a put in. `None`: there will be room when something ends.
    fn begin_writing(&self, name: ObjectName, turn: Turn, length: u64) -> Result<Option<Begun>> {
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

    /// A put of a key that is being removed, or the like, at this moment.
    fn wait_and_write(
        self: &Arc<Self>,
        name: ObjectName,
        key: &OwnedKey,
        length: u64,
    ) -> Result<PutPlace<Draft>> {
        let until = Instant::now() + TURN_TIME_MAX;
        let turn = self.in_use.turn(self.names.id_of(&name), Change::Put, until);
        let turn = turn.ok_or_else(|| busy("putting", key))?;
        match self.begin_writing(name, turn, length)? {
            Some(begun) => self.make_ready(begun),
            None => Ok(PutPlace::Busy),
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
