//! Puts: checksum and write the payload, the trailer last, then publish.
//!
//! A record that fits one request goes down in one ascending vectored write, trailer at its end. A larger one, or one
//! that goes through the page cache, in a slot whose old trailer may still be valid destroys that first, then writes the
//! payload, then the trailer, each step after the one before, so that no crash leaves a valid trailer over a mixed
//! payload. In a file that nobody can see before it is renamed, the order does not matter.

use std::ops::Range;

use super::job::{Job, Piece, Put, Step, TAIL_BYTES, Work, blocks_in, direct_slices, piece_bytes};
use super::{Lane, PUT_ATTEMPTS_MAX, Parked, Pushed, failed, failed_transfer, item_parts};
use crate::backend::{IoDirection, Medium};
use crate::batch::{ItemGuard, ItemResult};
use crate::error::Status;
use crate::layout::record::{self, RECORD_ALIGNMENT, TOMBSTONE_BYTES};
use crate::memory::HostSlice;
use crate::memory::bytes;
use crate::memory::staging::SLICE_BYTES_MAX;
use crate::placement::{Placement, PutPlace, Sink};

/// Least bytes of one write, and the largest record that goes down in one.
const PIECE_BYTES: u64 = SLICE_BYTES_MAX as u64;

impl<P: Placement> Lane<P> {
    pub(super) fn start_put(&mut self, guard: ItemGuard, attempts: u32) {
        let Some((_, item, _)) = guard.parts() else { return };
        let (length, keep) = (item.length as u64, item.wish.keep);
        let Some((key, _)) = item_parts(&guard) else { return };
        if keep {
            match self.placement.length(&key) {
                Ok(Some(object_length)) => {
                    let result = ItemResult { object_length, ..ItemResult::of(Status::Ok) };
                    return self.finish(guard, result);
                }
                Ok(None) => {}
                Err(error) => {
                    let result = failed(&guard, &error);
                    return self.finish(guard, result);
                }
            }
        }
        match self.placement.open_put(&key, length) {
            Ok(PutPlace::Ready(sink)) => self.begin_put(guard, sink, length, attempts),
            Ok(PutPlace::Busy) => self.parked.push_back(Parked { guard, attempts }),
            Err(error) if self.passes(&error) => self.parked.push_back(Parked { guard, attempts }),
            Err(error) => {
                let result = failed(&guard, &error);
                self.finish(guard, result);
            }
        }
    }

