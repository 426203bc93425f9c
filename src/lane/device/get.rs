//! Gets: what becomes of a piece that has landed, in the staging buffer or on a device.

use super::{Copy, Order};
use crate::lane::Lane;
use crate::lane::job::{Piece, Staged, Work};
use crate::memory::{CopyDirection, Holds, bytes};
use crate::placement::Placement;

impl<P: Placement> Lane<P> {
    /// Whether a device has to prove a piece that landed: it lies there.
    pub(in crate::lane) fn landed_on_device(&self, index: usize, piece: &Piece, holds: &Holds) -> bool {
        holds.is_on_device() || (holds.is_empty() && self.jobs[index].is_on_device && !piece.body.is_empty())
    }

    /// Begins to copy out what of a piece that landed the get wants, and to sum it, if it landed on a device. The slices come back
    /// where that is nothing.
    pub(in crate::lane) fn copy_out(&mut self, index: usize, piece: &Piece, holds: Holds) -> Holds {
        let on_device = self.landed_on_device(index, piece, &holds);
        let job = &self.jobs[index];
        let Work::Get(get) = &job.work else { return holds };
        let (start, mut end) = (piece.body.start, piece.body.end);
        if piece.with_tail && !on_device && start < job.extent.padded_bytes {
            end = job.extent.padded_bytes;
            // The tail block came into the job's buffer; in the staging buffer there is room for it behind the body.
            let Some(buffer) = &job.buffer else { return holds };
            let tail = &buffer.as_slice()[..(end - piece.body.end) as usize];
            self.staged.clear();
            self.staged.extend(holds.memory((end - start) as usize));
            // It is host memory.
            let _ = bytes::scatter(tail, &self.staged, (piece.body.end - start) as usize);
        }
        let object_end = get.object_end();
        let mut order = Order {
            copied: start.max(get.want.start)..end.min(get.want.end).min(object_end),
            summed: start..end.min(object_end),
        };
        if holds.is_empty() || order.copied.start >= order.copied.end {
            order.copied = start..start;
        }
        if !on_device || get.proof.is_waived() || order.summed.start >= order.summed.end {
            order.summed = start..start;
        }
        if order.copied.is_empty() && order.summed.is_empty() {
            self.in_place(index, piece);
            return holds;
        }
        let staged = Staged { job: index, piece: piece.clone(), end, holds };
        self.begin_copy(Copy { staged, direction: CopyDirection::OutOfStaging }, &order);
        Holds::default()
    }

    /// A piece is where it belongs.
    pub(super) fn copied_out(&mut self, staged: Staged) {
        let Staged { job: index, piece, holds, .. } = staged;
        self.jobs[index].in_flight -= 1;
        self.in_place(index, &piece);
        self.come_back(index);
        self.give_back(holds);
        self.finish_if_done(index);
    }
}
