//! Requests under way: one is launched for a piece of a job, and lands.

use super::Lane;
use super::job::{Piece, Work};
use crate::backend::{IoCompletion, IoDirection};
use crate::lane::progress::{Op, Progress};
use crate::memory::HostSlice;
use crate::memory::staging::Slice;
use crate::placement::{Extent, Placement};

/// Bytes that are pushed before the device is told: few, so that it works while the next checksums are computed.
const SUBMIT_BYTES: usize = 1 << 20;

/// What one request is for.
pub(super) struct Flight {
    pub(super) op: Op,
    pub(super) job: usize,
    pub(super) piece: Piece,
    pub(super) slice: Option<Slice>,
    pub(super) bytes: usize,
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
    /// Pushes one request; the caller has checked for room.
    pub(super) fn launch(&mut self, job: usize, piece: Piece, slice: Option<Slice>, op: Op) {
        let bytes = op.slices.iter().map(|slice| slice.length).sum();
        let direction = op.direction;
        let token = self.flights.insert(Flight { op, job, piece, slice, bytes });
        self.jobs[job].in_flight += 1;
        *self.bytes_in_flight.of(direction) += bytes;
        let flight = &self.flights[token];
        let Extent { file, mapping, .. } = &self.jobs[job].extent;
        if let Err(error) = flight.op.push(token as u32, file, mapping.as_deref(), &mut *self.queue) {
            // Not possible while there is room. The job ends where it is next looked at, not here, because
            // the caller still holds its place in the line.
            let flight = self.flights.remove(token);
            *self.bytes_in_flight.of(direction) -= flight.bytes;
            self.jobs[job].in_flight -= 1;
            self.jobs[job].fail_io(&error);
            flight.slice.into_iter().for_each(|slice| self.shared.staging.give_back(slice));
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
        match flight.op.complete(completion.result, &self.shared.metrics) {
            Progress::Done => self.land(token, Ok(0)),
            Progress::EndOfFile(missing) => self.land(token, Ok(missing)),
            Progress::Failed(error) => self.land(token, Err(error)),
            Progress::Again => {
                let Extent { file, mapping, .. } = &self.jobs[flight.job].extent;
                let again = flight.op.push(completion.token, file, mapping.as_deref(), &mut *self.queue);
                if let Err(error) = again {
                    self.land(token, Err(error));
                }
            }
        }
    }

    /// Takes in a request that is over: done up to `missing` bytes at the end of the file, or failed.
    pub(super) fn land(&mut self, token: usize, outcome: std::io::Result<usize>) {
        let mut flight = self.flights.remove(token);
        *self.bytes_in_flight.of(flight.op.direction) -= flight.bytes;
        let index = flight.job;
        self.jobs[index].in_flight -= 1;
        let is_get = matches!(self.jobs[index].work, Work::Get(_));
        match outcome {
            outcome if is_get => self.land_get(index, &flight, outcome),
            Ok(_) => self.land_put(index),
            Err(error) => self.jobs[index].fail_io(&error),
        }
        if let Some(slice) = flight.slice.take() {
            self.shared.staging.give_back(slice);
            self.shared.relieve();
        }
        self.spares.keep_slices(flight.op.into_slices());
        self.finish_if_done(index);
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
        self.shared.job_ends();
        self.shared.relieve();
    }

    pub(super) fn op(&self, direction: IoDirection, offset: u64, slices: Vec<HostSlice>) -> Op {
        let region = match slices.as_slice() {
            [only] => {
                let (start, end) = (only.pointer.addr(), only.pointer.addr() + only.length);
                self.regions
                    .iter()
                    .find(|region| region.start <= start && end <= region.end)
                    .map(|region| region.index)
            }
            _ => None,
        };
        Op::new(direction, offset, slices, region)
    }
}
