//! The eviction order: which item leaves first, and under REUSE whether a new one is worth it.
//!
//! Items are small numbers (slots of a pool, nodes of the catalog of objects). [`ranked`] has LMCache's LFU, FIFO and MRU;
//! [`recency`] has LRU and REUSE, which know requests and so keep chains in order.
//!
//! An item is absent, *listed* (may be evicted) or *parked* (pinned: known, its uses still counted, but out of every list,
//! so that looking for a victim never walks over it).
//!
//! # The walk of a put
//! ```text
//! begin(sight)           when in which request
//! judge(tag, moment)     how long a victim must have been idle for this key
//! victims, next, idle    who that may be; the catalog passes over what is being read
//! admit or decline       it is written, or its key is remembered
//! insert                 it has been written
//! ```

mod admission;
mod departed;
mod ranked;
mod recency;
mod requests;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;

use std::collections::TryReserveError;

use self::ranked::Ranked;
use self::recency::Recency;
use super::chains::{Chains, Sight};
use crate::config::{CachePolicy, Eviction};
use crate::sync::Arc;

pub(super) use self::admission::{Admitted, Verdict};
pub(super) use self::recency::Victims;
pub(super) use self::requests::Moment;

/// Most items an order can hold: the numbers above are marks in the links.
pub(super) const ITEMS_MAX: u32 = u32::MAX - 3;

/// End of a list.
const NIL: u32 = u32::MAX;

/// An eviction order over items `0..`.
pub(super) enum Order {
    /// LFU, FIFO, MRU.
    Ranked(Ranked),
    /// LRU, REUSE.
    Recency(Recency),
}

/// Whether uses change the order, that is whether they need be recorded.
pub(super) fn counts_uses(policy: CachePolicy) -> bool {
    policy != CachePolicy::Fifo
}

/// The table of requests for a policy that knows them.
///
/// # Errors
/// If there is no memory for it.
pub(super) fn chains(policy: CachePolicy) -> Result<Option<Arc<Chains>>, TryReserveError> {
    match policy {
        CachePolicy::Lru | CachePolicy::Reuse => {
            Ok(Some(Arc::new(Chains::new(policy == CachePolicy::Reuse)?)))
        }
        CachePolicy::Lfu | CachePolicy::Fifo | CachePolicy::Mru => Ok(None),
    }
}

