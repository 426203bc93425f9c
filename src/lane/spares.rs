//! What jobs and requests need and give back. It is set aside when the lane starts, so that moving an item
//! allocates nothing; what turns out too small is replaced once by something larger.

use std::io;

use super::JOBS_MAX;
use super::job::TAIL_BYTES;
use crate::backend::IO_SLICES_MAX;
use crate::layout::record;
use crate::memory::arena::PAGE_BYTES;
use crate::memory::{AlignedBuffer, HostSlice, Stretch};
use crate::sys::room;

/// What is set aside fits the trailer and checksums of a payload of this length, where the placement does not say how
/// long its largest payload is.
const PAYLOAD_BYTES_DEFAULT: u64 = 16 << 20;
/// Where the placement says more than this, what is set aside fits this and is replaced when a longer payload comes: a
/// lane must not take gigabytes for objects that may never come.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;

/// The lists of one lane. Whoever takes something gives it back when its transfer has landed.
pub(super) struct Spares {
    /// For tail block and trailer, one for each job.
    buffers: Vec<AlignedBuffer>,
    /// For the checksums of a job.
    sums: Vec<Vec<u64>>,
    /// For the memory of a request. Mostly address space: few requests have as many stretches as may be.
    slices: Vec<Vec<Stretch>>,
}

/// So many of a thing. The list itself may be as long as what it lists.
fn list_of<T>(count: usize, one: impl Fn() -> io::Result<T>) -> io::Result<Vec<T>> {
    let mut list = room::list(count)?;
    for _ in 0..count {
        list.push(one()?);
    }
    Ok(list)
}

impl Spares {
    /// For a lane whose queue takes `depth` requests, and for payloads of up to `payload_bytes`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(depth: usize, payload_bytes: Option<u64>) -> io::Result<Spares> {
        let payload_bytes = payload_bytes.unwrap_or(PAYLOAD_BYTES_DEFAULT).clamp(1, PAYLOAD_BYTES_MAX);
        let trailer_bytes = record::padded(payload_bytes).and_then(record::trailer_bytes).unwrap_or_default();
        let blocks = record::block_count(payload_bytes).unwrap_or_default();
        // A lane takes a get or a put while its queue has room for a request, and mostly pushes one at once. So it works on
        // hardly more gets than the queue takes requests, nor on more puts. A job beyond these allocates what it needs.
        let jobs = JOBS_MAX.min(2 * (depth + 1));
        let buffer_bytes = (TAIL_BYTES + trailer_bytes as usize).next_multiple_of(PAGE_BYTES);
        // A page-aligned buffer takes up to a page more.
        let job_bytes = buffer_bytes + PAGE_BYTES + blocks * size_of::<u64>();
        let request_bytes = IO_SLICES_MAX * size_of::<Stretch>();
        room::take(jobs * job_bytes + (depth + 1) * request_bytes, || {
            Ok(Spares {
                buffers: list_of(jobs, || AlignedBuffer::new(buffer_bytes))?,
                sums: list_of(jobs, || room::list(blocks))?,
                // One more is being filled while all others are under way.
                slices: list_of(depth + 1, || room::list(IO_SLICES_MAX))?,
            })
        })
    }

    /// A buffer of at least `bytes`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn buffer(&mut self, bytes: usize) -> io::Result<AlignedBuffer> {
        match self.buffers.iter().rposition(|buffer| buffer.len() >= bytes) {
            Some(position) => Ok(self.buffers.swap_remove(position)),
            None => {
                // The new one will come back in the place of a small one.
                drop(self.buffers.pop());
                AlignedBuffer::new(bytes)
            }
        }
    }

    /// Zeroed room for the checksums of `blocks` blocks.
    pub(super) fn sums(&mut self, blocks: usize) -> Vec<u64> {
        let mut sums = self.sums.pop().unwrap_or_default();
        sums.clear();
        sums.resize(blocks, 0);
        sums
    }

    /// An empty list of memory.
    pub(super) fn slices(&mut self) -> Vec<Stretch> {
        self.slices.pop().unwrap_or_default()
    }

    /// A list of this one stretch.
    pub(super) fn one_slice(&mut self, slice: HostSlice) -> Vec<Stretch> {
        let mut slices = self.slices();
        slices.push(slice.into());
        slices
    }

    /// Takes back what a job had.
    pub(super) fn keep(&mut self, buffer: Option<AlignedBuffer>, sums: Vec<u64>) {
        buffer.into_iter().for_each(|buffer| keep(&mut self.buffers, buffer));
        keep(&mut self.sums, sums);
    }

    /// Takes back a list of memory.
    pub(super) fn keep_slices(&mut self, mut slices: Vec<Stretch>) {
        slices.clear();
        keep(&mut self.slices, slices);
    }
}

/// Keeps a thing for another use unless there are enough.
fn keep<T>(spares: &mut Vec<T>, spare: T) {
    if spares.len() < spares.capacity() {
        spares.push(spare);
    }
}
