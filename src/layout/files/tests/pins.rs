//! A pin holds against every process and dies with its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::super::Evicted;
use super::*;

/// Another process pins an object. This one's eviction must spare it until the pin is taken back,
/// and other objects are no concern of that pin.
#[test]
fn a_pin_of_another_process_keeps_an_object() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let (pinned, free) = (named(&store, 0xa), named(&store, 0xb));
    put(&store, &pinned, b"pinned");
    put(&store, &free, b"free");
    let mut other = Helper::start("store", dir.path());
    assert_eq!(other.hear(), "ready");
    assert_eq!(other.ask("pin a"), "done");
    assert_eq!(store.evict(&pinned).unwrap(), Evicted::Pinned);
    assert_eq!(store.evict(&free).unwrap(), Evicted::Removed);
    assert_eq!(store.evict(&free).unwrap(), Evicted::Absent);
    assert_eq!(get(&store, &pinned).unwrap(), b"pinned");
    assert_eq!(other.ask("unpin a"), "done");
    assert_eq!(store.evict(&pinned).unwrap(), Evicted::Removed);
    other.finish();
}

/// The process that pinned is killed. Its pin must not outlive it.
#[test]
fn a_pin_dies_with_its_process() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, 0xa);
    put(&store, &name, b"pinned");
    let mut other = Helper::start("store", dir.path());
    assert_eq!(other.hear(), "ready");
    assert_eq!(other.ask("pin a"), "done");
    assert_eq!(store.evict(&name).unwrap(), Evicted::Pinned);
    other.kill();
    assert_eq!(store.evict(&name).unwrap(), Evicted::Removed);
}

/// Two processes pin one object. It is kept until the last of them lets go, and what one of them
/// evicts or unpins meanwhile, also under an own pin, must not drop the pin of the other.
#[test]
fn pins_of_two_processes_do_not_disturb_each_other() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, 0xa);
    let id = store.id_of(&name);
    put(&store, &name, b"pinned");
    let mut other = Helper::start("store", dir.path());
    assert_eq!(other.hear(), "ready");
    store.pin(id).unwrap();
    store.pin(id).unwrap();
    assert_eq!(other.ask("pin a"), "done");
    assert_eq!(store.evict(&name).unwrap(), Evicted::Pinned);
    assert_eq!(other.ask("evict a"), "Pinned");
    assert_eq!(other.ask("unpin a"), "done");
    assert_eq!(other.ask("evict a"), "Pinned");
    assert_eq!(store.evict(&name).unwrap(), Evicted::Pinned, "not even its own");
    assert_eq!(other.ask("evict a"), "Pinned", "a failed eviction dropped the pin");
    assert!(store.unpin(id).unwrap());
    assert_eq!(other.ask("evict a"), "Pinned", "it was pinned twice");
    assert!(store.unpin(id).unwrap() && !store.unpin(id).unwrap());
    assert_eq!(other.ask("evict a"), "Removed");
    other.finish();
}

/// While one object is pinned, evicting another must leave the pin alone, although both locks are
/// in one file; so must opening and closing the store again in the same process.
#[test]
fn a_pin_survives_evictions_and_other_stores_of_its_process() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let (pinned, free) = (named(&store, 0xa), named(&store, 0xb));
    put(&store, &pinned, b"pinned");
    put(&store, &free, b"free");
    store.pin(store.id_of(&pinned)).unwrap();
    assert_eq!(store.evict(&free).unwrap(), Evicted::Removed);
    drop(open(dir.path()));
    let mut other = Helper::start("store", dir.path());
    assert_eq!(other.hear(), "ready");
    assert_eq!(other.ask("evict a"), "Pinned");
    other.finish();
}

/// The digest is longer than a file offset. Every id must have a byte to lock, also those whose
/// upper bits are all set.
#[test]
fn every_id_can_be_pinned() {
    let dir = TestDir::new();
    let (store, other) = (open(dir.path()), open(dir.path()));
    for id in [0, 1, u128::MAX, 1 << 62, 1 << 63, u128::from(u64::MAX), 1 << 127] {
        store.pin(id).unwrap();
        assert_eq!(other.evict(&ObjectName::sharded(id)).unwrap(), Evicted::Pinned, "{id:x}");
        store.unpin(id).unwrap();
        assert_eq!(other.evict(&ObjectName::sharded(id)).unwrap(), Evicted::Absent, "{id:x}");
    }
}

/// Threads of one store evict and put the same object without end while another store pins it
/// now and then. From the moment that the pin is held and the object is there, it must stay there.
#[test]
fn no_eviction_slips_past_a_pin() {
    const ROUNDS: usize = 300;
    let dir = TestDir::new();
    let (store, pinner) = (open(dir.path()), open(dir.path()));
    let name = named(&store, 0xa);
    let id = store.id_of(&name);
    let done = AtomicBool::new(false);
    let lost = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    store.evict(&name).unwrap();
                    put(&store, &name, b"bytes");
                }
            });
        }
        // Also where this panics, or the scope waits for ever.
        let _done = SetOnDrop(&done);
        let mut lost = 0;
        for _ in 0..ROUNDS {
            pinner.pin(id).unwrap();
            // The threads go on putting it, so it comes.
            while pinner.stat(&name).unwrap().is_none() {}
            lost += (0..20).filter(|_| pinner.stat(&name).unwrap().is_none()).count();
            pinner.unpin(id).unwrap();
        }
        lost
    });
    assert_eq!(lost, 0, "a pinned object was evicted");
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An unlink may take long, on a disk that discards what was freed. A pin that meets it waits and fails not.
#[test]
fn a_pin_outwaits_a_slow_eviction() {
    const SLOW: Duration = Duration::from_millis(400);
    let dir = TestDir::new();
    let (store, pinner) = (open(dir.path()), open(dir.path()));
    let (evicting, evicts) = mpsc::channel();
    std::thread::scope(|scope| {
        let evicted = scope.spawn(|| {
            store.pins.evict(7, move || {
                evicting.send(()).unwrap();
                std::thread::sleep(SLOW);
                Ok(true)
            })
        });
        evicts.recv().unwrap();
        pinner.pin(7).unwrap();
        assert_eq!(evicted.join().unwrap().unwrap(), Evicted::Removed);
    });
    assert_eq!(store.pins.evict(7, || Ok(true)).unwrap(), Evicted::Pinned);
}

/// Byte locks of one open file do not exclude each other. Were two threads to evict one object at
/// once, the first to end would unlock under the second, and a pin could come between.
#[test]
fn evictions_of_one_object_run_one_at_a_time() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let busy = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let alone = store.pins.evict(7, || {
                        let alone = !busy.swap(true, Ordering::SeqCst);
                        std::thread::yield_now();
                        busy.store(false, Ordering::SeqCst);
                        Ok(alone)
                    });
                    assert_eq!(alone.unwrap(), Evicted::Removed);
                }
            });
        }
    });
}
