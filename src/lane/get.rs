//! Gets: read whole checksum blocks and the trailer, prove them right, deliver or say not found.

use std::io;
use std::ops::Range;

use super::job::{Get, Job, Piece, TAIL_BYTES, Work, blocks_in, direct_slices, piece_bytes};
use super::{Flight, Lane, Parked, Pushed, failed, failed_transfer, item_parts, not_found};
use crate::backend::{IoDirection, Medium};
use crate::batch::{ItemGuard, ItemResult};
use crate::error::Status;
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES, Invalid, RECORD_ALIGNMENT};
use crate::memory::bytes;
use crate::memory::segment::HostSlice;
use crate::placement::{Extent, Foreign, Placement, Source};

/// Least bytes of one read. Small enough that the checksum of one piece is computed while the next ones are
/// on their way, large enough for a device's full speed. A multiple of the checksum block.
const PIECE_BYTES: u64 = 256 << 10;
/// The same where the files lie in memory: the copy and its checksum share a core's cache.
const MEMORY_PIECE_BYTES: u64 = 128 << 10;

/// Least bytes of one read from that medium.
pub(super) fn piece_bytes_min(medium: Medium) -> u64 {
    match medium {
        Medium::Device => PIECE_BYTES,
        Medium::Memory => MEMORY_PIECE_BYTES,
    }
}

impl<P: Placement> Lane<P> {
    pub(super) fn start_get(&mut self, guard: ItemGuard) {
        let Some((key, _)) = item_parts(&guard) else { return };
        match self.placement.open_get(&key) {
            Ok(Some(source)) => self.begin_get(guard, source),
            Ok(None) => self.finish(guard, not_found()),
            Err(error) if self.passes(&error) => self.parked.push_back(Parked { guard, attempts: 0 }),
            Err(error) => {
                let result = failed(&guard, &error);
                self.finish(guard, result);
            }
        }
    }

    fn begin_get(&mut self, guard: ItemGuard, source: Source<P::GetClaim>) {
        let Some((_, item, _)) = guard.parts() else { return };
        let (capacity, wish) = (item.length as u64, item.wish);
        let range_offset = wish.range_offset;
        let Source { extent, payload_bytes, generation, foreign, claim } = source;
        let padded = extent.padded_bytes;
        let unverified = extent.trailer_bytes == 0;
        let refusal = payload_bytes.and_then(|length| match range_offset {
            None if wish.exact && capacity != length => Some((Status::NotFound, length)),
            Some(offset) if offset.checked_add(capacity).is_none_or(|end| end > length) => {
                Some((Status::OutOfRange, length))
            }
            None if capacity < length => Some((Status::BufferTooSmall, length)),
            _ => None,
        });
        if let Some((status, object_length)) = refusal {
            let Some((key, _)) = item_parts(&guard) else { return };
            self.placement.close_get(&key, claim, false);
            return self.finish(guard, ItemResult { object_length, ..ItemResult::of(status) });
        }
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
        let buffer = match self.spares.buffer(TAIL_BYTES + extent.trailer_bytes as usize) {
            Ok(buffer) => buffer,
            Err(_) => {
                let Some((key, _)) = item_parts(&guard) else { return };
                self.placement.close_get(&key, claim, false);
                return self.finish(guard, ItemResult::of(Status::OutOfMemory));
            }
        };
        let sums = self.spares.sums((span.end.div_ceil(block) - span.start / block) as usize);
        let work = Work::Get(Get {
            claim: Some(claim),
            want,
            body_end,
            trailer_pushed: false,
            object_bytes: if unverified { payload_bytes } else { None },
            known_bytes: payload_bytes,
            generation,
            foreign,
            corrupt: None,
            without_trailer: false,
            other_key: false,
            unverified,
            span: span.clone(),
        });
        let job = Job {
            guard,
            extent,
            work,
            cursor: span.start,
            all_pushed: false,
            in_flight: 0,
            failure: None,
            buffer,
            sums,
            bytes_staged: 0,
        };
        let index = self.jobs.insert(job);
        self.shared.job_begins();
        self.gets.push_back(index);
    }

