//! Puts of a store in a bucket: room is made, and a put becomes visible as a whole or not at all.

use std::time::{Duration, Instant};

use super::Core;
use super::Kind;
use super::in_use::{Change, Turn};
use super::keys::{TURN_TIME_MAX, busy, note_of};
use super::sizes::RecordBytes;
use super::undo::{Unknown, Upload};
use crate::backend::obj::Object;
use crate::catalog::{ObjectReservation, RoomRefused, Victim};
use crate::error::{Error, Result, Status};
use crate::layout::files::ObjectName;
use crate::layout::record::CHECKSUM_BLOCK_BYTES;
use crate::placement::objects::OBJECT_BYTES_MAX;
use crate::placement::{OwnedKey, PutPlace, PutWish, Sink};
use crate::s3::{FailureKind, UploadId};
use crate::sync::{Arc, Ordering};

/// Payload bytes of one part of a large object: at least the 5 MiB that S3 asks for, and small enough that a large get or
/// put has many under way.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// How long the end of a put that failed waits for its upload to be aborted: a server that hangs is seen to later.
const ABORT_TIME_MAX: Duration = Duration::from_secs(1);
/// Parts that an upload may have.
const PARTS_MAX: u64 = 10_000;

// The largest object fits into that many parts, and parts are whole checksum blocks.
const _: () = assert!(OBJECT_BYTES_MAX / PART_BYTES < PARTS_MAX);
const _: () = assert!(PART_BYTES.is_multiple_of(CHECKSUM_BLOCK_BYTES as u64) && PART_BYTES >= 5 << 20);

/// An object being written.
#[derive(Debug)]
pub struct Draft {
    name: ObjectName,
    id: u128,
    object: Arc<Object>,
    reservation: ObjectReservation,
    generation: u64,
    pub(super) upload: Option<UploadId>,
    /// When the put is to have ended.
    deadline: Option<Instant>,
    _turn: Turn,
}

/// A put whose room is counted, but not made yet.
pub(super) struct Begun {
    pub(super) name: ObjectName,
    pub(super) id: u128,
    pub(super) parts: RecordBytes,
    pub(super) reservation: ObjectReservation,
    pub(super) victims: Vec<Victim>,
    pub(super) turn: Turn,
    pub(super) deadline: Option<Instant>,
}

/// Why a put was not counted in.
pub(super) enum NotBegun {
    /// There will be room when something ends.
    Busy,
    /// The eviction policy finds that the object is not worth displacing others for.
    Declined,
}

impl NotBegun {
    /// The answer to who wants to put.
    pub(super) fn place(self) -> PutPlace<Draft> {
        match self {
            NotBegun::Busy => PutPlace::Busy,
            NotBegun::Declined => PutPlace::Declined,
        }
    }
}

impl Core {
    /// Counts a put in.
    pub(super) fn begin_writing(
        &self,
        name: ObjectName,
        turn: Turn,
        length: u64,
        wish: PutWish,
    ) -> Result<std::result::Result<Begun, NotBegun>> {
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
        let (reservation, mut victims) = match self.catalog.reserve(id, parts.whole(), wish.must) {
            Ok(reserved) => reserved,
            Err(RoomRefused::Declined) => return Ok(Err(NotBegun::Declined)),
            Err(refused) => return self.refused(refused, length).map(|()| Err(NotBegun::Busy)),
        };
        // Others have put more than this process knew when it counted: every process that puts then removes twice what it
        // puts, until there is room again.
        if self.is_over.load(Ordering::Relaxed) {
            victims.extend(self.catalog.evict_at_least(parts.whole()));
        }
        Ok(Ok(Begun { name, id, parts, reservation, victims, turn, deadline: wish.deadline }))
    }

