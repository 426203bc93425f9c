//! The state of one item while its record moves.

use std::io;
use std::ops::Range;

use super::front::Front;
use crate::batch::{ItemGuard, ItemResult};
use crate::error::{Error, Status};
use crate::layout::record::RECORD_ALIGNMENT;
use crate::memory::{AlignedBuffer, Holds, HostSlice};
use crate::placement::{Extent, Foreign, Placement, Tombstones};

/// Bytes of the tail block at the start of a job's buffer; the trailer follows it.
pub(super) const TAIL_BYTES: usize = RECORD_ALIGNMENT as usize;

/// One item under way.
pub(super) struct Job<P: Placement> {
    pub guard: ItemGuard,
    pub extent: Extent,
    pub work: Work<P>,
    /// Payload bytes from here on are not pushed yet.
    pub cursor: u64,
    pub all_pushed: bool,
    /// Requests under way, and their bytes.
    pub in_flight: u32,
    pub bytes_in_flight: usize,
    /// It has more to push and waits, out of the line, for what it has under way.
    pub is_held_back: bool,
    pub failure: Option<Failure>,
    /// The tail block, then the trailer. It travels with the request that reads or writes it, so that nobody can look
    /// into it meanwhile: `None` while that is under way.
    pub buffer: Option<AlignedBuffer>,
    /// Checksums of the payload blocks that this job covers.
    pub sums: Vec<u64>,
    pub bytes_staged: u64,
    /// Some of its memory is a device's, which the backend does not reach.
    pub is_on_device: bool,
    /// Pieces of a put that are being copied in.
    pub copying: u32,
    /// The last piece of a put, which waits for the sums of those.
    pub last_piece: Option<Staged>,
}

/// What kind of item.
pub(super) enum Work<P: Placement> {
    Get(Get<P::GetClaim>),
    Put(Put<P::PutClaim>),
}

impl<P: Placement> Work<P> {
    /// The payload byte that the item's memory begins with.
    pub fn origin(&self) -> u64 {
        match self {
            Work::Get(get) => get.want.start,
            Work::Put(_) => 0,
        }
    }
}

/// A get: which part of the record is read and what the caller wants of it.
pub(super) struct Get<C> {
    pub claim: Option<C>,
    /// How often the record was opened anew because it was not any more what had been opened.
    pub reopened: u32,
    /// Payload bytes the caller wants; the end may lie behind the object's if its length is unknown.
    pub want: Range<u64>,
    /// Payload bytes that are read: whole checksum blocks around `want`.
    pub span: Range<u64>,
    /// End of the payload that goes to caller memory or staging; from here on it is the tail block.
    pub body_end: u64,
    /// The object's length, where the placement knew it, and its generation.
    pub known_bytes: Option<u64>,
    pub generation: Option<u64>,
    pub foreign: Foreign,
    pub proof: Proof,
    /// How far it is proven from the front, of a get that was asked for so.
    pub front: Option<Front>,
}

impl<C> Get<C> {
    /// Where the object ends, as far as that is known.
    pub fn object_end(&self) -> u64 {
        self.proof.object_bytes().or(self.known_bytes).unwrap_or(u64::MAX)
    }
}

/// How far a get has come in proving its record right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The file carries no trailer of ours, is this long, and is served as it is.
    Waived { object_bytes: u64 },
    /// The sums of its blocks are in memory, so that the trailer is not needed; the object is this long.
    Known { object_bytes: u64 },
    /// The trailer was not asked for yet.
    Unread,
    /// The trailer is on its way.
    Reading,
    /// The trailer proved right; the object is this long.
    Trailer { object_bytes: u64 },
    /// There is no trailer where one should be.
    Absent,
    /// The trailer is whole and another key's.
    OtherKey,
    /// The record did not prove right, and why.
    Damaged(&'static str),
}

impl Proof {
    /// The object's length, once it is known for sure.
    pub fn object_bytes(self) -> Option<u64> {
        match self {
            Proof::Waived { object_bytes }
            | Proof::Known { object_bytes }
            | Proof::Trailer { object_bytes } => Some(object_bytes),
            _ => None,
        }
    }

    /// Whether the record is served without proof.
    pub fn is_waived(self) -> bool {
        matches!(self, Proof::Waived { .. })
    }
}

/// A put: in which order its parts are written.
pub(super) struct Put<C> {
    pub claim: Option<C>,
    pub payload_bytes: u64,
    pub body_end: u64,
    pub generation: u64,
    pub step: Step,
    /// All of the payload has been pushed.
    pub payload_pushed: bool,
    /// The trailer goes down with the last piece.
    pub trailer_with_payload: bool,
    pub touched: bool,
    pub attempts: u32,
}

/// The steps of a put. Each ends before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An older trailer in the slot is being destroyed.
    Invalidate,
    /// The payload is being written.
    Payload,
    /// The trailer is being written behind a payload that is down.
    Trailer,
}

/// What one request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Payload bytes in caller memory or staging; may be empty.
    pub body: Range<u64>,
    /// Of a get: whether the tail block comes with it, into the job's buffer.
    pub with_tail: bool,
    /// Whether the trailer comes with it.
    pub with_trailer: bool,
}

