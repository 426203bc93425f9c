//! A batch that follows a stream starts after the work that was on it, and is a batch like any other while it waits.

use super::common::status::{BUSY, CANCELLED, IN_PROGRESS, OK, TIMED_OUT};
use super::common::streams::until;
use super::*;

/// A put of what a stream has yet to write stores what it writes.
#[test]
fn a_put_stores_what_the_stream_writes() {
    let (_turn, driver) = turn();
    driver.set_delay_us(300);
    for setup in [Setup::POOL, Setup::FILES, Setup::MEMORY] {
        let bench = Bench::new(driver, &setup);
        let source = driver.allocate(Kind::Device, 0, BYTES);
        for round in 0..20u64 {
            let bytes = object(round);
            source.write(0, &bytes);
            bench.block.write(0, &vec![0xEE; BYTES]);
            bench.stream.copy(bench.block.address(), source.address(), BYTES);
            let pending =
                bench.store.submit_puts(&bench.get(b"key", 0), ordered(AFTER, &bench.stream)).unwrap();
            assert_eq!(pending.wait().0, OK);
            assert!(bench.store.fetch(b"key", BYTES).as_ref() == Some(&bytes), "round {round}");
        }
        assert_eq!(bench.store.close(), OK);
        assert_rules_were_kept(driver);
    }
}