    /// Why there is no room; `Ok`: there will be.
    fn refused(&self, refused: RoomRefused, length: u64) -> Result<()> {
        let full = |message: &str| Err(Error::new(Status::PoolFull, message));
        match refused {
            // The second only where a put is begun, which sees to it.
            RoomRefused::Busy | RoomRefused::Declined => Ok(()),
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
    pub(super) fn wait_and_write(
        self: &Arc<Self>,
        name: ObjectName,
        key: &OwnedKey,
        length: u64,
        wish: PutWish,
    ) -> Result<PutPlace<Draft>> {
        let until = Instant::now() + TURN_TIME_MAX;
        let until = wish.deadline.map_or(until, |deadline| deadline.min(until));
        let turn = self.in_use.turn(self.names.id_of(&name), Change::Put, until);
        let turn = turn.ok_or_else(|| busy("putting", key))?;
        match self.begin_writing(name, turn, length, wish)? {
            Ok(begun) => self.make_ready(begun),
            Err(refused) => Ok(refused.place()),
        }
    }

    /// Makes room, and begins an upload for what is too large for one request.
    pub(super) fn make_ready(self: &Arc<Self>, begun: Begun) -> Result<PutPlace<Draft>> {
        let Begun { reservation, victims, .. } = begun;
        let reservation = match self.make_room_for(reservation, victims) {
            Ok(reservation) => reservation,
            Err(refused) => return self.refused(refused, begun.parts.padded).map(|()| PutPlace::Busy),
        };
        let begun = Begun { reservation, victims: Vec::new(), ..begun };
        if begun.parts.whole() < self.bucket.multipart_bytes_min {
            return Ok(self.ready(begun, None));
        }
        let (client, whole, deadline) =
            (self.bucket.client.clone(), self.names.whole(&begun.name), begun.deadline);
        match self.bucket.client.block_on(async move { client.create_upload(&whole, deadline).await }) {
            Ok(created) => {
                if created.is_repeated {
                    // Looked for when this put has ended, whose own upload is gone then.
                    self.undo_upload_of(begun.name.clone());
                }
                Ok(self.ready(begun, Some(created.upload)))
            }
            Err(failure) => {
                self.catalog.cancel(begun.reservation);
                // A refusal for want of rights began nothing, and would not let anybody look.
                if failure.kind() != FailureKind::Denied {
                    self.undo_upload_of(begun.name);
                }
                Err(failure.into())
            }
        }
    }

    /// Has an upload looked for that may have been begun for this object, by a request whose answer was lost.
    fn undo_upload_of(&self, name: ObjectName) {
        self.undo_later(Unknown { name, generation: None, upload: Upload::Perhaps, tries: 0 });
    }

    /// The place for a put for which room is made.
    pub(super) fn ready(&self, begun: Begun, upload: Option<UploadId>) -> PutPlace<Draft> {
        let Begun { name, id, parts, reservation, turn, deadline, .. } = begun;
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
        let claim = Draft { name, id, object, reservation, generation, upload, deadline, _turn: turn };
        PutPlace::Ready(Sink { extent, generation, invalidate_first: false, hidden: true, claim })
    }

    /// The object is there.
    pub(super) fn publish(&self, claim: Draft, length: u64) {
        let Draft { name, id, object, reservation, _turn, .. } = claim;
        let bytes = object.bytes();
        let before = self.catalog.length(id).unwrap_or(0);
        self.catalog.commit(reservation, id, self.names.flat(&name).as_deref(), bytes);
        self.catalog.note(id, bytes, note_of(length));
        self.sizes.forget(id);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.count_change(id, signed(bytes) - signed(before));
    }

    pub(super) async fn complete(self: &Arc<Self>, claim: Draft, length: u64) -> Result<()> {
        let whole = self.names.whole(&claim.name);
        let (Some(upload), Some(parts)) = (&claim.upload, claim.object.parts()) else {
            self.abort(claim).await;
            return Err(Error::new(
                Status::Internal,
                format!("publishing object {whole}: parts of it are missing"),
            ));
        };
        let failure = match self.bucket.client.complete_upload(&whole, upload, &parts, claim.deadline).await {
            Ok(_) => {
                self.publish(claim, length);
                return Ok(());
            }
            Err(failure) => failure,
        };
        // An upload that is not known any more was completed by an attempt whose answer was lost.
        if failure.kind() == FailureKind::Missing {
            let seen = self.look(&claim.name, claim.deadline).await.unwrap_or_default();
            if seen.and_then(|seen| seen.ours).is_some_and(|ours| ours.generation == claim.generation) {
                self.publish(claim, length);
                return Ok(());
            }
        }
        self.abort(claim).await;
        Err(failure.into())
    }

    /// Gives up a put in parts. Where the server does not say that the upload is gone, it is seen to later.
    pub(super) async fn abort(self: &Arc<Self>, mut claim: Draft) {
        let whole = self.names.whole(&claim.name);
        if let Some(upload) = &claim.upload
            && self
                .bucket
                .client
                .abort_upload(&whole, upload, Instant::now().checked_add(ABORT_TIME_MAX))
                .await
                .is_ok()
        {
            claim.upload = None;
        }
        // Once all parts are down, completing it may have been tried.
        let touched = claim.upload.is_some() || claim.object.parts().is_some();
        self.give_up(claim, touched);
    }

    /// Ends a put that failed, and has what it may have left looked for.
    pub(super) fn give_up(&self, claim: Draft, touched: bool) {
        let Draft { name, reservation, generation, upload, .. } = claim;
        self.catalog.cancel(reservation);
        if touched {
            let upload = upload.map_or(Upload::None, Upload::Known);
            self.undo_later(Unknown { name, generation: Some(generation), upload, tries: 0 });
        }
    }
}
