//! LRU and REUSE: by when an item was last used, and leaf first.
//!
//! Two lists (REUSE: seen once, seen again; LRU has the first alone), newest to oldest. The items of one request lie side by
//! side in the order of its chain, its first key newest: so a chain leaves from its end, whatever order and batches its keys
//! were used in. A request's next key goes behind the one before it, its *anchor*.
//! ```text
//! request 1 uses a b c, request 2 uses x y:    newest  x y a b c  oldest
//! request 1 goes on with d:                    newest  x y a b c d  oldest
//! ```

use std::collections::TryReserveError;

use super::NIL;
use super::admission::{Admission, Admitted, Verdict};
use super::requests::{Moment, Requests};
use crate::catalog::chains::{Chains, Sight};
use crate::config::{CachePolicy, Eviction};
use crate::sync::Arc;

/// The list of items that were seen once, and that of those seen again.
const ONCE: usize = 0;
const AGAIN: usize = 1;
/// Time that is due to an item of each list before it leaves, relative to the other's.
const WEIGHTS: [u32; 2] = [1, 2];
/// Items of a request's own chain that a put's search for a victim passes over. Its gets have come before, so what lies there
/// hangs on what has left, and there are few; a search that meets more ends.
const PASSED_OVER_MAX: u32 = 64;
/// Steps that an item takes to its place among those of its request, where they come out of order. One that is further
/// off stays where it got to.
const STEPS_MAX: usize = 64;

/// What an item is, beside its place in a list.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Absent,
    ListedOnce,
    ListedAgain,
    ParkedOnce,
    ParkedAgain,
}

impl State {
    const LISTED: [State; 2] = [State::ListedOnce, State::ListedAgain];
    const PARKED: [State; 2] = [State::ParkedOnce, State::ParkedAgain];

    fn list(self) -> usize {
        usize::from(matches!(self, State::ListedAgain | State::ParkedAgain))
    }

    fn is_listed(self) -> bool {
        matches!(self, State::ListedOnce | State::ListedAgain)
    }

    fn is_parked(self) -> bool {
        matches!(self, State::ParkedOnce | State::ParkedAgain)
    }
}

/// One for each slot of a pool, so it is kept small.
#[derive(Clone, Copy)]
struct Node {
    newer: u32,
    older: u32,
    /// The clock at its last use.
    last: u32,
}

impl Node {
    const NEW: Node = Node { newer: NIL, older: NIL, last: 0 };
}

#[derive(Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
}

/// The items that may leave, from the first to leave on.
pub(in crate::catalog) struct Victims {
    heads: [u32; 2],
    moment: Moment,
    spares: bool,
    /// Items of the request's own chain that may still be passed over.
    passes: u32,
    /// Some are kept from leaving because they belong to the request that asks.
    pub(in crate::catalog) has_spared: bool,
}

impl Victims {
    /// Those of an order with one line.
    pub(super) fn from(first: Option<u32>) -> Victims {
        let heads = [first.unwrap_or(NIL), NIL];
        Victims { heads, moment: Moment::default(), spares: false, passes: 0, has_spared: false }
    }

    /// The same, past as many as this of the request's own chain: before its gets all that it has stored may be the next to leave.
    pub(in crate::catalog) fn past(self, keys: usize) -> Victims {
        let passes = if self.passes == 0 { 0 } else { u32::try_from(keys).unwrap_or(u32::MAX) };
        Victims { passes, ..self }
    }

    /// Whether an item is passed over because the request that asks will come to it. When too many were, the search ends.
    pub(super) fn passes_over(&mut self, is_coming: impl FnOnce(Moment) -> bool) -> bool {
        if self.passes == 0 || !is_coming(self.moment) {
            return false;
        }
        self.has_spared = true;
        self.passes -= 1;
        if self.passes == 0 {
            self.heads = [NIL; 2];
        }
        true
    }

    /// The next one of that line.
    pub(super) fn take_and(&mut self, after: impl FnOnce(u32) -> Option<u32>) -> Option<u32> {
        let item = self.heads[0];
        if item == NIL {
            return None;
        }
        self.heads[0] = after(item).unwrap_or(NIL);
        Some(item)
    }
}

