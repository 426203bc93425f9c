//! Threads and streams that wait for a part of an item.

use super::common::status::{CANCELLED, IN_PROGRESS, NOT_FOUND, OK};
use super::common::streams::until;
use super::*;

/// The rest of the object may be on its way; what is told to be in place is right, and it is all of it in the end.
#[test]
fn what_is_told_to_be_in_place_is_right() {
    const LARGE: usize = 3 * MIB + 12_345;
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup { chunk_bytes: 4 << 20, ..Setup::POOL });
    let bytes = payload(3, LARGE);
    put(&bench.store, b"key", &bytes);
    for flags in [NIXL_STORE_ITEM_FRONT, 0] {
        for round in 0..10 {
            let block = driver.allocate(Kind::Device, 0, LARGE);
            let mut batch = Batch::new();
            batch.raw(b"key", vec![block.segment(0, LARGE)], None);
            batch.flag(flags);
            let pending = bench.store.submit_gets(&batch, Submit::default()).unwrap();
            let (mut there, mut last) = (vec![0; LARGE], 0);
            loop {
                let (status, count) = pending.progress(0, last + 1, 10_000);
                assert!(count >= last && count <= LARGE as u64);
                assert!(flags != 0 || status == OK || count == 0, "nothing is told without the flag");
                let part = &mut there[..count as usize];
                block.read(0, part);
                assert!(*part == bytes[..count as usize], "round {round}, {count} bytes");
                last = count;
                if status != IN_PROGRESS {
                    assert_eq!((status, count), (OK, LARGE as u64));
                    break;
                }
            }
            assert_eq!(pending.wait().0, OK);
        }
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Streams that wait for parts, in any order, see these parts right.
#[test]
fn a_stream_sees_the_part_that_it_waited_for() {
    const PARTS: usize = 6;
    let (_turn, driver) = turn();
    driver.set_delay_us(100);
    let bench = Bench::new(driver, &Setup { chunk_bytes: 4 << 20, ..Setup::POOL });
    let length = 3 * MIB;
    let part = length / PARTS;
    let bytes = payload(4, length);
    put(&bench.store, b"key", &bytes);
    let (block, seen) = (driver.allocate(Kind::Device, 0, length), driver.allocate(Kind::Device, 0, length));
    for round in 0..10 {
        block.write(0, &vec![0; length]);
        let mut batch = Batch::new();
        batch.raw(b"key", vec![block.segment(0, length)], None);
        batch.flag(NIXL_STORE_ITEM_FRONT);
        bench.shut();
        let pending = bench.gated(&batch, 0);
        for index in 0..PARTS {
            let end = (index + 1) * part;
            assert_eq!(pending.make_wait(0, end as u64, bench.stream.handle), OK);
            let from = (index * part) as u64;
            bench.stream.copy(seen.address() + from, block.address() + from, part);
        }
        bench.gate.release();
        assert_eq!(pending.wait().0, OK);
        bench.stream.finish();
        let mut there = vec![0; length];
        seen.read(0, &mut there);
        assert!(there == bytes, "round {round}");
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A thread that waits for bytes wakes with the end of the item, however it ends, and not before.
#[test]
fn a_thread_that_waits_for_bytes_wakes_with_the_end() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    for (key, wanted) in [(b"key", OK), (b"nil", NOT_FOUND), (b"key", CANCELLED)] {
        bench.shut();
        let pending = bench.gated(&bench.get(key, NIXL_STORE_ITEM_FRONT), 0);
        std::thread::scope(|scope| {
            let (store, ticket) = (&bench.store, pending.ticket());
            let waiters: Vec<_> = [1, BYTES as u64, u64::MAX]
                .map(|wanted| scope.spawn(move || wait_for_ever(store, ticket, wanted)))
                .into();
            std::thread::sleep(std::time::Duration::from_millis(WATCHED_MS));
            assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
            if wanted == CANCELLED {
                assert_eq!(pending.cancel(), OK);
            } else {
                bench.gate.release();
            }
            for waiter in waiters {
                let (status, bytes) = waiter.join().unwrap();
                // One who asked for a part may have had it before the end.
                assert!(status == wanted || (status == IN_PROGRESS && bytes > 0));
            }
        });
        let bytes = if wanted == OK { BYTES as u64 } else { 0 };
        until("the item has ended", || pending.progress(0, 0, 0) == (wanted, bytes));
        bench.gate.release();
        assert_eq!(pending.wait().0, wanted);
        bench.gate.finish();
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

fn wait_for_ever(store: &Store, ticket: u64, wanted: u64) -> (Status, u64) {
    let (timeout_ms, mut bytes) = (NIXL_STORE_TIMEOUT_INFINITE, u64::MAX);
    // SAFETY: tickets are looked up, the place is writable.
    let status =
        unsafe { nixl_store_ticket_progress(store.handle(), ticket, 0, wanted, timeout_ms, &raw mut bytes) };
    (Status(status), bytes)
}

/// Of a put nothing is told before its end, and of a range the bytes are the range's.
#[test]
fn puts_and_ranges_tell_their_own_bytes() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    bench.block.write(0, &object(1));
    bench.shut();
    let pending = bench.store.submit_puts(&bench.get(b"key", 0), ordered(AFTER, &bench.gate)).unwrap();
    assert_eq!(pending.progress(0, 1, 5), (IN_PROGRESS, 0));
    bench.gate.release();
    until("the put is done", || pending.progress(0, 1, 100) == (OK, BYTES as u64));
    assert_eq!(pending.wait().0, OK);
    let mut memory = vec![0; 1000];
    let mut batch = Batch::new();
    batch.range(b"key", 5000, &mut memory);
    batch.flag(NIXL_STORE_ITEM_FRONT);
    let pending = bench.store.submit_gets(&batch, Submit::default()).unwrap();
    until("the get is done", || pending.progress(0, u64::MAX, 100) == (OK, 1000));
    assert_eq!(pending.wait().0, OK);
    assert_eq!(memory, object(1)[5000..6000]);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}
