//! Keys that left or were declined, and when they were seen last: what the literature calls a ghost list.
//!
//! Sets of [`SET_ENTRIES`] words, half a key's tag and half the clock, one cache line each. A full set forgets its oldest. A
//! tag is 32 bits of a digest: with a million entries, one new key in 4,000 is taken for one that was seen before.

use std::collections::TryReserveError;

use super::requests::Moment;
use crate::catalog::filled;

/// Entries of a set.
const SET_ENTRIES: usize = 8;
/// A place that nothing is remembered in: no tag is 0.
const FREE: u64 = 0;

/// The table.
pub(super) struct Departed {
    sets: Box<[[u64; SET_ENTRIES]]>,
}

impl Departed {
    /// Room for so many keys; for none, nothing is remembered.
    ///
    /// # Errors
    /// If there is no memory for it, 8 bytes for each.
    pub(super) fn new(keys: u64) -> Result<Departed, TryReserveError> {
        let sets = usize::try_from(keys.div_ceil(SET_ENTRIES as u64)).unwrap_or(usize::MAX);
        Ok(Departed { sets: filled([FREE; SET_ENTRIES], sets)? })
    }

    /// Keys that there is room for.
    pub(super) fn room(&self) -> u64 {
        (self.sets.len() * SET_ENTRIES) as u64
    }

    /// When a key with this tag was seen last.
    pub(super) fn last_seen(&self, tag: u32) -> Option<u32> {
        self.set(tag)?.iter().find(|entry| tag_of(**entry) == tag).map(|entry| *entry as u32)
    }

    /// Remembers a key that was seen last at `then`.
    pub(super) fn remember(&mut self, tag: u32, then: u32, moment: Moment) {
        let Some(set) = self.set_mut(tag) else { return };
        // The place of the key itself, else one that is free, else the one of the oldest.
        let (mut place, mut age) = (0, 0);
        for (index, &entry) in set.iter().enumerate() {
            if tag_of(entry) == tag {
                place = index;
                break;
            }
            let older = match entry {
                FREE => u64::from(u32::MAX) + 1,
                entry => u64::from(moment.since(entry as u32)),
            };
            if older > age {
                (place, age) = (index, older);
            }
        }
        set[place] = u64::from(tag) << 32 | u64::from(then);
    }

    /// Forgets a key.
    pub(super) fn forget(&mut self, tag: u32) {
        let Some(set) = self.set_mut(tag) else { return };
        if let Some(entry) = set.iter_mut().find(|entry| tag_of(**entry) == tag) {
            *entry = FREE;
        }
    }

    /// As many keys as are here, in a table with room for more. Where there is no memory this stays as it is.
    pub(super) fn grow(&mut self, keys: u64, moment: Moment) {
        let Ok(mut larger) = Departed::new(keys) else { return };
        for entry in self.sets.iter().flatten().copied().filter(|entry| *entry != FREE) {
            larger.remember(tag_of(entry), entry as u32, moment);
        }
        *self = larger;
    }

    fn place(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.sets.len() as u64) >> u32::BITS) as usize
    }

    fn set(&self, tag: u32) -> Option<&[u64; SET_ENTRIES]> {
        self.sets.get(self.place(tag))
    }

    fn set_mut(&mut self, tag: u32) -> Option<&mut [u64; SET_ENTRIES]> {
        let place = self.place(tag);
        self.sets.get_mut(place)
    }
}

fn tag_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}
