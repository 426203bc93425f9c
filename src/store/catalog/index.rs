//! The sharded index: from a digest to the record of a key.
//!
//! A shard is one mutex over one open-addressing table. The table keeps a 32-bit *tag* (the top of
//! the digest) and the record, each in its own array: a probe runs over tags, sixteen to a cache
//! line, and touches a record only where the tag agrees. The caller decides by the record whether
//! it is the one, so a shared tag or even a shared digest never mixes up two keys.
//!
//! Tables are filled to at most [`LOAD_MAX_EIGHTHS`] eighths and sized for [`LOAD_FIFTHS`] fifths.
//! `std`'s map would be filled to between 7/16 and 7/8, with the digest in every cell: too much for
//! the memory that a key may cost. A tag tells both shard and position, so records can be moved and
//! the table be grown without reading them.

use crate::sync::{Mutex, MutexGuard, lock};

/// One key with all that is known of it, in one allocation.
pub(super) type Record = Box<[u8]>;

/// Most shards of an index, as a power of two.
const SHARD_BITS_MAX: u32 = 6;
/// Keys below which splitting a shard further gains nothing.
const SHARD_KEYS_MIN: u32 = 256;
/// Fullness that a table is sized for, in fifths: 0.8.
pub(super) const LOAD_FIFTHS: usize = 4;
/// Fullness at which a table grows, in eighths.
const LOAD_MAX_EIGHTHS: usize = 7;
/// Smallest table, in cells.
const CELLS_MIN: usize = 8;
/// Tag of a free cell.
const FREE: u32 = 0;

/// The part of a digest that the index keeps. Never 0.
pub(super) fn tag_of(digest: u128) -> u32 {
    ((digest >> 96) as u32).max(1)
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
    /// An index with room for `keys` keys set aside, but not touched yet.
    pub(super) fn with_room(keys: u32) -> Index {
        let bits = shard_bits(keys);
        let keys_per_shard = (keys as usize).div_ceil(1 << bits);
        Index::new(bits, (keys_per_shard * 5).div_ceil(LOAD_FIFTHS))
    }

    /// An index that may come to hold `keys` keys and grows with them.
    pub(super) fn growing_to(keys: u32) -> Index {
        Index::new(shard_bits(keys), CELLS_MIN)
    }

    fn new(bits: u32, cells: usize) -> Index {
        let shards = (0..1u32 << bits).map(|_| Shard(Mutex::new(Table::new(cells, bits)))).collect();
        Index { shards, bits }
    }

    /// Locks the table in which records of this tag are.
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
}

fn shard_bits(keys: u32) -> u32 {
    (keys / SHARD_KEYS_MIN).max(1).ilog2().min(SHARD_BITS_MAX)
}

/// A table with linear probing and no tombstones.
pub(super) struct Table {
    tags: Vec<u32>,
    records: Vec<Option<Record>>,
    len: usize,
    /// Top bits of the tag that chose the shard and say nothing within it.
    shard_bits: u32,
}

impl Table {
    fn new(cells: usize, shard_bits: u32) -> Table {
        let cells = cells.max(CELLS_MIN);
        Table { tags: vec![FREE; cells], records: vec![None; cells], len: 0, shard_bits }
    }

