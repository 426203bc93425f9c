//! The books of a dynamic store: the eviction order and the sums. All behind one mutex.

use std::collections::BTreeSet;

use crate::catalog::chains::Sight;
use crate::catalog::order::{Moment, Order};

use super::ObjectGauges;
use super::entry::Entry;

pub(super) struct Books {
    pub(super) order: Order,
    pub(super) keys: u32,
    pub(super) keys_pinned: u64,
    pub(super) forgotten: u64,
    /// Sums are wide enough for any sizes that a file system can claim.
    pub(super) bytes: u128,
    pub(super) bytes_in_flight: u128,
    /// Puts under way whose objects will come on top of those known.
    pub(super) objects_in_flight: u32,
    /// Bytes of the objects that the order would give up, and how many those are.
    pub(super) bytes_evictable: u128,
    pub(super) objects_evictable: u32,
    /// The tag of the object at each node of the order.
    tags: Vec<u32>,
    /// Nodes that no object has.
    spare: Vec<u32>,
    /// Nodes of objects that were put back and are not listed for now.
    held: BTreeSet<u32>,
}

impl Books {
    pub(super) fn new(order: Order) -> Books {
        Books {
            order,
            keys: 0,
            keys_pinned: 0,
            forgotten: 0,
            bytes: 0,
            bytes_in_flight: 0,
            objects_in_flight: 0,
            bytes_evictable: 0,
            objects_evictable: 0,
            tags: Vec::new(),
            spare: Vec::new(),
            held: BTreeSet::new(),
        }
    }

    /// A node for an object with this tag. There are never more than objects known, so the number fits.
    pub(super) fn take_node(&mut self, tag: u32) -> u32 {
        match self.spare.pop() {
            Some(node) => {
                self.tags[node as usize] = tag;
                node
            }
            None => {
                self.tags.push(tag);
                (self.tags.len() - 1) as u32
            }
        }
    }

    pub(super) fn tag(&self, node: u32) -> u32 {
        self.tags[node as usize]
    }

    /// Counts an object in, as the newest. `returns`: it was seen before.
    pub(super) fn insert(&mut self, entry: Entry, held: bool, moment: Moment, returns: bool) {
        self.keys += 1;
        self.bytes += u128::from(entry.bytes);
        if held {
            self.held.insert(entry.node);
            self.order.insert_parked(entry.node, moment, returns);
        } else {
            self.bytes_evictable += u128::from(entry.bytes);
            self.objects_evictable += 1;
            self.order.insert(entry.node, moment, returns);
        }
    }

    /// Counts an object out to make room, and has its key remembered.
    pub(super) fn evict(&mut self, entry: Entry) {
        let tag = self.tag(entry.node);
        if self.order.is_listed(entry.node) {
            self.bytes_evictable -= u128::from(entry.bytes);
            self.objects_evictable -= 1;
        }
        self.order.evict(entry.node, tag);
        self.count_out(entry);
    }

    /// Counts an object out.
    pub(super) fn remove(&mut self, entry: Entry) {
        self.take_out(entry);
        self.count_out(entry);
    }

    fn count_out(&mut self, entry: Entry) {
        self.held.remove(&entry.node);
        self.keys -= 1;
        self.keys_pinned -= u64::from(entry.pins > 0);
        self.bytes -= u128::from(entry.bytes);
        self.spare.push(entry.node);
    }

    /// A put of a known object: it enters the order anew, at frequency 1. An object that its own process
    /// puts is not held any longer.
    pub(super) fn renew(&mut self, entry: Entry, moment: Moment) {
        let verdict = self.order.judge_stored(entry.node, moment);
        self.order.admit(self.tag(entry.node), &verdict);
        let moment = self.order.begin_again(entry.node, moment);
        self.take_out(entry);
        self.held.remove(&entry.node);
        if entry.pins > 0 {
            self.order.insert_parked(entry.node, moment, true);
        } else {
            self.order.insert(entry.node, moment, true);
            self.bytes_evictable += u128::from(entry.bytes);
            self.objects_evictable += 1;
        }
    }

    /// The object has another size.
    pub(super) fn resize(&mut self, entry: Entry, bytes: u64) {
        self.bytes = self.bytes - u128::from(entry.bytes) + u128::from(bytes);
        if self.order.is_listed(entry.node) {
            self.bytes_evictable = self.bytes_evictable - u128::from(entry.bytes) + u128::from(bytes);
        }
    }

    /// Takes an object out of reach of eviction.
    pub(super) fn park(&mut self, entry: Entry) {
        if self.order.is_listed(entry.node) {
            self.bytes_evictable -= u128::from(entry.bytes);
            self.objects_evictable -= 1;
            self.order.park(entry.node);
        }
    }

    /// Lets an object be evicted again.
    pub(super) fn unpark(&mut self, entry: Entry, sight: Sight) {
        if self.order.is_parked(entry.node) {
            self.bytes_evictable += u128::from(entry.bytes);
            self.objects_evictable += 1;
            self.order.unpark(entry.node, sight);
        }
    }

    pub(super) fn is_held(&self, node: u32) -> bool {
        self.held.contains(&node)
    }

    /// Ends the holding of all held objects and names their nodes.
    pub(super) fn end_holding(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.held)
    }

    pub(super) fn gauges(&self) -> ObjectGauges {
        ObjectGauges {
            keys: self.keys,
            bytes: u64::try_from(self.bytes).unwrap_or(u64::MAX),
            bytes_in_flight: u64::try_from(self.bytes_in_flight).unwrap_or(u64::MAX),
            keys_pinned: self.keys_pinned,
            keys_held: self.held.len() as u64,
            forgotten: self.forgotten,
        }
    }

    fn take_out(&mut self, entry: Entry) {
        if self.order.is_listed(entry.node) {
            self.bytes_evictable -= u128::from(entry.bytes);
            self.objects_evictable -= 1;
        }
        self.order.remove(entry.node);
    }
}
