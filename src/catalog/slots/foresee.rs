//! What puts of a chain would find if they came now, so that a caller need not copy what would be declined.

use super::{SlotCatalog, tag_of};
use crate::catalog::FORESEEN_MAX;
use crate::catalog::order::Victims;

impl SlotCatalog {
    /// How many of these keys, one after the other from the first on, puts would store now. They are what is missing of a
    /// chain that was looked up, by the digests. Those behind are declined herewith, as if they had been put: else nobody would
    /// know, when they are wanted again, that they were wanted before.
    ///
    /// Nothing is set aside: what others put meanwhile may change the answer, and so do the uses of what the chain has stored.
    pub fn plan(&self, digests: &[u128]) -> usize {
        let mut ledger = self.ledger();
        let digests = digests.get(..FORESEEN_MAX).unwrap_or(digests);
        if !ledger.order.declines() {
            return digests.len();
        }
        let mut free = ledger.count_free();
        let mut tau = ledger.order.tau();
        let mut victims: Option<Victims> = None;
        let mut admitted = None;
        for (index, &digest) in digests.iter().enumerate() {
            let tag = tag_of(digest);
            if self.index.shard(tag).find(tag, |_| true).is_some() {
                continue;
            }
            let moment = ledger.order.begin(self.sight(tag));
            if admitted.is_none() {
                let verdict = ledger.order.judge_ahead(tag, moment, &mut tau);
                if free > 0 {
                    free -= 1;
                    continue;
                }
                if !ledger.order.has_declined(moment) {
                    let victims =
                        victims.get_or_insert_with(|| ledger.order.victims(moment, true).past(FORESEEN_MAX));
                    let mut others = std::iter::from_fn(|| self.next_victim(&ledger, victims));
                    let victim = others.find(|slot| self.leases.is_idle(*slot));
                    if victim.is_some_and(|slot| ledger.order.is_worth(slot, moment, &verdict)) {
                        continue;
                    }
                }
                admitted = Some(index);
            }
            let verdict = ledger.order.judge(tag, moment);
            ledger.order.decline(tag, moment, &verdict);
        }
        admitted.unwrap_or(digests.len())
    }
}
