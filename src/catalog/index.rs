//! The sharded index: from a digest to the record of a key.
//!
//! A shard is one mutex over one open-addressing table. A cell of the table is 8 bytes: a 32-bit
//! *tag* (the top of the digest) and the place of the record in the shard's [`Arena`]. A record is
//! read only where the tag agrees, and the caller decides by the record whether it is the one: a
//! shared tag or even a shared digest never mixes up two keys.
//!
//! What a lookup costs is cache misses: one for the cell, two for the record, and the pipeline's
//! stall where the search goes on to a neighbouring cell, which it cannot predict. So the table is
//! kept sparse, about [`LOAD_SIZED_FOR`] percent full.
//!
//! Whether a key is there at all is asked far more often than what it is, so that has an answer of
//! its own: a 64-bit *check* for each cell, by a hash of the caller's choice, in an array apart. It
//! is one cache miss or, as the array of a million keys is 13 MB, none.

use std::collections::TryReserveError;

use crate::sync::{Mutex, MutexGuard, lock};
use crate::sys::prefetch::prefetch;

use super::arena::{Arena, Place};
use super::filled;

/// Most shards of an index, as a power of two.
const SHARD_BITS_MAX: u32 = 6;
/// Keys below which splitting a shard further gains nothing.
const SHARD_KEYS_MIN: u32 = 256;
/// Fullness that a table of known size ends at, in percent.
pub(super) const LOAD_SIZED_FOR: usize = 60;
/// Fullness at which a table grows, in percent. Above the other by more than chance adds to a shard.
const LOAD_MAX: usize = 70;
/// Growth, in percent of the size before. Small, to keep memory for each key even.
const GROWTH: usize = 140;
/// Smallest table, in cells.
const CELLS_MIN: usize = 8;
/// Tag of a free cell.
const FREE: u32 = 0;
/// Check of a free cell.
const NO_CHECK: u64 = 0;

/// The part of a digest that the index keeps. Never 0.
#[inline]
pub(super) fn tag_of(digest: u128) -> u32 {
    ((digest >> 96) as u32).max(1)
}

/// A check that no free cell has.
#[inline]
fn storable(check: u64) -> u64 {
    check.max(NO_CHECK + 1)
}

/// A set of tables, each behind its own lock.
pub(super) struct Index {
    shards: Box<[Shard]>,
    bits: u32,
}

/// On a cache line of its own, so that one shard's lock does not slow its neighbour's.
#[repr(align(64))]
struct Shard(Mutex<Table>);

impl Index {
    /// An empty index that will hold up to `keys` keys. Its memory grows with what it holds.
    pub(super) fn new(keys: u32) -> Index {
        let bits = (keys / SHARD_KEYS_MIN).max(1).ilog2().min(SHARD_BITS_MAX);
        let keys_per_shard = (keys as usize).div_ceil(1 << bits);
        let cells_at_last = (keys_per_shard * 100).div_ceil(LOAD_SIZED_FOR);
        let shards = (0..1u32 << bits).map(|_| Shard(Mutex::new(Table::new(bits, cells_at_last)))).collect();
        Index { shards, bits }
    }

    /// Locks the table in which records of this tag are.
    #[inline]
    pub(super) fn shard(&self, tag: u32) -> MutexGuard<'_, Table> {
        // In 64 bits, because with one shard the shift is by the tag's whole width.
        let at = (u64::from(tag) >> (u32::BITS - self.bits)) as usize;
        lock(&self.shards[at].0)
    }

    /// Records in all shards.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(&shard.0).len).sum()
    }

    /// Cells in all shards.
    #[cfg(all(test, not(feature = "shuttle")))]
    fn cells(&self) -> usize {
        self.shards.iter().map(|shard| lock(&shard.0).cells.len()).sum()
    }
}

#[derive(Clone, Copy)]
struct Cell {
    tag: u32,
    place: Place,
}

impl Cell {
    const FREE: Cell = Cell { tag: FREE, place: 0 };
}

/// Names a record of a locked table until the table is changed.
#[derive(Clone, Copy)]
pub(super) struct Found {
    cell: usize,
}

/// A table with linear probing and no tombstones.
pub(super) struct Table {
    cells: Vec<Cell>,
    /// Of the record of each cell. Apart from the cells, as [`Table::has_check`] needs nothing else.
    checks: Vec<u64>,
    arena: Arena,
    len: usize,
    /// Top bits of the tag that chose the shard and say nothing within it.
    shard_bits: u32,
    /// Size at which the table stops growing in steps, as it suffices for all keys expected.
    cells_at_last: usize,
}

