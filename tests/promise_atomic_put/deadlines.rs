//! Time and queues are bounded: an expired batch ends, a full queue says so.

use crate::common::memory::segment;
use crate::common::status::{BUSY, IN_PROGRESS, NOT_FOUND, OK, Status, TIMED_OUT, message};
use crate::common::{Batch, Memory, Scratch, Setup, Store, Submit, payload};
use crate::{KIB, MIB, key, layouts, stores};

/// Puts that no device has done within a millisecond.
const MANY: usize = 400;

/// A batch with a deadline of a millisecond holds hundreds of megabytes of puts. The items that were started in time
/// are stored; the others end as timed out, are nowhere to be seen, and have taken nothing.
#[test]
fn what_was_not_started_in_time_is_timed_out() {
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store =
            Store::open(&Setup { slots: 8, capacity_bytes: 8 * MIB as u64, ..setup.clone() }, &scratch);
        // Puts may read the same memory.
        let object = payload(1, MIB - 64 * KIB);
        let mut puts = Batch::new();
        for index in 0..MANY {
            puts.put(&key(index), &object);
        }
        let pending = store.submit_puts(&puts, Submit { timeout_ms: 1, ..Submit::default() }).unwrap();
        let (status, results) = pending.wait();
        assert_eq!(status, TIMED_OUT, "{name}");
        let mut timed_out = 0;
        for (index, result) in results.iter().enumerate() {
            if Status(result.status) == TIMED_OUT {
                assert_eq!(store.contains(&key(index)), NOT_FOUND, "{name}: item {index}");
                timed_out += 1;
            } else {
                assert_eq!(Status(result.status), OK, "{name}: item {index}");
            }
        }
        let stats = store.stats();
        assert_eq!((stats.timed_out, stats.puts_ok), (timed_out, MANY as u64 - timed_out), "{name}");
        assert!(!setup.is_static() || stats.keys + stats.slots_free == stats.slots, "{name}");
        // Time is up for that batch alone.
        assert_eq!(store.put(&key(0), &object), OK, "{name}");
        assert_eq!(store.fetch(&key(0), MIB).as_ref(), Some(&object), "{name}");
    }
}

/// The same for gets: the memory of those that came too late is the caller's again when the batch has ended.
#[test]
fn gets_that_come_too_late_write_nothing() {
    const OBJECT: usize = 128 * KIB;
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { chunk_bytes: OBJECT as u64, ..setup.clone() }, &scratch);
        let object = payload(1, OBJECT);
        assert_eq!(store.put(b"key", &object), OK);
        let mut memory = Memory::new(MANY * OBJECT);
        let mut gets = Batch::new();
        for index in 0..MANY {
            let address = memory.address().wrapping_add(index * OBJECT);
            gets.raw(b"key", vec![segment(address.cast(), OBJECT)], None);
        }
        let pending = store.submit_gets(&gets, Submit { timeout_ms: 1, ..Submit::default() }).unwrap();
        let (status, results) = pending.wait();
        assert_eq!(status, TIMED_OUT, "{name}");
        for (index, result) in results.iter().enumerate() {
            let bytes = &memory.bytes()[index * OBJECT..(index + 1) * OBJECT];
            match Status(result.status) {
                OK => assert!(bytes == object, "{name}: item {index}"),
                status => assert_eq!(status, TIMED_OUT, "{name}: item {index}"),
            }
        }
        memory.bytes_mut().fill(0x11);
        assert_eq!(store.close(), OK);
        assert!(memory.bytes().iter().all(|&byte| byte == 0x11), "{name}: written late");
    }
}

/// The store's own deadline holds for calls that name none, and a batch may do without any.
#[test]
fn the_configured_deadline_is_the_default() {
    let scratch = Scratch::new("deadline");
    let store = Store::open(&Setup { slots: 8, timeout_ms: 1, ..Setup::POOL }, &scratch);
    let object = payload(1, MIB);
    let mut puts = Batch::new();
    for index in 0..64 {
        puts.put(&key(index), &object);
    }
    let infinite = nixl_store::capi::NIXL_STORE_TIMEOUT_INFINITE;
    let patient = Submit { timeout_ms: infinite, ..Submit::default() };
    assert_eq!(store.submit_puts(&puts, patient).unwrap().wait().0, OK);
    // Without a slot of its own in time.
    assert_eq!(store.submit_puts(&puts, Submit::default()).unwrap().wait().0, TIMED_OUT);
}

