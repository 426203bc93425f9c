//! Ghosts: outdated records, which are out of the index and may still be found on storage.
//!
//! A scan after a crash takes every valid record that it finds, and of several with one key the one with the highest
//! generation. So while an older record of a key may be on storage, the newest record of that key must not be
//! destroyed before it:
//!
//! ```text
//! slot 1 holds k@5 (outdated), slot 2 holds k@9; slot 2 is erased; crash: the scan finds k@5 and serves old bytes
//! slot 1 holds k@5 (outdated), slot 2 holds k@9; slot 1 is erased; crash: the scan finds k@9, the latest
//! ```
//!
//! A slot *haunts* the key of each outdated record that it may hold. It does so
//! - after the key was evicted for a put into the slot, until that put has overwritten the record;
//! - after the key was removed or replaced, and after a put into the slot failed, until the slot is tombstoned, however
//!   often that has to be tried.
//!
//! A key is known here by its tag alone, which is the upper 32 bits of its digest, so two keys that share a tag are taken
//! for one. Then one of them may stay in the pool a little longer than it must, or a put of one that completes late may
//! be dropped as outdated. Neither serves wrong bytes, and of two keys that are haunted at a time one pair in 2^32 shares
//! its tag.

use std::collections::HashMap;

use slab::Slab;

/// Most tags that one slot can haunt: the evicted key's and that of the put that failed there.
pub(super) const TAGS_PER_SLOT_MAX: usize = 2;
/// Ghosts for which there is memory from the start. Puts under way stay below this; a pool that is cleared, or
/// whose readers hold many slots that were removed, may have more.
const GHOSTS_EXPECTED: usize = 1024;

/// A slot that may hold an outdated record of one tag. The ghosts of a tag form a chain, in the order in which their
/// records became outdated.
struct Ghost {
    slot: u32,
    tag: u32,
    generation: u64,
    before: Option<usize>,
    after: Option<usize>,
}

/// All ghosts of a pool: up to two for each slot that is being put into, is being cleaned, or could not be.
pub(super) struct Ghosts {
    ghosts: Slab<Ghost>,
    /// The first and the last ghost of each tag.
    by_tag: HashMap<u32, (usize, usize)>,
    /// The ghosts of each slot.
    by_slot: HashMap<u32, [Option<usize>; TAGS_PER_SLOT_MAX]>,
}

impl Ghosts {
    pub(super) fn new() -> Ghosts {
        Ghosts {
            ghosts: Slab::with_capacity(GHOSTS_EXPECTED),
            by_tag: HashMap::with_capacity(GHOSTS_EXPECTED),
            by_slot: HashMap::with_capacity(GHOSTS_EXPECTED),
        }
    }

    /// From now on `slot` may hold an outdated record of this tag and generation.
    pub(super) fn add(&mut self, slot: u32, tag: u32, generation: u64) {
        let before = self.by_tag.get(&tag).map(|&(_, last)| last);
        let id = self.ghosts.insert(Ghost { slot, tag, generation, before, after: None });
        if let Some(last) = before {
            self.ghosts[last].after = Some(id);
        }
        self.by_tag.entry(tag).or_insert((id, id)).1 = id;

        let ids = self.by_slot.entry(slot).or_default();
        debug_assert!(ids.contains(&None), "slot {slot} haunts too many tags");
        if let Some(free) = ids.iter_mut().find(|id| id.is_none()) {
            *free = Some(id);
        }
    }

    /// The slot holds nothing outdated any more. Returns, for each tag it haunted, the slot that has
    /// haunted it longest of those that remain.
    pub(super) fn settle(&mut self, slot: u32) -> [Option<u32>; TAGS_PER_SLOT_MAX] {
        let Some(ids) = self.by_slot.remove(&slot) else { return [None; TAGS_PER_SLOT_MAX] };
        let tags = ids.map(|id| id.map(|id| self.lay(id)));
        tags.map(|tag| tag.and_then(|tag| self.of(tag).next().map(|ghost| ghost.slot)))
    }

    /// Whether any slot haunts the tag.
    pub(super) fn haunt(&self, tag: u32) -> bool {
        self.by_tag.contains_key(&tag)
    }

