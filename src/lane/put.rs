//! Puts: checksum and write the payload, the trailer last, then publish.
//!
//! A record that fits one request goes down in one ascending vectored write, trailer at its end, if a write of the backend's is
//! one transfer (`Reach::writes_whole`). Any other record has its trailer in a request of its own, behind the payload.
//!
//! A slot may still have a valid trailer of the record before. Where a kill could cut the put off in between, which is
//! everywhere but in one direct write, that trailer is destroyed first, so that none vouches for a mixed payload. Each step
//! begins when the one before has landed. In a file that nobody can see before it is renamed, the order does not matter.

use std::ops::Range;

use super::item::{Parked, failed, failed_transfer, item_parts};
use super::job::{Failure, Job, Piece, Put, Step, TAIL_BYTES, Work};
use super::plan::{Rules, add_direct, blocks_in, piece_bytes};
use super::{Lane, PUT_ATTEMPTS_MAX, Pushed, Reply};
use crate::backend::{IoDirection, Medium};
use crate::batch::{ItemGuard, ItemResult};
use crate::error::{Result, Status};
use crate::layout::record::{self, RECORD_ALIGNMENT};
use crate::memory::arena::zero_slice;
use crate::memory::bytes::{self, NotHost};
use crate::memory::staging::SLICE_BYTES_MAX;
use crate::memory::{Holds, Stretch};
use crate::placement::{Placement, PutPlace, PutWish, Sink, Tombstones};

/// Least bytes of one write, and the largest record that goes down in one.
pub(super) const PIECE_BYTES: u64 = SLICE_BYTES_MAX as u64;

/// Sums the blocks of the payload bytes `range`, which begins with a block and ends with one or with the payload. `memory` begins
/// with the payload byte `origin`.
///
/// # Errors
/// [`NotHost`].
pub(super) fn sum_blocks(
    memory: &[Stretch],
    origin: u64,
    range: Range<u64>,
    sums: &mut [u64],
    scratch: &mut [u8],
) -> std::result::Result<(), NotHost> {
    for (block, part) in blocks_in(range.clone(), range.end) {
        let (from, to) = ((part.start - origin) as usize, (part.end - origin) as usize);
        let sum = bytes::checksum(memory, from, to, scratch)?;
        if let Some(place) = sums.get_mut(block) {
            *place = sum;
        }
    }
    Ok(())
}

/// Whether a put that keeps leaves an object of that length; 0: not known without asking storage.
fn leaves(guard: &ItemGuard, object_length: u64) -> bool {
    guard.parts().is_none_or(|(_, item, _)| !item.wish.exact || object_length == item.length as u64)
}

impl<P: Placement> Lane<P> {
    pub(super) fn start_put(&mut self, guard: ItemGuard, attempts: u32) {
        let Some((_, item, _)) = guard.parts() else { return };
        let keep = item.wish.keep;
        let Some((key, _)) = item_parts(&guard) else { return };
        if keep {
            let answer = self.placement.find(&key);
            return self.ask(answer, move |found| Reply::Found { guard, attempts, found });
        }
        self.open_put(guard, attempts);
    }

    /// A put that keeps what is stored has learned whether something is.
    pub(super) fn put_found(&mut self, guard: ItemGuard, attempts: u32, found: Result<Option<u64>>) {
        match found {
            Ok(Some(object_length)) if leaves(&guard, object_length) => {
                let result = ItemResult { object_length, ..ItemResult::of(Status::Ok) };
                self.finish(guard, result);
            }
            Ok(_) => self.open_put(guard, attempts),
            Err(error) => {
                let result = failed(&guard, &error);
                self.finish(guard, result);
            }
        }
    }

    fn open_put(&mut self, guard: ItemGuard, attempts: u32) {
        let Some((key, _)) = item_parts(&guard) else { return };
        let Some((batch, item, _)) = guard.parts() else { return };
        let length = item.length as u64;
        let wish = PutWish { deadline: batch.deadline, must: item.wish.must };
        let alone = self.hold();
        let answer = self.placement.open_put(&key, length, wish);
        self.puts_opening += 1;
        self.ask(answer, move |place| Reply::PutOpened { guard, attempts, place, alone });
    }

    pub(super) fn put_opened(
        &mut self,
        guard: ItemGuard,
        attempts: u32,
        place: Result<PutPlace<P::PutClaim>>,
        alone: bool,
    ) {
        self.puts_opening -= 1;
        match place {
            Ok(PutPlace::Ready(sink)) => self.begin_put(guard, sink, attempts),
            Ok(PutPlace::Busy) => {
                self.shared.let_go();
                self.parked_puts.push_back(Parked { guard, attempts });
            }
            Ok(PutPlace::Declined) => {
                self.shared.let_go();
                self.finish(guard, ItemResult::of(Status::NotAdmitted));
            }
            Err(error) => {
                self.shared.let_go();
                if self.passes(&error, alone) {
                    return self.park_put(guard, attempts);
                }
                let result = failed(&guard, &error);
                self.finish(guard, result);
            }
        }
    }

