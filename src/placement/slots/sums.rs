//! Checksums of what lies in the slots, in memory, so that a get need not read its record's trailer.
//!
//! A slot has a row: its mark, then a number for each checksum block of the largest object. The mark is the generation of the record
//! that the numbers are of, [`UNKNOWN`] while there are none, or [`FILLING`] while somebody writes them. The rules:
//!
//! - Who fills a row keeps the slot from changing hands meanwhile: a put that is not published yet, or a get by its lease. So does who
//!   reads one.
//! - A put that takes a slot empties its row before it writes anything there. Nobody has a lease on the slot then.
//! - A row is filled only if it is empty, and by one at a time. Its generation comes last (Release), so that who finds it (Acquire)
//!   finds its sums.
//!
//! Slots for which there is no memory have no row; their gets read trailers.

use std::io;

use crate::layout::record;
use crate::memory::Zeroed;
use crate::placement::BlockSums;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::room;

/// The mark of a row without sums; what memory begins with. No put has this generation.
const UNKNOWN: u64 = 0;
/// The mark of a row that is being filled. The generation of the put at which they run out, whose sums are not kept.
const FILLING: u64 = u64::MAX;
/// Bytes of one number.
const WORD_BYTES: u64 = size_of::<AtomicU64>() as u64;

/// The rows of a pool's slots, or of the first of them.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// `None`: no slot has a row.
    words: Option<Zeroed>,
    /// Numbers of a row, its mark included.
    row_words: usize,
}

impl Sums {
    /// Rows for `slots` slots with objects of up to `chunk_bytes`, of as many as take no more than `bytes_max`.
    ///
    /// # Errors
    /// `ENOMEM`; what `mmap(2)` answers.
    pub(super) fn new(slots: u32, chunk_bytes: u64, bytes_max: u64) -> io::Result<Sums> {
        let blocks = record::block_count(chunk_bytes).unwrap_or_default() as u64;
        let row_words = blocks.saturating_add(1);
        let rows = (bytes_max / row_words.saturating_mul(WORD_BYTES)).min(u64::from(slots));
        if blocks == 0 || rows == 0 {
            return Ok(Sums::default());
        }
        // Both are at most `bytes_max`, or memory has no such size.
        let too_large = |_| room::out_of_memory();
        let bytes = usize::try_from(rows.saturating_mul(row_words).saturating_mul(WORD_BYTES));
        let bytes = bytes.map_err(too_large)?;
        let words = room::take(bytes, || Zeroed::new(bytes / WORD_BYTES as usize))?;
        Ok(Sums { words: Some(words), row_words: usize::try_from(row_words).map_err(too_large)? })
    }

    /// Slots that have a row; the first ones.
    pub(super) fn slots(&self) -> usize {
        self.words.as_ref().map_or(0, |words| words.all().len() / self.row_words)
    }

    /// Nothing is known of a slot from here on. By a put that has just taken it.
    pub(super) fn forget(&self, slot: u32) {
        if let Some((mark, _)) = self.row(slot) {
            // What orders this before the next filling, and behind the last reading, is what makes the slot change hands.
            mark.store(UNKNOWN, Ordering::Relaxed);
        }
    }

    /// Takes in the sums of the record of that generation, all of them, unless they are known. By the put that wrote it, before it is
    /// published, or under a lease.
    pub(super) fn learn(
        &self,
        slot: u32,
        generation: u64,
        count: usize,
        sum_of: impl Fn(usize) -> Option<u64>,
    ) {
        let Some((mark, numbers)) = self.row(slot) else { return };
        let Some(numbers) = numbers.get(..count) else { return };
        if matches!(generation, UNKNOWN | FILLING) {
            return;
        }
        // One that is filled has these sums: that of any other record was emptied by the put of this one.
        if mark.compare_exchange(UNKNOWN, FILLING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        for (block, number) in numbers.iter().enumerate() {
            let Some(sum) = sum_of(block) else { return mark.store(UNKNOWN, Ordering::Release) };
            number.store(sum, Ordering::Relaxed);
        }
        mark.store(generation, Ordering::Release);
    }

    /// The sums of the record of that generation, which has `length` bytes. Under a lease.
    #[inline]
    pub(super) fn known(&self, slot: u32, generation: u64, length: u64) -> Option<BlockSums<'_>> {
        let (mark, numbers) = self.row(slot)?;
        if mark.load(Ordering::Acquire) != generation || matches!(generation, UNKNOWN | FILLING) {
            return None;
        }
        numbers.get(..record::block_count(length)?).map(BlockSums::of)
    }

