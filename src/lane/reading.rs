//! The reads of a get: which piece is next, from where to where, and what becomes of it when it lands.

use std::io;
use std::ops::Range;

use super::item::item_parts;
use super::job::{Job, Piece, Proof, Work};
use super::plan::{Rules, add_direct, piece_bytes};
use super::{Lane, Pushed};
use crate::backend::{IoDirection, Medium};
use crate::error::Status;
use crate::layout::record::CHECKSUM_BLOCK_BYTES;
use crate::memory::{AlignedBuffer, Holds, Stretch};
use crate::placement::Placement;

/// Least bytes of one read. Small enough that the checksum of one piece is computed while the next ones are
/// on their way, large enough for a device's full speed. A multiple of the checksum block.
const PIECE_BYTES: u64 = 256 << 10;
/// The same where the files lie in memory: the copy and its checksum share a core's cache.
const MEMORY_PIECE_BYTES: u64 = 128 << 10;
/// The same from a server, whose requests cost a round trip and a signature each.
const SERVER_PIECE_BYTES: u64 = 1 << 20;
/// One part in this many of a queue is what one get has of it at most: a short queue would be full of a large one before
/// that has so many bytes under way.
const GET_QUEUE_PART: usize = 2;
/// Requests that one get may have under way in any queue that takes so many: one lands while the other is read.
const GET_REQUESTS_MIN: u32 = 2;

/// Least bytes of one read from that medium.
pub(super) fn piece_bytes_min(medium: Medium) -> u64 {
    match medium {
        Medium::Device => PIECE_BYTES,
        Medium::Memory => MEMORY_PIECE_BYTES,
        Medium::Server => SERVER_PIECE_BYTES,
    }
}

/// A request of a get.
struct Read {
    piece: Piece,
    /// Where the next one begins.
    cursor: u64,
    offset: u64,
    slices: Vec<Stretch>,
    holds: Holds,
    buffer: Option<AlignedBuffer>,
}

impl<P: Placement> Lane<P> {
    /// Requests that one get may have under way.
    fn get_requests_max(&self) -> u32 {
        let depth = self.queue.room() + self.queue.in_flight();
        ((depth / GET_QUEUE_PART) as u32).max(GET_REQUESTS_MIN)
    }

    /// Whether a get has its share of the queue.
    fn has_its_share(&self, job: &Job<P>) -> bool {
        job.bytes_in_flight >= self.bounds.get_bytes_max
            || (job.in_flight >= GET_REQUESTS_MIN && job.in_flight >= self.get_requests_max())
    }

    /// Brings a get back into the line that waited for what it had under way, once half of that is over.
    pub(super) fn come_back(&mut self, index: usize) {
        let job = &self.jobs[index];
        if job.is_held_back
            && job.bytes_in_flight <= self.bounds.get_bytes_max / 2
            && job.in_flight <= self.get_requests_max() / 2
        {
            self.jobs[index].is_held_back = false;
            self.gets.push_back(index);
        }
    }

    pub(super) fn push_get_piece(&mut self, index: usize) -> Pushed {
        let job = &self.jobs[index];
        let Work::Get(get) = &job.work else { return Pushed::Last };
        if job.failure.is_some() {
            return self.all_pushed(index);
        }
        if self.has_its_share(job) {
            // Also where the queue is full: what comes behind it is to have the room that comes back.
            return self.hold_back(index);
        }
        if self.queue.room() == 0 || self.bytes_in_flight.read >= self.bounds.read_bytes_max {
            return Pushed::Blocked;
        }
        let is_read = job.cursor >= get.span.end;
        if get.proof == Proof::Unread && (is_read || get.front.is_some()) {
            // The wanted range ends before the tail, or is to be proven from the front: the trailer comes by itself.
            return self.push_trailer(index);
        }
        if is_read {
            return self.all_pushed(index);
        }
        self.push_payload_read(index)
    }

    /// Waits, out of the line, until something of what the get has under way has landed.
    fn hold_back(&mut self, index: usize) -> Pushed {
        self.jobs[index].is_held_back = true;
        Pushed::Last
    }

    fn push_trailer(&mut self, index: usize) -> Pushed {
        let job = &mut self.jobs[index];
        let (part, offset, padded) = (job.trailer_range(), job.trailer_offset(), job.extent.padded_bytes);
        let cursor = job.cursor;
        let Some((buffer, trailer)) = job.lend(part) else { return self.all_pushed(index) };
        let slices = self.spares.one_slice(trailer);
        let piece = Piece { body: padded..padded, with_tail: false, with_trailer: true };
        self.launch_get(
            index,
            Read { piece, cursor, offset, slices, holds: Holds::default(), buffer: Some(buffer) },
        )
    }

