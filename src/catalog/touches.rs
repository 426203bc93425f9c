//! Uses that the eviction order has not seen yet.
//!
//! A get must not wait for the lock of the order, so it leaves a note here, and whoever takes that
//! lock next brings the order up to date first. No note is ever dropped: when the queue is full, the
//! get takes the lock and empties it itself. That costs one get in [`PENDING_MAX`] a short wait (the
//! lock is never held across I/O), and in return eviction is exact; in a pool of few large slots
//! one lost use would be one wrong victim.

use crossbeam_queue::ArrayQueue;

use super::chains::Sight;
use super::order::{Order, counts_uses};
use crate::config::CachePolicy;

/// Uses that may wait. Small, so that emptying the queue holds the lock for microseconds.
pub(super) const PENDING_MAX: usize = 256;

/// A bounded queue of used items.
pub(super) struct Touches {
    /// None under a policy that ignores uses.
    pending: Option<ArrayQueue<(u32, Sight)>>,
}

impl Touches {
    /// An empty queue.
    pub(super) fn new(policy: CachePolicy) -> Touches {
        Touches { pending: counts_uses(policy).then(|| ArrayQueue::new(PENDING_MAX)) }
    }

    /// Notes a use. False: no room; the caller must lock the order, bring it up to date with
    /// [`Touches::apply`] and touch the item there.
    #[must_use]
    pub(super) fn note(&self, item: u32, sight: Sight) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.push((item, sight)).is_ok())
    }

    /// Brings the order up to date with every use noted before the call.
    pub(super) fn apply(&self, order: &mut Order) {
        let Some(pending) = &self.pending else { return };
        // As many as can have been there at the start: uses noted meanwhile must not hold us up.
        for _ in 0..PENDING_MAX {
            match pending.pop() {
                Some((item, sight)) => order.touch(item, sight),
                None => break,
            }
        }
    }
}
