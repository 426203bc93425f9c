//! Memory of a device as an engine hands it over: aligned or not, in pieces, every byte around them known.

use std::ops::Range;

use nixl_store::capi::*;

use crate::common::cuda::{Block, Kind, driver};
use crate::common::payload::assert_same;

/// What every place aligned here is a multiple of: a checksum block, in bytes.
pub const BLOCK: usize = 64 << 10;
/// What nobody has written.
const GUARD: u8 = 0xA7;

/// Pieces of a device's memory. The first byte of it is aligned to a [`BLOCK`].
pub struct OnDevice {
    block: Block,
    base: usize,
    bytes: usize,
    spans: Vec<Range<usize>>,
}

/// `length` bytes in pieces of `piece` bytes (the last may be shorter), `gap` apart, from `offset` on.
pub fn even(length: usize, piece: usize, gap: usize, offset: usize) -> Vec<Range<usize>> {
    let starts = (0..length).step_by(piece).enumerate();
    starts
        .map(|(index, at)| {
            let from = offset + index * (piece + gap);
            from..from + piece.min(length - at)
        })
        .collect()
}

impl OnDevice {
    /// Room for one object in these pieces.
    pub fn new(kind: Kind, device: usize, spans: Vec<Range<usize>>) -> OnDevice {
        let bytes = spans.iter().map(|span| span.end).max().unwrap() + 1;
        let block = driver().allocate(kind, device, bytes + BLOCK);
        let base = (block.address() as usize).next_multiple_of(BLOCK) - block.address() as usize;
        block.write(base, &vec![GUARD; bytes]);
        OnDevice { block, base, bytes, spans }
    }

    /// The bytes of an object.
    pub fn holding(kind: Kind, device: usize, spans: Vec<Range<usize>>, object: &[u8]) -> OnDevice {
        let memory = OnDevice::new(kind, device, spans);
        let mut image = vec![GUARD; memory.bytes];
        memory.scatter(object, &mut image);
        memory.block.write(memory.base, &image);
        memory
    }

    /// In one piece, aligned.
    pub fn whole(object: &[u8]) -> OnDevice {
        OnDevice::holding(Kind::Device, 0, even(object.len(), object.len(), 0, 0), object)
    }

    /// Room for that, aligned.
    pub fn room(bytes: usize) -> OnDevice {
        OnDevice::new(Kind::Device, 0, even(bytes, bytes, 0, 0))
    }

    fn scatter(&self, object: &[u8], image: &mut [u8]) {
        let mut rest = object;
        for span in &self.spans {
            let (part, behind) = rest.split_at(span.len().min(rest.len()));
            image[span.start..span.start + part.len()].copy_from_slice(part);
            rest = behind;
        }
        assert!(rest.is_empty());
    }

    pub fn address(&self) -> *mut u8 {
        std::ptr::without_provenance_mut(self.block.address() as usize + self.base)
    }

    /// The pieces as segments. Whoever submits them keeps the memory until the batch has ended.
    pub fn segments(&self) -> Vec<nixl_store_segment_t> {
        self.spans.iter().map(|span| self.segment(span.clone())).collect()
    }

    /// Any part as a segment.
    pub fn segment(&self, range: Range<usize>) -> nixl_store_segment_t {
        nixl_store_segment_t {
            address: self.address().wrapping_add(range.start).cast(),
            length: range.len() as u64,
            memory_kind: NIXL_STORE_MEMORY_AUTO,
            reserved: [0; 3],
        }
    }

    /// The bytes of a part.
    pub fn read(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = vec![0; range.len()];
        self.block.read(self.base + range.start, &mut bytes);
        bytes
    }

    /// Asserts that the pieces begin with `object`, and that all around them is as it was.
    #[track_caller]
    pub fn assert_holds(&self, object: &[u8], what: &dyn std::fmt::Display) {
        let mut wanted = vec![GUARD; self.bytes];
        self.scatter(object, &mut wanted);
        assert_same(&self.read(0..self.bytes), &wanted, what);
    }
}