/// A piece of an item on a device, on its way through the staging buffer.
pub(super) struct Staged {
    pub job: usize,
    pub piece: Piece,
    /// Where it ends in the padded payload; its body may end before that.
    pub end: u64,
    pub holds: Holds,
}

/// Why an item's transfer failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub status: Status,
    /// The OS error number, 0 if there was none.
    pub os_error: i32,
    /// What the backend said, where it has more to say than the number.
    pub message: Option<String>,
}

impl Failure {
    /// A failure without words of its own.
    pub fn of(status: Status, os_error: i32) -> Failure {
        Failure { status, os_error, message: None }
    }

    /// What a request's error means. One that wraps this crate's own keeps its status and its words.
    fn of_io(error: &io::Error) -> Failure {
        if let Some(told) = Error::told(error) {
            let message = Some(told.message().to_owned());
            return Failure { status: told.status(), os_error: told.os_error(), message };
        }
        let os_error = error.raw_os_error().unwrap_or(0);
        Failure::of(Status::from_os_error(os_error), os_error)
    }

    /// Whether what was read is not any more what was opened, so that it has to be opened anew.
    pub fn is_stale(&self) -> bool {
        self.os_error == libc::ESTALE
    }
}

/// Tombstones that the end of an item made due, and what follows when they are written.
pub(super) struct Epilogue<P: Placement> {
    pub due: Tombstones<P::TombClaim>,
    /// Tombstones under way.
    pub under_way: u32,
    /// The item and its result; `None`: the item goes on elsewhere.
    pub ending: Option<(ItemGuard, ItemResult)>,
}

impl<P: Placement> Job<P> {
    pub fn fail(&mut self, status: Status, os_error: i32) {
        self.failure.get_or_insert_with(|| Failure::of(status, os_error));
    }

    pub fn fail_io(&mut self, error: &io::Error) {
        self.failure.get_or_insert_with(|| Failure::of_io(error));
    }

    /// A get whose record did not prove right.
    pub fn damaged(&mut self, why: &'static str) {
        if let Work::Get(get) = &mut self.work {
            get.proof = Proof::Damaged(why);
        }
        self.fail(Status::NotFound, 0);
    }

    /// A get of bytes that are not there: the file was cut, or they were never written and the file system does not keep
    /// zeros for them. What may be another program's file, as no trailer of ours was found, is a miss and stays.
    pub fn ends_early(&mut self) {
        match &mut self.work {
            Work::Get(get)
                if get.foreign != Foreign::Damaged && !matches!(get.proof, Proof::Trailer { .. }) =>
            {
                (get.proof, get.foreign) = (Proof::Absent, Foreign::Ignored);
                self.fail(Status::NotFound, 0);
            }
            _ => self.damaged("file ends inside the record"),
        }
    }

    /// The payload bytes that the item's memory is for, as far as the object's end is known.
    pub fn wanted(&self) -> Range<u64> {
        match &self.work {
            Work::Get(get) => get.want.start..get.want.end.min(get.object_end()),
            Work::Put(put) => 0..put.payload_bytes,
        }
    }

    /// Offset of the trailer in the file.
    pub fn trailer_offset(&self) -> u64 {
        self.extent.payload_offset + self.extent.padded_bytes
    }

    /// The part of the buffer that holds the trailer.
    pub fn trailer_range(&self) -> Range<usize> {
        TAIL_BYTES..TAIL_BYTES + self.extent.trailer_bytes as usize
    }

    /// The buffer and its part for a request that ends with the trailer: with the tail block in front if the body does
    /// not reach the end of the padded payload. The buffer is the request's until that has landed. `None`: the file has
    /// neither, or the buffer is away.
    pub fn lend_trailer(&mut self, body_end: u64) -> Option<(AlignedBuffer, HostSlice)> {
        let start = if body_end < self.extent.padded_bytes { 0 } else { TAIL_BYTES };
        let end = self.trailer_range().end;
        if start == end {
            return None;
        }
        self.lend(start..end)
    }

    /// The buffer and its part for the tail block.
    pub fn lend_tail(&mut self) -> Option<(AlignedBuffer, HostSlice)> {
        self.lend(0..TAIL_BYTES)
    }

    /// The buffer and what of it goes behind the body of a put's piece, which ends at `end` of the padded payload: tail block
    /// and trailer, the tail block alone, or nothing.
    pub fn lend_behind(
        &mut self,
        body_end: u64,
        end: u64,
        with_trailer: bool,
    ) -> Option<(AlignedBuffer, HostSlice)> {
        if with_trailer {
            self.lend_trailer(body_end)
        } else if end == self.extent.padded_bytes && body_end < end {
            self.lend_tail()
        } else {
            None
        }
    }

    /// The buffer and a part of it, for a request.
    pub fn lend(&mut self, part: Range<usize>) -> Option<(AlignedBuffer, HostSlice)> {
        let buffer = self.buffer.take()?;
        let slice = buffer.host_slice(part.start, part.end);
        Some((buffer, slice))
    }
}
