//! What leaves to make room, and what stays.

use crate::common::status::{NOT_FOUND, OK};
use crate::common::{Random, Scratch, Setup, Store, payload};
use crate::{KIB, MIB, key, layouts};

/// Objects that fit.
const FIT: usize = 8;
/// Bytes of an object; with its trailer an eighth of a mebibyte, the capacity of the dynamic stores.
const OBJECT: usize = 128 * KIB - 4096;
const POLICIES: [&str; 4] = ["LRU", "LFU", "FIFO", "MRU"];

fn open(setup: &Setup, policy: &'static str, scratch: &Scratch) -> Store {
    let setup = Setup {
        slots: FIT as u32,
        chunk_bytes: OBJECT as u64,
        capacity_bytes: MIB as u64,
        policy,
        ..setup.clone()
    };
    Store::open(&setup, scratch)
}

#[track_caller]
fn put(store: &Store, index: usize) {
    assert_eq!(store.put(&key(index), &payload(index as u64, OBJECT)), OK, "key {index}");
}

#[track_caller]
fn get(store: &Store, index: usize) {
    assert_eq!(store.fetch(&key(index), OBJECT), Some(payload(index as u64, OBJECT)), "key {index}");
}

/// What LMCache's policies would do, as plainly as it can be said: keys in the order in which they came or, where that
/// counts, were used, with the number of their uses.
struct Model {
    policy: &'static str,
    keys: Vec<(usize, u64)>,
}

impl Model {
    fn put(&mut self, index: usize) {
        if self.keys.len() == FIT {
            let victim = self.victim();
            self.keys.remove(victim);
        }
        self.keys.push((index, 1));
    }

    fn used(&mut self, index: usize) {
        let at = self.keys.iter().position(|(key, _)| *key == index).unwrap();
        self.keys[at].1 += 1;
        if self.policy != "FIFO" {
            let key = self.keys.remove(at);
            self.keys.push(key);
        }
    }

    fn victim(&self) -> usize {
        match self.policy {
            "MRU" => self.keys.len() - 1,
            "LFU" => {
                let least = self.keys.iter().map(|(_, uses)| *uses).min().unwrap();
                self.keys.iter().position(|(_, uses)| *uses == least).unwrap()
            }
            _ => 0,
        }
    }
}

/// A cache policy is chosen for the workload. Under a long mix of puts and gets, the keys that are there are exactly
/// those that the named policy keeps: least recently used, least frequently used (the earlier first among equals),
/// first in first out, most recently used.
#[test]
fn each_policy_evicts_in_its_own_order() {
    for (name, setup) in layouts() {
        for policy in POLICIES {
            let scratch = Scratch::new(name);
            let store = open(setup, policy, &scratch);
            let mut model = Model { policy, keys: Vec::new() };
            let mut random = Random::new(7);
            let mut next = 0;
            for step in 0..120 {
                if random.below(3) == 0 || model.keys.len() < FIT {
                    put(&store, next);
                    model.put(next);
                    next += 1;
                } else {
                    // Uneven, so that frequencies differ.
                    let at = random.below(FIT).min(random.below(FIT));
                    let index = model.keys[at].0;
                    get(&store, index);
                    model.used(index);
                }
                // To ask is not to use.
                let there: Vec<_> = (0..next).filter(|&index| store.contains(&key(index)) == OK).collect();
                let mut wanted: Vec<_> = model.keys.iter().map(|(index, _)| *index).collect();
                wanted.sort_unstable();
                assert_eq!(there, wanted, "{name}, {policy}, step {step}");
            }
            let stats = store.stats();
            assert_eq!((stats.keys, stats.evictions), (FIT as u64, (next - FIT) as u64), "{name}, {policy}");
        }
    }
}

/// Which one a pin protects does not depend on the policy: not the first in, not the least used, not the most recently
/// used is evicted while it is pinned, whatever pressure there is; and unpinned it is one of many again.
#[test]
fn a_pin_holds_under_every_policy() {
    for (name, setup) in layouts() {
        for policy in POLICIES {
            let what = format!("{name}, {policy}");
            let scratch = Scratch::new(name);
            let store = open(setup, policy, &scratch);
            (0..FIT).for_each(|index| put(&store, index));
            // The first in, and the last used: one of them is next under each policy.
            let pinned = [0, 3, FIT - 1];
            for index in [1, 2, 3, FIT - 1] {
                get(&store, index);
            }
            for index in pinned {
                assert_eq!(store.pin(&key(index)), OK, "{what}");
            }
            for index in 100..140 {
                put(&store, index);
                get(&store, index);
                for index in pinned {
                    assert_eq!(store.contains(&key(index)), OK, "{what}: pinned key {index}");
                }
            }
            pinned.into_iter().for_each(|index| get(&store, index));
            let stats = store.stats();
            assert_eq!((stats.keys, stats.keys_pinned), (FIT as u64, 3), "{what}");
            assert_eq!(stats.evictions, 40, "{what}");

            for index in pinned {
                assert_eq!(store.unpin(&key(index)), OK, "{what}");
            }
            if policy == "LRU" || policy == "FIFO" {
                (200..200 + FIT).for_each(|index| put(&store, index));
                for index in pinned {
                    assert_eq!(store.contains(&key(index)), NOT_FOUND, "{what}: key {index} unpinned");
                }
            }
            assert_eq!(store.close(), OK);
        }
    }
}

/// The order survives a restart: what was used longest ago before the close is the first to leave after it.
#[test]
fn the_order_of_eviction_survives_a_restart() {
    for policy in ["LRU", "LFU"] {
        let scratch = Scratch::new("order");
        let store = open(&Setup::POOL, policy, &scratch);
        (0..FIT).for_each(|index| put(&store, index));
        for index in [0, 1, 2, 5, 6, 7, 0, 1, 2, 5, 6] {
            get(&store, index);
        }
        assert_eq!(store.close(), OK);
        let store = open(&Setup::POOL, policy, &scratch);
        for (index, victim) in [(100, 3), (101, 4)] {
            put(&store, index);
            get(&store, index);
            get(&store, index);
            assert_eq!(store.contains(&key(victim)), NOT_FOUND, "{policy}: {victim} leaves");
        }
        put(&store, 102);
        assert_eq!(store.contains(&key(7)), NOT_FOUND, "{policy}: 7 leaves");
        [0, 1, 2, 5, 6, 100, 101, 102].into_iter().for_each(|index| get(&store, index));
    }
}