    /// The slots that haunt the tag, the one that came first in front.
    pub(super) fn slots_of(&self, tag: u32) -> impl Iterator<Item = u32> {
        self.of(tag).map(|ghost| ghost.slot)
    }

    /// What a slot haunts: tags and generations.
    pub(super) fn haunted_by(&self, slot: u32) -> impl Iterator<Item = (u32, u64)> {
        self.ids(slot).map(|id| (self.ghosts[id].tag, self.ghosts[id].generation))
    }

    /// The highest generation that haunts the tag.
    pub(super) fn newest(&self, tag: u32) -> Option<u64> {
        self.of(tag).map(|ghost| ghost.generation).max()
    }

    /// Slots that haunted one of the tags of `slot` before it did.
    pub(super) fn ahead_of(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.ids(slot)
            .flat_map(|id| self.chain(self.ghosts[id].before, |ghost| ghost.before))
            .map(|ghost| ghost.slot)
    }

    /// Slots that have come to haunt one of the tags of `slot` after it did.
    pub(super) fn behind(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.ids(slot)
            .flat_map(|id| self.chain(self.ghosts[id].after, |ghost| ghost.after))
            .map(|ghost| ghost.slot)
    }

    /// Slots that haunt anything.
    #[cfg(test)]
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.by_slot.keys().copied()
    }

    /// Takes a ghost out of its chain and tells the tag.
    fn lay(&mut self, id: usize) -> u32 {
        let Ghost { tag, before, after, .. } = self.ghosts.remove(id);
        if let Some(before) = before {
            self.ghosts[before].after = after;
        }
        if let Some(after) = after {
            self.ghosts[after].before = before;
        }
        if let Some((first, last)) = self.by_tag.get_mut(&tag) {
            match (before, after) {
                (None, None) => drop(self.by_tag.remove(&tag)),
                (None, Some(after)) => *first = after,
                (Some(before), None) => *last = before,
                (Some(_), Some(_)) => {}
            }
        }
        tag
    }

    /// The ghosts of a tag, the one that came first in front.
    fn of(&self, tag: u32) -> impl Iterator<Item = &Ghost> {
        self.chain(self.by_tag.get(&tag).map(|&(first, _)| first), |ghost| ghost.after)
    }

    fn chain(&self, from: Option<usize>, next: fn(&Ghost) -> Option<usize>) -> impl Iterator<Item = &Ghost> {
        let at = move |id: usize| &self.ghosts[id];
        std::iter::successors(from.map(at), move |ghost| next(ghost).map(at))
    }

    fn ids(&self, slot: u32) -> impl Iterator<Item = usize> {
        self.by_slot.get(&slot).into_iter().flatten().copied().flatten()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// Slots that wait for one another are cleaned in the order in which they came to haunt a tag;
    /// a slot that haunts two tags lets go of both at once.
    #[test]
    fn ghosts_of_a_tag_keep_their_order() {
        let mut ghosts = Ghosts::new();
        ghosts.add(10, 7, 100);
        ghosts.add(11, 7, 300);
        ghosts.add(12, 8, 200);
        ghosts.add(10, 8, 400);
        ghosts.add(13, 7, 50);

        assert!(ghosts.haunt(7) && ghosts.haunt(8) && !ghosts.haunt(9));
        assert_eq!((ghosts.newest(7), ghosts.newest(8), ghosts.newest(9)), (Some(300), Some(400), None));
        assert_eq!(ghosts.ahead_of(13).collect::<Vec<_>>(), [11, 10]);
        assert_eq!(ghosts.ahead_of(10).collect::<Vec<_>>(), [12]);
        assert_eq!(ghosts.behind(10).collect::<Vec<_>>(), [11, 13]);

        assert_eq!(ghosts.settle(10), [Some(11), Some(12)]);
        assert_eq!(ghosts.settle(12), [None, None]);
        assert!(!ghosts.haunt(8));
        assert_eq!(ghosts.settle(11), [Some(13), None]);
        assert_eq!(ghosts.settle(13), [None, None]);
        assert_eq!(ghosts.settle(13), [None, None]);
        assert_eq!((ghosts.ghosts.len(), ghosts.by_tag.len(), ghosts.by_slot.len()), (0, 0, 0));
    }
}
