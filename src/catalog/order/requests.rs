//! The order's clock, and the requests that move it.
//!
//! The clock counts blocks of requests, not time, so that what happens can be computed again exactly. A request takes as many
//! ticks as its chain has keys when its first key is put or got; a lookup alone moves nothing. So the time of each key is
//! known from its place in the chain, whatever order threads come in:
//! ```text
//! clock 100, a request of 8 keys begins: base 100, its key at position 3 is used at 104, the next request begins at 108
//! ```

use crate::catalog::chains::{Chains, REQUESTS_MAX, Sight, place_of};
use crate::sync::Arc;

use super::NIL;

/// Blocks by which requests that are served side by side may be apart. What seems further ahead is far behind: the clock has 32
/// bits and turns over.
const APART_MAX: u32 = 1 << 20;

/// When something happens, and in which request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::catalog) struct Moment {
    /// 0: a request by itself.
    pub(in crate::catalog) request: u32,
    /// The clock when the request began.
    pub(super) base: u32,
    pub(super) now: u32,
    /// Blocks of requests that have begun since this one did. What a slow request stamps its keys with is the time of its place in
    /// its chain, but what is idle meanwhile is so by the clock.
    late: u32,
}

impl Moment {
    /// The place in the request's chain.
    pub(super) fn position(self) -> u32 {
        self.now.wrapping_sub(self.base).wrapping_sub(1)
    }

    /// Blocks since then; 0 for what is to come.
    pub(super) fn since(self, then: u32) -> u32 {
        let age = self.now.wrapping_sub(then);
        if age > u32::MAX - APART_MAX { 0 } else { age }
    }

    /// Blocks that something has been idle for that was last used then.
    pub(super) fn idle(self, then: u32) -> u32 {
        Moment { now: self.now.wrapping_add(self.late), ..self }.since(then)
    }

    /// Whether `then` lies within this request, or in one that began later.
    pub(super) fn has_seen(self, then: u32) -> bool {
        (1..=APART_MAX).contains(&then.wrapping_sub(self.base))
    }
}

/// What is known of a request that has begun.
#[derive(Clone, Copy)]
pub(super) struct Request {
    id: u32,
    base: u32,
    length: u32,
    /// In each list the item of this request that is nearest to leaving: the next one goes behind it.
    pub(super) anchors: [u32; 2],
    /// Its first position of which a put was declined; what follows there is of no use.
    pub(super) declined_from: u32,
}

/// The clock and the recent requests.
pub(super) struct Requests {
    chains: Arc<Chains>,
    clock: u32,
    /// The request that was last put in a list.
    placed: u32,
    recent: Box<[Request]>,
}

impl Requests {
    pub(super) fn new(chains: Arc<Chains>) -> Requests {
        let nothing = Request { id: 0, base: 0, length: 0, anchors: [NIL; 2], declined_from: NIL };
        Requests { chains, clock: 0, placed: 0, recent: vec![nothing; REQUESTS_MAX].into_boxed_slice() }
    }

    /// The present, in no request.
    pub(super) fn present(&self) -> Moment {
        Moment { request: 0, base: self.clock, now: self.clock, late: 0 }
    }

    /// One tick by itself.
    pub(super) fn tick(&mut self) -> Moment {
        let base = self.clock;
        self.clock = base.wrapping_add(1);
        Moment { request: 0, base, now: self.clock, late: 0 }
    }

    /// A key of a request is put or used.
    pub(super) fn begin(&mut self, sight: Sight) -> Moment {
        let Sight { request, position } = sight;
        if request == 0 {
            return self.tick();
        }
        let known = &mut self.recent[place_of(request)];
        let position = u32::from(position);
        if known.id != request {
            let length = self.chains.length(request).max(position + 1);
            *known = Request { id: request, base: self.clock, length, anchors: [NIL; 2], declined_from: NIL };
            self.clock = self.clock.wrapping_add(length);
        } else if position >= known.length {
            // The chain has grown since.
            let length = self.chains.length(request).max(position + 1);
            if known.base.wrapping_add(known.length) == self.clock {
                self.clock = known.base.wrapping_add(length);
            }
            known.length = length;
        }
        let (base, elapsed) = (known.base, self.clock.wrapping_sub(known.base));
        let late = elapsed.saturating_sub(known.length);
        Moment { request, base, now: base.wrapping_add(elapsed.min(position + 1)), late }
    }

    /// What is known of the request, if it is one and was not forgotten.
    pub(super) fn of(&self, moment: Moment) -> Option<&Request> {
        Some(&self.recent[place_of(moment.request)])
            .filter(|known| moment.request != 0 && known.id == moment.request)
    }

    /// Keys of the request.
    pub(super) fn length_of(&self, moment: Moment) -> u32 {
        self.of(moment).map_or(1, |request| request.length)
    }

    /// Whether `then` lies within the request itself.
    pub(super) fn is_own(&self, then: u32, moment: Moment) -> bool {
        (1..=self.length_of(moment)).contains(&then.wrapping_sub(moment.base))
    }

    /// An item leaves its list. Where it was the anchor of the request that was last in a list, `newer` takes its place: a chain
    /// that is longer than the store pushes out its own end, and goes on behind what is left.
    pub(super) fn move_anchor(&mut self, list: usize, item: u32, newer: u32) {
        let request = &mut self.recent[place_of(self.placed)];
        if request.anchors[list] == item {
            request.anchors[list] = newer;
        }
    }

    /// An item of the request was put in a list, behind all others of it.
    pub(super) fn set_anchor(&mut self, list: usize, item: u32, moment: Moment) {
        self.placed = moment.request;
        if let Some(request) = self.of_mut(moment) {
            request.anchors[list] = item;
        }
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, moment: Moment) -> Option<&mut Request> {
        Some(&mut self.recent[place_of(moment.request)])
            .filter(|known| moment.request != 0 && known.id == moment.request)
    }
}
