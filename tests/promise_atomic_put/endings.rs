//! However an operation ends, its memory is the caller's alone from that moment on.
//!
//! The tests take the memory away the moment an operation is said to have ended: whoever touches it then ends the
//! process with a segmentation fault, and a transfer of the kernel fails. Or they write into it and look whether
//! somebody writes over that.

use std::thread;

use crate::common::memory::segment;
use crate::common::status::{CANCELLED, CLOSING, INVALID_HANDLE, OK, POISONED, Status};
use crate::common::{Batch, Memory, Random, Scratch, Setup, Store, Submit, payload};
use crate::{KIB, MIB, key, layouts, stores};

const OBJECT: usize = 500 * KIB + 100;

/// Items of one batch.
const ITEMS: usize = 24;

/// Memory for [`ITEMS`] objects, at places of every alignment, and the segments in it.
struct Area {
    memory: Memory,
    starts: Vec<usize>,
}

impl Area {
    fn new(seed: u64) -> Area {
        let mut random = Random::new(seed);
        let starts = (0..ITEMS).map(|nth| nth * 516 * KIB + *random.pick(&[0, 0, 512, 1, 77])).collect();
        Area { memory: Memory::new(ITEMS * 516 * KIB), starts }
    }

    fn holding(seed: u64, object: impl Fn(usize) -> Vec<u8>) -> Area {
        let mut area = Area::new(seed);
        for nth in 0..ITEMS {
            let start = area.starts[nth];
            area.memory.bytes_mut()[start..start + OBJECT].copy_from_slice(&object(nth));
        }
        area
    }

    fn batch(&self) -> Batch<'static> {
        let mut batch = Batch::new();
        for (nth, start) in self.starts.iter().enumerate() {
            let address = self.memory.address().wrapping_add(*start);
            batch.raw(&key(nth), vec![segment(address.cast(), OBJECT)], None);
        }
        batch
    }

    fn object(&self, nth: usize) -> &[u8] {
        &self.memory.bytes()[self.starts[nth]..self.starts[nth] + OBJECT]
    }
}

/// A store with room for so many objects.
fn open(setup: &Setup, slots: u32, scratch: &Scratch) -> Store {
    let capacity_bytes = u64::from(slots) * (OBJECT as u64 + 16 * KIB as u64);
    Store::open(&Setup { slots, chunk_bytes: OBJECT as u64, capacity_bytes, ..setup.clone() }, scratch)
}

/// A completion says that a batch has ended. At that moment, before its ticket is waited for, the memory is taken away;
/// the store goes on without it.
#[test]
fn memory_is_not_touched_after_a_completion() {
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = open(setup, ITEMS as u32 + 4, &scratch);
        let queue = store.queue();
        let submit = Submit { queue: Some(&queue), user_data: 7, ..Submit::default() };
        for round in 0..3 {
            let object = |nth: usize| payload(round << 32 | nth as u64, OBJECT);
            let source = Area::holding(round, object);
            let pending = store.submit_puts(&source.batch(), submit).unwrap();
            let completion = queue.take(1)[0];
            source.memory.protect(libc::PROT_NONE);
            assert_eq!((completion.ticket, completion.user_data), (pending.ticket(), 7));
            assert_eq!((Status(completion.status), pending.wait().0), (OK, OK), "{name}");
            drop(source);

            let mut target = Area::new(round);
            let pending = store.submit_gets(&target.batch(), submit).unwrap();
            queue.take(1);
            let wrong: Vec<usize> = (0..ITEMS).filter(|&nth| target.object(nth) != object(nth)).collect();
            if !wrong.is_empty() {
                let (_, results) = pending.wait();
                let statuses: Vec<Status> = results.iter().map(|result| Status(result.status)).collect();
                panic!("{name}: round {round}: items {wrong:?} are not right: {statuses:?}");
            }
            // Taken over with something else: nothing may come late.
            target.memory.bytes_mut().fill(0xab);
            assert_eq!(pending.wait().0, OK, "{name}");
            let mut gets = Batch::new();
            let mut other = vec![0; OBJECT];
            gets.get(&key(3), &mut other);
            assert_eq!(store.get_batch(&gets).0, OK);
            assert!(target.memory.bytes().iter().all(|&byte| byte == 0xab), "{name}: written late");
            target.memory.protect(libc::PROT_NONE);
            assert_eq!(store.fetch(&key(0), OBJECT), Some(object(0)), "{name}");
        }
        drop(queue);
        assert_eq!(store.close(), OK);
    }
}