pub(in crate::catalog) struct Recency {
    nodes: Vec<Node>,
    states: Vec<State>,
    lists: [List; 2],
    requests: Requests,
    /// Items listed or parked.
    items: u32,
    /// Under REUSE.
    admission: Option<Admission>,
}

impl Recency {
    pub(super) fn new(
        eviction: Eviction,
        chains: Arc<Chains>,
        slots: Option<u32>,
    ) -> Result<Recency, TryReserveError> {
        let (mut nodes, mut states) = (Vec::new(), Vec::new());
        if let Some(slots) = slots {
            nodes.try_reserve_exact(slots as usize)?;
            states.try_reserve_exact(slots as usize)?;
        }
        let admission = match eviction.policy {
            CachePolicy::Reuse => Some(Admission::new(eviction, slots)?),
            _ => None,
        };
        let lists = [List { newest: NIL, oldest: NIL }; 2];
        Ok(Recency { nodes, states, lists, requests: Requests::new(chains), items: 0, admission })
    }

    pub(super) fn present(&self) -> Moment {
        self.requests.present()
    }

    pub(super) fn begin(&mut self, sight: Sight) -> Moment {
        self.requests.begin(sight)
    }

    pub(super) fn begin_again(&mut self, item: u32, moment: Moment) -> Moment {
        let is_again = moment.request != 0 && moment.has_seen(self.node(item).last);
        if is_again { self.requests.tick() } else { moment }
    }

    pub(super) fn declines(&self) -> bool {
        self.admission.is_some()
    }

    pub(super) fn has_declined(&self, moment: Moment) -> bool {
        self.requests.of(moment).is_some_and(|request| request.declined_from <= moment.position())
    }

    pub(super) fn judge(&self, tag: u32, moment: Moment) -> Verdict {
        self.admission.as_ref().map_or_else(Verdict::default, |admission| admission.judge(tag, moment))
    }

    pub(super) fn tau(&self) -> f64 {
        self.admission.as_ref().map_or(0.0, Admission::tau)
    }

    pub(super) fn judge_ahead(&self, tag: u32, moment: Moment, tau: &mut f64) -> Verdict {
        self.admission
            .as_ref()
            .map_or_else(Verdict::default, |admission| admission.judge_ahead(tag, moment, tau))
    }

    pub(super) fn judge_stored(&self, item: u32, moment: Moment) -> Verdict {
        let Some(admission) = &self.admission else { return Verdict::default() };
        admission.judge_stored(self.node(item).last, moment)
    }

    pub(super) fn admit(&mut self, tag: u32, verdict: &Verdict) {
        if let Some(admission) = &mut self.admission {
            admission.admit(tag, verdict);
        }
    }

    pub(super) fn decline(&mut self, tag: u32, moment: Moment, verdict: &Verdict) {
        if let Some(request) = self.requests.of_mut(moment) {
            request.declined_from = request.declined_from.min(moment.position());
        }
        if let Some(admission) = &mut self.admission {
            admission.decline(tag, moment, verdict);
        }
    }

    pub(super) fn take_back(&mut self, tag: u32, moment: Moment, admitted: Admitted) {
        if let Some(admission) = &mut self.admission {
            admission.take_back(tag, moment, admitted);
        }
    }

    pub(super) fn is_worth(&self, item: u32, moment: Moment, verdict: &Verdict) -> bool {
        let idle = f64::from(moment.idle(self.node(item).last));
        idle / f64::from(WEIGHTS[self.state(item).list()]) >= verdict.due
    }

    pub(super) fn insert(&mut self, item: u32, moment: Moment, returns: bool) {
        let list = self.list_of(returns);
        self.enter(item, moment);
        self.place(item, list, moment);
    }

    pub(super) fn insert_parked(&mut self, item: u32, moment: Moment, returns: bool) {
        let list = self.list_of(returns);
        self.enter(item, moment);
        self.set_state(item, State::PARKED[list]);
    }

    pub(super) fn insert_known(&mut self, item: u32, frequency: u32) {
        let moment = self.requests.tick();
        self.insert(item, moment, frequency > 1);
    }

