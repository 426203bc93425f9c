//! The segments of a test's host memory, mirrored in memory of another kind: so every test of the suite is also one of that
//! kind. Between and around the mirrored segments lie bytes that nobody may change.

use nixl_store::capi::*;

use super::cuda::{Block, Kind, driver};

/// What lies around the segments.
const GUARD: u8 = 0xA7;
const GUARD_BYTES: usize = 64;
const PAGE: usize = 4096;

/// One segment: where it is in the test's memory and in the block.
struct Span {
    host: *mut u8,
    at: usize,
    length: usize,
}

/// Segments in a block of memory.
pub struct Mirror {
    block: Block,
    spans: Vec<Span>,
    bytes: usize,
    /// Whether the segments are to be read and not written.
    is_source: bool,
}

// SAFETY: the host's side is the test's memory, which outlives the batch, and is left alone until the batch has ended.
unsafe impl Send for Mirror {}

impl Mirror {
    /// Moves the segments into memory of this kind: their addresses change, their place in a page and their bytes do not.
    /// `None`: they are to stay where they are.
    pub fn of(kind: Kind, segments: &mut [nixl_store_segment_t], is_source: bool) -> Option<Mirror> {
        if kind == Kind::Host || segments.is_empty() {
            return None;
        }
        let (mut spans, mut end) = (Vec::new(), 0);
        for segment in segments.iter() {
            let host = segment.address.cast::<u8>();
            let mut at = (end + GUARD_BYTES) / PAGE * PAGE + host.addr() % PAGE;
            if at < end + GUARD_BYTES {
                at += PAGE;
            }
            let length = usize::try_from(segment.length).unwrap();
            spans.push(Span { host, at, length });
            end = at + length;
        }
        let bytes = end + GUARD_BYTES;
        let block = driver().allocate(kind, 0, bytes);
        let mut image = vec![GUARD; bytes];
        for (span, segment) in spans.iter().zip(segments.iter_mut()) {
            // SAFETY: the test's memory is valid, and left alone by the test until the batch has ended.
            let bytes = unsafe { std::slice::from_raw_parts(span.host, span.length) };
            image[span.at..span.at + span.length].copy_from_slice(bytes);
            segment.address = std::ptr::without_provenance_mut(block.address() as usize + span.at);
        }
        block.write(0, &image);
        Some(Mirror { block, spans, bytes, is_source })
    }

    /// Brings what is there now into the test's memory, and asserts that nothing else was changed.
    pub fn give_back(&self) {
        let mut image = vec![0; self.bytes];
        self.block.read(0, &mut image);
        let mut end = 0;
        for span in &self.spans {
            assert!(
                image[end..span.at].iter().all(|byte| *byte == GUARD),
                "bytes before a segment were changed"
            );
            end = span.at + span.length;
            let part = &image[span.at..end];
            if self.is_source {
                // SAFETY: as in `of`.
                let source = unsafe { std::slice::from_raw_parts(span.host, span.length) };
                assert!(part == source, "a source was changed");
            } else {
                // SAFETY: as in `of`; the test has lent the memory to be written.
                unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), span.host, span.length) };
            }
        }
        assert!(image[end..].iter().all(|byte| *byte == GUARD), "bytes behind the segments were changed");
    }
}
