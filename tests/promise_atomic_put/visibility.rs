//! A put is visible as a whole, to every reader at every moment.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::common::status::{IN_PROGRESS, NOT_FOUND, OK, Status};
use crate::common::{Batch, Random, Scratch, Setup, Store, Submit};
use crate::version::{LINE, Version};
use crate::{KIB, MIB, key, stores};

const OBJECT_BYTES_MAX: usize = 700 * KIB;

/// Lengths of one write and of several, in whole lines.
fn length(random: &mut Random) -> usize {
    let most = *random.pick(&[LINE, 4 * KIB, 64 * KIB, 300 * KIB, OBJECT_BYTES_MAX]);
    random.between(1, most / LINE) * LINE
}

/// One writer for each key puts version after version, while readers get all of them. Each get is one whole version,
/// never one older than the last put that had completed before the get began, and never nothing.
#[test]
fn every_get_is_one_whole_version_and_the_latest() {
    const KEYS: usize = 3;
    const VERSIONS: u64 = 40;
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let setup = Setup { chunk_bytes: OBJECT_BYTES_MAX as u64, ..setup.clone() };
        let store = Store::open(&setup, &scratch);
        let [started, completed]: [[AtomicU64; KEYS]; 2] = Default::default();
        let writers_left = AtomicUsize::new(KEYS);
        let put = |index: usize, version: u64, random: &mut Random| {
            let object = Version { key: index as u64, version, length: length(random) }.bytes();
            started[index].store(version, Ordering::SeqCst);
            assert_eq!(store.put(&key(index), &object), OK, "{name}");
            completed[index].store(version, Ordering::SeqCst);
        };
        (0..KEYS).for_each(|index| put(index, 1, &mut Random::new(index as u64)));
        let gets = AtomicU64::new(0);
        thread::scope(|scope| {
            for index in 0..KEYS {
                let (put, writers_left) = (&put, &writers_left);
                scope.spawn(move || {
                    let mut random = Random::new(100 + index as u64);
                    (2..=VERSIONS).for_each(|version| put(index, version, &mut random));
                    writers_left.fetch_sub(1, Ordering::SeqCst);
                });
            }
            for reader in 0..2 {
                let (store, gets) = (&store, &gets);
                let (started, completed, writers_left) = (&started, &completed, &writers_left);
                scope.spawn(move || {
                    let mut buffer = vec![0; OBJECT_BYTES_MAX];
                    let mut random = Random::new(200 + reader);
                    while writers_left.load(Ordering::SeqCst) > 0 {
                        let index = random.below(KEYS);
                        let least = completed[index].load(Ordering::SeqCst);
                        let (status, length) = store.get(&key(index), &mut buffer);
                        let most = started[index].load(Ordering::SeqCst);
                        assert_eq!(status, OK, "{name}: a key that was always there");
                        let found = Version::of(&buffer[..length.unwrap()], name);
                        assert_eq!(found.key, index as u64, "{name}");
                        let said = format!("{name}: version {} between {least} and {most}", found.version);
                        assert!((least..=most).contains(&found.version), "{said}");
                        gets.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let stats = store.stats();
        assert_eq!((stats.gets_hit, stats.gets_missed), (gets.into_inner(), 0), "{name}");
        assert_eq!((stats.corruptions, stats.quarantined_slots, stats.keys), (0, 0, KEYS as u64), "{name}");
        assert!(
            !setup.is_static() || stats.slots_free == stats.slots - KEYS as u64,
            "{name}: old slots come back"
        );
        assert_eq!(store.close(), OK);
    }
}

/// Several writers put the same key at once. Whatever their order, what is got is one of their objects, all of it; and
/// when they are done, it is one that was put last by one of them.
#[test]
fn writers_of_one_key_do_not_mix() {
    const VERSIONS: u64 = 25;
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let setup = Setup { chunk_bytes: OBJECT_BYTES_MAX as u64, ..setup.clone() };
        let store = Store::open(&setup, &scratch);
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let store = &store;
                    scope.spawn(move || {
                        let mut random = Random::new(writer);
                        for version in 1..=VERSIONS {
                            let length = length(&mut random);
                            let object = Version { key: writer, version, length }.bytes();
                            assert_eq!(store.put(b"contended", &object), OK);
                        }
                    })
                })
                .collect();
            let (store, is_done) = (&store, &is_done);
            scope.spawn(move || {
                while !is_done.load(Ordering::SeqCst) {
                    if let Some(found) = store.fetch(b"contended", OBJECT_BYTES_MAX) {
                        Version::of(&found, name);
                    }
                }
            });
            let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_done.store(true, Ordering::SeqCst);
            assert!(ended.iter().all(Result::is_ok));
        });
        let last = Version::of(&store.fetch(b"contended", OBJECT_BYTES_MAX).unwrap(), name);
        assert_eq!(last.version, VERSIONS, "{name}: an older put of a writer stands over its newer one");
        let stats = store.stats();
        assert_eq!((stats.keys, stats.corruptions, stats.puts_ok), (1, 0, 3 * VERSIONS), "{name}");
        assert!(!setup.is_static() || stats.slots_free == stats.slots - 1, "{name}");
    }
}