impl Order {
    /// An empty order. `chains` is what [`chains`] made; `slots`: how many items there will be at most, where that is known:
    /// then room for them is set aside, but not touched yet.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn new(
        eviction: Eviction,
        chains: Option<&Arc<Chains>>,
        slots: Option<u32>,
    ) -> Result<Order, TryReserveError> {
        match chains {
            Some(chains) => Ok(Order::Recency(Recency::new(eviction, Arc::clone(chains), slots)?)),
            None => Ok(Order::Ranked(Ranked::new(eviction.policy, slots.unwrap_or(0) as usize)?)),
        }
    }

    /// Something happens to a key: in which request, and when by the order's clock.
    pub(super) fn begin(&mut self, sight: Sight) -> Moment {
        match self {
            Order::Ranked(_) => Moment::default(),
            Order::Recency(recency) => recency.begin(sight),
        }
    }

    /// A stored key is put. Where it was put or used in that request before, this is something new, and it becomes the newest of
    /// all: a caller may put the same keys again and again, and would else have those leave that it has just put.
    /// ```text
    /// room for 20; put k0..k15, and again k0..k15, eight at a time: room is made by what was put first, not by k10, put just now
    /// ```
    pub(super) fn begin_again(&mut self, item: u32, moment: Moment) -> Moment {
        match self {
            Order::Ranked(_) => moment,
            Order::Recency(recency) => recency.begin_again(item, moment),
        }
    }

    /// What a put of a key that is not stored may displace.
    pub(super) fn judge(&self, tag: u32, moment: Moment) -> Verdict {
        match self {
            Order::Ranked(_) => Verdict::default(),
            Order::Recency(recency) => recency.judge(tag, moment),
        }
    }

    /// The learned number, for [`Order::judge_ahead`].
    pub(super) fn tau(&self) -> f64 {
        match self {
            Order::Ranked(_) => 0.0,
            Order::Recency(recency) => recency.tau(),
        }
    }

    /// As [`Order::judge`] will answer once the puts before it are done, whose sights `tau` has; it takes this one in too.
    pub(super) fn judge_ahead(&self, tag: u32, moment: Moment, tau: &mut f64) -> Verdict {
        match self {
            Order::Ranked(_) => Verdict::default(),
            Order::Recency(recency) => recency.judge_ahead(tag, moment, tau),
        }
    }

    /// What a put of a stored key may displace: anything. `item` has its old bytes.
    pub(super) fn judge_stored(&self, item: u32, moment: Moment) -> Verdict {
        match self {
            Order::Ranked(_) => Verdict::default(),
            Order::Recency(recency) => recency.judge_stored(item, moment),
        }
    }

    /// The put is written.
    pub(super) fn admit(&mut self, tag: u32, verdict: &Verdict) {
        if let Order::Recency(recency) = self {
            recency.admit(tag, verdict);
        }
    }

    /// The put is not written, and nothing that follows it in its request. To be called where [`Order::is_worth`] said no.
    pub(super) fn decline(&mut self, tag: u32, moment: Moment, verdict: &Verdict) {
        if let Order::Recency(recency) = self {
            recency.decline(tag, moment, verdict);
        }
    }

    /// A put that was admitted failed: its key is remembered as if it had been declined.
    pub(super) fn take_back(&mut self, tag: u32, moment: Moment, admitted: Admitted) {
        if let Order::Recency(recency) = self {
            recency.take_back(tag, moment, admitted);
        }
    }

    /// Whether puts may be declined.
    pub(super) fn declines(&self) -> bool {
        matches!(self, Order::Recency(recency) if recency.declines())
    }

    /// Whether something of the request was declined that comes before this in its chain.
    pub(super) fn has_declined(&self, moment: Moment) -> bool {
        matches!(self, Order::Recency(recency) if recency.has_declined(moment))
    }

    /// Whether the item has been idle for so long that this put may displace it.
    pub(super) fn is_worth(&self, item: u32, moment: Moment, verdict: &Verdict) -> bool {
        match self {
            Order::Ranked(_) => true,
            Order::Recency(recency) => recency.is_worth(item, moment, verdict),
        }
    }

    /// A put completed: the item enters as the newest, which must be absent. `returns`: its key was seen before.
    pub(super) fn insert(&mut self, item: u32, moment: Moment, returns: bool) {
        match self {
            Order::Ranked(ranked) => ranked.insert(item),
            Order::Recency(recency) => recency.insert(item, moment, returns),
        }
    }

    /// A put of an item that may not be evicted for now.
    pub(super) fn insert_parked(&mut self, item: u32, moment: Moment, returns: bool) {
        match self {
            Order::Ranked(ranked) => ranked.insert_parked(item),
            Order::Recency(recency) => recency.insert_parked(item, moment, returns),
        }
    }

    /// An item known from before, handed over in order, oldest first. `frequency` is only believed as far as it costs nothing:
    /// an order read from storage may claim anything.
    pub(super) fn insert_known(&mut self, item: u32, frequency: u32) {
        match self {
            Order::Ranked(ranked) => ranked.insert_known(item, frequency),
            Order::Recency(recency) => recency.insert_known(item, frequency),
        }
    }

    /// A use. Does nothing to an absent item: the use was of something that has left since.
    pub(super) fn touch(&mut self, item: u32, sight: Sight) {
        match self {
            Order::Ranked(ranked) => ranked.touch(item),
            Order::Recency(recency) => recency.touch(item, sight),
        }
    }

    /// Takes an item out, listed or parked.
    pub(super) fn remove(&mut self, item: u32) {
        match self {
            Order::Ranked(ranked) => drop(ranked.remove(item)),
            Order::Recency(recency) => recency.remove(item),
        }
    }

    /// Takes an item out to make room, and remembers its key.
    pub(super) fn evict(&mut self, item: u32, tag: u32) {
        match self {
            Order::Ranked(ranked) => drop(ranked.remove(item)),
            Order::Recency(recency) => recency.evict(item, tag),
        }
    }

    /// Takes a listed item out of reach of eviction. Its uses go on counting.
    pub(super) fn park(&mut self, item: u32) {
        match self {
            Order::Ranked(ranked) => ranked.park(item),
            Order::Recency(recency) => recency.park(item),
        }
    }

    /// Lists a parked item again, as the newest of its kind; the keys of one request in the order of its chain, however their
    /// pins end.
    pub(super) fn unpark(&mut self, item: u32, sight: Sight) {
        match self {
            Order::Ranked(ranked) => ranked.unpark(item),
            Order::Recency(recency) => recency.unpark(item, sight),
        }
    }

    /// Whether the item may be evicted as far as the order knows.
    pub(super) fn is_listed(&self, item: u32) -> bool {
        match self {
            Order::Ranked(ranked) => ranked.is_listed(item),
            Order::Recency(recency) => recency.is_listed(item),
        }
    }

    /// Whether the item is known but out of reach of eviction.
    pub(super) fn is_parked(&self, item: u32) -> bool {
        match self {
            Order::Ranked(ranked) => ranked.is_parked(item),
            Order::Recency(recency) => recency.is_parked(item),
        }
    }

    /// The items that may leave, the first to leave first. `spares`: not those of this request.
    pub(super) fn victims(&self, moment: Moment, spares: bool) -> Victims {
        match self {
            Order::Ranked(ranked) => Victims::from(ranked.first_victim()),
            Order::Recency(recency) => recency.victims(moment, spares),
        }
    }

    /// The next of them. The order may not be changed between two calls, but by taking out what the last one gave.
    pub(super) fn next(&self, victims: &mut Victims) -> Option<u32> {
        match self {
            Order::Ranked(ranked) => victims.take_and(|item| ranked.victim_after(item)),
            Order::Recency(recency) => recency.next(victims),
        }
    }

    /// The next of them that is none of the request's own chain either: `is_coming` says of an item that the request will come to
    /// its key.
    pub(super) fn next_of_others(
        &self,
        victims: &mut Victims,
        is_coming: impl Fn(u32, Moment) -> bool,
    ) -> Option<u32> {
        loop {
            let item = self.next(victims)?;
            if !victims.passes_over(|moment| is_coming(item, moment)) {
                return Some(item);
            }
        }
    }

    /// The item that leaves first, whoever asks.
    pub(super) fn first_victim(&self) -> Option<u32> {
        match self {
            Order::Ranked(ranked) => ranked.first_victim(),
            Order::Recency(recency) => recency.next(&mut recency.victims(recency.present(), false)),
        }
    }

    /// Whether the item was put or used by this very request, which is more than one key.
    pub(super) fn is_own(&self, item: u32, moment: Moment) -> bool {
        match self {
            Order::Ranked(_) => false,
            Order::Recency(recency) => recency.is_own(item, moment),
        }
    }

    /// Whether what links the items is sound.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn audit(&self) -> bool {
        match self {
            Order::Ranked(_) => true,
            Order::Recency(recency) => recency.audit(),
        }
    }

    /// All items with their frequencies, oldest first, as [`Order::insert_known`] wants them back. A parked item comes where
    /// [`Order::unpark`] would put it.
    pub(super) fn oldest_first(&self) -> Vec<(u32, u32)> {
        match self {
            Order::Ranked(ranked) => ranked.oldest_first(),
            Order::Recency(recency) => recency.oldest_first(),
        }
    }
}

/// Memory for each item, for the catalogs' estimates.
#[cfg(all(test, not(feature = "shuttle")))]
pub(super) const NODE_BYTES: usize = recency::NODE_BYTES;
