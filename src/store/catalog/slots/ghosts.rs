//! Ghosts: records that are out of the index but may still be found on storage.
//!
//! Recovery takes what it finds; for one key, the highest generation. So as long as an older record
//! of a key may be on storage, the key's newest record must stay there too: were it overwritten or
//! tombstoned first, a crash would bring the older bytes back. A slot *haunts* the tag of each key
//! of which it may hold such a record: from eviction until the next put into it is complete; from
//! removal, replacement or a failed put until it is tombstoned; for good if that fails.
//!
//! Keys are told apart by their tag only. Two keys with one tag are as good as never haunted at the
//! same time, and if they are, one stays a little longer than it must or a put of it is dropped.

use std::collections::{BTreeMap, HashMap};

/// Most tags that one slot can haunt: the evicted key's and that of the put that failed there.
const TAGS_PER_SLOT_MAX: usize = 2;

/// A slot that may hold an outdated record of one tag.
#[derive(Clone, Copy, Debug)]
struct Ghost {
    slot: u32,
    generation: u64,
}

/// All ghosts of a pool; as many as there are slots being put into or cleaned.
#[derive(Default)]
pub(super) struct Ghosts {
    /// By tag, and for one tag in the order of their coming.
    ghosts: BTreeMap<(u32, u64), Ghost>,
    /// The ghosts of each slot.
    by_slot: HashMap<u32, [Option<(u32, u64)>; TAGS_PER_SLOT_MAX]>,
    coming: u64,
}

impl Ghosts {
    /// From now on `slot` may hold an outdated record of this tag and generation.
    pub(super) fn add(&mut self, slot: u32, tag: u32, generation: u64) {
        let id = (tag, self.coming);
        self.coming += 1;
        let ids = self.by_slot.entry(slot).or_default();
        debug_assert!(ids.contains(&None), "slot {slot} haunts too many tags");
        if let Some(free) = ids.iter_mut().find(|id| id.is_none()) {
            *free = Some(id);
        }
        self.ghosts.insert(id, Ghost { slot, generation });
    }

    /// The slot holds nothing outdated any more. Returns, for each tag it haunted, the slot that has
    /// haunted it longest of those that remain.
    pub(super) fn settle(&mut self, slot: u32) -> [Option<u32>; TAGS_PER_SLOT_MAX] {
        let Some(ids) = self.by_slot.remove(&slot) else { return [None; TAGS_PER_SLOT_MAX] };
        for id in ids.into_iter().flatten() {
            self.ghosts.remove(&id);
        }
        ids.map(|id| id.and_then(|(tag, _)| self.of(tag).next().map(|ghost| ghost.slot)))
    }

    /// Whether any slot haunts the tag.
    pub(super) fn haunt(&self, tag: u32) -> bool {
        self.of(tag).next().is_some()
    }

    /// The highest generation that haunts the tag.
    pub(super) fn newest(&self, tag: u32) -> Option<u64> {
        self.of(tag).map(|ghost| ghost.generation).max()
    }

    /// Slots that haunted one of the tags of `slot` before it did.
    pub(super) fn ahead_of(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.ids(slot)
            .flat_map(|(tag, since)| self.ghosts.range((tag, 0)..(tag, since)))
            .map(|(_, ghost)| ghost.slot)
    }

    /// Slots that have come to haunt one of the tags of `slot` after it did.
    pub(super) fn behind(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.ids(slot)
            .flat_map(|(tag, since)| self.ghosts.range((tag, since + 1)..=(tag, u64::MAX)))
            .map(|(_, ghost)| ghost.slot)
    }

    /// Slots that haunt anything.
    #[cfg(test)]
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.by_slot.keys().copied()
    }

    fn of(&self, tag: u32) -> impl Iterator<Item = &Ghost> {
        self.ghosts.range((tag, 0)..=(tag, u64::MAX)).map(|(_, ghost)| ghost)
    }

    fn ids(&self, slot: u32) -> impl Iterator<Item = (u32, u64)> {
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
        let mut ghosts = Ghosts::default();
        ghosts.add(10, 7, 100);
        ghosts.add(11, 7, 300);
        ghosts.add(12, 8, 200);
        ghosts.add(10, 8, 400);
        ghosts.add(13, 7, 50);

        assert!(ghosts.haunt(7) && ghosts.haunt(8) && !ghosts.haunt(9));
        assert_eq!((ghosts.newest(7), ghosts.newest(8), ghosts.newest(9)), (Some(300), Some(400), None));
        assert_eq!(ghosts.ahead_of(13).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(ghosts.ahead_of(10).collect::<Vec<_>>(), [12]);
        assert_eq!(ghosts.behind(10).collect::<Vec<_>>(), [11, 13]);

        assert_eq!(ghosts.settle(10), [Some(11), Some(12)]);
        assert_eq!(ghosts.settle(12), [None, None]);
        assert!(!ghosts.haunt(8));
        assert_eq!(ghosts.settle(11), [Some(13), None]);
        assert_eq!(ghosts.settle(13), [None, None]);
        assert_eq!(ghosts.settle(13), [None, None]);
        assert_eq!((ghosts.ghosts.len(), ghosts.by_slot.len()), (0, 0));
    }
}
