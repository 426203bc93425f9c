//! Streams of every kind: default ones, of a second device, of contexts that are nobody's primary one; and those that are being
//! captured, which are refused.

use super::common::status::{INVALID_ARGUMENT, OK};
use super::common::streams::{Context, GLOBAL, LEGACY, PER_THREAD, RELAXED};
use super::*;

/// A get that a stream waits for and then looks at, and a put that follows it.
#[track_caller]
fn works(bench: &Bench, stream: &Stream, blocks: &[Block; 2], name: &str) {
    for round in 0..5u64 {
        let bytes = object(round);
        put(&bench.store, b"key", &bytes);
        let batch = |key: &[u8], block: &Block| {
            let mut batch = Batch::new();
            batch.raw(key, vec![block.segment(0, BYTES)], None);
            batch
        };
        let get = bench.store.submit_gets(&batch(b"key", &blocks[0]), ordered(AFTER | BEFORE, stream));
        let get = get.unwrap_or_else(|status| panic!("{name}: {status:?} {}", common::status::message()));
        stream.copy(blocks[1].address(), blocks[0].address(), BYTES);
        let copy = bench.store.submit_puts(&batch(b"copy", &blocks[1]), ordered(AFTER, stream)).unwrap();
        assert_eq!(get.make_wait(ALL, 0, stream.handle), OK);
        assert_eq!((get.wait().0, copy.wait().0), (OK, OK), "{name}");
        assert!(bench.store.fetch(b"copy", BYTES) == Some(bytes), "{name}, round {round}");
    }
    stream.finish();
}

fn blocks(driver: &'static Driver, device: usize) -> [Block; 2] {
    [0, 1].map(|_| driver.allocate(Kind::Device, device, BYTES))
}

/// The default streams of the context that is current: the legacy one, by both of its names, and the thread's own.
#[test]
fn default_streams_are_those_of_the_current_context() {
    let (_turn, driver) = turn();
    driver.set_delay_us(50);
    let bench = Bench::new(driver, &Setup::POOL);
    for device in [0, 1] {
        let blocks = blocks(driver, device);
        for handle in [0, LEGACY, PER_THREAD] {
            let stream = Stream::default(driver, device, handle);
            driver.on(device, || {
                works(&bench, &stream, &blocks, &format!("default stream {handle} of device {device}"));
            });
        }
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A thread without a context has no default stream.
#[test]
fn a_default_stream_needs_a_context() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    for handle in [0, LEGACY, PER_THREAD] {
        for flags in [AFTER, BEFORE] {
            let submit = Submit { flags, stream: handle, ..Submit::default() };
            assert_eq!(bench.store.submit_gets(&bench.get(b"key", 0), submit).err(), Some(INVALID_ARGUMENT));
            let message = common::status::message();
            assert!(message.contains("no context is current"), "{message}");
        }
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Streams of another device, and of contexts that are not primary ones, whose memory and streams come and go: more of them than
/// a process may give at a time, where a later one takes an earlier one's place.
#[test]
fn streams_of_other_devices_and_contexts_work() {
    let (_turn, driver) = turn();
    driver.set_delay_us(50);
    let bench = Bench::new(driver, &Setup::POOL);
    let (first, second) = (blocks(driver, 0), blocks(driver, 1));
    // Neither the memory's device nor the context's need be the stream's.
    for device in [1, 0] {
        let stream = Stream::new(driver, device);
        works(&bench, &stream, if device == 1 { &second } else { &first }, "another device");
        let stream = Stream::blocking(driver, device);
        works(&bench, &stream, if device == 1 { &second } else { &first }, "a blocking stream");
    }
    let contexts: Vec<Context> = (0..3).map(|device| Context::new(driver, device % 2)).collect();
    for (index, context) in contexts.iter().enumerate() {
        let stream = Stream::within(driver, context.handle);
        works(&bench, &stream, if index == 1 { &second } else { &first }, "a context of the test's");
    }
    drop(contexts);
    let context = Context::new(driver, 0);
    let stream = Stream::within(driver, context.handle);
    works(&bench, &stream, &first, "a context made after others were destroyed");
    drop(stream);
    drop(context);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A stream that is being captured is refused in words, by each call, and the capture goes on as if nothing had been asked.
#[test]
fn a_captured_stream_is_refused_and_not_spoilt() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    bench.shut();
    let pending = bench.gated(&bench.get(b"key", 0), 0);
    for mode in [GLOBAL, RELAXED] {
        bench.stream.capture(mode);
        bench.look();
        for flags in [AFTER, BEFORE, AFTER | BEFORE] {
            let refused = bench.store.submit_gets(&bench.get(b"key", 0), ordered(flags, &bench.stream));
            assert_eq!(refused.err(), Some(INVALID_ARGUMENT));
            let message = common::status::message();
            assert!(message.contains("captured"), "{message}");
        }
        for (item, bytes) in [(0, 1), (ALL, 0), (0, 0)] {
            assert_eq!(pending.make_wait(item, bytes, bench.stream.handle), INVALID_ARGUMENT);
        }
        assert_eq!(bench.stream.end_capture(), 1, "mode {mode}");
    }
    bench.gate.release();
    assert_eq!(pending.wait().0, OK);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Whatever a call takes of the driver, it spoils no capture of another stream, in this thread or another: not even when it is
/// the first for its context.
#[test]
fn captures_of_other_streams_are_not_spoilt() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    for mode in [GLOBAL, RELAXED] {
        for same_thread in [false, true] {
            let context = Context::new(driver, 1);
            let other = Stream::within(driver, context.handle);
            bench.stream.capture(mode);
            bench.look();
            let ask = || {
                let pending =
                    bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER | BEFORE, &other)).unwrap();
                assert_eq!(pending.make_wait(ALL, 0, other.handle), OK);
                assert_eq!(pending.wait().0, OK);
            };
            match same_thread {
                true => ask(),
                false => std::thread::scope(|scope| scope.spawn(ask).join().unwrap()),
            }
            assert_eq!(bench.stream.end_capture(), 1, "mode {mode}, {same_thread}");
            other.finish();
        }
    }
    // The legacy default stream would be drawn into the capture of a stream that waits for it.
    let blocking = Stream::blocking(driver, 0);
    blocking.capture(GLOBAL);
    driver.on(0, || {
        let submit = Submit { flags: BEFORE, ..Submit::default() };
        let refused = bench.store.submit_gets(&bench.get(b"key", 0), submit);
        assert_eq!(refused.err(), Some(INVALID_ARGUMENT));
        let message = common::status::message();
        assert!(message.contains("default stream") && message.contains("captured"), "{message}");
    });
    assert_eq!(blocking.end_capture(), 0);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}
