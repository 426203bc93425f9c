//! What puts would find if they came now, so that a caller need not copy what would be declined.

use super::{Entry, ObjectCatalog, entry, tag_of};
use crate::catalog::FORESEEN_MAX;
use crate::catalog::order::Victims;

impl ObjectCatalog {
    /// How many of these objects of `bytes` bytes, one after the other from the first on, puts would store now. They are what is
    /// missing of a chain that was looked up.
    ///
    /// Nothing is set aside: what others put meanwhile may change the answer, and so do the uses of what the chain has stored.
    pub fn admissible(&self, ids: &[u128], bytes: u64) -> usize {
        let books = self.books();
        if !books.order.declines() {
            return ids.len();
        }
        let limit = |capacity: Option<u64>| capacity.map_or(u128::MAX, u128::from);
        let mut free_bytes = limit(self.capacity_bytes).saturating_sub(books.bytes + books.bytes_in_flight);
        let mut free_objects = limit(self.capacity_objects.map(u64::from))
            .saturating_sub(u128::from(books.keys) + u128::from(books.objects_in_flight));
        let mut tau = books.order.tau();
        let mut victims: Option<Victims> = None;
        for (index, &id) in ids.iter().take(FORESEEN_MAX).enumerate() {
            if self.contains(id) {
                continue;
            }
            let tag = tag_of(id);
            let moment = books.order.foresee(self.sight(tag));
            let verdict = books.order.judge_ahead(tag, moment, &mut tau);
            while free_bytes < u128::from(bytes) || free_objects == 0 {
                let victims = victims.get_or_insert_with(|| books.order.victims(moment, true));
                let victim = self.next_of_others(&books, victims, moment);
                let Some(node) = victim.filter(|node| {
                    !books.order.has_declined(moment) && books.order.is_worth(*node, moment, &verdict)
                }) else {
                    return index;
                };
                let found = self.index.shard(books.tag(node));
                let found = found.get(books.tag(node), entry::is_node(node)).map(Entry::unpack);
                free_bytes += found.map_or(0, |entry| u128::from(entry.bytes));
                free_objects += 1;
            }
            free_bytes -= u128::from(bytes);
            free_objects -= 1;
        }
        ids.len().min(FORESEEN_MAX)
    }
}
