//! Gets: read whole checksum blocks and the trailer, deliver, and say how it went. Whether the record proves right is
//! judged in [`super::proof`].

use std::io;
use std::ops::Range;

use super::item::{failed, failed_transfer, item_parts, not_found};
use super::job::{Failure, Get, Job, Piece, Proof, TAIL_BYTES, Work};
use super::plan::{Rules, add_direct, piece_bytes};
use super::{Lane, Pushed, Reply};
use crate::backend::{IoDirection, Medium};
use crate::batch::{ItemGuard, ItemResult, Wish};
use crate::error::{Result, Status};
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES, RECORD_ALIGNMENT};
use crate::memory::{AlignedBuffer, Holds, Stretch};
use crate::placement::{Extent, Foreign, GetWish, Placement, Source};

/// Least bytes of one read. Small enough that the checksum of one piece is computed while the next ones are
/// on their way, large enough for a device's full speed. A multiple of the checksum block.
const PIECE_BYTES: u64 = 256 << 10;
/// The same where the files lie in memory: the copy and its checksum share a core's cache.
const MEMORY_PIECE_BYTES: u64 = 128 << 10;
/// The same from a server, whose requests cost a round trip and a signature each.
const SERVER_PIECE_BYTES: u64 = 1 << 20;
/// How often a get opens its record anew because it was not any more what had been opened. A key that is replaced more
/// often than that while it is read is a miss.
const REOPENED_MAX: u32 = 2;
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

/// What an object of `length` bytes means to a get with room for `capacity` bytes; `None`: it can be delivered.
pub(super) fn refusal(guard: &ItemGuard, length: u64) -> Option<Status> {
    let (_, item, _) = guard.parts()?;
    let capacity = item.length as u64;
    match item.wish.range_offset {
        Some(offset) => {
            let fits = offset.checked_add(capacity).is_some_and(|end| end <= length);
            (!fits).then_some(Status::OutOfRange)
        }
        None if item.wish.exact && capacity != length => Some(Status::NotFound),
        None if capacity < length => Some(Status::BufferTooSmall),
        None => None,
    }
}

impl<P: Placement> Lane<P> {
    pub(super) fn start_get(&mut self, guard: ItemGuard) {
        self.open_get(guard, 0);
    }

    /// What was opened for a get is not any more what is there.
    pub(super) fn get_was_stale(&mut self, guard: ItemGuard, reopened: u32) {
        guard.put_back();
        self.open_get(guard, reopened + 1);
    }

    fn open_get(&mut self, guard: ItemGuard, reopened: u32) {
        let Some((batch, item, _)) = guard.parts() else { return };
        let Wish { range_offset, exact, .. } = item.wish;
        let wish = GetWish { capacity: item.length as u64, range_offset, exact, deadline: batch.deadline };
        let Some((key, _)) = item_parts(&guard) else { return };
        let alone = self.hold();
        let answer = self.placement.open_get(&key, wish);
        self.gets_opening += 1;
        self.ask(answer, move |found| Reply::GetOpened { guard, reopened, found, alone });
    }

    pub(super) fn get_opened(
        &mut self,
        guard: ItemGuard,
        reopened: u32,
        found: Result<Option<Source<P::GetClaim>>>,
        alone: bool,
    ) {
        self.gets_opening -= 1;
        match found {
            Ok(Some(source)) => self.begin_get(guard, source, reopened),
            Ok(None) => {
                self.shared.let_go();
                self.finish(guard, not_found());
            }
            Err(error) => {
                self.shared.let_go();
                if self.passes(&error, alone) {
                    return self.park_get(guard);
                }
                let result = failed(&guard, &error);
                self.finish(guard, result);
            }
        }
    }

