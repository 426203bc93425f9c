//! Items with memory on a device that the backend does not reach: their bytes pass through the staging buffer, and are copied
//! from or to the device while other pieces are on their way to or from storage.
//!
//! A put's piece is copied in, summed where it lies in the staging buffer, and then written from there. A get's piece is read
//! and summed as any other, and then copied out; it is under way until the copy has ended. Stretches of host memory among the
//! device's are copied by the processor.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use slab::Slab;

use super::item::item_parts;
use super::job::{Failure, Piece, Staged, TAIL_BYTES, Work};
use super::proof::part;
use super::put::sum_blocks;
use super::{Lane, Pushed};
use crate::backend::{IoDirection, Wait};
use crate::error::Status;
use crate::memory::bytes::{self, NotHost};
use crate::memory::stretch::for_each_part;
use crate::memory::{Copier, Copiers, CopyDirection, CopyDone, CopyPart, Holds, HostSlice, Stretch};
use crate::placement::Placement;
use crate::sync::Arc;

/// One part in this many of the staging buffer is what one read for a device may take.
const READ_PART: u64 = 4;
/// How often copies under way are looked at although nobody said that one has ended: a device that broke may not say so.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a lane has for its copies.
pub(super) struct Copies {
    /// `None`: until the first item with memory on a device.
    copier: Option<Box<dyn Copier>>,
    copiers: Option<Arc<dyn Copiers>>,
    under_way: Slab<Copy>,
    /// What has ended, and what ended before it began.
    done: Vec<CopyDone>,
    /// Pieces of puts that can be written.
    ready: VecDeque<Staged>,
    /// Room for the parts of one copy.
    parts: Vec<CopyPart>,
}

/// A copy under way, and all that must stay where it is until it has ended.
struct Copy {
    staged: Staged,
    direction: CopyDirection,
}