    #[inline]
    fn row(&self, slot: u32) -> Option<(&AtomicU64, &[AtomicU64])> {
        let start = (slot as usize).checked_mul(self.row_words)?;
        let row = self.words.as_ref()?.all().get(start..)?.get(..self.row_words)?;
        row.split_first()
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    /// Four blocks a slot.
    const CHUNK_BYTES: u64 = 256 << 10;
    /// Bytes of a row of so many blocks.
    const ROW_BYTES: u64 = 5 * WORD_BYTES;
    const PLENTY: u64 = 1 << 20;

    fn sums(slots: u32) -> Sums {
        Sums::new(slots, CHUNK_BYTES, PLENTY).unwrap()
    }

    fn learn(sums: &Sums, slot: u32, generation: u64, of: &[u64]) {
        sums.learn(slot, generation, of.len(), |block| of.get(block).copied());
    }

    fn known(sums: &Sums, slot: u32, generation: u64, length: u64) -> Option<Vec<u64>> {
        sums.known(slot, generation, length).map(|sums| (0..).map_while(|block| sums.get(block)).collect())
    }

    #[test]
    fn what_was_learnt_is_known_of_that_record_and_no_other() {
        let sums = sums(3);
        assert_eq!(known(&sums, 1, 7, CHUNK_BYTES), None);
        learn(&sums, 1, 7, &[10, 11, 12, 13]);
        assert_eq!(known(&sums, 1, 7, CHUNK_BYTES), Some(vec![10, 11, 12, 13]));
        // As many as the object has blocks.
        assert_eq!(known(&sums, 1, 7, 65_537), Some(vec![10, 11]));
        for (slot, generation) in
            [(1, 6), (1, 8), (0, 7), (2, 7), (3, 7), (u32::MAX, 7), (1, 0), (1, u64::MAX)]
        {
            assert_eq!(known(&sums, slot, generation, CHUNK_BYTES), None, "slot {slot}, {generation}");
        }
    }

    /// A put that takes the slot comes between: then the old sums are of no use to anybody, its own as little before they are known.
    #[test]
    fn a_slot_that_changes_hands_knows_nothing() {
        let sums = sums(2);
        learn(&sums, 0, 7, &[1, 2, 3, 4]);
        learn(&sums, 1, 8, &[5, 6, 7, 8]);
        sums.forget(0);
        assert_eq!((known(&sums, 0, 7, CHUNK_BYTES), known(&sums, 0, 9, CHUNK_BYTES)), (None, None));
        assert_eq!(known(&sums, 1, 8, CHUNK_BYTES), Some(vec![5, 6, 7, 8]), "another slot's stay");
        learn(&sums, 0, 9, &[9]);
        assert_eq!((known(&sums, 0, 7, 1), known(&sums, 0, 9, 1)), (None, Some(vec![9])));
    }

    /// What is known is not written again, so that nobody reads what somebody else writes; and a row of another record, which cannot
    /// be, is left alone.
    #[test]
    fn only_an_empty_row_is_filled() {
        let sums = sums(1);
        learn(&sums, 0, 7, &[1, 2]);
        learn(&sums, 0, 7, &[3, 4]);
        learn(&sums, 0, 8, &[5, 6]);
        assert_eq!(known(&sums, 0, 7, 70_000), Some(vec![1, 2]));
        assert_eq!(known(&sums, 0, 8, 70_000), None);
    }

    /// While one fills a row nothing is known, and no other begins.
    #[test]
    fn a_row_is_filled_by_one_at_a_time_and_known_at_the_end() {
        let sums = sums(1);
        sums.learn(0, 7, 2, |block| {
            assert!(sums.known(0, 7, 70_000).is_none(), "known before block {block} is there");
            learn(&sums, 0, 7, &[3, 4]);
            Some(block as u64)
        });
        assert_eq!(known(&sums, 0, 7, 70_000), Some(vec![0, 1]));
    }

    /// Generations that are marks, sums that are too many or not all there.
    #[test]
    fn what_does_not_fit_is_not_learnt() {
        let sums = sums(1);
        for generation in [UNKNOWN, FILLING] {
            learn(&sums, 0, generation, &[1]);
            assert_eq!(known(&sums, 0, generation, 1), None);
        }
        learn(&sums, 0, 7, &[1, 2, 3, 4, 5]);
        sums.learn(0, 7, 3, |block| (block < 2).then_some(1));
        assert_eq!(known(&sums, 0, 7, 1), None);
        learn(&sums, 0, 7, &[6]);
        assert_eq!(known(&sums, 0, 7, 1), Some(vec![6]), "what failed is in nobody's way");
        assert_eq!(known(&sums, 0, 7, CHUNK_BYTES + 1), None, "more blocks than a row has");
    }

    /// The bound holds whatever the sizes are, and the first slots are those that have something.
    #[test]
    fn the_first_slots_that_fit_have_rows() {
        for (bytes_max, rows) in [
            (0, 0),
            (ROW_BYTES - 1, 0),
            (ROW_BYTES, 1),
            (3 * ROW_BYTES + 39, 3),
            (10 * ROW_BYTES, 10),
            (u64::MAX, 10),
        ] {
            let sums = Sums::new(10, CHUNK_BYTES, bytes_max).unwrap();
            assert_eq!(sums.slots(), rows, "{bytes_max}");
            let words = sums.words.as_ref().map_or(0, |words| words.all().len() as u64);
            assert!(words * WORD_BYTES <= bytes_max, "{words} numbers in {bytes_max} bytes");
            for slot in 0..10 {
                learn(&sums, slot, 7, &[1]);
                assert_eq!(known(&sums, slot, 7, 1).is_some(), (slot as usize) < rows, "{slot} of {rows}");
                sums.forget(slot);
            }
        }
        // One row of a chunk of 1 TiB is larger than the usual bound.
        assert_eq!(Sums::new(1, 1 << 40, 64 << 20).unwrap().slots(), 0);
        assert_eq!(Sums::new(u32::MAX, 0, u64::MAX).unwrap().slots(), 0);
    }

    #[test]
    fn more_than_there_is_is_an_error() {
        let error = Sums::new(u32::MAX, 1 << 40, u64::MAX).map(drop).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    }
}

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod model {
    use super::*;
    use crate::sync::{Arc, thread};

    /// Schedules that are tried.
    const SCHEDULES: usize = 2000;

    /// Two gets of one record learn what it has while a third looks: that finds all of it, or nothing.
    #[test]
    fn shuttle_what_is_known_is_all_there() {
        shuttle::check_random(
            || {
                let sums = Arc::new(Sums::new(1, 256 << 10, 1 << 20).unwrap());
                let learner = |sums: &Arc<Sums>| {
                    let sums = Arc::clone(sums);
                    thread::spawn(move || sums.learn(0, 7, 4, |block| Some(block as u64 + 1)))
                };
                let learners = [learner(&sums), learner(&sums)];
                if let Some(known) = sums.known(0, 7, 256 << 10) {
                    assert!((0..4).all(|block| known.get(block) == Some(block as u64 + 1)));
                }
                learners.into_iter().for_each(|learner| learner.join().unwrap());
                assert!(sums.known(0, 7, 1).is_some());
            },
            SCHEDULES,
        );
    }
}