    fn begin_put(&mut self, guard: ItemGuard, sink: Sink<P::PutClaim>, length: u64, attempts: u32) {
        let Sink { extent, generation, invalidate_first, hidden, claim } = sink;
        let mut buffer = match self.spares.buffer(TAIL_BYTES + extent.trailer_bytes as usize) {
            Ok(buffer) => buffer,
            Err(_) => {
                self.placement.abort_put(claim, false);
                return self.finish(guard, ItemResult::of(Status::OutOfMemory));
            }
        };
        let body_end = length / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
        let tail = &mut buffer.as_mut_slice()[..TAIL_BYTES];
        tail.fill(0);
        let Some((_, segments)) = item_parts(&guard) else { return };
        bytes::gather(segments, body_end as usize, &mut tail[..(length - body_end) as usize]);
        let sums = self.spares.sums(record::block_count(length).unwrap_or(0));
        let one_write = extent.padded_bytes <= PIECE_BYTES.min(self.shared.staging.slice_bytes() as u64);
        // A process killed during a write through the page cache leaves any number of its pages behind; a direct one is
        // with the device as a whole before the signal counts.
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
        let job = Job {
            guard,
            extent,
            work,
            cursor: 0,
            all_pushed: false,
            in_flight: 0,
            failure: None,
            buffer,
            sums,
            bytes_staged: 0,
        };
        let index = self.jobs.insert(job);
        self.shared.job_begins();
        self.puts_ahead += 1;
        if step == Step::Invalidate && self.put_room() > 0 {
            // Ahead of others' payload: this job's own waits for it.
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
        match put.step {
            Step::Invalidate => {
                job.buffer.as_mut_slice()[TAIL_BYTES..TAIL_BYTES + TOMBSTONE_BYTES].fill(0);
                let tombstone = job.buffer.host_slice(TAIL_BYTES, TAIL_BYTES + TOMBSTONE_BYTES);
                let slices = self.spares.one_slice(tombstone);
                let offset = job.trailer_offset();
                let padded = job.extent.padded_bytes;
                self.launch_put(
                    index,
                    Piece { body: padded..padded, with_trailer: false },
                    None,
                    offset,
                    slices,
                );
                // The payload follows when this is down; the job comes back into the line then.
                Pushed::Last
            }
            Step::Payload => self.push_payload(index),
            Step::Trailer => {
                if let Err(failure) = self.encode_trailer(index) {
                    self.jobs[index].fail(failure, 0);
                    return self.all_pushed(index);
                }
                let job = &mut self.jobs[index];
                let trailer = job.buffer.host_slice(TAIL_BYTES, job.trailer_range().end);
                let slices = self.spares.one_slice(trailer);
                let (offset, padded) = (job.trailer_offset(), job.extent.padded_bytes);
                job.all_pushed = true;
                self.launch_put(
                    index,
                    Piece { body: padded..padded, with_trailer: true },
                    None,
                    offset,
                    slices,
                );
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
        let (mut end, mut body) = ending(start + piece_bytes(PIECE_BYTES, padded, self.medium));
        let trailer_with_payload = put.trailer_with_payload;
        let (payload_bytes, offset) = (put.payload_bytes, job.extent.payload_offset + start);
        let alignment = job.extent.alignment;

        let mut slices = self.spares.slices();
        let Some((_, segments)) = item_parts(&self.jobs[index].guard) else { return Pushed::Last };
        let mut slice = None;
        let goes_direct = |body: &Range<u64>, slices: &mut Vec<HostSlice>| {
            body.is_empty() || direct_slices(segments, 0, body, alignment, slices)
        };
        let mut direct = goes_direct(&body, &mut slices);
        let smaller = ending(start + PIECE_BYTES);
        if !direct && smaller.0 < end {
            // Its memory may lie in few enough stretches.
            (end, body) = smaller;
            direct = goes_direct(&body, &mut slices);
        }
        if !direct {
            let Some(taken) = self.shared.staging.take_for_put() else {
                self.spares.keep_slices(slices);
                self.wants_slice = true;
                return Pushed::Blocked;
            };
            (end, body) = ending(start + PIECE_BYTES.min(self.shared.staging.slice_bytes() as u64));
            let memory = self.shared.staging.memory(&taken);
            let memory = HostSlice { length: (body.end - body.start) as usize, ..memory };
            bytes::gather_into(segments, body.start as usize, memory);
            slices.push(memory);
            slice = Some(taken);
        }
        let last = end == padded;
        let with_trailer = last && trailer_with_payload;
        // The trailer needs the checksums. Without it the device can start first; in memory the checksum comes first all
        // the same, as it brings the bytes into the cache faster than the kernel's copy does.
        let checksum_first = with_trailer || self.medium == Medium::Memory;
        if checksum_first {
            self.checksum_piece(index, start..end, payload_bytes);
        }
        if with_trailer && let Err(failure) = self.encode_trailer(index) {
            if let Some(slice) = slice {
                self.shared.staging.give_back(slice);
            }
            self.jobs[index].fail(failure, 0);
            return self.all_pushed(index);
        }
        let job = &mut self.jobs[index];
        if with_trailer {
            slices.extend(job.trailer_slice(body_end));
        } else if last && body_end < padded {
            slices.push(job.buffer.host_slice(0, TAIL_BYTES));
        }
        if slice.is_some() {
            job.bytes_staged += body.end - body.start;
        }
        job.cursor = end;
        job.all_pushed = with_trailer;
        if last && let Work::Put(put) = &mut job.work {
            put.payload_pushed = true;
            self.puts_ahead -= 1;
        }
        self.launch_put(index, Piece { body, with_trailer }, slice, offset, slices);
        if !checksum_first {
            self.checksum_piece(index, start..end, payload_bytes);
        }
        if last { Pushed::Last } else { Pushed::More }
    }

    fn checksum_piece(&mut self, index: usize, range: Range<u64>, payload_bytes: u64) {
        let job = &mut self.jobs[index];
        let Some((_, segments)) = item_parts(&job.guard) else { return };
        for (block, range) in blocks_in(range, payload_bytes) {
            let sum = bytes::checksum(segments, range.start as usize, range.end as usize, &mut self.scratch);
            if let Some(place) = job.sums.get_mut(block) {
                *place = sum;
            }
        }
    }

    fn encode_trailer(&mut self, index: usize) -> Result<(), Status> {
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
        record::encode(&mut job.buffer.as_mut_slice()[range], &identity, &job.sums)
            .map_err(|error| error.status())
    }

    fn launch_put(
        &mut self,
        index: usize,
        piece: Piece,
        slice: Option<crate::memory::staging::Slice>,
        offset: u64,
        slices: Vec<HostSlice>,
    ) {
        let op = self.op(IoDirection::Write, offset, slices);
        self.launch(index, piece, slice, op);
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
        self.spares.keep(buffer, sums);
        // A file is closed before its item ends: whoever waits for the end may count descriptors.
        drop(extent);
        let (Work::Put(mut put), Some((key, _))) = (work, item_parts(&guard)) else { return };
        if !put.payload_pushed {
            self.puts_ahead -= 1;
        }
        let Some(claim) = put.claim.take() else { return };
        let length = put.payload_bytes;
        let result = match failure {
            None => match self.placement.commit_put(&key, claim, length) {
                Ok(()) => {
                    self.shared.metrics.bytes_staged.add(bytes_staged);
                    self.shared.metrics.bytes_direct.add(length - bytes_staged);
                    ItemResult { status: Status::Ok, os_error: 0, bytes: length, object_length: length }
                }
                Err(error) if self.passes(&error) => {
                    return self.parked.push_back(Parked { guard, attempts: put.attempts });
                }
                Err(error) => failed(&guard, &error),
            },
            Some((status, os_error)) => {
                self.placement.abort_put(claim, put.touched);
                let again = status == Status::NoSpace && put.attempts + 1 < PUT_ATTEMPTS_MAX;
                if again && self.placement.make_room(length) {
                    return self.parked.push_back(Parked { guard, attempts: put.attempts + 1 });
                }
                failed_transfer(&guard, "writing", status, os_error)
            }
        };
        self.finish(guard, result);
    }
}