    pub(super) fn push_get_piece(&mut self, index: usize) -> Pushed {
        if self.queue.room() == 0 {
            return Pushed::Blocked;
        }
        let job = &self.jobs[index];
        let Work::Get(get) = &job.work else { return Pushed::Last };
        if job.failure.is_some() {
            return self.all_pushed(index);
        }
        let padded = job.extent.padded_bytes;
        if job.cursor >= get.span.end {
            if get.trailer_pushed || get.unverified {
                return self.all_pushed(index);
            }
            // The wanted range ends before the tail: the trailer comes by itself.
            let piece = Piece { body: padded..padded, with_trailer: true };
            let slices = self.spares.one_slice(job.buffer.host_slice(TAIL_BYTES, job.trailer_range().end));
            let op = self.op(IoDirection::Read, job.trailer_offset(), slices);
            return self.launch_get(index, piece, None, op, padded);
        }
        let start = job.cursor;
        let bounds = (get.span.end, get.body_end);
        let ending = |end: u64| (end.min(bounds.0), start.min(bounds.1)..end.min(bounds.1));
        let (mut end, mut body) = ending(start + piece_bytes(self.read_bytes_min, padded, self.medium));
        let (offset, body_end) = (job.extent.payload_offset + start, get.body_end);
        let (want, alignment) = (get.want.clone(), job.extent.alignment);

        let mut slices = self.spares.slices();
        let Some((_, segments)) = item_parts(&self.jobs[index].guard) else { return Pushed::Last };
        let goes_direct = |body: &Range<u64>, slices: &mut Vec<HostSlice>| {
            let wanted = want.start <= body.start && body.end <= want.end;
            body.is_empty() || (wanted && direct_slices(segments, want.start, body, alignment, slices))
        };
        let mut direct = goes_direct(&body, &mut slices);
        let smaller = ending(start + PIECE_BYTES.min(self.read_bytes_min));
        if !direct && smaller.0 < end {
            // Its memory may lie in few enough stretches.
            (end, body) = smaller;
            direct = goes_direct(&body, &mut slices);
        }
        let mut slice = None;
        if !direct {
            let Some(taken) = self.shared.staging.take() else {
                self.spares.keep_slices(slices);
                self.wants_slice = true;
                return Pushed::Blocked;
            };
            (end, body) = ending(start + PIECE_BYTES.min(self.shared.staging.slice_bytes() as u64));
            let memory = self.shared.staging.memory(&taken);
            slices.push(HostSlice { length: (body.end - body.start) as usize, ..memory });
            slice = Some(taken);
        }
        let with_trailer = end == padded;
        let job = &self.jobs[index];
        if with_trailer {
            slices.extend(job.trailer_slice(body_end));
        }
        let op = self.op(IoDirection::Read, offset, slices);
        self.launch_get(index, Piece { body, with_trailer }, slice, op, end)
    }

    fn launch_get(
        &mut self,
        index: usize,
        piece: Piece,
        slice: Option<crate::memory::staging::Slice>,
        op: crate::lane::progress::Op,
        cursor: u64,
    ) -> Pushed {
        let job = &mut self.jobs[index];
        job.cursor = cursor;
        if let Work::Get(get) = &mut job.work {
            get.trailer_pushed |= piece.with_trailer;
            let complete = cursor >= get.span.end && (get.trailer_pushed || get.unverified);
            job.all_pushed = complete;
        }
        let last = job.all_pushed;
        self.launch(index, piece, slice, op);
        if last { Pushed::Last } else { Pushed::More }
    }

    pub(super) fn all_pushed(&mut self, index: usize) -> Pushed {
        self.jobs[index].all_pushed = true;
        Pushed::Last
    }

    pub(super) fn land_get(&mut self, index: usize, flight: &Flight, outcome: io::Result<usize>) {
        let job = &mut self.jobs[index];
        let Work::Get(get) = &mut job.work else { return };
        match outcome {
            Err(error) => return job.fail_io(&error),
            Ok(0) => {}
            // The last block of a file without a trailer may be partial; nothing else may be short.
            Ok(missing) => {
                let padding = get.known_bytes.map_or(0, |length| job.extent.padded_bytes - length);
                if !get.unverified || missing as u64 != padding {
                    get.corrupt = Some("file ends inside the record");
                    return job.fail(Status::NotFound, 0);
                }
            }
        }
        if flight.piece.with_trailer && !get.unverified {
            self.check_trailer(index);
        }
        if self.jobs[index].failure.is_none() {
            self.take_in_piece(index, flight);
        }
    }

