//! What puts of a chain would find if they came now, so that a caller need not copy what would be declined.

use super::{Books, Entry, ObjectCatalog, entry, tag_of};
use crate::catalog::FORESEEN_MAX;
use crate::catalog::order::{Moment, Verdict, Victims};

/// What is left for puts to come.
struct Room {
    bytes: u128,
    objects: u128,
    victims: Option<Victims>,
}

impl ObjectCatalog {
    /// How many of these objects of `bytes` bytes, one after the other from the first on, puts would store now. They are what is
    /// missing of a chain that was looked up. Those behind are declined herewith, as if they had been put: else nobody would
    /// know, when they are wanted again, that they were wanted before.
    ///
    /// Nothing is set aside: what others put meanwhile may change the answer, and so do the uses of what the chain has stored.
    pub fn plan(&self, ids: &[u128], bytes: u64) -> usize {
        let mut books = self.books();
        let ids = ids.get(..FORESEEN_MAX).unwrap_or(ids);
        if !books.order.declines() {
            return ids.len();
        }
        let limit = |capacity: Option<u64>| capacity.map_or(u128::MAX, u128::from);
        let in_use = u128::from(books.keys) + u128::from(books.objects_in_flight);
        let mut room = Room {
            bytes: limit(self.capacity_bytes).saturating_sub(books.bytes + books.bytes_in_flight),
            objects: limit(self.capacity_objects.map(u64::from)).saturating_sub(in_use),
            victims: None,
        };
        let mut tau = books.order.tau();
        let mut admitted = None;
        for (index, &id) in ids.iter().enumerate() {
            if self.contains(id) {
                continue;
            }
            let tag = tag_of(id);
            let moment = books.order.begin(self.sight(tag));
            if admitted.is_none() {
                let verdict = books.order.judge_ahead(tag, moment, &mut tau);
                if self.takes(&books, &mut room, bytes, moment, &verdict) {
                    continue;
                }
                admitted = Some(index);
            }
            let verdict = books.order.judge(tag, moment);
            books.order.decline(tag, moment, &verdict);
        }
        admitted.unwrap_or(ids.len())
    }

    /// Whether there is room for one more, if need be by victims that are worth it.
    fn takes(&self, books: &Books, room: &mut Room, bytes: u64, moment: Moment, verdict: &Verdict) -> bool {
        while room.bytes < u128::from(bytes) || room.objects == 0 {
            let victims =
                room.victims.get_or_insert_with(|| books.order.victims(moment, true).past(FORESEEN_MAX));
            let victim = self.next_of_others(books, victims);
            let victim = victim.filter(|node| {
                !books.order.has_declined(moment) && books.order.is_worth(*node, moment, verdict)
            });
            let Some(node) = victim else { return false };
            let tag = books.tag(node);
            let found = self.index.shard(tag).get(tag, entry::is_node(node)).map(Entry::unpack);
            room.bytes += found.map_or(0, |entry| u128::from(entry.bytes));
            room.objects += 1;
        }
        room.bytes -= u128::from(bytes);
        room.objects -= 1;
        true
    }
}
