//! A store that is full, with everything pinned, in use, or about to be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common::status::{NOT_FOUND, OK, POOL_FULL, Status};
use crate::common::{Batch, Random, Scratch, Setup, Store, payload};
use crate::version::{LINE, Version};
use crate::{KIB, MIB, key, layouts};

const FIT: usize = 8;
const OBJECT: usize = 128 * KIB - 4096;

fn open(setup: &Setup, scratch: &Scratch) -> Store {
    let (slots, chunk_bytes) = (FIT as u32, OBJECT as u64);
    Store::open(&Setup { slots, chunk_bytes, capacity_bytes: MIB as u64, ..setup.clone() }, scratch)
}

/// Everything is pinned. A put gets a status of its own for that; nothing that was there is lost or changed, and with
/// the first pin taken back the next put succeeds.
#[test]
fn a_put_into_a_store_of_pinned_keys_is_refused_and_nothing_lost() {
    for (name, setup) in layouts() {
        let scratch = Scratch::new(name);
        let store = open(setup, &scratch);
        let object = |index: usize| payload(index as u64, OBJECT);
        for index in 0..FIT {
            assert_eq!((store.put(&key(index), &object(index)), store.pin(&key(index))), (OK, OK));
        }
        let objects = [object(100), object(101)];
        let mut puts = Batch::new();
        puts.put(&key(100), &objects[0]);
        puts.put(&key(101), &objects[1]);
        let (status, results) = store.put_batch(&puts);
        assert_eq!(status, POOL_FULL, "{name}");
        assert!(results.iter().all(|result| Status(result.status) == POOL_FULL), "{name}");
        assert_eq!(store.put(&key(102), &object(102)), POOL_FULL, "{name}");
        for index in 0..FIT {
            assert_eq!(store.fetch(&key(index), OBJECT), Some(object(index)), "{name}: pinned key {index}");
        }
        for index in 100..103 {
            assert_eq!(store.contains(&key(index)), NOT_FOUND, "{name}");
        }
        let stats = store.stats();
        assert_eq!((stats.keys, stats.puts_failed, stats.evictions), (FIT as u64, 3, 0), "{name}");

        assert_eq!(store.unpin(&key(5)), OK);
        assert_eq!(store.put_batch(&puts).0, OK, "{name}: two puts through one slot");
        assert_eq!(store.contains(&key(5)), NOT_FOUND, "{name}");
        let there = [100, 101].into_iter().filter(|&index| store.contains(&key(index)) == OK).count();
        assert_eq!((there, store.stats().keys), (1, FIT as u64), "{name}");
        assert_eq!(store.close(), OK);
    }
}

/// An engine stores more in one batch than the store can hold. Every put succeeds, pushing out earlier ones of its own
/// batch if it must; in the end the store is full of objects that are whole.
#[test]
fn a_batch_larger_than_the_store_succeeds() {
    const PUTS: usize = 60;
    for (name, setup) in layouts() {
        for pinned in [0, FIT - 1] {
            let scratch = Scratch::new(name);
            let store = open(setup, &scratch);
            for index in 1000..1000 + pinned {
                assert_eq!(store.put(&key(index), &payload(index as u64, OBJECT)), OK);
                assert_eq!(store.pin(&key(index)), OK);
            }
            let objects: Vec<_> =
                (0..PUTS).map(|index| payload(index as u64, OBJECT - (index % 3) * 50_000)).collect();
            let mut puts = Batch::new();
            for (index, object) in objects.iter().enumerate() {
                puts.put(&key(index), object);
            }
            let (status, results) = store.put_batch(&puts);
            let what = format!("{name}, {pinned} pinned");
            assert_eq!(status, OK, "{what}");
            assert!(results.iter().all(|result| Status(result.status) == OK), "{what}");
            let mut there = 0;
            for (index, object) in objects.iter().enumerate() {
                if let Some(found) = store.fetch(&key(index), OBJECT) {
                    assert!(found == *object, "{what}: key {index}");
                    there += 1;
                }
            }
            let stats = store.stats();
            assert_eq!(stats.keys, (there + pinned) as u64, "{what}");
            if setup.is_static() {
                assert_eq!(there + pinned, FIT, "{what}: slots stay empty");
                assert_eq!(stats.evictions as usize, PUTS - there, "{what}");
            }
            for index in 1000..1000 + pinned {
                assert_eq!(store.contains(&key(index)), OK, "{what}");
            }
            assert_eq!(store.close(), OK);
        }
    }
}