    pub(super) fn touch(&mut self, item: u32, sight: Sight) {
        let state = self.state(item);
        if state == State::Absent {
            return;
        }
        let moment = self.requests.begin(sight);
        let last = self.node(item).last;
        if moment.has_seen(last) {
            return;
        }
        if let Some(admission) = &mut self.admission {
            admission.see(moment.since(last));
        }
        let list = self.list_of(true);
        if state.is_parked() {
            self.node_mut(item).last = moment.now;
            self.set_state(item, State::PARKED[list]);
        } else {
            self.unlink(item, state.list());
            self.node_mut(item).last = moment.now;
            self.place(item, list, moment);
        }
    }

    pub(super) fn remove(&mut self, item: u32) {
        let state = self.state(item);
        if state == State::Absent {
            return;
        }
        if state.is_listed() {
            self.unlink(item, state.list());
        }
        self.set_state(item, State::Absent);
        self.items -= 1;
    }

    pub(super) fn evict(&mut self, item: u32, tag: u32) {
        let last = self.node(item).last;
        let present = self.requests.present();
        self.remove(item);
        if let Some(admission) = &mut self.admission {
            admission.leave(tag, last, present);
        }
    }

    pub(super) fn park(&mut self, item: u32) {
        let state = self.state(item);
        if state.is_listed() {
            self.unlink(item, state.list());
            self.set_state(item, State::PARKED[state.list()]);
        }
    }

    pub(super) fn unpark(&mut self, item: u32, sight: Sight) {
        let state = self.state(item);
        if state.is_parked() {
            let moment = self.requests.begin(sight);
            self.node_mut(item).last = moment.now;
            self.place(item, state.list(), moment);
        }
    }

    pub(super) fn is_listed(&self, item: u32) -> bool {
        self.state(item).is_listed()
    }

    pub(super) fn is_parked(&self, item: u32) -> bool {
        self.state(item).is_parked()
    }

    pub(super) fn victims(&self, moment: Moment, spares: bool) -> Victims {
        let has_others = spares && moment.request != 0 && self.requests.length_of(moment) > 1;
        let passes = if has_others { PASSED_OVER_MAX } else { 0 };
        Victims { heads: self.lists.map(|list| list.oldest), moment, spares, passes, has_spared: false }
    }

    pub(super) fn is_own(&self, item: u32, moment: Moment) -> bool {
        self.requests.of(moment).is_some() && self.requests.is_own(self.node(item).last, moment)
    }

    pub(super) fn next(&self, victims: &mut Victims) -> Option<u32> {
        let moment = victims.moment;
        if victims.spares {
            for head in &mut victims.heads {
                // Lists are sorted by requests: what is newer is of this one too, or was used since.
                if *head != NIL && self.requests.is_own(self.node(*head).last, moment) {
                    *head = NIL;
                    victims.has_spared = true;
                }
            }
        }
        let list = match victims.heads {
            [NIL, NIL] => return None,
            [_, NIL] => ONCE,
            [NIL, _] => AGAIN,
            [once, again] => {
                let idle = |item: u32, list: usize| {
                    u64::from(moment.idle(self.node(item).last)) * u64::from(WEIGHTS[list])
                };
                // Of a and b, a / 1 >= b / 2 where 2 a >= 1 b.
                if idle(once, AGAIN) >= idle(again, ONCE) { ONCE } else { AGAIN }
            }
        };
        let item = victims.heads[list];
        victims.heads[list] = self.node(item).newer;
        Some(item)
    }

    pub(super) fn oldest_first(&self) -> Vec<(u32, u32)> {
        let mut all = Vec::with_capacity(self.items as usize);
        let present = self.requests.present();
        let mut heads = self.lists.map(|list| list.oldest);
        loop {
            let list = match heads {
                [NIL, NIL] => break,
                [_, NIL] => ONCE,
                [NIL, _] => AGAIN,
                [once, again] => {
                    let idle = |item: u32| present.since(self.node(item).last);
                    if idle(once) >= idle(again) { ONCE } else { AGAIN }
                }
            };
            all.push((heads[list], WEIGHTS[list]));
            heads[list] = self.node(heads[list]).newer;
        }
        let parked = (0u32..).zip(&self.states).filter(|(_, state)| state.is_parked());
        all.extend(parked.map(|(item, state)| (item, WEIGHTS[state.list()])));
        all
    }

    /// The list of what comes back. LRU has but one.
    fn list_of(&self, returns: bool) -> usize {
        if returns && self.admission.is_some() { AGAIN } else { ONCE }
    }

