//! Calls of the driver that fail: the submit says so, no stream is left waiting, and nothing is lost.

use super::common::cuda::{EVENTS, REGISTRATIONS, STREAMS};
use super::common::status::{IN_PROGRESS, OK};
use super::common::streams::{Context, until};
use super::*;

/// What an order takes of the driver each time.
const EACH_TIME: [&str; 7] = [
    "cuStreamGetCtx",
    "cuCtxGetId",
    "cuCtxPushCurrent",
    "cuStreamIsCapturing",
    "cuEventRecord",
    "cuEventQuery",
    "cuStreamWaitValue64",
];
/// And what more for the first stream of a context.
const FIRST_TIME: [&str; 6] = [
    "cuCtxGetDevice",
    "cuDeviceGetAttribute",
    "cuMemHostRegister",
    "cuMemHostGetDevicePointer",
    "cuEventCreate",
    "cuStreamCreate",
];

fn live(driver: &Driver) -> [u64; 3] {
    [REGISTRATIONS, STREAMS, EVENTS].map(|kind| driver.live(kind))
}

/// Of a context that is known: the batch is not submitted, its place in the line and its ticket are there for the next, and the
/// stream is as it was.
#[test]
fn a_submit_that_fails_leaves_no_stream_waiting() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup { queue_items: 16, ..Setup::POOL });
    put(&bench.store, b"key", &object(1));
    let submit = || bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER | BEFORE, &bench.stream));
    let all_is_well = || {
        assert_eq!(submit().expect("submitted").wait().0, OK);
        bench.stream.finish();
    };
    all_is_well();
    let (before, depth) = (live(driver), driver.context_depth());
    for call in EACH_TIME {
        // More often than there are words, tickets or events to lose: those of one call would be gone by the end.
        for _ in 0..50 {
            bench.stream.fill(bench.seen.address(), 1, 1);
            driver.fail(call, 1, FAILED);
            assert_eq!(submit().err(), Some(IO), "{call}");
            let message = common::status::message();
            assert!(message.contains("CUDA_ERROR_LAUNCH_FAILED"), "{message}");
        }
        bench.stream.finish();
        assert_eq!((driver.context_depth(), bench.store.stats().items_in_flight), (depth, 0), "{call}");
        all_is_well();
    }
    assert_eq!(live(driver), before);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// The same for a wait that is added later: the batch is none the worse.
#[test]
fn a_wait_that_fails_leaves_no_stream_waiting() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    let calls = EACH_TIME.into_iter().filter(|call| !call.starts_with("cuEvent"));
    for call in calls {
        bench.shut();
        let pending = bench.gated(&bench.get(b"key", 0), 0);
        for (item, bytes) in [(0, 1), (ALL, 0)] {
            let before = bench.stream.pending();
            driver.fail(call, 1, FAILED);
            assert_eq!(pending.make_wait(item, bytes, bench.stream.handle), IO, "{call}");
            assert_eq!(bench.stream.pending(), before, "{call}");
            assert_eq!(pending.make_wait(item, bytes, bench.stream.handle), OK);
        }
        assert_eq!(pending.poll(), IN_PROGRESS);
        bench.gate.release();
        assert_eq!(pending.wait().0, OK);
        bench.stream.finish();
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// The first stream of a context: what was had before something failed is given back, and the next call finds all it needs.
#[test]
fn a_context_that_cannot_be_used_yet_is_tried_again() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    for call in FIRST_TIME {
        let context = Context::new(driver, 0);
        let stream = Stream::within(driver, context.handle);
        let before = live(driver);
        let submit = || bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER | BEFORE, &stream));
        for nth in [1, 2] {
            driver.fail(call, nth, FAILED);
            // Some are made once, so the second is another call's.
            if let Ok(pending) = submit() {
                assert!(nth == 2, "{call}");
                assert_eq!(pending.wait().0, OK);
                break;
            }
            assert_eq!((live(driver), stream.pending()), (before, 0), "{call} {nth}");
        }
        assert_eq!(submit().expect("submitted").wait().0, OK, "{call}");
        stream.finish();
        drop(stream);
        drop(context);
        driver.reset();
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Where the driver cannot be told to ring, the library looks by itself; no batch is forgotten.
#[test]
fn a_batch_is_found_though_nobody_rings() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    for call in ["cuStreamQuery", "cuStreamWaitEvent", "cuLaunchHostFunc"] {
        for _ in 0..10 {
            bench.shut();
            driver.fail(call, 1, FAILED);
            let pending = bench.gated(&bench.get(b"key", 0), 0);
            assert_eq!(pending.progress(0, 1, 5), (IN_PROGRESS, 0), "{call}");
            bench.gate.release();
            assert_eq!(pending.wait().0, OK, "{call}");
        }
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A device that breaks while a batch waits for it: its items end with the driver's words, without touching memory that the
/// device may still use, and whoever waits for them goes on.
#[test]
fn a_device_that_breaks_ends_what_follows_it() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    let context = Context::new(driver, 1);
    let stream = Stream::within(driver, context.handle);
    bench.block.write(0, &object(9));
    stream.hold();
    stream.fill(bench.seen.address(), 1, 1);
    let pending = bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER, &stream)).unwrap();
    assert_eq!(pending.make_wait(0, 1, bench.stream.handle), OK);
    bench.look();
    driver.fail("cuMemsetD8Async:run", 1, FAILED);
    stream.release();
    assert!(bench.seen() == object(9));
    let (status, bytes) = pending.progress(0, 1, 0);
    assert_eq!((status, bytes), (IO, 0));
    let message = common::status::message();
    assert!(message.contains("CUDA_ERROR_LAUNCH_FAILED"), "{message}");
    assert_eq!(pending.wait().0, IO);
    assert_eq!(bench.store.stats().items_in_flight, 0);
    // Its streams are of no use any more, which is told; those of others are.
    assert_eq!(bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER, &stream)).err(), Some(IO));
    let pending =
        bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER | BEFORE, &bench.stream)).unwrap();
    assert_eq!(pending.wait().0, OK);
    until("the stream is done", || bench.stream.pending() == 0);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
    std::mem::forget((stream, context));
}

/// Once warm, submitting waits for no device and gets nothing more of the driver, though streams of the same device wait.
#[test]
fn a_warm_store_asks_the_driver_for_nothing_more() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup { cuda_device: Some(0), ..Setup::POOL });
    put(&bench.store, b"key", &object(1));
    let round = || {
        bench.shut();
        let pending = bench.gated(&bench.get(b"key", 0), 0);
        assert_eq!(pending.make_wait(0, 1, bench.stream.handle), OK);
        bench.look();
        let more = bench.store.submit_gets(&other(&bench), ordered(AFTER | BEFORE, &bench.stream)).unwrap();
        bench.gate.release();
        assert_eq!((pending.wait().0, more.wait().0), (OK, OK));
        bench.seen();
    };
    round();
    driver.reset();
    let (before, waits) = (live(driver), driver.sync_calls_here());
    for _ in 0..50 {
        round();
    }
    assert_eq!((live(driver), driver.sync_calls_here()), (before, waits));
    assert_eq!(driver.allocations_while_waiting(), 0);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A get into the memory that the stream copies to.
fn other(bench: &Bench) -> Batch<'static> {
    let mut batch = Batch::new();
    batch.raw(b"key", vec![bench.seen.segment(0, BYTES)], None);
    batch
}