    /// The cell of the record with this tag that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, tag: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let mut at = self.home(tag);
        // Ends: a table is never full.
        loop {
            let found = self.tags[at];
            if found == FREE {
                return None;
            }
            if found == tag && self.records[at].as_deref().is_some_and(&is_it) {
                return Some(at);
            }
            at = self.next(at);
        }
    }

    /// The record in a cell that [`Table::find`] named.
    pub(super) fn at(&self, at: usize) -> Option<&[u8]> {
        self.records[at].as_deref()
    }

    /// The same, to be changed in place.
    pub(super) fn at_mut(&mut self, at: usize) -> Option<&mut [u8]> {
        self.records[at].as_deref_mut()
    }

    /// The record that `is_it` accepts.
    #[inline]
    pub(super) fn get(&self, tag: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
        self.find(tag, is_it).and_then(|at| self.records[at].as_deref())
    }

    /// The record that `is_it` accepts, to be changed in place.
    pub(super) fn get_mut(&mut self, tag: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<&mut [u8]> {
        self.find(tag, is_it).and_then(|at| self.records[at].as_deref_mut())
    }

    /// Adds a record, which the caller knows not to be there.
    pub(super) fn insert(&mut self, tag: u32, record: Record) {
        if (self.len + 1) * 8 > self.tags.len() * LOAD_MAX_EIGHTHS {
            self.grow();
        }
        self.place(tag, Some(record));
        self.len += 1;
    }

    /// Puts another record of the same key into a cell that [`Table::find`] named.
    pub(super) fn replace(&mut self, at: usize, record: Record) -> Option<Record> {
        self.records[at].replace(record)
    }

    /// Takes out the record that `is_it` accepts.
    pub(super) fn remove(&mut self, tag: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<Record> {
        let at = self.find(tag, is_it)?;
        let record = self.records[at].take();
        self.close_gap(at);
        self.len -= 1;
        record
    }

    /// Moves later records of the same run back over a freed cell, so that no search ends at it.
    fn close_gap(&mut self, freed: usize) {
        let mut gap = freed;
        let mut at = freed;
        loop {
            at = self.next(at);
            let tag = self.tags[at];
            if tag == FREE {
                break;
            }
            // It may move back to the gap unless that lies before its home.
            if self.distance(self.home(tag), at) >= self.distance(gap, at) {
                self.tags[gap] = tag;
                self.records.swap(gap, at);
                gap = at;
            }
        }
        self.tags[gap] = FREE;
    }

    fn place(&mut self, tag: u32, record: Option<Record>) {
        let mut at = self.home(tag);
        while self.tags[at] != FREE {
            at = self.next(at);
        }
        self.tags[at] = tag;
        self.records[at] = record;
    }

    fn grow(&mut self) {
        let cells = self.tags.len();
        let mut grown = Table::new(cells + cells / 4 + CELLS_MIN, self.shard_bits);
        grown.len = self.len;
        for (tag, record) in self.tags.drain(..).zip(self.records.drain(..)) {
            if tag != FREE {
                grown.place(tag, record);
            }
        }
        *self = grown;
    }

    /// Where a search for the tag begins: its bits below the shard's, scaled to the table.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag << self.shard_bits) * self.tags.len() as u64) >> u32::BITS) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.tags.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.tags.len() - from }
    }
}

/// Memory for each cell, for the catalogs' estimates.
#[cfg(test)]
pub(super) const CELL_BYTES: usize = size_of::<u32>() + size_of::<Option<Record>>();

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::store::catalog::testing::Lcg;

    fn record(value: u64) -> Record {
        Box::new(value.to_le_bytes())
    }

    fn holds(value: u64) -> impl Fn(&[u8]) -> bool {
        move |record| record == value.to_le_bytes()
    }

    /// The table moves records about when it grows and when others leave. Whatever the history,
    /// it must find exactly what a plain map holds, also where many records crowd on few tags
    /// and where runs wrap around the end of the table.
    #[test]
    fn a_table_finds_exactly_what_was_put_in() {
        for (seed, spread) in [(1, 1 << 32), (2, 40), (3, 1), (4, 7)] {
            let mut random = Lcg::new(seed);
            let mut table = Table::new(0, 0);
            let mut model: HashMap<u64, u32> = HashMap::new();
            for step in 0..4000 {
                let value = random.below(60);
                // Few tags at the very top of the range: their runs wrap around.
                let tag = u32::MAX - (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) % spread) as u32;
                let tag = tag.max(1);
                if random.below(2) == 0 {
                    if model.insert(value, tag).is_none() {
                        table.insert(tag, record(value));
                    }
                } else {
                    assert_eq!(
                        table.remove(tag, holds(value)).is_some(),
                        model.remove(&value).is_some(),
                        "seed {seed} step {step}"
                    );
                }
                assert_eq!(table.len, model.len());
                for value in 0..60u64 {
                    let tag = (u32::MAX - (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) % spread) as u32).max(1);
                    assert_eq!(
                        table.find(tag, holds(value)).is_some(),
                        model.contains_key(&value),
                        "seed {seed} step {step} value {value}"
                    );
                }
            }
        }
    }

    /// A pool knows how many keys it will ever hold, so its index must take them all without
    /// growing: growing would stop a lookup for the time of a rebuild and cost memory.
    #[test]
    fn an_index_with_room_does_not_grow() {
        let keys = 300_000;
        let index = Index::with_room(keys);
        let cells =
            |index: &Index| -> usize { index.shards.iter().map(|shard| lock(&shard.0).tags.len()).sum() };
        let before = cells(&index);
        let mut random = Lcg::new(7);
        for value in 0..u64::from(keys) {
            let tag = tag_of(u128::from(random.next()) << 64);
            index.shard(tag).insert(tag, record(value));
        }
        assert_eq!(index.len(), keys as usize);
        assert_eq!(cells(&index), before);
    }

    /// A tiny pool gets one shard and a large one the most there are; both must reach every tag.
    #[test]
    fn every_tag_has_a_shard() {
        for (keys, shards) in [(0, 1), (1, 1), (511, 1), (512, 2), (u32::MAX / 1000, 64)] {
            let index = Index::with_room(keys);
            assert_eq!(index.shards.len(), shards);
            for tag in [1, 2, 1 << 16, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX] {
                index.shard(tag).insert(tag, record(u64::from(tag)));
                assert!(index.shard(tag).find(tag, holds(u64::from(tag))).is_some());
            }
        }
    }
}
