//! A stream that waits for a get goes on however the get ends, and sees the bytes where it was a hit.

use std::fs;
use std::path::Path;

use super::common::status::{CANCELLED, CLOSING, IN_PROGRESS, NOT_FOUND, OK, POISONED, Status, TIMED_OUT};
use super::common::streams::until;
use super::*;

/// Each way to wait: by a flag of the submit, for an item, for all of them.
const WAYS: [&str; 3] = ["submit", "item", "all"];

/// A get that is gated, and a stream that waits for it in this way. With the flag of the submit the batch follows the gate in
/// the same call, so the stream that waits is the gate itself: it copies behind the wait.
#[track_caller]
fn wait_for<'b>(bench: &'b Bench, key: &[u8], way: &str, timeout_ms: u64) -> Pending<'b, 'static> {
    bench.shut();
    let batch = bench.get(key, 0);
    if way == "submit" {
        let submit =
            Submit { timeout_ms, flags: AFTER | BEFORE, stream: bench.gate.handle, ..Submit::default() };
        let pending = bench.store.submit_gets(&batch, submit).expect("submitted");
        bench.gate.copy(bench.seen.address(), bench.block.address(), BYTES);
        return pending;
    }
    let pending = bench.gated(&batch, timeout_ms);
    let (item, bytes) = if way == "item" { (0, BYTES as u64) } else { (ALL, 0) };
    assert_eq!(pending.make_wait(item, bytes, bench.stream.handle), OK, "{}", common::status::message());
    bench.look();
    until("the stream waits", || bench.stream.waits_for_value());
    pending
}

fn finish(bench: &Bench) -> Vec<u8> {
    bench.gate.finish();
    bench.seen()
}

/// A hit: what the stream does next sees the object, whole.
#[test]
fn a_stream_sees_what_it_waited_for() {
    let (_turn, driver) = turn();
    for setup in [Setup::POOL, Setup::FILES, Setup::MEMORY] {
        let bench = Bench::new(driver, &setup);
        for (round, way) in WAYS.into_iter().cycle().take(12).enumerate() {
            let bytes = object(round as u64);
            put(&bench.store, b"key", &bytes);
            bench.block.write(0, &vec![0; BYTES]);
            let pending = wait_for(&bench, b"key", way, 0);
            assert_eq!(pending.poll(), IN_PROGRESS);
            bench.gate.release();
            assert!(finish(&bench) == bytes, "round {round}, {way}");
            assert_eq!(pending.wait().0, OK);
        }
        assert_eq!(bench.store.close(), OK);
        assert_rules_were_kept(driver);
    }
}

/// A miss, an error of the storage, and a file that was cut.
#[test]
fn a_stream_goes_on_after_a_miss_and_an_error() {
    let (_turn, driver) = turn();
    let fails = Setup { fault: "eio_read:1", ..Setup::POOL };
    let cut = Setup { direct_io: false, ..Setup::FILES };
    for (setup, wanted) in [(&Setup::POOL, NOT_FOUND), (&fails, IO), (&cut, NOT_FOUND)] {
        let bench = Bench::new(driver, setup);
        for way in WAYS {
            put(&bench.store, b"key", &object(1));
            if setup.layout == common::Layout::Sharded {
                cut_files(&bench.scratch.data());
            }
            let key: &[u8] = if wanted == NOT_FOUND && setup.is_static() { b"other" } else { b"key" };
            let pending = wait_for(&bench, key, way, 0);
            bench.gate.release();
            finish(&bench);
            assert_eq!(pending.wait().0, wanted, "{way}");
        }
        assert_eq!(bench.store.close(), OK);
        assert_rules_were_kept(driver);
    }
}

/// Cuts every file below a folder in half that is longer than a record's trailer.
fn cut_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            cut_files(&path);
        } else if path.metadata().unwrap().len() > BYTES as u64 {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(BYTES as u64 / 2).unwrap();
        }
    }
}