/// The same keys are put again and again into a store that just holds them: none of them pushes out another.
#[test]
fn putting_the_same_keys_again_keeps_all_of_them() {
    for (name, setup) in layouts().filter(|(_, setup)| setup.is_static()) {
        let scratch = Scratch::new(name);
        let store = open(setup, &scratch);
        for version in 0..5u64 {
            let objects: Vec<_> =
                (0..FIT).map(|index| payload(version << 32 | index as u64, OBJECT)).collect();
            let mut puts = Batch::new();
            for (index, object) in objects.iter().enumerate() {
                puts.put(&key(index), object);
            }
            assert_eq!(store.put_batch(&puts).0, OK, "{name}");
            for (index, object) in objects.iter().enumerate() {
                assert_eq!(store.fetch(&key(index), OBJECT).as_ref(), Some(object), "{name}: key {index}");
            }
        }
    }
}

/// Readers and writers crowd a store of two slots. A slot being read is not evicted under its readers, of which there
/// are many at every moment: each get is whole or finds the key gone, no record that is met is wrong, and no put fails.
#[test]
fn a_slot_being_read_is_not_evicted() {
    const KEYS: usize = 4;
    const PUTS: u64 = 40;
    const OBJECT: usize = 300 * KIB / LINE * LINE;
    for (name, setup) in layouts() {
        let scratch = Scratch::new(name);
        let setup = Setup {
            slots: 2,
            chunk_bytes: OBJECT as u64,
            capacity_bytes: MIB as u64,
            buffer_bytes: 32 * MIB as u64,
            ..setup.clone()
        };
        let store = Store::open(&setup, &scratch);
        let writers_left = AtomicUsize::new(2);
        let hits = AtomicUsize::new(0);
        thread::scope(|scope| {
            for writer in 0..2 {
                let (store, writers_left) = (&store, &writers_left);
                scope.spawn(move || {
                    let mut random = Random::new(writer);
                    for version in 0..PUTS {
                        let index = random.below(KEYS);
                        let object = Version { key: index as u64, version, length: OBJECT }.bytes();
                        assert_eq!(store.put(&key(index), &object), OK, "{name}");
                    }
                    writers_left.fetch_sub(1, Ordering::SeqCst);
                });
            }
            for _ in 0..2 {
                let (store, writers_left, hits) = (&store, &writers_left, &hits);
                scope.spawn(move || {
                    let mut buffers = vec![vec![0; OBJECT]; 4 * KEYS];
                    while writers_left.load(Ordering::SeqCst) > 0 {
                        let mut gets = Batch::new();
                        for (nth, buffer) in buffers.iter_mut().enumerate() {
                            gets.get(&key(nth % KEYS), buffer);
                        }
                        let (_, results) = store.get_batch(&gets);
                        drop(gets);
                        for (nth, (result, buffer)) in results.iter().zip(&buffers).enumerate() {
                            if Status(result.status) == OK {
                                assert_eq!(Version::of(buffer, name).key as usize, nth % KEYS, "{name}");
                                hits.fetch_add(1, Ordering::Relaxed);
                            } else {
                                assert_eq!(Status(result.status), NOT_FOUND, "{name}");
                            }
                        }
                    }
                });
            }
        });
        let stats = store.stats();
        assert_eq!((stats.corruptions, stats.quarantined_slots, stats.puts_ok), (0, 0, 2 * PUTS), "{name}");
        assert!(hits.into_inner() > 0, "{name}: nothing was ever read");
        assert_eq!(store.close(), OK);
    }
}