/// A batch of puts is cancelled at once. It still ends, each item either stored as a whole or cancelled and nowhere to be
/// seen; nothing is taken by the cancelled ones, and the memory is not read after the end.
#[test]
fn a_cancelled_put_is_stored_whole_or_not_at_all() {
    for (name, setup) in stores() {
        // As many slots as items, and two: then most items wait for a slot when they are cancelled.
        for slots in [ITEMS as u32, 2] {
            let scratch = Scratch::new(name);
            let store = open(setup, slots, &scratch);
            let mut cancelled = 0;
            for round in 0..20 {
                let object = |nth: usize| payload(round << 32 | nth as u64, OBJECT);
                let source = Area::holding(round, object);
                let pending = store.submit_puts(&source.batch(), Submit::default()).unwrap();
                assert_eq!(pending.cancel(), OK);
                assert_eq!(pending.cancel(), OK, "as often as one likes");
                let (status, results) = pending.wait();
                source.memory.protect(libc::PROT_NONE);
                let what = format!("{name}, {slots} slots, round {round}");
                let mut stored = 0;
                for (nth, result) in results.iter().enumerate() {
                    let found = store.fetch(&key(nth), OBJECT);
                    match Status(result.status) {
                        OK if slots == 2 => assert!(found.is_none_or(|found| found == object(nth)), "{what}"),
                        OK => {
                            assert!(found == Some(object(nth)), "{what}: item {nth}");
                            stored += 1;
                        }
                        status => {
                            assert_eq!((status, result.bytes), (CANCELLED, 0), "{what}: item {nth}");
                            assert!(found.is_none(), "{what}: item {nth} was cancelled");
                            cancelled += 1;
                        }
                    }
                }
                let is_all = results.iter().all(|result| Status(result.status) == OK);
                assert_eq!(status, if is_all { OK } else { CANCELLED }, "{what}");
                let stats = store.stats();
                assert_eq!((stats.cancelled, stats.items_in_flight), (cancelled, 0), "{what}");
                if setup.is_static() {
                    assert_eq!(stats.keys + stats.slots_free, stats.slots, "{what}: a slot is lost");
                    assert!(slots == 2 || stats.keys == stored, "{what}");
                }
                store.clear();
                if round > 2 && cancelled > 0 {
                    break;
                }
            }
            // All items may be under way when they are cancelled, but not where there is no room for them.
            assert!(cancelled > 0 || slots > 2, "{name}: never in time");
            assert_eq!(store.close(), OK);
        }
    }
}

/// A batch of gets is cancelled at once. Each item either has its bytes or was cancelled, and after the end nothing
/// comes late, also when the store is closed upon it.
#[test]
fn a_cancelled_get_writes_nothing_after_its_end() {
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = open(setup, ITEMS as u32, &scratch);
        let object = |nth: usize| payload(nth as u64, OBJECT);
        assert_eq!(store.put_batch(&Area::holding(1, object).batch()).0, OK);
        let mut areas = Vec::new();
        for round in 0..6 {
            let mut target = Area::new(round);
            let pending = store.submit_gets(&target.batch(), Submit::default()).unwrap();
            assert_eq!(pending.cancel(), OK);
            let (_, results) = pending.wait();
            for (nth, result) in results.iter().enumerate() {
                match Status(result.status) {
                    OK => assert!(target.object(nth) == object(nth), "{name}: item {nth}"),
                    status => assert_eq!(status, CANCELLED, "{name}: item {nth}"),
                }
            }
            target.memory.bytes_mut().fill(0xcd);
            areas.push(target);
        }
        assert_eq!(store.close(), OK);
        for area in areas {
            assert!(area.memory.bytes().iter().all(|&byte| byte == 0xcd), "{name}: written late");
        }
    }
}

/// A batch that has completed stays as it is, however late it is cancelled.
#[test]
fn cancelling_what_has_completed_changes_nothing() {
    for (name, setup) in layouts() {
        let scratch = Scratch::new(name);
        let store = open(setup, 4, &scratch);
        let queue = store.queue();
        let object = payload(1, OBJECT);
        let mut puts = Batch::new();
        puts.put(b"key", &object);
        let submit = Submit { queue: Some(&queue), ..Submit::default() };
        let pending = store.submit_puts(&puts, submit).unwrap();
        queue.take(1);
        assert_eq!((pending.cancel(), pending.poll()), (OK, OK), "{name}");
        let (status, results) = pending.wait();
        assert_eq!((status, Status(results[0].status)), (OK, OK), "{name}");
        assert_eq!((store.fetch(b"key", OBJECT), store.stats().cancelled), (Some(object), 0), "{name}");
    }
}

