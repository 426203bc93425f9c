//! Memory as an engine hands it over: at any address, in any number of pieces, with guards all around.

use std::ffi::c_void;
use std::fmt::Display;
use std::ops::Range;
use std::ptr;

use nixl_store::capi::*;

use super::payload::{Random, assert_same};

pub const PAGE: usize = 4096;

/// Pages of its own between two that nobody may touch.
pub struct Memory {
    mapping: *mut u8,
    mapped: usize,
    length: usize,
}

// SAFETY: the mapping is owned and only reached through `self`, or by the store while the test leaves it alone.
unsafe impl Send for Memory {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Memory {}

impl Memory {
    /// At least `length` zero bytes, page-aligned.
    pub fn new(length: usize) -> Memory {
        let length = length.next_multiple_of(PAGE).max(PAGE);
        let mapped = length + 2 * PAGE;
        // SAFETY: a fresh anonymous mapping harms nothing.
        let mapping = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(ptr::null_mut(), mapped, libc::PROT_NONE, flags, -1, 0)
        };
        assert_ne!(mapping, libc::MAP_FAILED);
        let memory = Memory { mapping: mapping.cast(), mapped, length };
        memory.protect(libc::PROT_READ | libc::PROT_WRITE);
        memory
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn address(&self) -> *mut u8 {
        self.mapping.wrapping_add(PAGE)
    }

    /// Changes who may touch the bytes. After `PROT_NONE` whoever does ends the process.
    pub fn protect(&self, protection: libc::c_int) {
        // SAFETY: the pages belong to this mapping.
        let done = unsafe { libc::mprotect(self.address().cast(), self.length, protection) };
        assert_eq!(done, 0, "mprotect: {}", std::io::Error::last_os_error());
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, initialised with zeros, as long.
        unsafe { std::slice::from_raw_parts(self.address(), self.length) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.length) }
    }

    /// A segment of it. Whoever submits it keeps the memory until the batch has ended.
    pub fn segment(&self, range: Range<usize>) -> nixl_store_segment_t {
        assert!(range.start < range.end && range.end <= self.length);
        segment(self.address().wrapping_add(range.start).cast(), range.len())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.mapping.cast(), self.mapped) };
    }
}

/// A segment of host memory.
pub fn segment(address: *mut c_void, length: usize) -> nixl_store_segment_t {
    nixl_store_segment_t {
        address,
        length: length as u64,
        memory_kind: NIXL_STORE_MEMORY_AUTO,
        cuda_device: 0,
        reserved: [0; 2],
    }
}

/// How an object's bytes lie in memory. Offsets and gaps are bytes.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// In one piece that begins `offset` behind a page boundary.
    Whole { offset: usize },
    /// In pieces of one size (the last may be shorter), `gap` apart.
    Even { piece: usize, gap: usize, offset: usize },
    /// In about this many pieces of odd and even sizes, with odd and even gaps.
    Ragged { pieces: usize, seed: u64 },
}

impl Cut {
    fn spans(self, length: usize) -> Vec<Range<usize>> {
        assert!(length > 0);
        let mut spans = Vec::new();
        let (mut at, mut left) = (0, length);
        match self {
            Cut::Whole { offset } => spans.push(offset..offset + length),
            Cut::Even { piece, gap, offset } => {
                at = offset;
                while left > 0 {
                    let part = piece.min(left);
                    spans.push(at..at + part);
                    at += part + gap;
                    left -= part;
                }
            }
            Cut::Ragged { pieces, seed } => {
                let mut random = Random::new(seed);
                let most = (2 * length / pieces).max(1);
                while left > 0 {
                    at += random.between(1, 37);
                    let part = random.between(1, most).min(left);
                    spans.push(at..at + part);
                    at += part;
                    left -= part;
                }
            }
        }
        spans
    }
}

/// The memory of one item, every byte around its pieces known.
pub struct Pieces {
    memory: Memory,
    spans: Vec<Range<usize>>,
    length: usize,
}

impl Pieces {
    /// Room for `length` bytes.
    pub fn new(length: usize, cut: Cut) -> Pieces {
        let spans = cut.spans(length);
        let end = spans.last().map_or(0, |span| span.end);
        let mut memory = Memory::new(end + 1);
        guard_bytes(memory.bytes_mut());
        Pieces { memory, spans, length }
    }

    /// The bytes of an object.
    pub fn holding(object: &[u8], cut: Cut) -> Pieces {
        let mut pieces = Pieces::new(object.len(), cut);
        scatter(object, &pieces.spans, pieces.memory.bytes_mut());
        pieces
    }

    pub fn count(&self) -> usize {
        self.spans.len()
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The pieces as segments. Whoever submits them keeps the memory until the batch has ended.
    pub fn segments(&self) -> Vec<nixl_store_segment_t> {
        self.spans.iter().map(|span| self.memory.segment(span.clone())).collect()
    }

    /// Asserts that the pieces begin with `object` and that every byte behind it and around the pieces is as it was.
    #[track_caller]
    pub fn assert_holds(&self, object: &[u8], what: &dyn Display) {
        let mut wanted = vec![0; self.memory.len()];
        guard_bytes(&mut wanted);
        scatter(object, &self.spans, &mut wanted);
        assert_same(self.memory.bytes(), &wanted, what);
    }

    /// Asserts that the pieces begin with `front`, while what is behind it may be changing.
    #[track_caller]
    pub fn assert_begins(&self, front: &[u8]) {
        let mut at = 0;
        for span in &self.spans {
            let length = span.len().min(front.len() - at);
            let mut there = vec![0u8; length];
            // SAFETY: within the memory, which lives as long as this; the bytes of the front are not written any more.
            unsafe {
                let source = self.memory.address().add(span.start);
                std::ptr::copy_nonoverlapping(source, there.as_mut_ptr(), length);
            }
            assert!(there == front[at..at + length], "{} bytes are said to be in place", front.len());
            at += length;
        }
    }

    /// Asserts that the bytes between and around the pieces are as they were.
    #[track_caller]
    pub fn assert_guards(&self, what: &dyn Display) {
        let mut wanted = vec![0; self.memory.len()];
        guard_bytes(&mut wanted);
        for span in &self.spans {
            wanted[span.clone()].copy_from_slice(&self.memory.bytes()[span.clone()]);
        }
        assert_same(self.memory.bytes(), &wanted, what);
    }
}

fn scatter(object: &[u8], spans: &[Range<usize>], memory: &mut [u8]) {
    let mut rest = object;
    for span in spans {
        let (part, behind) = rest.split_at(span.len().min(rest.len()));
        memory[span.start..span.start + part.len()].copy_from_slice(part);
        rest = behind;
    }
    assert!(rest.is_empty());
}

fn guard_bytes(memory: &mut [u8]) {
    Random::new(0x6a72_6421).fill(memory);
}
