//! Bytes land: from the socket or a buffer into the caller's slices, summed block by block while they are in the cache.

use std::io::IoSliceMut;

use crate::memory::{HostSlice, Stretch, bytes};
use crate::s3::payload::Landing;

/// Slices that one read is spread over.
pub const SLICES_PER_READ_MAX: usize = 16;
/// Bytes of one read: what lands stays in a core's second cache until it was summed.
const READ_BYTES_MAX: usize = 256 << 10;

/// Where the next byte lands.
#[derive(Debug)]
pub struct Cursor {
    landing: Landing,
    /// Bytes that are to land, not beyond the capacity.
    wanted: usize,
    /// Bytes that have landed.
    landed: usize,
    /// The slice that the next byte goes to, and where in it.
    slice: usize,
    offset: usize,
    /// As the checksums see the slices; empty if none are wanted.
    stretches: Vec<Stretch>,
    /// Bytes that `sums` covers.
    summed: usize,
    sums: Vec<u64>,
    /// For a block that lies in several slices.
    scratch: Vec<u8>,
}

impl Cursor {
    /// A landing of the first `wanted` bytes, or of fewer where there is less room.
    pub fn new(landing: Landing, wanted: usize) -> Cursor {
        let wanted = wanted.min(landing.capacity());
        let summed = landing.sum_block_bytes.is_some();
        let stretches =
            if summed { landing.slices.iter().copied().map(Stretch::from).collect() } else { vec![] };
        Cursor {
            landing,
            wanted,
            landed: 0,
            slice: 0,
            offset: 0,
            stretches,
            summed: 0,
            sums: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Bytes that have yet to land.
    pub fn missing(&self) -> usize {
        self.wanted - self.landed
    }

    /// The memory for the next bytes, the first so many of the buffers; none once all have landed. Whoever fills it says so
    /// to [`Cursor::advance`].
    pub fn room(&mut self) -> ([IoSliceMut<'_>; SLICES_PER_READ_MAX], usize) {
        let mut buffers = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let (mut count, mut offset) = (0, self.offset);
        let mut left = self.missing().min(READ_BYTES_MAX);
        for slice in &self.landing.slices[self.slice..] {
            if left == 0 || count == SLICES_PER_READ_MAX {
                break;
            }
            let part = part_of(*slice, offset, left);
            (offset, left) = (0, left - part.length);
            if part.length > 0 {
                // SAFETY: the memory is valid for writing, and nobody else's, while the lease in `self.landing` lasts, as the
                // maker of the HostPtr vouched. The slices do not overlap, and `self` is borrowed while the buffers are.
                let bytes = unsafe { std::slice::from_raw_parts_mut(part.pointer.as_ptr(), part.length) };
                buffers[count] = IoSliceMut::new(bytes);
                count += 1;
            }
        }
        (buffers, count)
    }

    /// Copies `source` into place, which has no more than is missing.
    pub fn put(&mut self, mut source: &[u8]) {
        while !source.is_empty() && self.missing() > 0 {
            let Some(slice) = self.landing.slices.get(self.slice) else { return };
            let part = part_of(*slice, self.offset, source.len().min(self.missing()));
            // SAFETY: as in `room`; `source` is a buffer of ours, and as long.
            unsafe {
                std::ptr::copy_nonoverlapping(source.as_ptr(), part.pointer.as_ptr(), part.length);
            }
            source = &source[part.length..];
            self.advance(part.length);
        }
    }

    /// Counts `bytes` more as landed, and sums the blocks that are whole now.
    pub fn advance(&mut self, bytes: usize) {
        self.landed += bytes;
        self.offset += bytes;
        while let Some(slice) = self.landing.slices.get(self.slice)
            && self.offset >= slice.length
        {
            self.offset -= slice.length;
            self.slice += 1;
        }
        if let Some(block) = self.landing.sum_block_bytes {
            let block = block.max(1);
            while self.summed + block <= self.landed {
                self.sum(self.summed + block);
            }
        }
    }

    /// The sums, the short last block's too.
    pub fn finish(mut self) -> Vec<u64> {
        if self.landing.sum_block_bytes.is_some() && self.summed < self.landed {
            self.sum(self.landed);
        }
        self.sums
    }

    fn sum(&mut self, to: usize) {
        if self.stretches.len() > 1 && self.scratch.len() < to - self.summed {
            self.scratch.resize(to - self.summed, 0);
        }
        // All stretches are the host's.
        if let Ok(sum) = bytes::checksum(&self.stretches, self.summed, to, &mut self.scratch) {
            self.sums.push(sum);
        }
        self.summed = to;
    }
}

/// At most `length` bytes of `slice` from `offset` on.
fn part_of(slice: HostSlice, offset: usize, length: usize) -> HostSlice {
    let rest = slice.skip(offset);
    HostSlice { pointer: rest.pointer, length: rest.length.min(length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::stretch::testing::pointer_to;
    use crate::s3::payload::Lease;

    const BLOCK_BYTES: usize = 64;

    /// However slices, reads and blocks are cut, every byte is where it belongs, none is beyond the landing, and the sums are
    /// those of the blocks.
    #[test]
    fn bytes_land_in_order_and_are_summed_by_block() {
        let sent: Vec<u8> = (0..1000u32).map(|at| (at * 7 % 251) as u8).collect();
        for (cut, step, wanted) in
            [(1000, 1000, 1000), (1, 3, 640), (63, 64, 999), (64, 63, 1000), (700, 65, 1), (333, 1, 0)]
        {
            let mut memory = vec![0xEE; 1003];
            let mut slices = vec![];
            for part in memory[..1000].chunks_mut(cut) {
                slices.push(HostSlice { pointer: pointer_to(part), length: part.len() });
                slices.push(HostSlice { pointer: pointer_to(part), length: 0 });
            }
            let landing = Landing { slices, lease: Lease::new(()), sum_block_bytes: Some(BLOCK_BYTES) };
            let mut cursor = Cursor::new(landing, wanted);
            let mut at = 0;
            while cursor.missing() > 0 {
                // By turns as from a socket and from a buffer.
                let count = if at % 2 == 0 {
                    let (mut room, slices) = cursor.room();
                    let mut left = step.min(wanted - at);
                    let mut count = 0;
                    for buffer in &mut room[..slices] {
                        let length = buffer.len().min(left);
                        buffer[..length].copy_from_slice(&sent[at + count..at + count + length]);
                        (left, count) = (left - length, count + length);
                    }
                    cursor.advance(count);
                    count
                } else {
                    let count = step.min(wanted - at);
                    cursor.put(&sent[at..at + count]);
                    count
                };
                at += count;
            }
            assert_eq!(cursor.room().1, 0);
            cursor.put(b"more");
            let sums: Vec<u64> = sent[..wanted].chunks(BLOCK_BYTES).map(bytes::checksum_bytes).collect();
            assert_eq!(cursor.finish(), sums, "{cut} {step} {wanted}");
            assert!(memory[..wanted] == sent[..wanted], "{cut} {step} {wanted}");
            assert!(memory[wanted..].iter().all(|byte| *byte == 0xEE), "{cut} {step} {wanted}");
        }
    }
}
