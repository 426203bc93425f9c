//! Gets from the front: what is proven and in place can be used while the rest is on its way.
//!
//! The trailer is read first, so that each block can be compared as it lands. What such a get tells is how many of its bytes, from
//! the first on, have been: pieces land in any order, and one that comes early counts when those before it have come.

use super::Lane;
use super::job::{Job, Piece, Proof, Work};
use super::plan::blocks_in;
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES};
use crate::placement::Placement;

/// Blocks of one word of [`Front::in_place`].
const WORD_BLOCKS: usize = u64::BITS as usize;

/// How far one get has come.
pub(super) struct Front {
    /// The sums of the blocks that the get covers, as the trailer has them; empty until that has proven right.
    pub expected: Vec<u64>,
    /// A bit for each block that is summed and where the caller wants it.
    pub in_place: Vec<u64>,
    /// Blocks, from the first on, that are proven too.
    pub proven: usize,
}

impl Front {
    /// Words that `blocks` blocks take.
    pub(super) fn words(blocks: usize) -> usize {
        blocks.div_ceil(WORD_BLOCKS)
    }

    fn mark(&mut self, block: usize) {
        if let Some(word) = self.in_place.get_mut(block / WORD_BLOCKS) {
            *word |= 1 << (block % WORD_BLOCKS);
        }
    }

    fn is_in_place(&self, block: usize) -> bool {
        self.in_place.get(block / WORD_BLOCKS).is_some_and(|word| word >> (block % WORD_BLOCKS) & 1 == 1)
    }
}

impl<P: Placement> Lane<P> {
    /// The trailer has proven right: its sums are what blocks are compared with from here on.
    pub(super) fn expect_sums(&mut self, index: usize) {
        let range = self.jobs[index].trailer_range();
        let Job { work, buffer, .. } = &mut self.jobs[index];
        let Work::Get(get) = work else { return };
        let (Some(front), Some(buffer), Proof::Trailer { object_bytes }) =
            (&mut get.front, buffer, get.proof)
        else {
            return;
        };
        let Ok(trailer) = record::decode_again(&buffer.as_slice()[range]) else { return };
        front.expected.clear();
        // There is room for as many.
        front.expected.extend(
            blocks_in(get.span.clone(), object_bytes).filter_map(|(block, _)| trailer.block_checksum(block)),
        );
        self.advance_front(index);
    }

    /// A piece is summed and where the caller wants it.
    pub(super) fn in_place(&mut self, index: usize, piece: &Piece) {
        let job = &mut self.jobs[index];
        let end = if piece.with_tail { job.extent.padded_bytes } else { piece.body.end };
        let Work::Get(get) = &mut job.work else { return };
        let first = (get.span.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
        // A trailer by itself begins where the payload ends.
        let Some(front) = get.front.as_mut().filter(|_| piece.body.start < end) else { return };
        for (block, _) in blocks_in(piece.body.start..end, end) {
            front.mark(block - first);
        }
        self.advance_front(index);
    }

    /// Tells how far the front is, if it has come further.
    fn advance_front(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        let Work::Get(get) = &mut job.work else { return };
        let Some(object_bytes) = get.proof.object_bytes().filter(|_| job.failure.is_none()) else { return };
        let is_waived = get.proof.is_waived();
        let Some(front) = &mut get.front else { return };
        let before = front.proven;
        while front.is_in_place(front.proven)
            && (is_waived
                || front
                    .expected
                    .get(front.proven)
                    .is_some_and(|sum| job.sums.get(front.proven) == Some(sum)))
        {
            front.proven += 1;
        }
        if front.proven > before {
            let end = get.span.start + (front.proven * CHECKSUM_BLOCK_BYTES) as u64;
            let end = end.min(get.want.end).min(object_bytes);
            job.guard.advance(end.saturating_sub(get.want.start));
        }
        // What is in place and did not count is not what was stored.
        if front.is_in_place(front.proven) && front.proven < front.expected.len() {
            job.damaged("payload checksum does not match");
        }
    }
}
