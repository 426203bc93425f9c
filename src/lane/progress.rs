//! One request to the device and what is left of it after a short or interrupted transfer.

use std::io;
use std::time::Instant;

use crate::backend::{IoDirection, IoQueue, IoRequest, Target};
use crate::memory::Stretch;
use crate::metrics::Metrics;

/// Attempts in a row that may move nothing (EINTR, EAGAIN, a short transfer of less than a block)
/// before the transfer is given up.
const FRUITLESS_ATTEMPTS_MAX: u32 = 100;

/// Granule of progress, in bytes. O_DIRECT can only continue at a block boundary.
const GRANULE_BYTES: usize = 4096;

/// A request under way.
#[derive(Debug)]
pub struct Op {
    /// Which way.
    pub direction: IoDirection,
    /// Next byte in the file.
    pub offset: u64,
    /// Memory still to be moved.
    pub slices: Vec<Stretch>,
    /// Registered region that holds all slices.
    pub region: Option<u16>,
    /// When it is to be given up, by a queue that can.
    pub deadline: Option<Instant>,
    /// Blocks whose checksums are asked for.
    pub sum_block_bytes: Option<usize>,
    left: usize,
    fruitless: u32,
    /// Bytes of the block inside which the last read stopped; 0 if it stopped at a block's end.
    part: usize,
}

/// What a completion means for its request.
#[derive(Debug)]
pub enum Progress {
    /// All bytes are moved.
    Done,
    /// Push the rest.
    Again,
    /// The file ended this many bytes before the request did.
    EndOfFile(usize),
    /// It failed for good.
    Failed(io::Error),
}

impl Op {
    /// A request over `slices`, which come back empty in [`Op::into_slices`].
    pub fn new(direction: IoDirection, offset: u64, slices: Vec<Stretch>, region: Option<u16>) -> Op {
        let left = slices.iter().map(Stretch::length).sum();
        Op {
            direction,
            offset,
            slices,
            region,
            deadline: None,
            sum_block_bytes: None,
            left,
            fruitless: 0,
            part: 0,
        }
    }

    /// Bytes still to be moved.
    pub fn bytes(&self) -> usize {
        self.left
    }

    /// Hands what is left to the queue.
    ///
    /// # Errors
    /// The queue did not take it.
    pub fn push(&self, token: u32, target: &Target, queue: &mut dyn IoQueue) -> io::Result<()> {
        queue.push(&IoRequest {
            token,
            direction: self.direction,
            target,
            offset: self.offset,
            slices: &self.slices,
            region: self.region,
            deadline: self.deadline,
            sum_block_bytes: self.sum_block_bytes,
        })
    }

    /// Takes in how the device answered.
    pub fn complete(&mut self, result: io::Result<usize>, metrics: &Metrics) -> Progress {
        match result {
            Ok(moved) if moved >= self.left => Progress::Done,
            Ok(0) if self.direction == IoDirection::Read => Progress::EndOfFile(self.left),
            Ok(0) => Progress::Failed(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(moved) => {
                metrics.short_transfers.increment();
                let whole = moved / GRANULE_BYTES * GRANULE_BYTES;
                let part = moved - whole;
                // Stopping twice at the same byte of a block is what the end of a file looks like.
                let is_end = whole == 0 && part == self.part && self.direction == IoDirection::Read;
                self.advance(whole);
                self.part = part;
                if is_end {
                    return Progress::EndOfFile(self.left - part);
                }
                self.again(whole > 0, || io::Error::from(io::ErrorKind::UnexpectedEof))
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {
                metrics.retries.increment();
                self.again(false, || error)
            }
            Err(error) => Progress::Failed(error),
        }
    }

    /// The slice list, emptied, to be used again.
    pub fn into_slices(mut self) -> Vec<Stretch> {
        self.slices.clear();
        self.slices
    }

    fn again(&mut self, advanced: bool, error: impl FnOnce() -> io::Error) -> Progress {
        self.fruitless = if advanced { 0 } else { self.fruitless + 1 };
        if self.fruitless < FRUITLESS_ATTEMPTS_MAX {
            return Progress::Again;
        }
        Progress::Failed(error())
    }

    fn advance(&mut self, mut bytes: usize) {
        // What follows begins anywhere in a block, so its sums would be none of the record's.
        self.sum_block_bytes = None;
        self.offset += bytes as u64;
        self.left -= bytes;
        let mut gone = 0;
        for slice in &mut self.slices {
            if bytes < slice.length() {
                *slice = slice.skip(bytes);
                break;
            }
            bytes -= slice.length();
            gone += 1;
        }
        self.slices.drain(..gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::AlignedBuffer;

    fn op(direction: IoDirection, buffer: &AlignedBuffer) -> Op {
        let slices = vec![buffer.host_slice(0, 8192).into(), buffer.host_slice(8192, 8192 + 4096 * 3).into()];
        Op::new(direction, 1 << 20, slices, None)
    }

    /// A short transfer is continued where it stopped, at a block boundary, whatever slice that falls in.
    #[test]
    fn a_short_transfer_is_completed() {
        let buffer = AlignedBuffer::new(1 << 16).expect("memory");
        let metrics = Metrics::default();
        let mut op = op(IoDirection::Read, &buffer);
        assert!(matches!(op.complete(Ok(8192 + 5000), &metrics), Progress::Again));
        assert_eq!(op.offset, (1 << 20) + 8192 + 4096);
        assert_eq!(op.slices, vec![Stretch::from(buffer.host_slice(8192 + 4096, 8192 + 4096 * 3))]);
        assert!(matches!(op.complete(Ok(4096 * 2), &metrics), Progress::Done));
        assert_eq!(metrics.snapshot().short_transfers, 1);
    }

    /// The end of a file that is no whole number of blocks is told by one more read, interrupted or not, and
    /// does not take as many as an error is retried.
    #[test]
    fn the_end_of_a_file_inside_a_block_is_recognised() {
        let buffer = AlignedBuffer::new(1 << 16).expect("memory");
        let metrics = Metrics::default();
        let mut op = op(IoDirection::Read, &buffer);
        assert!(matches!(op.complete(Ok(4096 + 904), &metrics), Progress::Again));
        let interrupted = Err(io::Error::from_raw_os_error(libc::EINTR));
        assert!(matches!(op.complete(interrupted, &metrics), Progress::Again));
        let missing = 8192 + 4096 * 3 - 4096 - 904;
        assert!(matches!(op.complete(Ok(904), &metrics), Progress::EndOfFile(left) if left == missing));
    }

    /// EINTR and EAGAIN are retried, but not for ever; the end of a file and other errors are told apart.
    #[test]
    fn interrupted_transfers_are_retried_within_a_bound() {
        let buffer = AlignedBuffer::new(1 << 16).expect("memory");
        let metrics = Metrics::default();
        let mut op = op(IoDirection::Write, &buffer);
        let mut attempts = 0;
        while matches!(op.complete(Err(io::Error::from_raw_os_error(libc::EINTR)), &metrics), Progress::Again)
        {
            attempts += 1;
        }
        assert_eq!(attempts, FRUITLESS_ATTEMPTS_MAX - 1);
        assert!(matches!(op.complete(Ok(0), &metrics), Progress::Failed(_)));
        op.direction = IoDirection::Read;
        assert!(matches!(op.complete(Ok(0), &metrics), Progress::EndOfFile(_)));
        assert!(matches!(
            op.complete(Err(io::Error::from_raw_os_error(libc::EIO)), &metrics),
            Progress::Failed(_)
        ));
    }
}
