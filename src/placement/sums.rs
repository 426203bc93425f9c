//! Checksums that need not be read from storage.

use crate::sync::{AtomicU64, Ordering};

/// The checksums of a record's blocks, in memory. They stay as they are for as long as the claim is held that they were asked
/// for with.
#[derive(Clone, Copy, Debug)]
pub struct BlockSums<'a>(&'a [AtomicU64]);

impl<'a> BlockSums<'a> {
    /// These, one for each block.
    pub(super) fn of(sums: &'a [AtomicU64]) -> BlockSums<'a> {
        BlockSums(sums)
    }

    /// That of block `block`; `None` past the last.
    #[inline]
    pub fn get(&self, block: usize) -> Option<u64> {
        // They were published before this was made.
        self.0.get(block).map(|sum| sum.load(Ordering::Relaxed))
    }
}
