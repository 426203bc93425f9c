//! Items that a device has a part in: their memory is a device's, or the staging buffer is.
//!
//! | bytes | put | get |
//! | --- | --- | --- |
//! | staged, in host memory | copied in, summed by the processor, written | read, summed, copied out |
//! | staged, on a device | copied in, summed there, written | read, summed there and copied out |
//! | direct, from and to a device | summed there, written | read, summed there |
//!
//! Copies and sums are a [`Copier`]'s, and go on while other pieces are on their way to or from storage. A piece is under way
//! until the last of it has ended. Between two stretches of host memory the processor copies.

mod get;
mod put;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use slab::Slab;

use super::Lane;
use super::item::item_parts;
use super::job::{Failure, Piece, Staged, Work};
use super::plan::{Rules, add_direct, are_whole_blocks, blocks_in};
use crate::backend::{Reach, Wait};
use crate::error::Status;
use crate::layout::record::CHECKSUM_BLOCK_BYTES;
use crate::memory::arena::zero_slice;
use crate::memory::bytes;
use crate::memory::stretch::for_each_part;
use crate::memory::{Copier, Copiers, CopyDirection, CopyDone, CopyPart, DeviceSlice, Stretch};
use crate::placement::Placement;
use crate::sync::Arc;

/// One part in this many of the staging buffer is what one read for a device may take.
const READ_PART: u64 = 4;
/// How often copies under way are looked at although nobody said that one has ended: a device that broke may not say so.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a lane has for its copies.
pub(super) struct Copies {
    copiers: Option<Arc<dyn Copiers>>,
    under_way: Slab<Copy>,
    /// What has ended, and what ended before it began.
    done: Vec<CopyDone>,
    /// Pieces of puts that can be written.
    ready: VecDeque<Staged>,
    /// Room for the parts and the blocks of one copy.
    parts: Vec<CopyPart>,
    blocks: Vec<DeviceSlice>,
}

/// A copy under way, and all that must stay where it is until it has ended.
struct Copy {
    staged: Staged,
    direction: CopyDirection,
}

/// What a copy is to do.
struct Order {
    /// Payload bytes that are copied between the staging buffer and the item's memory.
    copied: Range<u64>,
    /// Payload bytes that are summed on the device: whole blocks, the last one cut at the object's end.
    summed: Range<u64>,
}