/// A get into memory that a stream still reads leaves it alone until then.
#[test]
fn a_get_leaves_alone_what_the_stream_reads() {
    let (_turn, driver) = turn();
    driver.set_delay_us(300);
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    let before = object(2);
    for round in 0..20 {
        bench.block.write(0, &before);
        bench.look();
        let pending = bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER, &bench.stream)).unwrap();
        assert_eq!(pending.wait().0, OK);
        assert!(bench.seen() == before, "round {round}");
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// With both flags the batch lies in the stream like any other work: after what was put there before, before what comes then.
#[test]
fn a_batch_lies_in_the_stream_where_it_was_submitted() {
    let (_turn, driver) = turn();
    driver.set_delay_us(200);
    let bench = Bench::new(driver, &Setup::POOL);
    let zeros = vec![0; BYTES];
    for round in 0..20u64 {
        let bytes = object(round);
        put(&bench.store, b"key", &bytes);
        bench.block.write(0, &zeros);
        // Written over by the get, and then copied; then written over again.
        bench.stream.fill(bench.block.address(), 0xAA, BYTES);
        let pending =
            bench.store.submit_gets(&bench.get(b"key", 0), ordered(AFTER | BEFORE, &bench.stream)).unwrap();
        bench.look();
        bench.stream.fill(bench.block.address(), 0xBB, BYTES);
        assert!(bench.seen() == bytes, "round {round}");
        assert_eq!(pending.wait().0, OK);
        // A put of the same, in the same place of the stream.
        bench.stream.copy(bench.block.address(), bench.seen.address(), BYTES);
        let pending =
            bench.store.submit_puts(&bench.get(b"copy", 0), ordered(AFTER | BEFORE, &bench.stream)).unwrap();
        bench.stream.fill(bench.block.address(), 0xCC, BYTES);
        assert_eq!(pending.wait().0, OK);
        bench.stream.finish();
        assert!(bench.store.fetch(b"copy", BYTES) == Some(bytes), "round {round}");
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// While a batch is held nothing of it is touched; it counts as under way, and ends as ever: by its deadline, by a cancel, and by
/// the stream. Queues are told.
#[test]
fn a_batch_that_is_held_is_a_batch_like_any_other() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    let queue = bench.store.queue();
    for (number, wanted) in [(1, OK), (2, TIMED_OUT), (3, CANCELLED)] {
        bench.block.write(0, &vec![0x77; BYTES]);
        bench.shut();
        let submit = Submit {
            flags: AFTER,
            stream: bench.gate.handle,
            timeout_ms: if wanted == TIMED_OUT { 30 } else { 0 },
            queue: Some(&queue),
            user_data: number,
            request: 0,
        };
        let pending = bench.store.submit_gets(&bench.get(b"key", 0), submit).unwrap();
        assert_eq!(pending.poll(), IN_PROGRESS);
        assert_eq!(bench.store.stats().items_in_flight, 1);
        let pending = match wanted {
            OK => {
                let Err(pending) = pending.try_wait(WATCHED_MS) else { panic!("it follows the gate") };
                bench.gate.release();
                pending
            }
            CANCELLED => {
                assert_eq!(pending.cancel(), OK);
                pending
            }
            _ => pending,
        };
        let completions = queue.take(1);
        assert_eq!((completions[0].user_data, Status(completions[0].status)), (number, wanted));
        assert_eq!(pending.wait().0, wanted);
        assert_eq!(bench.store.stats().items_in_flight, 0, "{wanted:?}");
        let mut now = vec![0; BYTES];
        bench.block.read(0, &mut now);
        bench.gate.release();
        bench.gate.finish();
        assert!(now == if wanted == OK { object(1) } else { vec![0x77; BYTES] }, "{wanted:?}");
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Whatever ended a batch that was held, its places in the line come back, although the stream never came: a store that was full
/// takes as many again.
#[test]
fn places_in_the_line_come_back() {
    const ITEMS: usize = 16;
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup { queue_items: ITEMS as u32, ..Setup::POOL });
    put(&bench.store, b"key", &object(1));
    bench.shut();
    for cancels in [false, true, false, true] {
        let submit =
            |timeout_ms| Submit { flags: AFTER, stream: bench.gate.handle, timeout_ms, ..Submit::default() };
        let batch = bench.get(b"key", 0);
        let pending: Vec<_> = (0..ITEMS)
            .map(|_| {
                bench.store.submit_gets(&batch, submit(if cancels { 30_000 } else { 2000 })).expect("room")
            })
            .collect();
        assert_eq!(bench.store.submit_gets(&batch, submit(20)).err(), Some(BUSY));
        for pending in pending {
            if cancels {
                assert_eq!(pending.cancel(), OK);
            }
            assert_eq!(pending.wait().0, if cancels { CANCELLED } else { TIMED_OUT });
        }
    }
    // And it works as ever.
    let pending = bench.store.submit_gets(&bench.get(b"key", 0), Submit::default()).unwrap();
    assert_eq!(pending.wait().0, OK);
    bench.gate.release();
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A flush waits for the puts that are held.
#[test]
fn a_flush_waits_for_held_puts() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    bench.shut();
    let pending = bench.store.submit_puts(&bench.get(b"key", 0), ordered(AFTER, &bench.gate)).unwrap();
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| bench.store.flush());
        std::thread::sleep(std::time::Duration::from_millis(WATCHED_MS));
        assert!(!flush.is_finished());
        bench.gate.release();
        assert_eq!(flush.join().unwrap(), OK);
    });
    assert_eq!(pending.wait().0, OK);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// More batches are held at a time than the library has streams to be told by: none is forgotten, and none goes early.
#[test]
fn many_batches_are_held_at_a_time() {
    const BATCHES: usize = 40;
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    put(&bench.store, b"key", &object(1));
    let gates: Vec<Stream> = (0..BATCHES).map(|_| Stream::new(driver, 0)).collect();
    let mut memory: Vec<Vec<u8>> = vec![vec![0; BYTES]; BATCHES];
    for gate in &gates {
        gate.hold();
        gate.fill(bench.seen.address(), 1, 1);
    }
    let mut pending: Vec<_> = gates
        .iter()
        .zip(&mut memory)
        .map(|(gate, memory)| {
            let mut batch = Batch::new();
            batch.get(b"key", memory);
            bench.store.submit_gets(&batch, ordered(AFTER, gate)).expect("submitted")
        })
        .collect();
    // The last first.
    for gate in gates.iter().rev() {
        assert!(pending[..pending.len() - 1].iter().all(|other| other.poll() == IN_PROGRESS));
        gate.release();
        assert_eq!(pending.pop().expect("one for each").wait().0, OK);
    }
    drop(pending);
    assert!(memory.iter().all(|memory| *memory == object(1)));
    until("the gates are done", || gates.iter().all(|gate| gate.pending() == 0));
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}