impl Copies {
    pub(super) fn new(copiers: Option<Arc<dyn Copiers>>) -> Copies {
        Copies {
            copier: None,
            copiers,
            under_way: Slab::new(),
            done: Vec::new(),
            ready: VecDeque::new(),
            parts: Vec::new(),
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

/// Appends the copies between `slice` and the payload bytes from `start` on to `parts`, and makes those with host memory.
fn add_parts(
    stretches: &[Stretch],
    start: u64,
    slice: HostSlice,
    direction: CopyDirection,
    parts: &mut Vec<CopyPart>,
) {
    let from = start as usize;
    let mut at = 0;
    for_each_part(stretches, from, from + slice.length, |stretch| {
        let length = stretch.length();
        let here = HostSlice { pointer: slice.pointer.offset(at), length };
        match (stretch, direction) {
            (Stretch::Device(_), _) => CopyPart { staging: here.into(), memory: stretch }.push_to(parts),
            // Host memory on both sides: neither can fail.
            (Stretch::Host(_), CopyDirection::IntoStaging) => _ = bytes::gather_into(&[stretch], 0, here),
            (Stretch::Host(_), CopyDirection::OutOfStaging) => _ = bytes::scatter_slice(here, &[stretch], 0),
        }
        at += length;
    });
}

impl<P: Placement> Lane<P> {
    /// Bytes of the next piece of a job with memory on a device: one slice of the staging buffer, unless the placement cuts the
    /// pieces.
    pub(super) fn device_piece_bytes(&self, index: usize) -> u64 {
        let job = &self.jobs[index];
        let staging = &self.shared.staging;
        let slice = staging.slice_bytes() as u64;
        match (job.extent.piece_bytes, &job.work) {
            (None, _) => slice,
            (Some(fixed), Work::Put(_)) => fixed,
            (Some(fixed), Work::Get(_)) => {
                let share = staging.region().length as u64 / READ_PART / slice * slice;
                fixed.min(share.max(slice))
            }
        }
    }

    /// Begins to copy the next piece of a put in.
    pub(super) fn push_from_device(&mut self, index: usize) -> Pushed {
        let bytes_max = self.shared.staging.bytes_for_put_max() as u64;
        let start = self.jobs[index].cursor;
        let piece_bytes = self.device_piece_bytes(index);
        let job = &mut self.jobs[index];
        let Work::Put(put) = &mut job.work else { return Pushed::Last };
        let padded = job.extent.padded_bytes;
        let end = start.saturating_add(piece_bytes).min(padded);
        if end - start > bytes_max {
            let message = format!(
                "a request of {} bytes from device memory passes through the staging buffer, where puts can have {bytes_max}; \
                 use a larger nixl_buffer_size, or a smaller crtMinLimit",
                end - start
            );
            job.failure.get_or_insert(Failure { message: Some(message), ..Failure::of(Status::TooLarge, 0) });
            return self.all_pushed(index);
        }
        let Some(holds) = self.shared.staging.take_bytes_for_put((end - start) as usize) else {
            self.wants_slice = true;
            return Pushed::Blocked;
        };
        let last = end == padded;
        let body = start.min(put.body_end)..end.min(put.body_end);
        let piece = Piece { body, with_trailer: last && put.trailer_with_payload };
        let payload = start..end.min(put.payload_bytes);
        put.payload_pushed |= last;
        job.cursor = end;
        job.all_pushed = piece.with_trailer;
        job.bytes_staged += payload.end - payload.start;
        job.copying += 1;
        self.puts_ahead -= usize::from(last);
        let staged = Staged { job: index, piece, end, holds };
        self.begin_copy(Copy { staged, direction: CopyDirection::IntoStaging }, payload);
        if last { Pushed::Last } else { Pushed::More }
    }

    /// Begins to copy out what of a piece that landed the get wants. The slices come back where that is nothing.
    pub(super) fn copy_out(&mut self, index: usize, piece: &Piece, holds: Holds) -> Holds {
        let job = &self.jobs[index];
        let Work::Get(get) = &job.work else { return holds };
        let (start, mut end) = (piece.body.start, piece.body.end);
        if piece.with_trailer && start < job.extent.padded_bytes {
            end = job.extent.padded_bytes;
            // The tail block came into the job's buffer; in the staging buffer there is room for it behind the body.
            let Some(buffer) = &job.buffer else { return holds };
            let tail = &buffer.as_slice()[..(end - piece.body.end) as usize];
            self.staged.clear();
            self.staged.extend(holds.memory((end - start) as usize).map(Stretch::from));
            // It is host memory.
            let _ = bytes::scatter(tail, &self.staged, (piece.body.end - start) as usize);
        }
        let object_end = get.proof.object_bytes().unwrap_or(u64::MAX);
        let wanted = start.max(get.want.start)..end.min(get.want.end).min(object_end);
        if holds.is_empty() || wanted.start >= wanted.end {
            return holds;
        }
        let staged = Staged { job: index, piece: piece.clone(), end, holds };
        self.begin_copy(Copy { staged, direction: CopyDirection::OutOfStaging }, wanted);
        Holds::default()
    }

    /// Begins a copy of the payload bytes `wanted`.
    fn begin_copy(&mut self, copy: Copy, wanted: Range<u64>) {
        let mut parts = std::mem::take(&mut self.copies.parts);
        parts.clear();
        let Copy { staged, direction } = &copy;
        let job = &mut self.jobs[staged.job];
        job.in_flight += 1;
        let origin = match &job.work {
            Work::Get(get) => get.want.start,
            Work::Put(_) => 0,
        };
        if let Some((_, stretches)) = item_parts(&job.guard) {
            let mut at = staged.piece.body.start;
            for slice in staged.holds.memory((wanted.end - at) as usize) {
                let end = at + slice.length as u64;
                let inside = at.max(wanted.start)..end.min(wanted.end);
                if inside.start < inside.end {
                    let slice = part(slice, at, &inside);
                    add_parts(stretches, inside.start - origin, slice, *direction, &mut parts);
                }
                at = end;
            }
        }
        let direction = *direction;
        let token = self.copies.under_way.insert(copy) as u32;
        let begun = match parts.is_empty() {
            true => Err(None),
            false => {
                self.copier().and_then(|copier| copier.push(token, direction, &parts, &[])).map_err(Some)
            }
        };
        // Told with the others, because the caller still holds the job's place in the line.
        if let Err(error) = begun {
            self.copies.done.push(CopyDone { token, result: error.map_or(Ok(()), Err), sums: Vec::new() });
        }
        self.copies.parts = parts;
    }

    fn copier(&mut self) -> io::Result<&mut Box<dyn Copier>> {
        let copies = &mut self.copies;
        if copies.copier.is_none() {
            let copiers = copies.copiers.as_ref().ok_or(io::ErrorKind::Unsupported)?;
            copies.copier = Some(copiers.copier(Arc::clone(&self.shared.lanes[self.index].waker))?);
        }
        copies.copier.as_mut().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Takes in the copies that have ended.
    pub(super) fn take_copies(&mut self) {
        if self.copies.is_empty() {
            return;
        }
        let mut done = std::mem::take(&mut self.copies.done);
        if let Some(copier) = &mut self.copies.copier {
            copier.reap(&mut done);
        }
        for CopyDone { token, result, .. } in done.drain(..) {
            let Some(copy) = self.copies.under_way.try_remove(token as usize) else { continue };
            let Copy { staged, direction } = copy;
            if let Err(error) = &result {
                self.jobs[staged.job].fail_io(error);
            }
            match direction {
                CopyDirection::IntoStaging => self.copied_in(staged),
                CopyDirection::OutOfStaging => {
                    self.jobs[staged.job].in_flight -= 1;
                    self.come_back(staged.job);
                    self.give_back(staged.holds);
                    self.finish_if_done(staged.job);
                }
            }
        }
        if self.copies.done.is_empty() {
            self.copies.done = done;
        }
    }

    /// A piece of a put lies in the staging buffer.
    fn copied_in(&mut self, piece: Staged) {
        let index = piece.job;
        if self.jobs[index].failure.is_none() && self.sum_copied(&piece).is_err() {
            self.jobs[index].fail(Status::Internal, 0);
        }
        let job = &mut self.jobs[index];
        job.copying -= 1;
        // The trailer has the sums of all pieces.
        if piece.piece.with_trailer && job.copying > 0 {
            job.last_piece = Some(piece);
        } else {
            self.copies.ready.push_back(piece);
        }
        if job.copying == 0
            && let Some(last) = job.last_piece.take()
        {
            self.copies.ready.push_back(last);
        }
    }

    /// Sums the blocks of a piece in the staging buffer, and takes the tail block out of there.
    fn sum_copied(&mut self, piece: &Staged) -> Result<(), NotHost> {
        let job = &mut self.jobs[piece.job];
        let Work::Put(put) = &job.work else { return Ok(()) };
        let (start, end) = (piece.piece.body.start, piece.end.min(put.payload_bytes));
        let staged = &mut self.staged;
        staged.clear();
        staged.extend(piece.holds.memory((end - start) as usize).map(Stretch::from));
        sum_blocks(staged, start, start..end, &mut job.sums, &mut self.scratch)?;
        if put.body_end < end
            && let Some(buffer) = &mut job.buffer
        {
            let tail = &mut buffer.as_mut_slice()[..TAIL_BYTES];
            bytes::gather(
                staged,
                (put.body_end - start) as usize,
                &mut tail[..(end - put.body_end) as usize],
            )?;
        }
        Ok(())
    }

    /// Writes pieces that lie in the staging buffer, while there is room.
    pub(super) fn push_ready(&mut self) -> bool {
        let mut advanced = false;
        while self.put_room() > 0
            && let Some(ready) = self.copies.ready.pop_front()
        {
            self.launch_ready(ready);
            advanced = true;
        }
        advanced
    }

    fn launch_ready(&mut self, ready: Staged) {
        let Staged { job: index, piece, end, holds } = ready;
        self.jobs[index].in_flight -= 1;
        if piece.with_trailer
            && self.jobs[index].failure.is_none()
            && let Err(status) = self.encode_trailer(index)
        {
            self.jobs[index].fail(status, 0);
        }
        let job = &mut self.jobs[index];
        let Work::Put(put) = &job.work else { return };
        if job.failure.is_some() {
            self.give_back(holds);
            return self.finish_if_done(index);
        }
        let offset = job.extent.payload_offset + piece.body.start;
        let lent = job.lend_behind(put.body_end, end, piece.with_trailer);
        let mut slices = self.spares.slices();
        slices.extend(holds.memory((piece.body.end - piece.body.start) as usize).map(Stretch::from));
        let buffer = lent.map(|(buffer, part)| {
            slices.push(part.into());
            buffer
        });
        let op = self.op(IoDirection::Write, offset, slices);
        self.launch(index, piece, holds, buffer, op);
    }
}