/// The submission queue is full of puts. Another put waits for room until its deadline and is then told that the store
/// is busy, having been submitted not at all; a get has a queue of its own; and when there is room again, puts go on.
#[test]
fn a_full_queue_is_busy_after_the_deadline() {
    const QUEUE: usize = 16;
    for (name, setup) in layouts() {
        let scratch = Scratch::new(name);
        let setup =
            Setup { slots: 6, queue_items: QUEUE as u32, chunk_bytes: 3 * MIB as u64, ..setup.clone() };
        let store = Store::open(&setup, &scratch);
        let object = payload(1, 3 * MIB);
        assert_eq!(store.put(b"there", b"before"), OK);
        assert_eq!(store.pin(b"there"), OK);
        let mut busy = 0;
        // The first batch may be done before the second is submitted; not every time.
        for round in 0..50 {
            let mut puts = Batch::new();
            for index in 0..QUEUE {
                puts.put(&key(index), &object);
            }
            let first = store.submit_puts(&puts, Submit::default()).unwrap();
            // As many again, so that there is room only when all of the first have ended.
            let refused: Vec<_> = (0..QUEUE).map(|index| format!("refused {index}").into_bytes()).collect();
            let mut more = Batch::new();
            for key in &refused {
                more.put(key, &object);
            }
            let second = store.submit_puts(&more, Submit { timeout_ms: 1, ..Submit::default() });
            let why = message();
            assert_eq!(
                store.fetch(b"there", 10),
                Some(b"before".to_vec()),
                "{name}: gets have their own queue"
            );
            match second {
                Ok(pending) => {
                    // There was room in time; the put itself may have come too late.
                    let (status, _) = pending.wait();
                    assert!(status == OK || status == TIMED_OUT, "{name}: {status:?}");
                }
                Err(status) => {
                    assert_eq!(status, BUSY, "{name}");
                    assert!(why.contains("nixl_store_queue_items"), "{name}: {why}");
                    for key in &refused {
                        assert_eq!(store.contains(key), NOT_FOUND, "{name}");
                    }
                    busy += 1;
                }
            }
            // With time to wait it is taken when there is room.
            let third = store.submit_puts(&more, Submit::default()).unwrap();
            assert_eq!((first.wait().0, third.wait().0), (OK, OK), "{name}");
            for key in &refused {
                store.remove(key);
            }
            if busy > 0 && round > 1 {
                break;
            }
        }
        assert!(busy > 0, "{name}: never busy");
        assert_eq!(store.stats().items_in_flight, 0, "{name}");
    }
}

/// A batch with more items than the queue takes is taken all the same, when nothing else is under way: else it could
/// never be.
#[test]
fn a_batch_larger_than_the_queue_is_taken_alone() {
    for (name, setup) in layouts() {
        let scratch = Scratch::new(name);
        let store =
            Store::open(&Setup { queue_items: 16, slots: 50, chunk_bytes: 4096, ..setup.clone() }, &scratch);
        let object = payload(1, 4000);
        let mut puts = Batch::new();
        for index in 0..50 {
            puts.put(&key(index), &object);
        }
        let pending = [(); 3].map(|()| store.submit_puts(&puts, Submit::default()).unwrap());
        for pending in pending {
            assert_eq!(pending.wait().0, OK, "{name}");
        }
        assert_eq!((store.stats().keys, store.stats().puts_ok), (50, 150), "{name}");
    }
}

/// A wait with a timeout bounds that wait and nothing else: the ticket stays, the batch goes on, and a later wait has
/// the results.
#[test]
fn a_wait_that_gives_up_costs_nothing() {
    for (name, setup) in layouts() {
        let scratch = Scratch::new(name);
        let store = Store::open(setup, &scratch);
        let object = payload(1, MIB);
        let mut puts = Batch::new();
        for index in 0..100 {
            puts.put(&key(index), &object);
        }
        let mut pending = store.submit_puts(&puts, Submit::default()).unwrap();
        let mut given_up = 0;
        let (status, results) = loop {
            assert!([OK, IN_PROGRESS].contains(&pending.poll()), "{name}");
            match pending.try_wait(u64::from(given_up > 10)) {
                Ok(ended) => break ended,
                Err(again) => pending = again,
            }
            given_up += 1;
        };
        assert!(given_up > 0, "{name}: 100 MiB in no time");
        assert_eq!(status, OK, "{name}");
        assert!(results.iter().all(|result| Status(result.status) == OK), "{name}");
    }
}
