//! Requests under way: one is launched for a piece of a job, and lands.

use super::job::{Epilogue, Piece, Work};
use super::plan::region_of;
use super::progress::{Op, Progress};
use super::{Lane, Reply};
use crate::backend::{IoCompletion, IoDirection, Target};
use crate::batch::{ItemGuard, ItemResult};
use crate::memory::arena::zero_slice;
use crate::memory::{AlignedBuffer, Holds, Stretch};
use crate::placement::{Placement, Tombstone, Tombstones};

/// Bytes that are pushed before the device is told: few, so that it works while the next checksums are computed.
const SUBMIT_BYTES: usize = 1 << 20;

/// One request and all that must stay where it is until the request has landed.
pub(super) struct Flight<P: Placement> {
    pub(super) op: Op,
    pub(super) target: Target,
    pub(super) errand: Errand<P>,
    pub(super) bytes: usize,
}

/// What a request is for.
pub(super) enum Errand<P: Placement> {
    /// A piece of a job.
    Piece {
        job: usize,
        piece: Piece,
        /// The staging slices that it goes through; none if it goes direct.
        holds: Holds,
        /// The job's buffer, if this request reads or writes it.
        buffer: Option<AlignedBuffer>,
    },
    /// A tombstone, for an item that is over otherwise.
    Tombstone { claim: P::TombClaim, epilogue: usize },
}

/// Bytes under way.
#[derive(Default)]
pub(super) struct InFlight {
    pub(super) read: usize,
    pub(super) written: usize,
}

impl InFlight {
    pub(super) fn of(&mut self, direction: IoDirection) -> &mut usize {
        match direction {
            IoDirection::Read => &mut self.read,
            IoDirection::Write => &mut self.written,
        }
    }
}

impl<P: Placement> Lane<P> {
    /// Pushes one request for a job; the caller has checked for room.
    pub(super) fn launch(
        &mut self,
        index: usize,
        piece: Piece,
        holds: Holds,
        buffer: Option<AlignedBuffer>,
        mut op: Op,
    ) {
        let bytes = op.bytes();
        let job = &mut self.jobs[index];
        op.deadline = job.guard.parts().and_then(|(batch, _, _)| batch.deadline);
        job.in_flight += 1;
        job.bytes_in_flight += bytes;
        let target = job.extent.target.clone();
        let errand = Errand::Piece { job: index, piece, holds, buffer };
        self.push(Flight { op, target, errand, bytes });
    }

    /// Pushes the tombstones of items that are over, while there is room.
    pub(super) fn push_tombstones(&mut self) -> bool {
        let mut advanced = false;
        while self.queue.room() > 0
            && let Some(&index) = self.tombstones.front()
        {
            let epilogue = &mut self.epilogues[index];
            let taken = epilogue.due.take();
            if epilogue.due.is_empty() {
                self.tombstones.pop_front();
            }
            let Some(Tombstone { target, offset, claim }) = taken else { continue };
            epilogue.under_way += 1;
            let slices = self.spares.one_slice(zero_slice());
            let op = self.op(IoDirection::Write, offset, slices);
            let bytes = op.bytes();
            self.push(Flight { op, target, errand: Errand::Tombstone { claim, epilogue: index }, bytes });
            advanced = true;
        }
        advanced
    }

    fn push(&mut self, flight: Flight<P>) {
        let (direction, bytes) = (flight.op.direction, flight.bytes);
        *self.bytes_in_flight.of(direction) += bytes;
        let token = self.flights.insert(flight);
        let flight = &self.flights[token];
        if let Err(error) = flight.op.push(token as u32, &flight.target, &mut *self.queue) {
            // Not possible while there is room, for memory within the backend's reach. The request fails as a
            // completion would, but with the next ones, because the caller still holds its place in the line.
            self.refused.push(IoCompletion::new(token as u32, Err(error)));
        }
        self.bytes_pushed += bytes;
        if self.bytes_pushed >= SUBMIT_BYTES {
            self.bytes_pushed = 0;
            // A queue that is broken says so again at the next wait.
            drop(self.queue.submit());
        }
    }