    fn begin_put(&mut self, guard: ItemGuard, sink: Sink<P::PutClaim>, attempts: u32) {
        let Sink { extent, generation, invalidate_first, hidden, claim } = sink;
        let Some((_, item, _)) = guard.parts() else { return };
        let (length, is_on_device) = (item.length as u64, item.is_on_device);
        if !guard.start() {
            // Ended by a cancel or its deadline while room was made. The result stands.
            drop(extent);
            return self.abort_put(guard, claim, false, ItemResult::of(Status::Cancelled));
        }
        let Ok(mut buffer) = self.spares.buffer(TAIL_BYTES + extent.trailer_bytes as usize) else {
            drop(extent);
            return self.abort_put(guard, claim, false, ItemResult::of(Status::OutOfMemory));
        };
        let body_end = length / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
        let tail = &mut buffer.as_mut_slice()[..TAIL_BYTES];
        tail.fill(0);
        let Some((_, stretches)) = item_parts(&guard) else { return };
        // Of an item on a device it comes with the last piece.
        let gathered = match is_on_device {
            true => Ok(()),
            false => bytes::gather(stretches, body_end as usize, &mut tail[..(length - body_end) as usize]),
        };
        let sums = self.spares.sums(record::block_count(length).unwrap_or(0));
        let one_write = self.reach.writes_whole
            && extent.padded_bytes <= PIECE_BYTES.min(self.shared.staging.slice_bytes() as u64);
        // A process killed during a write through the page cache leaves any number of its pages behind, and one killed between
        // two transfers leaves the first; a single direct write is with the device as a whole before the signal counts.
        let is_cut_off = !one_write || extent.alignment.is_none();
        let step = if invalidate_first && is_cut_off { Step::Invalidate } else { Step::Payload };
        let work = Work::Put(Put {
            claim: Some(claim),
            payload_bytes: length,
            body_end,
            generation,
            step,
            payload_pushed: false,
            trailer_with_payload: one_write || hidden,
            touched: false,
            attempts,
        });
        let index = self.jobs.insert(Job {
            guard,
            extent,
            work,
            cursor: 0,
            all_pushed: false,
            in_flight: 0,
            bytes_in_flight: 0,
            is_held_back: false,
            failure: gathered.err().map(|NotHost| Failure::of(Status::Unsupported, 0)),
            buffer: Some(buffer),
            sums,
            bytes_staged: 0,
            is_on_device,
            copying: 0,
            last_piece: None,
        });
        self.puts_ahead += 1;
        if step == Step::Invalidate && self.put_room() > 0 {
            // The payload of this put may not be pushed before its old trailer is destroyed. So that is done at once, and not
            // behind the payload of the puts in the line.
            self.push_put_piece(index);
            self.finish_if_done(index);
        } else {
            self.puts.push_back(index);
        }
    }

    pub(super) fn push_put_piece(&mut self, index: usize) -> Pushed {
        if self.queue.room() == 0 {
            return Pushed::Blocked;
        }
        let job = &mut self.jobs[index];
        let Work::Put(put) = &mut job.work else { return Pushed::Last };
        if job.failure.is_some() {
            return self.all_pushed(index);
        }
        put.touched = true;
        let step = put.step;
        let padded = job.extent.padded_bytes;
        let offset = job.trailer_offset();
        match step {
            Step::Invalidate => {
                let slices = self.spares.one_slice(zero_slice());
                let piece = Piece { body: padded..padded, with_tail: false, with_trailer: false };
                let op = self.op(IoDirection::Write, offset, slices);
                self.launch(index, piece, Holds::default(), None, op);
                // The payload follows when this is down; the job comes back into the line then.
                Pushed::Last
            }
            Step::Payload if job.is_on_device => self.push_by_copier(index),
            Step::Payload => self.push_payload(index),
            Step::Trailer => {
                if let Err(failure) = self.encode_trailer(index) {
                    self.jobs[index].fail(failure, 0);
                    return self.all_pushed(index);
                }
                let job = &mut self.jobs[index];
                job.all_pushed = true;
                let part = job.trailer_range();
                let Some((buffer, trailer)) = job.lend(part) else {
                    job.fail(Status::Internal, 0);
                    return Pushed::Last;
                };
                let slices = self.spares.one_slice(trailer);
                let piece = Piece { body: padded..padded, with_tail: false, with_trailer: true };
                let op = self.op(IoDirection::Write, offset, slices);
                self.launch(index, piece, Holds::default(), Some(buffer), op);
                Pushed::Last
            }
        }
    }