    /// Decodes the trailer and compares it with what was asked for.
    fn check_trailer(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        let range = job.trailer_range();
        let Work::Get(get) = &mut job.work else { return };
        let Some((key, _)) = item_parts(&job.guard) else { return };
        let verdict = match record::decode(&job.buffer.as_slice()[range]) {
            Err(Invalid::Absent | Invalid::Magic) => {
                get.without_trailer = true;
                Err("no trailer")
            }
            Err(_) => Err("damaged trailer"),
            Ok(trailer) => {
                let found = trailer.identity();
                let expected_length = match get.known_bytes {
                    Some(length) => found.payload_bytes == length,
                    None => record::padded(found.payload_bytes) == Some(job.extent.padded_bytes),
                };
                if found.key != key.effective {
                    get.other_key = true;
                    Err("another key's record")
                } else if found.pool_id != job.extent.pool_id || found.slot != job.extent.slot {
                    Err("a record of another place")
                } else if !expected_length
                    || get.generation.is_some_and(|generation| generation != found.generation)
                {
                    Err("another version of the record")
                } else {
                    Ok(found.payload_bytes)
                }
            }
        };
        let outcome = match verdict {
            Err(why) => {
                get.corrupt = Some(why);
                Some((Status::NotFound, 0))
            }
            Ok(length) => {
                get.object_bytes = Some(length);
                let Some((_, item, _)) = job.guard.parts() else { return };
                match item.wish.range_offset {
                    None if item.wish.exact && item.length as u64 != length => Some((Status::NotFound, 0)),
                    Some(_) if get.want.end > length => Some((Status::OutOfRange, 0)),
                    None if (item.length as u64) < length => Some((Status::BufferTooSmall, 0)),
                    _ => None,
                }
            }
        };
        if let Some((status, os_error)) = outcome {
            job.fail(status, os_error);
        }
    }