impl Table {
    fn new(shard_bits: u32, cells_at_last: usize) -> Table {
        Table {
            cells: vec![Cell::FREE; CELLS_MIN],
            checks: vec![NO_CHECK; CELLS_MIN],
            arena: Arena::new(),
            len: 0,
            shard_bits,
            cells_at_last,
        }
    }

    /// Finds the record with this tag that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, tag: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<Found> {
        let mut at = self.home(tag);
        // Ends: a table is never full.
        loop {
            let cell = self.cells[at];
            if cell.tag == tag && is_it(self.arena.get(cell.place)) {
                return Some(Found { cell: at });
            }
            if cell.tag == FREE {
                return None;
            }
            at = self.next(at);
        }
    }

    /// Whether there is a record with this check in the run of cells that its tag leads to. No record is read.
    #[inline]
    pub(super) fn has_check(&self, tag: u32, check: u64) -> bool {
        let check = storable(check);
        let mut at = self.home(tag);
        // Ends: a table is never full.
        loop {
            match self.checks[at] {
                found if found == check => return true,
                NO_CHECK => return false,
                _ => at = self.next(at),
            }
        }
    }

    /// Has the memory fetched that [`Table::has_check`] will read.
    #[inline]
    pub(super) fn prefetch(&self, tag: u32) {
        prefetch(&self.checks[self.home(tag)]);
    }

    /// The record that `is_it` accepts.
    #[inline]
    pub(super) fn get(&self, tag: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
        self.find(tag, is_it).map(|found| self.at(found))
    }

    /// A record that was found.
    #[inline]
    pub(super) fn at(&self, found: Found) -> &[u8] {
        self.arena.get(self.cells[found.cell].place)
    }

    /// The same, to be changed in place.
    pub(super) fn at_mut(&mut self, found: Found) -> &mut [u8] {
        self.arena.get_mut(self.cells[found.cell].place)
    }

    /// Shows every record whose tag begins with these bits.
    pub(super) fn each_of(&self, top: u8, mut show: impl FnMut(&[u8])) {
        for cell in self.cells.iter().filter(|cell| cell.tag != FREE && (cell.tag >> 24) as u8 == top) {
            show(self.arena.get(cell.place));
        }
    }

    /// Adds a record made of two parts, which the caller knows not to be there, with the check to know it by.
    pub(super) fn insert(&mut self, tag: u32, check: u64, head: &[u8], tail: &[u8]) {
        // Without memory to grow, the table goes on while it keeps a free cell, at which searches end.
        while self.is_crowded() && self.grow().is_err() && self.len + 2 > self.cells.len() {
            // Ends the process, as every allocation does that cannot fail.
            self.cells.reserve(self.cells.len());
        }
        if self.arena.is_sparse() {
            let places = self.cells.iter_mut().filter(|cell| cell.tag != FREE).map(|cell| &mut cell.place);
            self.arena.compact(places);
        }
        let place = self.arena.store(head, tail);
        self.put(Cell { tag, place }, storable(check));
        self.len += 1;
    }

    /// Sees to it that the next [`Table::insert`] of a record of this many bytes needs no memory.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn make_room(&mut self, record_bytes: usize) -> Result<(), TryReserveError> {
        if self.is_crowded() {
            self.grow()?;
        }
        self.arena.make_room(record_bytes)
    }

    fn is_crowded(&self) -> bool {
        (self.len + 1) * 100 > self.cells.len() * LOAD_MAX
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, found: Found) {
        self.arena.free(self.cells[found.cell].place);
        self.close_gap(found.cell);
        self.len -= 1;
    }

    /// Moves later cells of the same run back over a freed one, so that no search ends at it.
    fn close_gap(&mut self, freed: usize) {
        let mut gap = freed;
        let mut at = freed;
        loop {
            at = self.next(at);
            let cell = self.cells[at];
            if cell.tag == FREE {
                break;
            }
            // It may move back to the gap unless that lies before its home.
            if self.distance(self.home(cell.tag), at) >= self.distance(gap, at) {
                self.cells[gap] = cell;
                self.checks[gap] = self.checks[at];
                gap = at;
            }
        }
        self.cells[gap] = Cell::FREE;
        self.checks[gap] = NO_CHECK;
    }

    fn put(&mut self, cell: Cell, check: u64) {
        let mut at = self.home(cell.tag);
        while self.cells[at].tag != FREE {
            at = self.next(at);
        }
        self.cells[at] = cell;
        self.checks[at] = check;
    }

    /// Tags alone tell where cells belong, so no record is read for this.
    fn grow(&mut self) -> Result<(), TryReserveError> {
        let now = self.cells.len();
        let mut cells = now * GROWTH / 100 + CELLS_MIN;
        if now < self.cells_at_last {
            cells = cells.min(self.cells_at_last.max(CELLS_MIN));
        }
        let (new_checks, new_cells) = (filled(NO_CHECK, cells)?, filled(Cell::FREE, cells)?);
        let old_checks = std::mem::replace(&mut self.checks, new_checks.into_vec());
        let old_cells = std::mem::replace(&mut self.cells, new_cells.into_vec());
        for (cell, check) in old_cells.into_iter().zip(old_checks).filter(|(cell, _)| cell.tag != FREE) {
            self.put(cell, check);
        }
        Ok(())
    }

    /// Where a search for the tag begins: its bits below the shard's, scaled to the table.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag << self.shard_bits) * self.cells.len() as u64) >> u32::BITS) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.cells.len() - from }
    }
}