    fn push_payload(&mut self, index: usize) -> Pushed {
        let job = &self.jobs[index];
        let Work::Put(put) = &job.work else { return Pushed::Last };
        let padded = job.extent.padded_bytes;
        let (start, body_end) = (job.cursor, put.body_end);
        let ending = |end: u64| (end.min(padded), start.min(body_end)..end.min(body_end));
        let fixed = job.extent.piece_bytes;
        let piece = fixed.unwrap_or_else(|| piece_bytes(PIECE_BYTES, padded, self.medium));
        let (mut end, mut body) = ending(start + piece);
        let trailer_with_payload = put.trailer_with_payload;
        let (payload_bytes, offset) = (put.payload_bytes, job.extent.payload_offset + start);

        let mut slices = self.spares.slices();
        let job = &self.jobs[index];
        let Some((_, stretches)) = item_parts(&job.guard) else { return Pushed::Last };
        let rules = Rules { reach: self.reach, alignment: job.extent.alignment, regions: &self.regions };
        let mut holds = Holds::default();
        let goes_direct = |body: &Range<u64>, slices: &mut Vec<Stretch>| {
            body.is_empty() || add_direct(stretches, 0, body, &rules, slices)
        };
        let mut direct = goes_direct(&body, &mut slices);
        let smaller = ending(start + PIECE_BYTES);
        if !direct && fixed.is_some() {
            // Its pieces are what the placement says, and the staging buffer has no slice of that size.
            self.spares.keep_slices(slices);
            self.jobs[index].fail(Status::Unsupported, 0);
            return self.all_pushed(index);
        }
        if !direct && smaller.0 < end {
            // One request has only so many stretches of memory. A smaller piece needs fewer, so it may go direct where the
            // larger one would have to be copied.
            (end, body) = smaller;
            direct = goes_direct(&body, &mut slices);
        }
        let mut copied = Ok(());
        // A trailer has the sums of all pieces: one that comes with the last piece waits for those that a device computes.
        let waits = end == padded && trailer_with_payload && self.jobs[index].copying > 0;
        if waits || (!direct && self.copies_for(index)) {
            self.spares.keep_slices(slices);
            return self.push_by_copier(index);
        }
        if !direct {
            let Some(taken) = self.shared.staging.take_for_put() else {
                self.spares.keep_slices(slices);
                self.wants_slice = true;
                return Pushed::Blocked;
            };
            (end, body) = ending(start + PIECE_BYTES.min(self.shared.staging.slice_bytes() as u64));
            let memory = taken.memory().part(0, (body.end - body.start) as usize);
            copied = bytes::gather_into(stretches, body.start as usize, memory);
            slices.push(memory);
            holds = taken.into();
        }
        let last = end == padded;
        let with_trailer = last && trailer_with_payload;
        // The trailer needs the checksums. Without it the device can start first; in memory the checksum comes first all
        // the same, as it brings the bytes into the cache faster than the kernel's copy does.
        let checksum_first = with_trailer || self.medium == Medium::Memory;
        let mut prepared = copied.map_err(|NotHost| Status::Unsupported);
        if checksum_first && prepared.is_ok() {
            prepared = self.checksum_piece(index, start..end, payload_bytes);
        }
        if with_trailer && prepared.is_ok() {
            prepared = self.encode_trailer(index);
        }
        if let Err(failure) = prepared {
            self.spares.keep_slices(slices);
            self.jobs[index].fail(failure, 0);
            return self.all_pushed(index);
        }
        let job = &mut self.jobs[index];
        let buffer = job.lend_behind(body_end, end, with_trailer).map(|(buffer, part)| {
            slices.push(part.into());
            buffer
        });
        if !holds.is_empty() {
            job.bytes_staged += body.end - body.start;
        }
        job.cursor = end;
        job.all_pushed = with_trailer;
        if last && let Work::Put(put) = &mut job.work {
            put.payload_pushed = true;
            self.puts_ahead -= 1;
        }
        let op = self.op(IoDirection::Write, offset, slices);
        self.launch(index, Piece { body, with_tail: false, with_trailer }, holds, buffer, op);
        if !checksum_first && let Err(failure) = self.checksum_piece(index, start..end, payload_bytes) {
            self.jobs[index].fail(failure, 0);
        }
        if last { Pushed::Last } else { Pushed::More }
    }

    fn checksum_piece(
        &mut self,
        index: usize,
        range: Range<u64>,
        payload_bytes: u64,
    ) -> std::result::Result<(), Status> {
        let job = &mut self.jobs[index];
        let Some((_, stretches)) = item_parts(&job.guard) else { return Err(Status::Internal) };
        let blocks = range.start..range.end.min(payload_bytes);
        sum_blocks(stretches, 0, blocks, &mut job.sums, &mut self.scratch)
            .map_err(|NotHost| Status::Unsupported)
    }