/// A deadline and a cancel end a batch that is held: at once, although the stream that it follows has not come so far.
#[test]
fn a_stream_goes_on_after_a_deadline_and_a_cancel() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    for (cancels, wanted) in [(false, TIMED_OUT), (true, CANCELLED)] {
        for way in ["item", "all"] {
            let pending = wait_for(&bench, b"key", way, if cancels { 0 } else { 20 });
            if cancels {
                assert_eq!(pending.cancel(), OK);
            }
            // The gate is still shut.
            bench.seen();
            assert_eq!((pending.wait().0, bench.gate.pending() > 0), (wanted, true), "{way}");
            bench.gate.release();
            bench.gate.finish();
        }
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A store that is poisoned ends what it holds, and with that lets the streams go.
#[test]
fn a_stream_goes_on_after_a_bug_in_the_store() {
    let (_turn, driver) = turn();
    for way in ["item", "all"] {
        let bench = Bench::new(driver, &Setup { fault: "broken:4", ..Setup::POOL });
        let pending = wait_for(&bench, b"key", way, 0);
        // Until the queue of a lane breaks, which poisons the store.
        while bench.store.put(b"other", &object(1)) != POISONED {}
        bench.seen();
        assert_eq!((pending.wait().0, bench.gate.pending() > 0), (POISONED, true));
        bench.gate.release();
        bench.gate.finish();
        assert_eq!(bench.store.close(), POISONED);
        assert_rules_were_kept(driver);
    }
}

/// Closing completes what is held, and so waits for the stream that it follows: or for its deadline, which comes also where the
/// stream does not.
#[test]
fn a_stream_goes_on_when_the_store_is_closed() {
    let (_turn, driver) = turn();
    for (timeout_ms, wanted) in [(0, OK), (100, TIMED_OUT)] {
        for way in ["item", "all"] {
            let bench = Bench::new(driver, &Setup::POOL);
            let bytes = object(7);
            put(&bench.store, b"key", &bytes);
            let pending = wait_for(&bench, b"key", way, timeout_ms);
            std::thread::scope(|scope| {
                let closing = scope.spawn(|| bench.store.close());
                until("the close has begun", || bench.store.put(b"late", b"x") == CLOSING);
                if wanted == OK {
                    assert!(!closing.is_finished());
                    bench.gate.release();
                }
                let seen = bench.seen();
                assert!(wanted != OK || seen == bytes);
                // The batch has ended; what is left is to unpin the store's memory, for which the driver waits for the device.
                bench.gate.release();
                assert_eq!(closing.join().unwrap(), OK);
            });
            std::mem::forget(pending);
            bench.gate.finish();
            assert_rules_were_kept(driver);
        }
    }
}

/// An item that has ended, and a batch of which all have, are nothing to wait for: nothing is put on the stream.
#[test]
fn nothing_waits_for_what_has_ended() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    let pending = bench.store.submit_gets(&bench.get(b"key", 0), Submit::default()).unwrap();
    until("the get is done", || pending.poll() == OK);
    bench.stream.hold();
    for (item, bytes) in [(0, 1), (0, u64::MAX), (ALL, 0)] {
        assert_eq!(pending.make_wait(item, bytes, bench.stream.handle), OK);
    }
    assert_eq!(bench.stream.pending(), 0);
    assert_eq!(pending.wait().0, OK);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Of a batch some items may end long before others: who waits for one does not wait for all.
#[test]
fn one_item_is_waited_for_by_itself() {
    let (_turn, driver) = turn();
    // One lane takes its items in their order; the second comes from a device that is held.
    let bench = Bench::new(driver, &Setup { io_threads: 1, ..Setup::POOL });
    let other = driver.allocate(Kind::Device, 1, BYTES);
    let mut host = vec![0u8; BYTES];
    put(&bench.store, b"key", &object(1));
    let mut batch = Batch::new();
    batch.get(b"key", &mut host);
    batch.raw(b"key", vec![other.segment(0, BYTES)], None);
    assert_eq!(bench.store.put_batch(&to_device(&other)).0, OK);
    driver.hold_all(true);
    let pending = bench.store.submit_gets(&batch, Submit::default()).unwrap();
    until("the first item has ended", || pending.progress(0, 0, 0) == (OK, BYTES as u64));
    assert_eq!(pending.make_wait(0, 1, bench.stream.handle), OK);
    assert_eq!(bench.stream.pending(), 0);
    assert_eq!(pending.make_wait(1, 1, bench.stream.handle), OK);
    assert_eq!(bench.stream.pending(), 1);
    assert_eq!(pending.progress(1, 1, WATCHED_MS), (IN_PROGRESS, 0));
    driver.hold_all(false);
    bench.stream.finish();
    assert_eq!(pending.progress(1, 1, 0).0, OK);
    assert_eq!(pending.wait().0, OK);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A put from a block, by which its device's streams are made.
fn to_device(block: &Block) -> Batch<'static> {
    let mut batch = Batch::new();
    batch.raw(b"warm", vec![block.segment(0, BYTES)], None);
    batch
}

/// What is waited for may lie on the host alone, without any device's memory.
#[test]
fn a_stream_may_wait_for_host_memory() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    let pinned = driver.allocate(Kind::Pinned, 0, BYTES);
    for round in 0..20 {
        let bytes = object(round);
        put(&bench.store, b"key", &bytes);
        let mut batch = Batch::new();
        batch.raw(b"key", vec![pinned.segment(0, BYTES)], None);
        let pending = bench.store.submit_gets(&batch, ordered(BEFORE, &bench.stream)).unwrap();
        bench.stream.copy(bench.seen.address(), pinned.address(), BYTES);
        assert!(bench.seen() == bytes, "round {round}");
        assert_eq!(pending.wait().0, Status(NIXL_STORE_OK));
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}
