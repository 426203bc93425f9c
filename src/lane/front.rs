//! Gets from the front: what is proven and in place can be used while the rest is on its way.
//!
//! The trailer is read first, so that each block can be compared as it lands. What such a get tells is how many of its bytes, from
//! the first on, have been: pieces land in any order, and one that comes early counts when those before it have come.

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
    pub fn words(blocks: usize) -> usize {
        blocks.div_ceil(WORD_BLOCKS)
    }

    /// Notes that a block is in place.
    pub fn mark(&mut self, block: usize) {
        if let Some(word) = self.in_place.get_mut(block / WORD_BLOCKS) {
            *word |= 1 << (block % WORD_BLOCKS);
        }
    }

    /// Whether a block is in place.
    pub fn is_in_place(&self, block: usize) -> bool {
        self.in_place.get(block / WORD_BLOCKS).is_some_and(|word| word >> (block % WORD_BLOCKS) & 1 == 1)
    }
}