    fn begin_get(&mut self, guard: ItemGuard, source: Source<P::GetClaim>, reopened: u32) {
        let Source { extent, payload_bytes, generation, foreign, claim } = source;
        let Some((_, item, _)) = guard.parts() else { return };
        let (capacity, range_offset, is_on_device) =
            (item.length as u64, item.wish.range_offset, item.is_on_device);
        if let Some(object_length) = payload_bytes
            && let Some(status) = refusal(&guard, object_length)
        {
            drop(extent);
            let result = ItemResult { object_length, ..ItemResult::of(status) };
            return self.close_get(guard, claim, false, result);
        }
        if !guard.start() {
            // Ended by a cancel or its deadline while it was opened. The result stands.
            drop(extent);
            return self.close_get(guard, claim, false, ItemResult::of(Status::Cancelled));
        }
        let padded = extent.padded_bytes;
        // Without a known length the last block of the padded payload may be partly padding, so it goes
        // through the buffer.
        let body_end = match payload_bytes {
            Some(length) => length / RECORD_ALIGNMENT * RECORD_ALIGNMENT,
            None => padded.saturating_sub(RECORD_ALIGNMENT),
        };
        let want = match (range_offset, payload_bytes) {
            (Some(offset), _) => offset..offset.saturating_add(capacity),
            (None, Some(length)) => 0..length,
            (None, None) => 0..capacity.min(padded),
        };
        // Read nothing but the trailer where the object cannot fit: it tells the length.
        let hopeless = match range_offset {
            Some(_) => want.end > padded,
            None => capacity <= body_end && payload_bytes.is_none(),
        };
        let block = CHECKSUM_BLOCK_BYTES as u64;
        let span = if hopeless {
            padded..padded
        } else {
            want.start / block * block..want.end.next_multiple_of(block).min(padded)
        };
        let Ok(buffer) = self.spares.buffer(TAIL_BYTES + extent.trailer_bytes as usize) else {
            drop(extent);
            return self.close_get(guard, claim, false, ItemResult::of(Status::OutOfMemory));
        };
        let sums = self.spares.sums((span.end.div_ceil(block) - span.start / block) as usize);
        let proof = match payload_bytes {
            Some(object_bytes) if extent.trailer_bytes == 0 => Proof::Waived { object_bytes },
            _ => Proof::Unread,
        };
        let work = Work::Get(Get {
            claim: Some(claim),
            reopened,
            want,
            span: span.clone(),
            body_end,
            known_bytes: payload_bytes,
            generation,
            foreign,
            proof,
        });
        let index = self.jobs.insert(Job {
            guard,
            extent,
            work,
            cursor: span.start,
            all_pushed: false,
            in_flight: 0,
            bytes_in_flight: 0,
            is_held_back: false,
            failure: None,
            buffer: Some(buffer),
            sums,
            bytes_staged: 0,
            is_on_device,
            copying: 0,
            last_piece: None,
        });
        self.gets.push_back(index);
    }

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
            self.jobs[index].is_held_back = true;
            return Pushed::Last;
        }
        if self.queue.room() == 0 || self.bytes_in_flight.read >= self.bounds.read_bytes_max {
            return Pushed::Blocked;
        }
        let padded = job.extent.padded_bytes;
        if job.cursor >= get.span.end {
            if get.proof != Proof::Unread {
                return self.all_pushed(index);
            }
            // The wanted range ends before the tail: the trailer comes by itself.
            let (part, offset) = (job.trailer_range(), job.trailer_offset());
            let Some((buffer, trailer)) = self.jobs[index].lend(part) else { return self.all_pushed(index) };
            let slices = self.spares.one_slice(trailer);
            return self.launch_get(
                index,
                padded..padded,
                Holds::default(),
                Some(buffer),
                offset,
                slices,
                padded,
            );
        }
        let start = job.cursor;
        let bounds = (get.span.end, get.body_end);
        let ending = |end: u64| (end.min(bounds.0), start.min(bounds.1)..end.min(bounds.1));
        let least = self.read_bytes_min;
        let fixed = job.extent.piece_bytes;
        let piece = fixed.unwrap_or_else(|| piece_bytes(least, padded, self.medium));
        let (mut end, mut body) = ending(start + piece);
        let (offset, body_end, want) = (job.extent.payload_offset + start, get.body_end, get.want.clone());

        let mut slices = self.spares.slices();
        let job = &self.jobs[index];
        let Some((_, stretches)) = item_parts(&job.guard) else { return Pushed::Last };
        let rules = Rules { reach: self.reach, alignment: job.extent.alignment, regions: &self.regions };
        let goes_direct = |body: &Range<u64>, slices: &mut Vec<Stretch>| {
            let wanted = want.start <= body.start && body.end <= want.end;
            !job.is_on_device
                && (body.is_empty() || (wanted && add_direct(stretches, want.start, body, &rules, slices)))
        };
        let mut direct = goes_direct(&body, &mut slices);
        let smaller = ending(start + PIECE_BYTES.min(least));
        if !direct && smaller.0 < end {
            // Its memory may lie in few enough stretches.
            (end, body) = smaller;
            direct = goes_direct(&body, &mut slices);
        }
        let mut holds = Holds::default();
        if !direct {
            let piece = match job.is_on_device {
                true => self.device_piece_bytes(index),
                false => PIECE_BYTES.min(self.shared.staging.slice_bytes() as u64),
            };
            (end, body) = ending(start + piece);
            let Some(taken) = self.shared.staging.take_bytes((end - start) as usize) else {
                self.spares.keep_slices(slices);
                self.wants_slice = true;
                return Pushed::Blocked;
            };
            slices.extend(taken.memory((body.end - body.start) as usize).map(Stretch::from));
            holds = taken;
        }
        let mut buffer = None;
        if end == padded
            && let Some((lent, tail)) = self.jobs[index].lend_trailer(body_end)
        {
            slices.push(tail.into());
            buffer = Some(lent);
        }
        self.launch_get(index, body, holds, buffer, offset, slices, end)
    }

    #[expect(clippy::too_many_arguments, reason = "all that one request is made of")]
    fn launch_get(
        &mut self,
        index: usize,
        body: Range<u64>,
        holds: Holds,
        buffer: Option<AlignedBuffer>,
        offset: u64,
        slices: Vec<Stretch>,
        cursor: u64,
    ) -> Pushed {
        let mut op = self.op(IoDirection::Read, offset, slices);
        op.sum_block_bytes = self.reach.sums.then_some(CHECKSUM_BLOCK_BYTES);
        let with_trailer = cursor == self.jobs[index].extent.padded_bytes;
        let job = &mut self.jobs[index];
        job.cursor = cursor;
        if let Work::Get(get) = &mut job.work {
            if with_trailer && get.proof == Proof::Unread {
                get.proof = Proof::Reading;
            }
            job.all_pushed = cursor >= get.span.end && get.proof != Proof::Unread;
        }
        let last = job.all_pushed;
        self.launch(index, Piece { body, with_trailer }, holds, buffer, op);
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
                    job.damaged("file ends inside the record");
                    return holds;
                }
            }
        }
        if piece.with_trailer && !get.proof.is_waived() {
            self.check_trailer(index);
        }
        if self.jobs[index].failure.is_none() && self.take_in_piece(index, piece, &holds, sums).is_err() {
            self.jobs[index].fail(Status::Unsupported, 0);
        }
        let job = &self.jobs[index];
        match job.is_on_device && job.failure.is_none() {
            true => self.copy_out(index, piece, holds),
            false => holds,
        }
    }

    pub(super) fn finish_get(&mut self, mut job: Job<P>) {
        if job.failure.is_none() {
            self.compare_checksums(&mut job);
        }
        let Job { guard, work, failure, buffer, sums, bytes_staged, extent, .. } = job;
        self.spares.keep(buffer, sums);
        let Work::Get(mut get) = work else { return };
        let Some(claim) = get.claim.take() else { return };
        match (get.proof, get.foreign) {
            // Names of the flat layout are not one to one: the file is another key's, and whole.
            (Proof::OtherKey, Foreign::Ignored | Foreign::Served { .. })
            | (Proof::Absent, Foreign::Ignored) => {
                drop(extent);
                return self.close_get(guard, claim, false, not_found());
            }
            (Proof::Absent, Foreign::Served { bytes }) => {
                return self.restart_unverified(guard, claim, extent, bytes, get.reopened);
            }
            _ => {}
        }
        drop(extent);
        if failure.as_ref().is_some_and(Failure::is_stale) {
            return self.close_stale(guard, claim, get.reopened);
        }
        let damage = match get.proof {
            Proof::Damaged(why) => Some(why),
            Proof::Absent => Some("no trailer"),
            Proof::OtherKey => Some("another key's record"),
            _ => None,
        };
        if let Some(why) = damage
            && let Some((key, _)) = item_parts(&guard)
        {
            self.shared.metrics.corruptions.increment();
            self.shared.logger.warn(format_args!(
                "get of key {}: {why}; treated as not found and taken out of the store",
                key.shown()
            ));
        }
        let object_length = get.proof.object_bytes().unwrap_or(0);
        let result = match failure {
            Some(failure) => {
                ItemResult { object_length, ..failed_transfer(&guard, IoDirection::Read, &failure) }
            }
            None => {
                let moved = get.want.end.min(object_length) - get.want.start;
                self.shared.metrics.bytes_staged.add(bytes_staged);
                self.shared.metrics.bytes_direct.add(moved.saturating_sub(bytes_staged));
                if get.proof.is_waived() {
                    self.shared.metrics.gets_unverified.increment();
                }
                ItemResult { status: Status::Ok, os_error: 0, bytes: moved, object_length }
            }
        };
        self.close_get(guard, claim, damage.is_some(), result);
    }

    /// Gives the record back, then ends the item.
    fn close_get(&mut self, guard: ItemGuard, claim: P::GetClaim, corrupt: bool, result: ItemResult) {
        let Some((key, _)) = item_parts(&guard) else { return };
        let answer = self.placement.close_get(&key, claim, corrupt);
        self.ask(answer, move |due| Reply::Closed { guard, result, due });
    }

    /// Gives back a record that is not any more what was opened, and opens it anew.
    fn close_stale(&mut self, guard: ItemGuard, claim: P::GetClaim, reopened: u32) {
        if reopened == REOPENED_MAX {
            return self.close_get(guard, claim, false, not_found());
        }
        let Some((key, _)) = item_parts(&guard) else { return };
        let answer = self.placement.close_get(&key, claim, false);
        self.ask(answer, move |due| Reply::Stale { guard, reopened, due });
    }

    /// Reads a file again that turned out to be another program's.
    fn restart_unverified(
        &mut self,
        guard: ItemGuard,
        claim: P::GetClaim,
        extent: Extent,
        file_bytes: u64,
        reopened: u32,
    ) {
        // A file that exists is far smaller than what overflows here.
        let padded_bytes = record::padded(file_bytes).unwrap_or(extent.padded_bytes);
        let extent = Extent { padded_bytes, trailer_bytes: 0, ..extent };
        let (payload_bytes, foreign) = (Some(file_bytes), Foreign::Ignored);
        let source = Source { extent, payload_bytes, generation: None, foreign, claim };
        self.begin_get(guard, source, reopened);
    }
}