    /// An item is known from now on.
    fn enter(&mut self, item: u32, moment: Moment) {
        let at = item as usize;
        if at >= self.nodes.len() {
            self.nodes.resize(at + 1, Node::NEW);
            self.states.resize(at + 1, State::Absent);
        }
        debug_assert!(self.states[at] == State::Absent, "an item is put once");
        self.nodes[at].last = moment.now;
        self.items += 1;
        if let Some(admission) = &mut self.admission {
            admission.grow(self.items, moment);
        }
    }

    /// Lists an item that is in no list, among those of its request.
    fn place(&mut self, item: u32, list: usize, moment: Moment) {
        self.set_state(item, State::LISTED[list]);
        let last = self.node(item).last;
        let anchor = self.requests.of(moment).map_or(NIL, |request| request.anchors[list]);
        let is_ours = |recency: &Recency, other: u32| {
            // An anchor may be the item itself, from before it was taken out of the list.
            other != NIL
                && other != item
                && recency.state(other) == State::LISTED[list]
                && recency.requests.is_own(recency.node(other).last, moment)
        };
        let mut newer = NIL;
        let mut is_last = true;
        if is_ours(self, anchor) {
            newer = anchor;
            // Of its request the first keys are the newest.
            for _ in 0..STEPS_MAX {
                if !is_ours(self, newer) || self.node(newer).last.wrapping_sub(last) as i32 <= 0 {
                    break;
                }
                newer = self.node(newer).newer;
                is_last = false;
            }
        }
        self.link_behind(item, list, newer);
        if is_last {
            self.requests.set_anchor(list, item, moment);
        }
    }

    /// Puts an item right behind `newer`, or in front of all.
    fn link_behind(&mut self, item: u32, list: usize, newer: u32) {
        let older = if newer == NIL { self.lists[list].newest } else { self.node(newer).older };
        let node = self.node_mut(item);
        (node.newer, node.older) = (newer, older);
        match newer {
            NIL => self.lists[list].newest = item,
            newer => self.node_mut(newer).older = item,
        }
        match older {
            NIL => self.lists[list].oldest = item,
            older => self.node_mut(older).newer = item,
        }
    }

    /// Takes an item out of its list and leaves its own node and state to the caller.
    fn unlink(&mut self, item: u32, list: usize) {
        let Node { newer, older, .. } = self.node(item);
        match newer {
            NIL => self.lists[list].newest = older,
            newer => self.node_mut(newer).older = older,
        }
        match older {
            NIL => self.lists[list].oldest = newer,
            older => self.node_mut(older).newer = newer,
        }
        // The request that lies here goes on behind what is left of it.
        self.requests.move_anchor(list, item, newer);
    }

    /// Whether both lists hold together, forwards and backwards, and hold what is listed and nothing else.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn audit(&self) -> bool {
        let walk = |list: usize| {
            let (mut count, mut newer, mut at) = (0, NIL, self.lists[list].newest);
            while at != NIL && count <= self.items {
                if self.node(at).newer != newer || self.state(at) != State::LISTED[list] {
                    return None;
                }
                (count, newer, at) = (count + 1, at, self.node(at).older);
            }
            (self.lists[list].oldest == newer).then_some(count)
        };
        let listed = self.states.iter().filter(|state| state.is_listed()).count();
        let parked = self.states.iter().filter(|state| state.is_parked()).count();
        walk(ONCE).zip(walk(AGAIN)).is_some_and(|(once, again)| (once + again) as usize == listed)
            && listed + parked == self.items as usize
    }

    fn node(&self, item: u32) -> Node {
        self.nodes.get(item as usize).copied().unwrap_or(Node::NEW)
    }

    /// The node of an item that was put once.
    fn node_mut(&mut self, item: u32) -> &mut Node {
        &mut self.nodes[item as usize]
    }

    fn state(&self, item: u32) -> State {
        self.states.get(item as usize).copied().unwrap_or(State::Absent)
    }

    fn set_state(&mut self, item: u32, state: State) {
        self.states[item as usize] = state;
    }
}

/// Memory for each item.
#[cfg(all(test, not(feature = "shuttle")))]
pub(super) const NODE_BYTES: usize = size_of::<Node>() + size_of::<State>();