    pub(super) fn encode_trailer(&mut self, index: usize) -> std::result::Result<(), Status> {
        let job = &mut self.jobs[index];
        let range = job.trailer_range();
        let Work::Put(put) = &job.work else { return Err(Status::Internal) };
        let Some((key, _)) = item_parts(&job.guard) else { return Err(Status::Internal) };
        let identity = record::Identity {
            pool_id: job.extent.pool_id,
            slot: job.extent.slot,
            generation: put.generation,
            payload_bytes: put.payload_bytes,
            key: key.effective,
        };
        let Some(buffer) = &mut job.buffer else { return Err(Status::Internal) };
        record::encode(&mut buffer.as_mut_slice()[range], &identity, &job.sums)
            .map_err(|error| error.status())
    }

    /// A request is down; the last one of a step starts the next step.
    pub(super) fn land_put(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        let Work::Put(put) = &mut job.work else { return };
        if job.in_flight > 0 || job.all_pushed || job.failure.is_some() {
            return;
        }
        match put.step {
            Step::Invalidate => {
                put.step = Step::Payload;
                self.puts.push_back(index);
            }
            Step::Payload if job.cursor == job.extent.padded_bytes => {
                put.step = Step::Trailer;
                self.puts.push_front(index);
            }
            // Still in the line, with payload to push.
            Step::Payload | Step::Trailer => {}
        }
    }

    pub(super) fn finish_put(&mut self, job: Job<P>) {
        let Job { guard, work, failure, buffer, sums, bytes_staged, extent, .. } = job;
        if failure.is_none()
            && let Work::Put(Put { claim: Some(claim), .. }) = &work
        {
            self.placement.learn_put(claim, &sums);
        }
        self.spares.keep(buffer, sums);
        // A file is closed before its item ends: whoever waits for the end may count descriptors.
        drop(extent);
        let (Work::Put(mut put), Some((key, _))) = (work, item_parts(&guard)) else { return };
        if !put.payload_pushed {
            self.puts_ahead -= 1;
        }
        let Some(claim) = put.claim.take() else { return };
        let length = put.payload_bytes;
        match failure {
            None => {
                let answer = self.placement.commit_put(&key, claim, length);
                self.ask(answer, move |outcome| Reply::Committed { guard, bytes_staged, outcome });
            }
            Some(failure) if failure.status == Status::NoSpace && put.attempts + 1 < PUT_ATTEMPTS_MAX => {
                let (attempts, os_error) = (put.attempts + 1, failure.os_error);
                let answer = self.placement.abort_put(claim, put.touched);
                self.ask(answer, move |due| Reply::Full { guard, attempts, os_error, due });
            }
            Some(failure) => {
                let result = failed_transfer(&guard, IoDirection::Write, &failure);
                self.abort_put(guard, claim, put.touched, result);
            }
        }
    }

    pub(super) fn put_committed(
        &mut self,
        guard: ItemGuard,
        bytes_staged: u64,
        outcome: Result<Tombstones<P::TombClaim>>,
    ) {
        self.shared.let_go();
        match outcome {
            Ok(due) => {
                let Some((_, item, _)) = guard.parts() else { return };
                let length = item.length as u64;
                self.shared.metrics.bytes_staged.add(bytes_staged);
                self.shared.metrics.bytes_direct.add(length - bytes_staged);
                let result =
                    ItemResult { status: Status::Ok, os_error: 0, bytes: length, object_length: length };
                self.finish_after(guard, result, due);
                if let Some(work) = self.placement.background() {
                    self.chores.in_background(work);
                }
            }
            Err(error) => {
                let result = failed(&guard, &error);
                self.finish(guard, result);
            }
        }
    }

    /// The device is full: something else has to go, then the put is tried again.
    pub(super) fn put_met_full_device(&mut self, guard: ItemGuard, attempts: u32, os_error: i32) {
        let Some((_, item, _)) = guard.parts() else { return };
        let answer = self.placement.make_room(item.length as u64);
        self.ask(answer, move |made| Reply::RoomMade { guard, attempts, made, os_error });
    }

    pub(super) fn room_was_made(&mut self, guard: ItemGuard, attempts: u32, made: bool, os_error: i32) {
        if made {
            guard.put_back();
            self.parked_puts.push_back(Parked { guard, attempts });
            return;
        }
        let result = failed_transfer(&guard, IoDirection::Write, &Failure::of(Status::NoSpace, os_error));
        self.finish(guard, result);
    }

    /// Gives the room back, then ends the item.
    fn abort_put(&mut self, guard: ItemGuard, claim: P::PutClaim, touched: bool, result: ItemResult) {
        let answer = self.placement.abort_put(claim, touched);
        self.ask(answer, move |due| Reply::Closed { guard, result, due });
    }
}
