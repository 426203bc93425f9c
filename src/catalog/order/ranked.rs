//! LFU, FIFO and MRU.
//!
//! Items sit in doubly linked lists that run through one array, so every operation moves a few integers and none allocates
//! beyond that array. A list belongs to a *bucket* of one frequency; buckets are linked by rising
//! frequency. Only LFU ever has more than one bucket.
//!
//! The meanings are LMCache's: LFU starts at frequency 1 with a put and breaks ties in order of
//! arrival at that frequency; MRU takes the item used or put last; FIFO ignores uses.

use std::collections::TryReserveError;

use super::NIL;
use crate::config::CachePolicy;

/// In `Node::prev`: not in the order at all.
const ABSENT: u32 = u32::MAX - 1;
/// In `Node::prev`: known but in no list; `Node::place` is then its frequency.
const PARKED: u32 = u32::MAX - 2;

/// Kept at three words because there is one for each slot of a pool.
#[derive(Clone, Copy)]
struct Node {
    prev: u32,
    next: u32,
    /// The bucket of a listed item, the frequency of a parked one.
    place: u32,
}

impl Node {
    const ABSENT: Node = Node { prev: ABSENT, next: NIL, place: 0 };

    fn is_listed(self) -> bool {
        self.prev != ABSENT && self.prev != PARKED
    }
}

/// The items of one frequency, from the one that arrived there first (head) to the last (tail).
#[derive(Clone, Copy)]
struct Bucket {
    frequency: u32,
    head: u32,
    tail: u32,
    lower: u32,
    higher: u32,
}

/// An order by rank: how often, or when, an item was put or used.
pub(in crate::catalog) struct Ranked {
    policy: CachePolicy,
    nodes: Vec<Node>,
    buckets: Vec<Bucket>,
    /// Buckets that are in no chain and may be used again.
    spare_buckets: Vec<u32>,
    lowest: u32,
    highest: u32,
}