/// A store is closed with batches of puts and gets under way. Close completes all of them first: when it returns, the
/// memory is the caller's alone, what was put is there after the next open, and what was got had arrived.
#[test]
fn closing_completes_what_is_under_way() {
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = open(setup, 2 * ITEMS as u32, &scratch);
        let old = |nth: usize| payload(nth as u64, OBJECT);
        let new = |nth: usize| payload(1 << 40 | nth as u64, OBJECT);
        assert_eq!(store.put_batch(&Area::holding(1, old).batch()).0, OK);
        let target = Area::new(2);
        let mut source = Area::holding(3, new);
        let gets = store.submit_gets(&target.batch(), Submit::default()).unwrap();
        let puts = store.submit_puts(&source.batch(), Submit::default()).unwrap();
        assert_eq!(store.close(), OK, "{name}");
        source.memory.protect(libc::PROT_NONE);
        for nth in 0..ITEMS {
            // Both batches ran at once: a get has the old or the new bytes.
            let found = target.object(nth);
            assert!(found == old(nth) || found == new(nth), "{name}: item {nth}");
        }
        assert_eq!((gets.poll(), puts.poll()), (INVALID_HANDLE, INVALID_HANDLE), "{name}");
        assert_eq!((puts.wait().0, gets.wait().0), (INVALID_HANDLE, INVALID_HANDLE), "{name}");
        if setup.backend != "MEMORY" {
            let store = open(setup, 2 * ITEMS as u32, &scratch);
            for nth in 0..ITEMS {
                assert!(
                    store.fetch(&key(nth), OBJECT) == Some(new(nth)),
                    "{name}: item {nth} after a restart"
                );
            }
        }
        source.memory = Memory::new(1);
    }
}

/// Other threads submit, wait and get while the store is closed. Each call ends: served in full, or refused because the
/// store is closing or closed; and a put that was said to have completed is there after the next open.
#[test]
fn closing_under_threads_at_work_leaves_nobody_waiting() {
    const THREADS: usize = 4;
    for (name, setup) in layouts() {
        for round in 0..4u64 {
            let scratch = Scratch::new(name);
            let store = open(setup, 64, &scratch);
            let stored = thread::scope(|scope| {
                let (ready, workers_ready) = std::sync::mpsc::channel();
                let workers: Vec<_> = (0..THREADS)
                    .map(|worker| {
                        let (store, ready) = (&store, ready.clone());
                        scope.spawn(move || {
                            let mut stored = Vec::new();
                            for index in (worker..60).step_by(THREADS).cycle() {
                                let object = payload(round << 32 | index as u64, 90 * KIB);
                                let mut puts = Batch::new();
                                puts.put(&key(index), &object);
                                let status = match store.submit_puts(&puts, Submit::default()) {
                                    Ok(pending) => pending.wait().0,
                                    Err(refused) => refused,
                                };
                                if stored.len() == 3 {
                                    ready.send(()).unwrap();
                                }
                                match status {
                                    OK => stored.push(index),
                                    CLOSING | INVALID_HANDLE => break,
                                    other => panic!("{name}: {other:?}"),
                                }
                                let mut buffer = vec![0; 90 * KIB];
                                match store.get(&key(index), &mut buffer).0 {
                                    OK => assert!(buffer == object, "{name}"),
                                    status => assert!([CLOSING, INVALID_HANDLE].contains(&status), "{name}"),
                                }
                            }
                            stored
                        })
                    })
                    .collect();
                (0..THREADS).for_each(|_| workers_ready.recv().unwrap());
                assert_eq!(store.close(), OK, "{name}");
                assert_eq!(store.close(), INVALID_HANDLE, "{name}");
                workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
            });
            assert!(stored.len() >= 3 * THREADS);
            if setup.backend != "MEMORY" {
                let store = open(setup, 64, &scratch);
                for index in stored {
                    let object = payload(round << 32 | index as u64, 90 * KIB);
                    assert_eq!(store.fetch(&key(index), MIB), Some(object), "{name}: key {index}");
                }
            }
        }
    }
}

/// The I/O queue of the only thread breaks while much waits. All of it ends, the store says what happened from then on, and
/// closing it returns.
#[test]
fn a_broken_queue_leaves_nobody_waiting() {
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let setup = Setup { fault: "broken:5", io_threads: 1, ..setup.clone() };
        let store = open(&setup, 2 * ITEMS as u32, &scratch);
        let source = Area::holding(1, |nth| payload(nth as u64, OBJECT));
        let pending = store.submit_puts(&source.batch(), Submit::default()).unwrap();
        let Ok((status, results)) = pending.try_wait(PATIENCE_MS) else {
            panic!("{name}: items wait for a thread that has ended");
        };
        assert_eq!(status, POISONED, "{name}");
        assert!(results.iter().all(|result| matches!(Status(result.status), OK | POISONED)), "{name}");
        let late = store.submit_puts(&source.batch(), Submit::default());
        assert_eq!(late.err(), Some(POISONED), "{name}");
        assert_eq!(store.close(), POISONED, "{name}");
    }
}

/// Far longer than anything here takes.
const PATIENCE_MS: u64 = 20_000;
