//! REUSE: what is worth being written.
//!
//! One number is learned, *tau*: the time (in blocks of requests) within which the wanted part of reuses comes. A block that
//! is new may displace only one that has been idle for longer than tau; one that returns needs half its own gap, or it would
//! starve in a loop that is longer than the pool. What may displace nothing is not written.

use std::collections::TryReserveError;

use super::departed::Departed;
use super::requests::Moment;
use crate::config::Eviction;

/// How far one gap moves tau.
const STEP: f64 = 0.002;
/// Least tau, in blocks.
const TAU_MIN: f64 = 16.0;
/// tau begins at one part in this many of the slots.
const SLOTS_PART: f64 = 2.0;
/// A block that returns may displace what has been idle for one part in this many of its own gap.
const GAP_PART: f64 = 2.0;

/// What a put may displace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::catalog) struct Verdict {
    /// Blocks that a victim must have been idle for, by its weight.
    pub(super) due: f64,
    /// tau with this sight counted.
    tau: Option<f64>,
    /// When the key left or was declined, in an earlier request.
    left_at: Option<u32>,
    /// It was declined in this very request, where it counts once.
    is_repeated: bool,
    returns: bool,
}

/// What a put has to give back if it fails, and what its key was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::catalog) struct Admitted {
    left_at: Option<u32>,
    /// The key was stored, or was seen in an earlier request.
    pub(in crate::catalog) returns: bool,
}

impl Verdict {
    /// What has to be kept of it while the put is under way.
    pub(in crate::catalog) fn admitted(&self) -> Admitted {
        Admitted { left_at: self.left_at, returns: self.returns }
    }
}

/// The learned number, and the keys that are not stored.
pub(super) struct Admission {
    tau: f64,
    /// What a gap above tau multiplies it by, and one that is not.
    up: f64,
    down: f64,
    departed: Departed,
    entries_per_item: u32,
    /// Where the slots are not known beforehand, the room for keys follows the number of items: the most there have been.
    most: Option<u32>,
    /// So does tau, until the store is full for the first time.
    is_filling: bool,
}

impl Admission {
    /// `slots`: of a pool; else they are counted as they come.
    ///
    /// # Errors
    /// If there is no memory for the keys that leave.
    pub(super) fn new(eviction: Eviction, slots: Option<u32>) -> Result<Admission, TryReserveError> {
        let quantile = eviction.reuse_quantile;
        let keys = u64::from(slots.unwrap_or(0)) * u64::from(eviction.ghost_entries);
        Ok(Admission {
            tau: (f64::from(slots.unwrap_or(0)) / SLOTS_PART).max(TAU_MIN),
            up: 1.0 + STEP * quantile,
            down: 1.0 - STEP * (1.0 - quantile),
            departed: Departed::new(keys)?,
            entries_per_item: eviction.ghost_entries,
            most: slots.is_none().then_some(0),
            is_filling: slots.is_none(),
        })
    }

    /// There are so many items now.
    pub(super) fn grow(&mut self, items: u32, moment: Moment) {
        let Some(most) = self.most.filter(|most| items > *most) else { return };
        self.most = Some(items);
        if self.is_filling {
            let half = f64::from(items) / SLOTS_PART;
            self.tau = if half <= TAU_MIN { TAU_MIN } else { self.tau * f64::from(items) / f64::from(most) };
        }
        let keys = u64::from(items) * u64::from(self.entries_per_item);
        if keys > self.departed.room() {
            self.departed.grow(keys * 2, moment);
        }
    }

    /// What a put of a key that is not stored may displace.
    pub(super) fn judge(&self, tag: u32, moment: Moment) -> Verdict {
        self.judge_with(tag, moment, self.tau)
    }

    /// The same after others whose sights `tau` has; it takes this one in too.
    pub(super) fn judge_ahead(&self, tag: u32, moment: Moment, tau: &mut f64) -> Verdict {
        let verdict = self.judge_with(tag, moment, *tau);
        *tau = verdict.tau.unwrap_or(*tau);
        verdict
    }

    fn judge_with(&self, tag: u32, moment: Moment, tau: f64) -> Verdict {
        match self.departed.last_seen(tag) {
            Some(then) if moment.has_seen(then) => {
                Verdict { due: tau, is_repeated: true, ..Verdict::default() }
            }
            Some(then) => {
                let gap = moment.since(then);
                let tau = self.after(gap, tau);
                let due = f64::from(gap).min(tau) / GAP_PART;
                Verdict { due, tau: Some(tau), left_at: Some(then), returns: true, ..Verdict::default() }
            }
            None => Verdict { due: tau, ..Verdict::default() },
        }
    }

    /// What a put of a key that is stored may displace: anything, as its old bytes must not stay. It was seen last at `then`.
    pub(super) fn judge_stored(&self, then: u32, moment: Moment) -> Verdict {
        let tau = (!moment.has_seen(then)).then(|| self.after(moment.since(then), self.tau));
        Verdict { tau, returns: true, ..Verdict::default() }
    }

    /// The key is going to be stored.
    pub(super) fn admit(&mut self, tag: u32, verdict: &Verdict) {
        self.tau = verdict.tau.unwrap_or(self.tau);
        if verdict.left_at.is_some() || verdict.is_repeated {
            self.departed.forget(tag);
        }
    }

    /// The key is not going to be stored.
    pub(super) fn decline(&mut self, tag: u32, moment: Moment, verdict: &Verdict) {
        self.tau = verdict.tau.unwrap_or(self.tau);
        self.is_filling = false;
        if !verdict.is_repeated {
            self.departed.remember(tag, moment.now, moment);
        }
    }

    /// A put that was admitted failed. An earlier sight of its key is none the worse for that.
    pub(super) fn take_back(&mut self, tag: u32, moment: Moment, admitted: Admitted) {
        self.departed.remember(tag, admitted.left_at.unwrap_or(moment.now), moment);
    }

    /// A key leaves that was seen last at `then`.
    pub(super) fn leave(&mut self, tag: u32, then: u32, moment: Moment) {
        self.is_filling = false;
        self.departed.remember(tag, then, moment);
    }

    /// A key came back after so many blocks.
    pub(super) fn see(&mut self, gap: u32) {
        self.tau = self.after(gap, self.tau);
    }

    fn after(&self, gap: u32, tau: f64) -> f64 {
        let factor = if f64::from(gap) > tau { self.up } else { self.down };
        (tau * factor).max(TAU_MIN)
    }

    pub(super) fn tau(&self) -> f64 {
        self.tau
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;
    use crate::config::CachePolicy;

    /// A store that is full may hold many more objects later, if they are smaller. As many keys are remembered for each then, and
    /// tau stays what was learned.
    #[test]
    fn the_room_for_keys_follows_the_items_when_the_store_is_full() {
        let eviction: Eviction = CachePolicy::Reuse.into();
        let mut admission = Admission::new(eviction, None).unwrap();
        let moment = Moment::default();
        (1..=100).for_each(|items| admission.grow(items, moment));
        assert_eq!(admission.tau(), 50.0);
        admission.leave(7, 1, moment);
        (101..=1000).for_each(|items| admission.grow(items, moment));
        assert!(admission.departed.room() >= 1000 * u64::from(eviction.ghost_entries));
        assert_eq!((admission.tau(), admission.departed.last_seen(7)), (50.0, Some(1)));
    }
}