    /// Checksums the blocks of a piece and delivers what did not go direct.
    fn take_in_piece(&mut self, index: usize, flight: &Flight) {
        let staged = flight.slice.as_ref().map(|slice| self.shared.staging.memory(slice));
        let scratch = &mut self.scratch;
        let job = &mut self.jobs[index];
        let Work::Get(get) = &job.work else { return };
        let Some((_, segments)) = item_parts(&job.guard) else { return };
        let Piece { body, with_trailer } = &flight.piece;
        let object_end = get.object_bytes.unwrap_or(u64::MAX);
        let end = if *with_trailer { job.extent.padded_bytes } else { body.end };
        let tail = &job.buffer.as_slice()[..TAIL_BYTES];
        let first_block = (get.span.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
        // A trailer by itself starts where the padded payload ends and brings no payload.
        if !get.unverified && body.start < job.extent.padded_bytes {
            for (block, range) in blocks_in(body.start..end, end.min(object_end)) {
                let sum = block_checksum(
                    &range,
                    body,
                    staged,
                    segments,
                    get.want.start,
                    tail,
                    get.body_end,
                    scratch,
                );
                if let Some(place) = job.sums.get_mut(block - first_block) {
                    *place = sum;
                }
            }
        }
        if let Some(staged) = staged {
            let wanted = body.start.max(get.want.start)..body.end.min(get.want.end);
            if wanted.start < wanted.end {
                let from = HostSlice {
                    pointer: staged.pointer.offset((wanted.start - body.start) as usize),
                    length: (wanted.end - wanted.start) as usize,
                };
                bytes::scatter_slice(from, segments, (wanted.start - get.want.start) as usize);
            }
            job.bytes_staged += body.end - body.start;
        }
        if *with_trailer {
            let object_end = get.object_bytes.unwrap_or(job.extent.padded_bytes);
            let wanted = get.body_end.max(get.want.start)..object_end.min(get.want.end);
            if wanted.start < wanted.end && get.span.end > get.body_end {
                let part = (wanted.start - get.body_end) as usize..(wanted.end - get.body_end) as usize;
                bytes::scatter(&tail[part], segments, (wanted.start - get.want.start) as usize);
            }
        }
    }

    pub(super) fn finish_get(&mut self, mut job: Job<P>) {
        if job.failure.is_none() {
            self.compare_checksums(&mut job);
        }
        let Job { guard, work, failure, buffer, sums, bytes_staged, extent, .. } = job;
        self.spares.keep(buffer, sums);
        let (Work::Get(mut get), Some((key, _))) = (work, item_parts(&guard)) else { return };
        let Some(claim) = get.claim.take() else { return };
        // Names of the flat layout are not one to one: the file is another key's, and whole.
        if get.other_key && get.foreign != Foreign::Damaged {
            self.placement.close_get(&key, claim, false);
            return self.finish(guard, not_found());
        }
        if get.without_trailer {
            match get.foreign {
                Foreign::Damaged => {}
                Foreign::Served { bytes } => return self.restart_unverified(guard, claim, extent, bytes),
                Foreign::Ignored => {
                    self.placement.close_get(&key, claim, false);
                    return self.finish(guard, not_found());
                }
            }
        }
        drop(extent);
        self.placement.close_get(&key, claim, get.corrupt.is_some());
        if let Some(why) = get.corrupt {
            self.shared.metrics.corruptions.increment();
            self.shared.logger.warn(format_args!(
                "get of key {}: {why}; treated as not found and taken out of the store",
                key.shown()
            ));
        }
        let object_length = get.object_bytes.unwrap_or(0);
        let result = match failure {
            Some((status, os_error)) => {
                ItemResult { object_length, ..failed_transfer(&guard, "reading", status, os_error) }
            }
            None => {
                let moved = get.want.end.min(object_length) - get.want.start;
                self.shared.metrics.bytes_staged.add(bytes_staged);
                self.shared.metrics.bytes_direct.add(moved.saturating_sub(bytes_staged));
                if get.unverified {
                    self.shared.metrics.gets_unverified.increment();
                }
                ItemResult { status: Status::Ok, os_error: 0, bytes: moved, object_length }
            }
        };
        self.finish(guard, result);
    }

    fn compare_checksums(&self, job: &mut Job<P>) {
        let range = job.trailer_range();
        let Work::Get(get) = &mut job.work else { return };
        if get.unverified {
            return;
        }
        // `check_trailer` found it right, or there would be a failure.
        let Ok(trailer) = record::decode_again(&job.buffer.as_slice()[range]) else {
            get.corrupt = Some("damaged trailer");
            return job.fail(Status::NotFound, 0);
        };
        let first = (get.span.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
        let blocks = blocks_in(get.span.clone(), trailer.identity().payload_bytes);
        let right = blocks.into_iter().all(|(block, _)| {
            let computed = job.sums.get(block - first).copied();
            computed.is_some() && trailer.block_checksum(block) == computed
        });
        if !right {
            get.corrupt = Some("payload checksum does not match");
            job.fail(Status::NotFound, 0);
        }
    }

    /// Reads a file again that turned out to be another program's.
    fn restart_unverified(&mut self, guard: ItemGuard, claim: P::GetClaim, extent: Extent, file_bytes: u64) {
        // A file that exists is far smaller than what overflows here.
        let padded_bytes = record::padded(file_bytes).unwrap_or(extent.padded_bytes);
        let extent = Extent { padded_bytes, trailer_bytes: 0, ..extent };
        let (payload_bytes, foreign) = (Some(file_bytes), Foreign::Ignored);
        self.begin_get(guard, Source { extent, payload_bytes, generation: None, foreign, claim });
    }
}

/// The checksum of the block `range`, whose bytes lie in the piece's body (in caller memory or
/// staged) and, from `body_end` on, in the tail block.
#[expect(clippy::too_many_arguments, reason = "the pieces of memory that one block can lie in")]
fn block_checksum(
    range: &Range<u64>,
    body: &Range<u64>,
    staged: Option<HostSlice>,
    segments: &[crate::memory::Segment],
    origin: u64,
    tail: &[u8],
    body_end: u64,
    scratch: &mut [u8],
) -> u64 {
    let in_body = range.start..range.end.min(body.end);
    let in_tail = range.end.saturating_sub(body_end.max(range.start)) as usize;
    if in_tail == 0 {
        return match staged {
            Some(memory) => bytes::checksum_slice(part(memory, body, &in_body)),
            None => {
                let (from, to) = ((in_body.start - origin) as usize, (in_body.end - origin) as usize);
                bytes::checksum(segments, from, to, scratch)
            }
        };
    }
    let body_bytes = in_body.end.saturating_sub(in_body.start) as usize;
    let (front, back) = scratch.split_at_mut(body_bytes);
    if body_bytes > 0 {
        match staged {
            Some(memory) => bytes::gather_slice(part(memory, body, &in_body), front),
            None => bytes::gather(segments, (in_body.start - origin) as usize, front),
        }
    }
    back[..in_tail].copy_from_slice(&tail[..in_tail]);
    bytes::checksum_bytes(&scratch[..body_bytes + in_tail])
}

fn part(memory: HostSlice, body: &Range<u64>, wanted: &Range<u64>) -> HostSlice {
    HostSlice {
        pointer: memory.pointer.offset((wanted.start - body.start) as usize),
        length: (wanted.end - wanted.start) as usize,
    }
}