    fn push_payload_read(&mut self, index: usize) -> Pushed {
        let job = &self.jobs[index];
        let Work::Get(get) = &job.work else { return Pushed::Last };
        let (start, padded) = (job.cursor, job.extent.padded_bytes);
        let (span_end, body_end, want) = (get.span.end, get.body_end, get.want.clone());
        let (proof, is_on_device) = (get.proof, job.is_on_device);
        let ending = |bytes: u64| {
            let end = start.saturating_add(bytes).min(span_end);
            (end, start.min(body_end)..end.min(body_end))
        };
        let least = self.read_bytes_min;
        let fixed = job.extent.piece_bytes;
        let large = fixed.unwrap_or_else(|| piece_bytes(least, padded, self.medium));
        let offset = job.extent.payload_offset + start;

        let mut slices = self.spares.slices();
        let job = &self.jobs[index];
        let Some((_, stretches)) = item_parts(&job.guard) else { return Pushed::Last };
        let rules = Rules { reach: self.reach, alignment: job.extent.alignment, regions: &self.regions };
        let goes_direct = |end: u64, body: &Range<u64>, slices: &mut Vec<Stretch>| {
            let wanted = want.start <= body.start && body.end <= want.end;
            match is_on_device {
                // A tail block would come into the job's buffer.
                true => wanted && body.end == end && self.add_device(index, body, slices),
                false => {
                    body.is_empty() || (wanted && add_direct(stretches, want.start, body, &rules, slices))
                }
            }
        };
        let (mut end, mut body) = ending(large);
        let mut direct = goes_direct(end, &body, &mut slices);
        let smaller = ending(PIECE_BYTES.min(least));
        if !direct && smaller.0 < end {
            // Its memory may lie in few enough stretches.
            (end, body) = smaller;
            direct = goes_direct(end, &body, &mut slices);
        }
        let mut holds = Holds::default();
        if !direct {
            let by_copier = self.copies_for(index);
            if by_copier && self.lacks_way(index) {
                self.spares.keep_slices(slices);
                return self.all_pushed(index);
            }
            (end, body) = ending(match by_copier {
                true => self.staged_piece_bytes(index),
                false => PIECE_BYTES.min(self.shared.staging.slice_bytes() as u64),
            });
        }
        if end == padded && body_end < padded && proof == Proof::Reading {
            // The trailer has the job's buffer, or tells where the object ends in what this would read.
            self.spares.keep_slices(slices);
            return self.hold_back(index);
        }
        if !direct {
            let Some(taken) = self.shared.staging.take_bytes((end - start) as usize) else {
                self.spares.keep_slices(slices);
                self.wants_slice = true;
                return Pushed::Blocked;
            };
            if taken.is_on_device() {
                // The padding comes with the payload.
                body = start..end;
            }
            slices.extend(taken.memory((body.end - body.start) as usize));
            holds = taken;
        }
        let is_last = end == padded;
        let with_tail = is_last && body.end < end;
        let with_trailer = is_last && proof == Proof::Unread;
        let job = &mut self.jobs[index];
        let lent = match (with_tail, with_trailer) {
            (_, true) => job.lend_trailer(if with_tail { body_end } else { padded }),
            (true, false) => job.lend_tail(),
            (false, false) => None,
        };
        let buffer = lent.map(|(buffer, part)| {
            slices.push(part.into());
            buffer
        });
        let piece = Piece { body, with_tail, with_trailer };
        self.launch_get(index, Read { piece, cursor: end, offset, slices, holds, buffer })
    }

    fn launch_get(&mut self, index: usize, read: Read) -> Pushed {
        let Read { piece, cursor, offset, slices, holds, buffer } = read;
        let mut op = self.op(IoDirection::Read, offset, slices);
        op.sum_block_bytes = self.reach.sums.then_some(CHECKSUM_BLOCK_BYTES);
        let job = &mut self.jobs[index];
        job.cursor = cursor;
        if let Work::Get(get) = &mut job.work {
            if piece.with_trailer && get.proof == Proof::Unread {
                get.proof = Proof::Reading;
            }
            job.all_pushed = cursor >= get.span.end && get.proof != Proof::Unread;
        }
        let last = job.all_pushed;
        self.launch(index, piece, holds, buffer, op);
        if last { Pushed::Last } else { Pushed::More }
    }

    pub(super) fn all_pushed(&mut self, index: usize) -> Pushed {
        self.jobs[index].all_pushed = true;
        Pushed::Last
    }

    pub(super) fn land_get(
        &mut self,
        index: usize,
        piece: &Piece,
        holds: Holds,
        outcome: io::Result<usize>,
        sums: &[u64],
    ) -> Holds {
        self.come_back(index);
        let job = &mut self.jobs[index];
        let Work::Get(get) = &job.work else { return holds };
        match outcome {
            Err(error) => {
                job.fail_io(&error);
                return holds;
            }
            Ok(0) => {}
            // The last block of a file without a trailer may be partial; nothing else may be short.
            Ok(missing) => {
                let padding = get.known_bytes.map_or(0, |length| job.extent.padded_bytes - length);
                if !get.proof.is_waived() || missing as u64 != padding {
                    job.ends_early();
                    return holds;
                }
            }
        }
        if piece.with_trailer && !get.proof.is_waived() {
            self.check_trailer(index);
            self.expect_sums(index);
        }
        if self.jobs[index].failure.is_some() {
            return holds;
        }
        if !holds.is_empty() {
            // A tail block that came beside the slices is on the way that they are on.
            let end = if piece.with_tail { self.jobs[index].extent.padded_bytes } else { piece.body.end };
            let wanted = self.jobs[index].wanted();
            let staged = end.min(wanted.end).saturating_sub(piece.body.start.max(wanted.start));
            self.jobs[index].bytes_staged += staged;
        }
        let on_device = self.landed_on_device(index, piece, &holds);
        if !on_device && self.take_in_piece(index, piece, &holds, sums).is_err() {
            self.jobs[index].fail(Status::Unsupported, 0);
            return holds;
        }
        if on_device || self.copies_for(index) && !holds.is_empty() {
            return self.copy_out(index, piece, holds);
        }
        self.in_place(index, piece);
        holds
    }
}
