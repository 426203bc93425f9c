//! Puts: a piece is copied in, or stays where it is, is summed, and then written.

use super::{Copy, Order};
use crate::backend::IoDirection;
use crate::error::Status;
use crate::lane::job::{Failure, Piece, Staged, TAIL_BYTES, Work};
use crate::lane::plan::piece_bytes;
use crate::lane::put::{PIECE_BYTES, sum_blocks};
use crate::lane::{Lane, Pushed};
use crate::memory::bytes::{self, NotHost};
use crate::memory::{CopyDirection, Holds};
use crate::placement::Placement;

impl<P: Placement> Lane<P> {
    /// Begins the next piece of a put that a device has a part in.
    pub(in crate::lane) fn push_by_copier(&mut self, index: usize) -> Pushed {
        let (start, direct) = (self.jobs[index].cursor, self.direct_end(index));
        let (end, holds) = match direct {
            Some(end) => (end, Holds::default()),
            None if self.lacks_way(index) => return self.all_pushed(index),
            None => {
                let padded = self.jobs[index].extent.padded_bytes;
                let end = start.saturating_add(self.staged_piece_bytes(index)).min(padded);
                let bytes = (end - start) as usize;
                if bytes > self.shared.staging.bytes_for_put_max() {
                    self.too_large(index, bytes);
                    return self.all_pushed(index);
                }
                let Some(holds) = self.shared.staging.take_bytes_for_put(bytes) else {
                    self.wants_slice = true;
                    return Pushed::Blocked;
                };
                (end, holds)
            }
        };
        let job = &mut self.jobs[index];
        let Work::Put(put) = &mut job.work else { return Pushed::Last };
        let last = end == job.extent.padded_bytes;
        let on_device = direct.is_some() || holds.is_on_device();
        // On a device the padding goes with the payload; in host memory the tail block comes from the job's buffer.
        let body = if on_device { start..end } else { start.min(put.body_end)..end.min(put.body_end) };
        let piece = Piece { body, with_tail: false, with_trailer: last && put.trailer_with_payload };
        let payload = start..end.min(put.payload_bytes);
        let order = Order {
            copied: if direct.is_some() { start..start } else { payload.clone() },
            summed: if on_device { payload.clone() } else { start..start },
        };
        put.payload_pushed |= last;
        job.cursor = end;
        job.all_pushed = piece.with_trailer;
        job.bytes_staged += order.copied.end - order.copied.start;
        job.copying += 1;
        self.puts_ahead -= usize::from(last);
        let staged = Staged { job: index, piece, end, holds };
        self.begin_copy(Copy { staged, direction: CopyDirection::IntoStaging }, &order);
        if last { Pushed::Last } else { Pushed::More }
    }

    fn too_large(&mut self, index: usize, bytes: usize) {
        let bytes_max = self.shared.staging.bytes_for_put_max();
        let message = format!(
            "a request of {bytes} bytes from device memory passes through the staging buffer, where puts can have {bytes_max}; \
             use a larger nixl_buffer_size, or a smaller crtMinLimit"
        );
        let failure = Failure { message: Some(message), ..Failure::of(Status::TooLarge, 0) };
        self.jobs[index].failure.get_or_insert(failure);
    }

    /// Where the next piece ends, if it can be written from the device's memory as it is.
    fn direct_end(&mut self, index: usize) -> Option<u64> {
        let job = &self.jobs[index];
        let Work::Put(put) = &job.work else { return None };
        let (start, padded, body_end) = (job.cursor, job.extent.padded_bytes, put.body_end);
        if !self.may_go_direct(index) {
            return None;
        }
        let large = job.extent.piece_bytes.unwrap_or_else(|| piece_bytes(PIECE_BYTES, padded, self.medium));
        let mut slices = self.spares.slices();
        let end = [large, PIECE_BYTES].into_iter().map(|bytes| start.saturating_add(bytes).min(padded)).find(
            |&end| end <= body_end && start < end && self.add_device(index, &(start..end), &mut slices),
        );
        self.spares.keep_slices(slices);
        end
    }

    /// A piece of a put lies in the staging buffer, or was summed where it is.
    pub(super) fn copied_in(&mut self, piece: Staged) {
        let index = piece.job;
        let is_on_host = !piece.holds.is_empty() && !piece.holds.is_on_device();
        if is_on_host && self.jobs[index].failure.is_none() && self.sum_copied(&piece).is_err() {
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
        staged.extend(piece.holds.memory((end - start) as usize));
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

    /// Writes pieces that are summed, while there is room.
    pub(in crate::lane) fn push_ready(&mut self) -> bool {
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
        let mut slices = self.spares.slices();
        if !holds.is_empty() {
            slices.extend(holds.memory((piece.body.end - piece.body.start) as usize));
        } else if !self.add_device(index, &piece.body, &mut slices) {
            // It was direct when it was begun.
            self.jobs[index].fail(Status::Internal, 0);
        }
        let job = &mut self.jobs[index];
        let Work::Put(put) = &job.work else { return };
        if job.failure.is_some() {
            self.spares.keep_slices(slices);
            self.give_back(holds);
            return self.finish_if_done(index);
        }
        let offset = job.extent.payload_offset + piece.body.start;
        // Where the padding is part of the body, no tail block comes behind it.
        let body_end = if piece.body.end == end { end } else { put.body_end };
        let lent = job.lend_behind(body_end, end, piece.with_trailer);
        let buffer = lent.map(|(buffer, part)| {
            slices.push(part.into());
            buffer
        });
        let op = self.op(IoDirection::Write, offset, slices);
        self.launch(index, piece, holds, buffer, op);
    }
}