impl Copies {
    pub(super) fn new(copiers: Option<Arc<dyn Copiers>>) -> Copies {
        Copies {
            copiers,
            under_way: Slab::new(),
            done: Vec::new(),
            ready: VecDeque::new(),
            parts: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Whether nothing is being copied.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether a copy ended of which its job does not know.
    pub(super) fn has_ended(&self) -> bool {
        !self.done.is_empty()
    }

    /// Whether the bytes of a device can be proven right there.
    pub(super) fn can_sum(&self, device: u16) -> bool {
        self.copiers.as_ref().is_some_and(|copiers| copiers.can_sum(device))
    }

    /// A sleep that is interrupted while a copy is under way.
    pub(super) fn watched(&self, wait: Wait) -> Wait {
        match wait {
            Wait::Until(moment) if !self.is_empty() => {
                let look = Instant::now().checked_add(LOOK_INTERVAL);
                Wait::Until([moment, look].into_iter().flatten().min())
            }
            wait => wait,
        }
    }
}

/// Appends the copies between `slice` of the staging buffer and the item's bytes from `from` on to `parts`, and makes those that
/// are the processor's.
fn add_parts(
    stretches: &[Stretch],
    from: usize,
    slice: Stretch,
    direction: CopyDirection,
    parts: &mut Vec<CopyPart>,
) {
    let mut at = 0;
    for_each_part(stretches, from, from + slice.length(), |memory| {
        let staging = slice.part(at, at + memory.length());
        at += memory.length();
        match (staging.host().and(memory.host()), direction) {
            (None, _) => CopyPart { staging, memory }.push_to(parts),
            // Host memory on both sides: neither can fail.
            (Some(_), CopyDirection::IntoStaging) => _ = bytes::gather_into(&[memory], 0, staging),
            (Some(_), CopyDirection::OutOfStaging) => _ = bytes::scatter_slice(staging, &[memory], 0),
        }
    });
}

/// Appends the checksum blocks of the payload bytes `range` to `blocks`. `memory` begins with the payload byte `origin`. False:
/// one of them does not lie in one stretch of a device's memory.
fn add_blocks(memory: &[Stretch], origin: u64, range: &Range<u64>, blocks: &mut Vec<DeviceSlice>) -> bool {
    blocks_in(range.clone(), range.end).all(|(_, block)| {
        let (from, to) = ((block.start - origin) as usize, (block.end - origin) as usize);
        let before = blocks.len();
        for_each_part(memory, from, to, |stretch| {
            if let Stretch::Device(slice) = stretch {
                blocks.push(slice);
            }
        });
        blocks.len() == before + 1 && blocks[before].length == to - from
    })
}

impl<P: Placement> Lane<P> {
    /// Whether a device has a part in what goes through the staging buffer for this job.
    pub(super) fn copies_for(&self, index: usize) -> bool {
        self.jobs[index].is_on_device || self.shared.staging.device().is_some()
    }

    /// Whether requests from and to the memory of this job's devices may go direct.
    pub(super) fn may_go_direct(&self, index: usize) -> bool {
        let job = &self.jobs[index];
        self.reach.device && job.is_on_device && job.extent.target.takes_devices()
    }

    /// Adds the item's memory for the payload bytes `body` to `slices`, if a request may use it as it is: all of it a device's,
    /// each checksum block in one stretch, and on a device that can sum it. Else `slices` is left empty.
    pub(super) fn add_device(&self, index: usize, body: &Range<u64>, slices: &mut Vec<Stretch>) -> bool {
        let job = &self.jobs[index];
        let Some((_, stretches)) = item_parts(&job.guard) else { return false };
        let origin = job.work.origin();
        // Host memory among a device's is summed by another, so it is staged with it.
        let rules = Rules {
            reach: Reach { host: false, ..self.reach },
            alignment: job.extent.alignment,
            regions: &self.regions,
        };
        let fits = self.may_go_direct(index)
            && add_direct(stretches, origin, body, &rules, slices)
            && are_whole_blocks(slices)
            && slices.iter().filter_map(Stretch::device).all(|device| self.copies.can_sum(device));
        if !fits {
            slices.clear();
        }
        fits
    }

    /// Bytes of the next staged piece of such a job: one slice of the staging buffer, unless the placement cuts the pieces.
    pub(super) fn staged_piece_bytes(&self, index: usize) -> u64 {
        let job = &self.jobs[index];
        let staging = &self.shared.staging;
        let slice = staging.slice_bytes() as u64;
        match (job.extent.piece_bytes, &job.work) {
            (None, _) => slice,
            (Some(fixed), Work::Put(_)) => fixed,
            (Some(fixed), Work::Get(_)) => {
                let share = staging.bytes() as u64 / READ_PART / slice * slice;
                fixed.min(share.max(slice))
            }
        }
    }

    /// Fails a job whose next piece has to pass through a staging buffer on a device, if its file cannot be moved there. True: it
    /// was failed.
    pub(super) fn lacks_way(&mut self, index: usize) -> bool {
        let job = &mut self.jobs[index];
        if self.shared.staging.device().is_none() || job.extent.target.takes_devices() {
            return false;
        }
        let failure = match &job.work {
            // The file was replaced as it was opened; the new one is as good.
            Work::Get(_) => Failure::of(Status::Io, libc::ESTALE),
            Work::Put(_) => Failure {
                message: Some(String::from(
                    "cuFile could not open the file of a put once more, by its name, and the staging buffer is a device's",
                )),
                ..Failure::of(Status::Io, 0)
            },
        };
        job.failure.get_or_insert(failure);
        true
    }

    /// Begins what `order` says of a piece.
    fn begin_copy(&mut self, copy: Copy, order: &Order) {
        let (mut parts, mut blocks) =
            (std::mem::take(&mut self.copies.parts), std::mem::take(&mut self.copies.blocks));
        parts.clear();
        blocks.clear();
        let Copy { staged: Staged { job: index, piece, end, holds }, direction } = &copy;
        let (start, direction) = (piece.body.start, *direction);
        let job = &mut self.jobs[*index];
        job.in_flight += 1;
        let origin = job.work.origin();
        let mut is_whole = true;
        if let Some((_, stretches)) = item_parts(&job.guard) {
            let staged = &mut self.staged;
            staged.clear();
            staged.extend(holds.memory((end - start) as usize));
            let copied = (order.copied.start - start) as usize..(order.copied.end - start) as usize;
            let mut from = (order.copied.start.max(origin) - origin) as usize;
            for_each_part(staged, copied.start, copied.end, |slice| {
                add_parts(stretches, from, slice, direction, &mut parts);
                from += slice.length();
            });
            if direction == CopyDirection::IntoStaging && holds.is_on_device() {
                // The padding behind the payload.
                for_each_part(staged, copied.end, (end - start) as usize, |staging| {
                    let memory = Stretch::from(zero_slice()).part(0, staging.length());
                    parts.push(CopyPart { staging, memory });
                });
            }
            is_whole = match holds.is_empty() {
                true => add_blocks(stretches, origin, &order.summed, &mut blocks),
                false => add_blocks(staged, start, &order.summed, &mut blocks),
            };
        }
        let token = self.copies.under_way.insert(copy) as u32;
        let begun = match (is_whole, parts.is_empty() && blocks.is_empty()) {
            (false, _) => Err(Some(io::ErrorKind::InvalidInput.into())),
            (true, true) => Err(None),
            (true, false) => {
                let copier = self.copier();
                copier.and_then(|copier| copier.push(token, direction, &parts, &blocks)).map_err(Some)
            }
        };
        // Told with the others, because the caller still holds the job's place in the line.
        if let Err(error) = begun {
            let result = error.map_or(Ok(()), Err);
            self.copies.done.push(CopyDone { token, result, sums: Vec::new() });
        }
        (self.copies.parts, self.copies.blocks) = (parts, blocks);
    }

    /// Gets what it takes to copy from and to a device.
    pub(super) fn prepare_copies(&mut self, device: u16) -> io::Result<()> {
        self.copier()?.prepare(device)
    }

    fn copier(&mut self) -> io::Result<&mut Box<dyn Copier>> {
        match &mut self.copier {
            Some(copier) => Ok(copier),
            none => {
                let copiers = self.copies.copiers.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                Ok(none.insert(copiers.copier(Arc::clone(&self.shared.lanes[self.index].waker))?))
            }
        }
    }

    /// Takes in the copies that have ended.
    pub(super) fn take_copies(&mut self) {
        if self.copies.is_empty() {
            return;
        }
        let mut done = std::mem::take(&mut self.copies.done);
        if let Some(copier) = &mut self.copier {
            copier.reap(&mut done);
        }
        for CopyDone { token, result, sums } in done.drain(..) {
            let Some(copy) = self.copies.under_way.try_remove(token as usize) else { continue };
            let Copy { staged, direction } = copy;
            match &result {
                Err(error) => self.jobs[staged.job].fail_io(error),
                Ok(()) => self.take_sums(staged.job, &staged.piece, &sums),
            }
            if let Some(copier) = &mut self.copier {
                copier.recycle(sums);
            }
            match direction {
                CopyDirection::IntoStaging => self.copied_in(staged),
                CopyDirection::OutOfStaging => self.copied_out(staged),
            }
        }
        if self.copies.done.is_empty() {
            self.copies.done = done;
        }
    }

    /// Notes the checksums of a piece that a device computed.
    fn take_sums(&mut self, index: usize, piece: &Piece, sums: &[u64]) {
        let job = &mut self.jobs[index];
        let origin = match &job.work {
            Work::Get(get) => get.span.start,
            Work::Put(_) => 0,
        };
        let first = ((piece.body.start - origin) / CHECKSUM_BLOCK_BYTES as u64) as usize;
        for (place, &sum) in job.sums.iter_mut().skip(first).zip(sums) {
            *place = sum;
        }
    }
}