    pub(super) fn complete(&mut self, completion: IoCompletion) {
        let token = completion.token as usize;
        let Some(flight) = self.flights.get_mut(token) else { return };
        // A request that was continued is not what the sums of its last part are of.
        let sums = if flight.op.sum_block_bytes.is_some() { completion.sums } else { Vec::new() };
        match flight.op.complete(completion.result, &self.shared.metrics) {
            Progress::Done => self.land(token, Ok(0), &sums),
            Progress::EndOfFile(missing) => self.land(token, Ok(missing), &[]),
            Progress::Failed(error) => self.land(token, Err(error), &[]),
            Progress::Again => {
                if let Err(error) = flight.op.push(completion.token, &flight.target, &mut *self.queue) {
                    self.land(token, Err(error), &[]);
                }
            }
        }
    }

    /// Takes in a request that is over: done up to `missing` bytes at the end of the file, or failed.
    fn land(&mut self, token: usize, outcome: std::io::Result<usize>, sums: &[u64]) {
        let Flight { op, errand, bytes, .. } = self.flights.remove(token);
        *self.bytes_in_flight.of(op.direction) -= bytes;
        self.spares.keep_slices(op.into_slices());
        match errand {
            Errand::Tombstone { claim, epilogue } => self.land_tombstone(claim, epilogue, outcome.map(drop)),
            Errand::Piece { job: index, piece, holds, buffer } => {
                let job = &mut self.jobs[index];
                job.in_flight -= 1;
                job.bytes_in_flight -= bytes;
                if buffer.is_some() {
                    job.buffer = buffer;
                }
                let holds = match (&job.work, outcome) {
                    (Work::Get(_), outcome) => self.land_get(index, &piece, holds, outcome, sums),
                    (Work::Put(_), Ok(_)) => {
                        self.land_put(index);
                        holds
                    }
                    (Work::Put(_), Err(error)) => {
                        job.fail_io(&error);
                        holds
                    }
                };
                self.give_back(holds);
                self.finish_if_done(index);
            }
        }
    }

    /// Gives staging slices back to whoever waits for some.
    pub(super) fn give_back(&self, holds: Holds) {
        if !holds.is_empty() {
            drop(holds);
            self.shared.relieve();
        }
    }

    fn land_tombstone(&mut self, claim: P::TombClaim, epilogue: usize, outcome: std::io::Result<()>) {
        let answer = self.placement.entombed(claim, outcome);
        self.ask(answer, move |due| Reply::Entombed { epilogue, due });
    }

    /// A tombstone is written, or given up.
    pub(super) fn entombed(&mut self, epilogue: usize, due: Tombstones<P::TombClaim>) {
        self.shared.relieve();
        let waiting = &mut self.epilogues[epilogue];
        waiting.under_way -= 1;
        let is_listed = !waiting.due.is_empty();
        waiting.due.add(due);
        if !waiting.due.is_empty() {
            if !is_listed {
                self.tombstones.push_back(epilogue);
            }
        } else if waiting.under_way == 0
            && let Some((guard, result)) = self.epilogues.remove(epilogue).ending
        {
            self.finish(guard, result);
        }
    }

    /// Ends an item once the tombstones that its end made due are written.
    pub(super) fn finish_after(
        &mut self,
        guard: ItemGuard,
        result: ItemResult,
        due: Tombstones<P::TombClaim>,
    ) {
        if due.is_empty() {
            return self.finish(guard, result);
        }
        self.write_tombstones(due, Some((guard, result)));
    }

    /// Writes tombstones, then ends the item, if there is one to end.
    pub(super) fn write_tombstones(
        &mut self,
        due: Tombstones<P::TombClaim>,
        ending: Option<(ItemGuard, ItemResult)>,
    ) {
        if !due.is_empty() {
            let index = self.epilogues.insert(Epilogue { due, under_way: 0, ending });
            self.tombstones.push_back(index);
        }
    }

    pub(super) fn finish_if_done(&mut self, index: usize) {
        let Some(job) = self.jobs.get(index) else { return };
        if job.in_flight > 0 || !(job.all_pushed || job.failure.is_some()) {
            return;
        }
        if job.failure.is_some() && !job.all_pushed {
            self.gets.retain(|&other| other != index);
            self.puts.retain(|&other| other != index);
        }
        let job = self.jobs.remove(index);
        match job.work {
            Work::Get(_) => self.finish_get(job),
            Work::Put(_) => self.finish_put(job),
        }
        self.shared.relieve();
    }

    pub(super) fn op(&self, direction: IoDirection, offset: u64, slices: Vec<Stretch>) -> Op {
        // Other requests gain nothing by a region, unless the backend takes no others.
        let may_use = slices.len() == 1 || self.reach.registered_only;
        let region = if may_use { region_of(&self.regions, &slices) } else { None };
        Op::new(direction, offset, slices, region)
    }
}
