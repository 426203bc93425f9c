//! Refuses a get that would write the same byte twice.
//!
//! Segments that come in ascending order, as those of one buffer do, are proven apart on the fly.
//! Others are sorted once at the end, in memory that the batch keeps for its next use. Above
//! [`NIXL_STORE_OVERLAP_SEGMENTS_MAX`] segments in a batch, each item is checked by itself alone,
//! so that a submit's time stays bounded.

use super::check::invalid;
use super::constants::NIXL_STORE_OVERLAP_SEGMENTS_MAX;
use crate::error::{Error, Result, Status};

/// Segments for which there is room from the first one on: a batch of 16 chunks of 32 layers, K and V.
const RANGES_MIN: usize = 1024;

/// First byte and first byte behind.
type Range = (usize, usize);

/// Collects the segments of a batch.
pub(super) struct OverlapCheck {
    held: Vec<Range>,
    /// Index of the current item's first segment among those held.
    item_start: usize,
    /// Whether earlier items were let go because the batch has too many segments.
    per_item: bool,
    /// Whether everything held ascends without overlap.
    ascending: bool,
    end_last: usize,
}

impl OverlapCheck {
    /// Starts an empty check, in the memory that `room` has allocated; what it holds is dropped.
    pub(super) fn new(mut room: Vec<Range>) -> OverlapCheck {
        room.clear();
        OverlapCheck { held: room, item_start: 0, per_item: false, ascending: true, end_last: 0 }
    }

    /// Adds a segment of the current item; `start + length` was checked not to wrap.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`]; [`Status::InvalidArgument`] if earlier items overlap.
    pub(super) fn segment(&mut self, start: usize, length: usize) -> Result<()> {
        if self.held.len() - self.item_start >= NIXL_STORE_OVERLAP_SEGMENTS_MAX {
            // Unreachable: an item has no more segments than this.
            return Err(Error::new(Status::Internal, "too many segments in one item"));
        }
        if self.held.len() >= NIXL_STORE_OVERLAP_SEGMENTS_MAX {
            self.finish_earlier_items()?;
        }
        let end = start.saturating_add(length);
        self.ascending &= start >= self.end_last;
        self.end_last = end;
        self.push((start, end))
    }

    /// Ends the current item.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if segments overlap, as far as it is known already.
    pub(super) fn item_ends(&mut self) -> Result<()> {
        if self.per_item {
            self.finish()?;
            self.clear();
        }
        self.item_start = self.held.len();
        Ok(())
    }

    /// Ends the batch.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if segments overlap.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.ascending {
            return Ok(());
        }
        check_apart(&mut self.held)
    }

    /// Gives the memory back, for the next check.
    pub(super) fn into_room(self) -> Vec<Range> {
        self.held
    }

    /// Checks the segments of the items before the current one against each other, and forgets them.
    fn finish_earlier_items(&mut self) -> Result<()> {
        self.per_item = true;
        if let Some(earlier) = self.held.get_mut(..self.item_start) {
            check_apart(earlier)?;
        }
        self.held.drain(..self.item_start);
        self.item_start = 0;
        self.ascending = false;
        Ok(())
    }

    fn push(&mut self, range: Range) -> Result<()> {
        if self.held.len() == self.held.capacity() {
            self.held
                .try_reserve(self.held.len().max(RANGES_MIN))
                .map_err(|_| Error::new(Status::OutOfMemory, "no memory to check segments for overlap"))?;
        }
        self.held.push(range);
        Ok(())
    }

    fn clear(&mut self) {
        self.held.clear();
        self.ascending = true;
        self.end_last = 0;
    }
}

fn check_apart(ranges: &mut [Range]) -> Result<()> {
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(_, end), (start, _)] = pair
            && start < end
        {
            return Err(invalid(format!("two segments of a get overlap at {start:#x}")));
        }
    }
    Ok(())
}

/// If two segments shared a byte, timing would decide what it holds in the end. Each place where that could slip
/// through is tried: within an item, across items, at the bound and beyond it.
#[cfg(test)]
mod tests {
    use super::*;

    fn check(items: &[Vec<(usize, usize)>]) -> bool {
        let mut check = OverlapCheck::new(Vec::new());
        for item in items {
            for (start, length) in item {
                if check.segment(*start, *length).is_err() {
                    return false;
                }
            }
            if check.item_ends().is_err() {
                return false;
            }
        }
        check.finish().is_ok()
    }

    /// Disjoint segments are accepted in any order, touching ones too.
    #[test]
    fn disjoint_segments_pass_in_any_order() {
        assert!(check(&[vec![(0, 10), (10, 10)], vec![(20, 1)]]));
        assert!(check(&[vec![(20, 1), (10, 10)], vec![(0, 10)]]));
        assert!(check(&[(0..5000).rev().map(|i| (i * 64, 64)).collect()]));
    }

    /// One shared byte is enough, within an item and across items, few segments or many.
    #[test]
    fn one_shared_byte_is_refused() {
        assert!(!check(&[vec![(0, 10), (9, 10)]]));
        assert!(!check(&[vec![(9, 10), (0, 10)]]));
        assert!(!check(&[vec![(0, 10)], vec![(5, 1)]]));
        assert!(!check(&[vec![(5, 1), (0, 100)]]));
        for count in [RANGES_MIN - 1, RANGES_MIN, RANGES_MIN + 1, 5000] {
            let mut item: Vec<(usize, usize)> = (0..count).rev().map(|i| (i * 64, 64)).collect();
            item.push((32 * 64 + 63, 1));
            assert!(!check(&[item]), "{count}");
        }
    }

    /// Beyond the bound a batch is still checked item by item, whatever came before.
    #[test]
    fn a_huge_batch_is_checked_item_by_item() {
        let ascending =
            |from: usize, count: usize| (from..from + count).map(|i| (i * 8, 8)).collect::<Vec<_>>();
        let full = NIXL_STORE_OVERLAP_SEGMENTS_MAX;
        let mut apart = vec![ascending(0, full / 2), ascending(full / 2, full), ascending(2 * full, 10)];
        assert!(check(&apart));
        apart.push(vec![(8, 8), (0, 9)]);
        assert!(!check(&apart));
        apart.pop();
        apart.push(vec![(0, 8), (8, 8)]);
        assert!(check(&apart), "only across items, which is beyond the bound");
    }

    /// What came before the bound was reached is not forgotten unchecked.
    #[test]
    fn a_huge_batch_is_checked_in_its_first_items_too() {
        let ascending =
            |from: usize, count: usize| (from..from + count).map(|i| (i * 8, 8)).collect::<Vec<_>>();
        let full = NIXL_STORE_OVERLAP_SEGMENTS_MAX;
        assert!(!check(&[vec![(8, 8), (0, 9)], ascending(full, full - 2), ascending(0, 1)]));
        assert!(!check(&[vec![(8, 8), (0, 9)], ascending(full, full - 3), ascending(0, 5)]));
        assert!(check(&[vec![(8, 8), (0, 8)], ascending(full, full - 2), ascending(0, 1)]));
    }
}
