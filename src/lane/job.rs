//! The state of one item while its record moves.

use std::io;
use std::ops::Range;

use crate::backend::Medium;
use crate::batch::ItemGuard;
use crate::error::Status;
use crate::layout::record::{CHECKSUM_BLOCK_BYTES, RECORD_ALIGNMENT};
use crate::memory::segment::for_each_slice;
use crate::memory::{AlignedBuffer, HostSlice, Segment};
use crate::placement::{Extent, Foreign, Placement};
use crate::sys::file::DirectAlignment;

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
    pub in_flight: u32,
    pub failure: Option<(Status, i32)>,
    /// The tail block, then the trailer.
    pub buffer: AlignedBuffer,
    /// Checksums of the payload blocks that this job covers.
    pub sums: Vec<u64>,
    pub bytes_staged: u64,
}

/// What kind of item.
pub(super) enum Work<P: Placement> {
    Get(Get<P::GetClaim>),
    Put(Put<P::PutClaim>),
}

/// A get: which part of the record is read and what the caller wants of it.
pub(super) struct Get<C> {
    pub claim: Option<C>,
    /// Payload bytes the caller wants; the end may lie behind the object's if its length is unknown.
    pub want: Range<u64>,
    /// Payload bytes that are read: whole checksum blocks around `want`.
    pub span: Range<u64>,
    /// End of the payload that goes to caller memory or staging; from here on it is the tail block.
    pub body_end: u64,
    pub trailer_pushed: bool,
    /// Set once the trailer proved right.
    pub object_bytes: Option<u64>,
    pub known_bytes: Option<u64>,
    pub generation: Option<u64>,
    pub foreign: Foreign,
    /// The record did not prove right.
    pub corrupt: Option<&'static str>,
    /// There is no trailer of ours.
    pub without_trailer: bool,
    /// The trailer is whole and another key's.
    pub other_key: bool,
    /// The file carries no trailer of ours and may be served without.
    pub unverified: bool,
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
    /// Whether the tail block and the trailer come with it.
    pub with_trailer: bool,
}

impl<P: Placement> Job<P> {
    pub fn fail(&mut self, status: Status, os_error: i32) {
        self.failure.get_or_insert((status, os_error));
    }

    pub fn fail_io(&mut self, error: &io::Error) {
        let os_error = error.raw_os_error().unwrap_or(0);
        self.fail(Status::from_os_error(os_error), os_error);
    }

    /// Offset of the trailer in the file.
    pub fn trailer_offset(&self) -> u64 {
        self.extent.payload_offset + self.extent.padded_bytes
    }

    /// The part of the buffer that holds the trailer.
    pub fn trailer_range(&self) -> Range<usize> {
        TAIL_BYTES..TAIL_BYTES + self.extent.trailer_bytes as usize
    }

    /// The buffer's part for a request that ends with the trailer: with the tail block in front if the
    /// body does not reach the end of the padded payload. `None`: the file has neither.
    pub fn trailer_slice(&self, body_end: u64) -> Option<HostSlice> {
        let start = if body_end < self.extent.padded_bytes { 0 } else { TAIL_BYTES };
        let slice = self.buffer.host_slice(start, self.trailer_range().end);
        (slice.length > 0).then_some(slice)
    }
}

/// Bytes of one transfer that goes direct, of a record of `padded_bytes`: `least`, or more for a large record, as a
/// device serves few large requests faster than many small ones. Still so many pieces that they overlap.
pub(super) fn piece_bytes(least: u64, padded_bytes: u64, medium: Medium) -> u64 {
    /// A large record has at least this many.
    const PIECES_MIN: u64 = 16;
    /// Gains nothing above, and checksums would wait longer for the last one.
    const PIECE_BYTES_MAX: u64 = 2 << 20;
    match medium {
        // The next reader of the bytes is this processor, from its cache.
        Medium::Memory => least,
        Medium::Device => (padded_bytes / PIECES_MIN / least * least).clamp(least, PIECE_BYTES_MAX),
    }
}

/// Adds the caller's memory for the payload bytes `body` to `slices`, if a transfer may use it as it
/// is: few enough stretches, aligned as the file asks. `origin` is the payload offset of the first segment.
pub(super) fn direct_slices(
    segments: &[Segment],
    origin: u64,
    body: &Range<u64>,
    alignment: Option<DirectAlignment>,
    slices: &mut Vec<HostSlice>,
) -> bool {
    let (Ok(from), Ok(to)) = (usize::try_from(body.start - origin), usize::try_from(body.end - origin))
    else {
        return false;
    };
    let mut fits = true;
    for_each_slice(segments, from, to, |slice| {
        // One more stretch may follow: the tail block and trailer.
        fits &= slices.len() + 1 < crate::backend::IO_SLICES_MAX
            && alignment.is_none_or(|alignment| {
                slice.pointer.addr() % alignment.memory as usize == 0
                    && slice.length % alignment.offset as usize == 0
            });
        if fits {
            slices.push(slice);
        }
    });
    if fits {
        return true;
    }
    slices.clear();
    false
}

/// The checksum blocks that begin in `range`: index and payload bytes of each, cut at `end`.
pub(super) fn blocks_in(range: Range<u64>, end: u64) -> impl Iterator<Item = (usize, Range<u64>)> {
    let block = CHECKSUM_BLOCK_BYTES as u64;
    let first = range.start / block;
    let last = range.end.min(end).div_ceil(block);
    (first..last).map(move |index| (index as usize, index * block..(index * block + block).min(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces begin at checksum blocks, whatever the record; small records and memory keep the smallest piece.
    #[test]
    fn pieces_are_whole_checksum_blocks() {
        let least = 256 << 10;
        for (padded_bytes, expected) in
            [(4096, least), (4 << 20, least), (16 << 20, 1 << 20), (32 << 20, 2 << 20), (1 << 40, 2 << 20)]
        {
            assert_eq!(piece_bytes(least, padded_bytes, Medium::Device), expected);
            assert_eq!(piece_bytes(least, padded_bytes, Medium::Memory), least);
        }
        for padded_bytes in (0..100 << 20).step_by(1_234_944) {
            assert_eq!(piece_bytes(least, padded_bytes, Medium::Device) % CHECKSUM_BLOCK_BYTES as u64, 0);
        }
    }

    /// Checksum blocks tile the payload exactly, the last one cut at its end.
    #[test]
    fn blocks_tile_the_payload() {
        let block = CHECKSUM_BLOCK_BYTES as u64;
        let end = 3 * block + 5;
        let all: Vec<_> = blocks_in(0..4 * block, end).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[3], (3, 3 * block..end));
        let mut parts: Vec<_> = blocks_in(0..2 * block, end).collect();
        parts.extend(blocks_in(2 * block..4 * block, end));
        assert_eq!(parts, all);
    }
}