impl Ranked {
    /// An empty order with room for items `0..capacity` set aside, but not touched yet.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn new(policy: CachePolicy, capacity: usize) -> Result<Ranked, TryReserveError> {
        let mut nodes = Vec::new();
        nodes.try_reserve_exact(capacity)?;
        let (buckets, spare_buckets) = (Vec::new(), Vec::new());
        Ok(Ranked { policy, nodes, buckets, spare_buckets, lowest: NIL, highest: NIL })
    }

    /// A put: the item enters as the newest, at frequency 1. It must be absent.
    pub(super) fn insert(&mut self, item: u32) {
        let bucket = match self.bucket(self.lowest) {
            Some(lowest) if lowest.frequency == 1 => self.lowest,
            _ => self.add_bucket(1, NIL),
        };
        self.append(item, bucket);
    }

    /// A put of an item that may not be evicted for now.
    pub(super) fn insert_parked(&mut self, item: u32) {
        *self.node_mut(item) = Node { prev: PARKED, next: NIL, place: 1 };
    }

    /// An item known from before, handed over in order, oldest first. Its frequency is raised to
    /// that of its predecessor where it is lower: an order read from storage may claim anything,
    /// and so each item costs the same whatever it claims.
    pub(super) fn insert_known(&mut self, item: u32, frequency: u32) {
        let frequency = if self.policy == CachePolicy::Lfu { frequency.max(1) } else { 1 };
        let bucket = match self.bucket(self.highest) {
            Some(highest) if highest.frequency >= frequency => self.highest,
            _ => self.add_bucket(frequency, self.highest),
        };
        self.append(item, bucket);
    }

    /// A use. Does nothing to an absent item: the use was of something that has left since.
    pub(super) fn touch(&mut self, item: u32) {
        let Some(&node) = self.nodes.get(item as usize) else { return };
        match self.policy {
            CachePolicy::Fifo => {}
            CachePolicy::Lru | CachePolicy::Reuse | CachePolicy::Mru => {
                if node.is_listed() {
                    self.unlink(item, node);
                    self.append(item, node.place);
                }
            }
            CachePolicy::Lfu if node.prev == PARKED => {
                self.node_mut(item).place = node.place.saturating_add(1);
            }
            CachePolicy::Lfu if node.is_listed() => self.promote(item, node),
            CachePolicy::Lfu => {}
        }
    }

    /// Takes an item out, listed or parked, and tells the frequency it had; 0 if it was absent.
    pub(super) fn remove(&mut self, item: u32) -> u32 {
        let Some(&node) = self.nodes.get(item as usize) else { return 0 };
        let frequency = if node.is_listed() {
            let frequency = self.frequency_of(node.place);
            self.unlink(item, node);
            self.drop_if_empty(node.place);
            frequency
        } else {
            node.place
        };
        *self.node_mut(item) = Node::ABSENT;
        frequency
    }

    /// Takes a listed item out of reach of eviction. Its frequency is kept and goes on counting.
    pub(super) fn park(&mut self, item: u32) {
        if self.is_listed(item) {
            let frequency = self.remove(item);
            *self.node_mut(item) = Node { prev: PARKED, next: NIL, place: frequency };
        }
    }

    /// Lists a parked item again, as the newest of its frequency.
    ///
    /// Looks for its bucket from the highest down: pins end rarely, and on keys that are in use.
    pub(super) fn unpark(&mut self, item: u32) {
        let Some(&node) = self.nodes.get(item as usize) else { return };
        if node.prev != PARKED {
            return;
        }
        let frequency = node.place;
        let mut below = self.highest;
        while let Some(bucket) = self.bucket(below).filter(|bucket| bucket.frequency > frequency) {
            below = bucket.lower;
        }
        let bucket = match self.bucket(below) {
            Some(found) if found.frequency == frequency => below,
            _ => self.add_bucket(frequency, below),
        };
        self.append(item, bucket);
    }

    /// Whether the item may be evicted as far as the order knows.
    pub(super) fn is_listed(&self, item: u32) -> bool {
        self.nodes.get(item as usize).is_some_and(|node| node.is_listed())
    }

    /// Whether the item is known but out of reach of eviction.
    pub(super) fn is_parked(&self, item: u32) -> bool {
        self.nodes.get(item as usize).is_some_and(|node| node.prev == PARKED)
    }

    /// The item that leaves first.
    pub(super) fn first_victim(&self) -> Option<u32> {
        if self.policy == CachePolicy::Mru {
            self.bucket(self.highest).map(|bucket| bucket.tail)
        } else {
            self.bucket(self.lowest).map(|bucket| bucket.head)
        }
    }

    /// The listed item that leaves next if `item` must stay.
    pub(super) fn victim_after(&self, item: u32) -> Option<u32> {
        let node = self.nodes.get(item as usize).filter(|node| node.is_listed())?;
        if self.policy == CachePolicy::Mru {
            not_nil(node.prev)
        } else {
            not_nil(node.next).or_else(|| {
                let higher = self.bucket(node.place)?.higher;
                self.bucket(higher).map(|bucket| bucket.head)
            })
        }
    }

    /// All items with their frequencies, oldest first, as [`Ranked::insert_known`] wants them back.
    /// A parked item comes as the newest of its frequency, where [`Ranked::unpark`] would put it.
    pub(super) fn oldest_first(&self) -> Vec<(u32, u32)> {
        let mut parked: Vec<(u32, u32)> = (0u32..)
            .zip(&self.nodes)
            .filter(|(_, node)| node.prev == PARKED)
            .map(|(item, node)| (item, node.place))
            .collect();
        parked.sort_by_key(|&(_, frequency)| frequency);
        let mut parked = parked.into_iter().peekable();

        let mut all = Vec::new();
        let mut at = self.lowest;
        while let Some(bucket) = self.bucket(at) {
            while let Some(entry) = parked.next_if(|&(_, frequency)| frequency < bucket.frequency) {
                all.push(entry);
            }
            let mut item = not_nil(bucket.head);
            while let Some(listed) = item {
                all.push((listed, bucket.frequency));
                item = self.nodes.get(listed as usize).and_then(|node| not_nil(node.next));
            }
            at = bucket.higher;
        }
        all.extend(parked);
        all
    }

    /// LFU's use: from its bucket to the end of the one above.
    fn promote(&mut self, item: u32, node: Node) {
        let Some(bucket) = self.bucket(node.place) else { return };
        let Some(frequency) = bucket.frequency.checked_add(1) else { return };
        let above = self.bucket(bucket.higher).filter(|above| above.frequency == frequency);
        if above.is_none() && bucket.head == bucket.tail {
            // Alone in its bucket with a gap above: the bucket itself moves up.
            if let Some(bucket) = self.buckets.get_mut(node.place as usize) {
                bucket.frequency = frequency;
            }
            return;
        }
        let target = if above.is_some() { bucket.higher } else { self.add_bucket(frequency, node.place) };
        self.unlink(item, node);
        self.drop_if_empty(node.place);
        self.append(item, target);
    }

    fn append(&mut self, item: u32, at: u32) {
        let tail = match self.buckets.get_mut(at as usize) {
            Some(bucket) => {
                let tail = std::mem::replace(&mut bucket.tail, item);
                if tail == NIL {
                    bucket.head = item;
                }
                tail
            }
            None => return,
        };
        *self.node_mut(item) = Node { prev: tail, next: NIL, place: at };
        if tail != NIL {
            self.node_mut(tail).next = item;
        }
    }

    /// Takes a listed item out of its list and leaves its own node to the caller.
    fn unlink(&mut self, item: u32, node: Node) {
        if node.prev != NIL {
            self.node_mut(node.prev).next = node.next;
        }
        if node.next != NIL {
            self.node_mut(node.next).prev = node.prev;
        }
        if let Some(bucket) = self.buckets.get_mut(node.place as usize) {
            if bucket.head == item {
                bucket.head = node.next;
            }
            if bucket.tail == item {
                bucket.tail = node.prev;
            }
        }
    }

    /// Chains in an empty bucket right above `lower`, or as the lowest if that is nothing.
    fn add_bucket(&mut self, frequency: u32, lower: u32) -> u32 {
        let higher = self.bucket(lower).map_or(self.lowest, |bucket| bucket.higher);
        let fresh = Bucket { frequency, head: NIL, tail: NIL, lower, higher };
        let at = match self.spare_buckets.pop() {
            Some(at) => at,
            None => self.buckets.len() as u32,
        };
        match self.buckets.get_mut(at as usize) {
            Some(bucket) => *bucket = fresh,
            None => self.buckets.push(fresh),
        }
        self.link_buckets(lower, at);
        self.link_buckets(at, higher);
        at
    }

    fn drop_if_empty(&mut self, at: u32) {
        if let Some(bucket) = self.bucket(at).filter(|bucket| bucket.head == NIL) {
            self.link_buckets(bucket.lower, bucket.higher);
            self.spare_buckets.push(at);
        }
    }

    fn link_buckets(&mut self, lower: u32, higher: u32) {
        match self.buckets.get_mut(lower as usize) {
            Some(bucket) => bucket.higher = higher,
            None => self.lowest = higher,
        }
        match self.buckets.get_mut(higher as usize) {
            Some(bucket) => bucket.lower = lower,
            None => self.highest = lower,
        }
    }

    fn bucket(&self, at: u32) -> Option<Bucket> {
        self.buckets.get(at as usize).copied()
    }

    fn frequency_of(&self, at: u32) -> u32 {
        self.bucket(at).map_or(0, |bucket| bucket.frequency)
    }

    /// The node of an item, which is made if the item is new to the order.
    fn node_mut(&mut self, item: u32) -> &mut Node {
        let at = item as usize;
        if at >= self.nodes.len() {
            self.nodes.resize(at + 1, Node::ABSENT);
        }
        &mut self.nodes[at]
    }
}

fn not_nil(item: u32) -> Option<u32> {
    (item != NIL).then_some(item)
}

impl Ranked {
    /// Buckets there ever were at a time.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }
}