/// Most memory for the cells of each key, for the catalogs' estimates.
#[cfg(all(test, not(feature = "shuttle")))]
pub(super) const CELLS_BYTES_PER_KEY: usize = (size_of::<Cell>() + size_of::<u64>()) * 100 / LOAD_SIZED_FOR;

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::catalog::testing::Lcg;

    fn holds(value: u64) -> impl Fn(&[u8]) -> bool {
        move |record| record.starts_with(&value.to_le_bytes())
    }

    /// A hash may be any number, also that of a free cell.
    fn check(value: u64) -> u64 {
        if value == 0 { NO_CHECK } else { value + 1 }
    }

    /// Few tags for small spreads, all at the very top of the range, so that runs wrap around.
    fn crowded(value: u64, spread: u64) -> u32 {
        u32::MAX - (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) % spread) as u32
    }

    /// The table moves cells about when it grows and when others leave. Whatever the history, it
    /// must find exactly what a plain map holds, also where many records crowd on few tags and
    /// where runs wrap around the end of the table.
    #[test]
    fn a_table_finds_exactly_what_was_put_in() {
        for (seed, spread) in [(1, 1 << 31), (2, 40), (3, 1), (4, 7)] {
            let mut random = Lcg::new(seed);
            let mut table = Table::new(0, 0);
            let mut model: HashMap<u64, usize> = HashMap::new();
            for step in 0..4000 {
                let value = random.below(60);
                let tag = crowded(value, spread);
                if random.below(2) == 0 {
                    let padding = random.below(200) as usize;
                    if let std::collections::hash_map::Entry::Vacant(vacant) = model.entry(value) {
                        vacant.insert(padding);
                        table.insert(tag, check(value), &value.to_le_bytes(), &vec![7; padding]);
                    }
                } else {
                    let found = table.find(tag, holds(value));
                    assert_eq!(found.is_some(), model.remove(&value).is_some(), "seed {seed} step {step}");
                    if let Some(found) = found {
                        table.remove(found);
                    }
                }
                assert_eq!(table.len, model.len());
                for value in 0..60 {
                    let length =
                        table.get(crowded(value, spread), holds(value)).map(|record| record.len() - 8);
                    assert_eq!(length, model.get(&value).copied(), "seed {seed} step {step} value {value}");
                    let present = table.has_check(crowded(value, spread), check(value));
                    assert_eq!(present, length.is_some(), "seed {seed} step {step} value {value}");
                }
            }
        }
    }

    /// Memory for cells must stay even while a pool fills, and end where the pool's size says: a
    /// table that had to grow once more at the last key would be emptier than the budget allows.
    #[test]
    fn an_index_grows_with_its_keys_and_ends_at_its_size() {
        for keys in [50_000usize, 100_000, 200_000, 300_000, 400_000] {
            let index = Index::new(keys as u32);
            let mut random = Lcg::new(7);
            for value in 1..=keys {
                let tag = tag_of(u128::from(random.next()) << 64);
                index.shard(tag).insert(tag, value as u64, &value.to_le_bytes(), &[]);
                if value % 10_000 == 0 {
                    assert!(index.cells() <= value * 100 * GROWTH / 100 / LOAD_MAX + 64 * 2 * CELLS_MIN);
                }
            }
            assert_eq!(index.len(), keys);
            // Keys and cells are rounded up in each of 64 shards.
            assert!(index.cells() <= keys * 100 / LOAD_SIZED_FOR + 64 * 3, "{} for {keys}", index.cells());
        }
    }

    /// A tiny pool gets one shard and a large one the most there are; both must reach every tag.
    #[test]
    fn every_tag_has_a_shard() {
        for (keys, shards) in [(0, 1), (1, 1), (511, 1), (512, 2), (u32::MAX, 64)] {
            let index = Index::new(keys);
            assert_eq!(index.shards.len(), shards);
            for tag in [1, 2, 1 << 16, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX] {
                index.shard(tag).insert(tag, u64::from(tag), &u64::from(tag).to_le_bytes(), &[]);
                assert!(index.shard(tag).find(tag, holds(u64::from(tag))).is_some());
            }
        }
    }
}
