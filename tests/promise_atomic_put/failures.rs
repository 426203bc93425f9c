//! Puts that fail among puts that do not.

use std::thread;

use crate::common::status::{IO, OK, Status};
use crate::common::{Batch, Random, Scratch, Setup, Store, Submit};
use crate::version::{LINE, Version};
use crate::{KIB, key, stores};

/// Several puts of one key are under way at once, and some fail. The key then has the object of one of those that
/// succeeded; if none did, it has what it had. A failure neither hides nor undoes another's success.
#[test]
fn a_failed_put_does_not_undo_another() {
    const AT_ONCE: u64 = 4;
    for (name, setup) in stores().filter(|(_, setup)| setup.fault.is_empty()) {
        for (length, rounds, fault) in [(4 * KIB, 300, "eio_write:3"), (600 * KIB, 40, "eio_write:17")] {
            let scratch = Scratch::new(name);
            let store = Store::open(&Setup { fault, slots: 24, ..setup.clone() }, &scratch);
            let (mut before, mut failures, mut mixed) = (None, 0, 0);
            for round in 0..rounds {
                let length = (length + round as usize % 5 * 4096) / LINE * LINE;
                let versions: Vec<_> = (0..AT_ONCE)
                    .map(|nth| Version { key: 1, version: round * AT_ONCE + nth, length })
                    .collect();
                let objects: Vec<_> = versions.iter().map(|version| version.bytes()).collect();
                let mut puts = Batch::new();
                for object in &objects {
                    puts.put(&key(1), object);
                }
                let (_, results) = store.put_batch(&puts);
                let mut succeeded: Vec<Version> = Vec::new();
                for (version, result) in versions.iter().zip(&results) {
                    match Status(result.status) {
                        OK => succeeded.push(*version),
                        status => assert_eq!(status, IO, "{name}"),
                    }
                }
                failures += AT_ONCE as usize - succeeded.len();
                mixed += usize::from((1..AT_ONCE as usize).contains(&succeeded.len()));
                let found = store.fetch(&key(1), length.max(1 << 20)).map(|bytes| Version::of(&bytes, name));
                let wanted = if succeeded.is_empty() { before } else { found };
                assert_eq!(found, wanted, "{name}, round {round}: all puts failed");
                if !succeeded.is_empty() {
                    let found = found
                        .unwrap_or_else(|| panic!("{name}, round {round}: a put that succeeded is gone"));
                    assert!(
                        succeeded.contains(&found),
                        "{name}, round {round}: {found:?} is none of {succeeded:?}"
                    );
                }
                before = found;
            }
            assert!(failures > 0 && mixed > 0, "{name}: {failures} failures, {mixed} among successes");
            let stats = store.stats();
            assert!(
                !setup.is_static() || stats.slots_free + stats.keys == stats.slots,
                "{name}: a slot is lost"
            );
            assert_eq!(stats.corruptions, 0, "{name}");
        }
    }
}

/// The same with removals in between, from another thread: whatever comes out is one whole object or none.
#[test]
fn failures_and_removals_leave_whole_objects() {
    for (name, setup) in stores().filter(|(_, setup)| setup.fault.is_empty()) {
        let scratch = Scratch::new(name);
        let setup = Setup { fault: "eio_write:5,eio_read:7,short:3", slots: 12, ..setup.clone() };
        let store = Store::open(&setup, &scratch);
        thread::scope(|scope| {
            for worker in 0..3 {
                let store = &store;
                scope.spawn(move || {
                    let mut random = Random::new(worker);
                    let mut buffer = vec![0; 400 * KIB];
                    for version in 0..60 {
                        let index = random.below(3);
                        let length = random.between(1, 400 * KIB / LINE) * LINE;
                        let object = Version { key: index as u64, version, length }.bytes();
                        let mut puts = Batch::new();
                        puts.put(&key(index), &object);
                        let pending = store.submit_puts(&puts, Submit::default()).unwrap();
                        if let (OK, Some(length)) = store.get(&key(random.below(3)), &mut buffer) {
                            Version::of(&buffer[..length], name);
                        }
                        assert!([OK, IO].contains(&pending.wait().0), "{name}");
                        if random.below(4) == 0 {
                            store.remove(&key(index));
                        }
                    }
                });
            }
        });
        let stats = store.stats();
        assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0), "{name}");
        assert!(!setup.is_static() || stats.slots_free + stats.keys == stats.slots, "{name}: a slot is lost");
        assert_eq!(store.close(), OK);
    }
}
