//! Gets: read whole checksum blocks, and the trailer where their sums are not known, deliver, and say how it went. Whether the
//! record proves right is judged in [`super::proof`].

use super::front::Front;
use super::item::{failed, failed_transfer, item_parts, not_found};
use super::job::{Failure, Get, Job, Proof, TAIL_BYTES, Work};
use super::{Lane, Reply};
use crate::backend::IoDirection;
use crate::batch::{ItemGuard, ItemResult, Wish};
use crate::error::{Result, Status};
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES, RECORD_ALIGNMENT};
use crate::placement::{Extent, Foreign, GetWish, Placement, Source};

/// How often a get opens its record anew because it was not any more what had been opened. A key that is replaced more
/// often than that while it is read is a miss.
const REOPENED_MAX: u32 = 2;
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
        let (capacity, is_on_device) = (item.length as u64, item.is_on_device);
        let Wish { range_offset, front: is_front, .. } = item.wish;
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
        let blocks = (span.end.div_ceil(block) - span.start / block) as usize;
        let sums = self.spares.sums(blocks);
        let proof = match payload_bytes {
            Some(object_bytes) if extent.trailer_bytes == 0 => Proof::Waived { object_bytes },
            Some(object_bytes) if self.placement.sums(&claim).is_some() => Proof::Known { object_bytes },
            _ => Proof::Unread,
        };
        let front = is_front.then(|| Front {
            expected: self.spares.sums(0),
            in_place: self.spares.sums(Front::words(blocks)),
            proven: 0,
        });
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
            front,
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

    pub(super) fn finish_get(&mut self, mut job: Job<P>) {
        if job.failure.is_none() {
            self.compare_checksums(&mut job);
        }
        let Job { guard, work, failure, buffer, sums, bytes_staged, extent, .. } = job;
        self.spares.keep(buffer, sums);
        let Work::Get(mut get) = work else { return };
        let Some(claim) = get.claim.take() else { return };
        let proven = get.front.as_ref().map_or(0, |front| front.proven);
        if let Some(Front { expected, in_place, .. }) = get.front.take() {
            self.spares.keep(None, expected);
            self.spares.keep(None, in_place);
        }
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
            if proven > 0 {
                // The caller may use the front of the old object; what there is now has another.
                return self.close_get(guard, claim, false, not_found());
            }
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