/// A batch gets many objects, whole and in part, while each of them is replaced over and over. Every item is one
/// version, from its first byte to its last; a part is a part of one version.
#[test]
fn a_batch_of_gets_is_not_harmed_by_replacement() {
    const KEYS: usize = 12;
    const OBJECT: usize = 200 * KIB;
    const ROUNDS: usize = 12;
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let setup = Setup { slots: 3 * KEYS as u32, chunk_bytes: OBJECT as u64, ..setup.clone() };
        let store = Store::open(&setup, &scratch);
        let put_all = |version: u64| {
            let objects: Vec<_> = (0..KEYS)
                .map(|index| Version { key: index as u64, version, length: OBJECT }.bytes())
                .collect();
            let mut puts = Batch::new();
            for (index, object) in objects.iter().enumerate() {
                puts.put(&key(index), object);
            }
            assert_eq!(store.put_batch(&puts).0, OK, "{name}");
        };
        put_all(1);
        let rounds_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (put_all, rounds_done) = (&put_all, &rounds_done);
            scope.spawn(move || {
                for version in 2.. {
                    put_all(version);
                    if rounds_done.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
            for round in 0..ROUNDS {
                let mut wholes = vec![vec![0; OBJECT]; KEYS];
                let offset = round * 16 * KIB / LINE * LINE;
                let mut parts = vec![vec![0; OBJECT - offset]; KEYS];
                let mut gets = Batch::new();
                for (index, (whole, part)) in wholes.iter_mut().zip(&mut parts).enumerate() {
                    gets.get(&key(index), whole);
                    gets.range(&key(index), offset as u64, part);
                }
                let (status, _) = store.get_batch(&gets);
                drop(gets);
                assert_eq!(status, OK, "{name}");
                for (index, (whole, part)) in wholes.iter().zip(&parts).enumerate() {
                    assert_eq!(Version::of(whole, name).key, index as u64);
                    assert_eq!(Version::of_part(part, offset, name).key, index as u64);
                }
            }
            rounds_done.store(true, Ordering::SeqCst);
        });
        assert_eq!(store.stats().corruptions, 0, "{name}");
        assert_eq!(store.close(), OK);
    }
}

/// Large objects of new keys are put while others look for them. Nobody sees one before all of it is there, and
/// everybody does once its put has completed.
#[test]
fn a_put_is_visible_as_a_whole_or_not_at_all() {
    const PUTS: usize = 12;
    const OBJECT: usize = 3 * MIB;
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { slots: 4, chunk_bytes: OBJECT as u64, ..setup.clone() }, &scratch);
        let mut buffer = vec![0; OBJECT];
        for index in 0..PUTS {
            let object = Version { key: index as u64, version: 1, length: OBJECT }.bytes();
            let mut puts = Batch::new();
            puts.put(&key(index), &object);
            let pending = store.submit_puts(&puts, Submit::default()).unwrap();
            loop {
                // In this order: what has completed before the questions must be seen by them.
                let has_completed = pending.poll() != IN_PROGRESS;
                let contains = store.contains(&key(index));
                let (got, length) = store.get(&key(index), &mut buffer);
                let (asked, told) = store.length(&key(index));
                if contains == OK {
                    assert_eq!(got, OK, "{name}: it was there a moment ago");
                }
                if got == OK {
                    assert_eq!(asked, OK, "{name}");
                    assert!(buffer[..length.unwrap()] == object, "{name}: a part of an object");
                } else {
                    assert_eq!(got, NOT_FOUND, "{name}");
                }
                assert!(asked == NOT_FOUND || told == OBJECT as u64, "{name}");
                if has_completed {
                    assert_eq!((contains, got), (OK, OK), "{name}: completed and not there");
                    break;
                }
            }
            let (status, results) = pending.wait();
            assert_eq!((status, Status(results[0].status)), (OK, OK), "{name}");
            assert_eq!(store.remove(&key(index)), OK);
        }
        assert_eq!(store.close(), OK);
    }
}
