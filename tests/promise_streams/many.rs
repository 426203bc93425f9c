//! Many threads, streams and batches at a time, with delays that nobody chose.

use super::common::Random;
use super::common::status::{BUSY, NOT_FOUND, OK};
use super::common::streams::{Context, until};
use super::*;

/// Threads put and get on streams of their own, and some wait from yet another stream; every stream sees what it should, at
/// whatever moment the wait was added.
#[test]
fn many_threads_and_streams() {
    const THREADS: u64 = 6;
    const ROUNDS: u64 = 120;
    let (_turn, driver) = turn();
    driver.set_delay_us(60);
    let bench = Bench::new(driver, &Setup { slots: 64, ..Setup::POOL });
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let bench = &bench;
            scope.spawn(move || work(driver, bench, thread, ROUNDS));
        }
    });
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

fn work(driver: &'static Driver, bench: &Bench, thread: u64, rounds: u64) {
    let mut random = Random::new(thread + 1);
    let device = (thread % 2) as usize;
    let [source, middle, target, seen] = [0; 4].map(|_| driver.allocate(Kind::Device, device, BYTES));
    let (writing, reading) = (Stream::new(driver, device), Stream::new(driver, device));
    let batch = |key: &[u8], block: &Block| {
        let mut batch = Batch::new();
        batch.raw(key, vec![block.segment(0, BYTES)], None);
        batch
    };
    for round in 0..rounds {
        let (key, bytes) = (thread.to_le_bytes(), object(thread << 32 | round));
        source.write(0, &bytes);
        writing.copy(middle.address(), source.address(), BYTES);
        let put = bench.store.submit_puts(&batch(&key, &middle), ordered(AFTER | BEFORE, &writing)).unwrap();
        // Written over at once: the stream waits for the put.
        writing.fill(middle.address(), 0, BYTES);
        assert_eq!(put.wait().0, OK);
        target.write(0, &vec![0; BYTES]);
        let flags = [0, BEFORE, AFTER, AFTER | BEFORE][random.below(4)];
        let submit = if flags == 0 { Submit::default() } else { ordered(flags, &reading) };
        let get = bench.store.submit_gets(&batch(&key, &target), submit).unwrap();
        // From before the get is begun to after it has ended.
        for _ in 0..random.below(2000) {
            std::hint::spin_loop();
        }
        let (item, count) = if random.below(2) == 0 { (0, 1) } else { (ALL, 0) };
        assert_eq!(get.make_wait(item, count, reading.handle), OK);
        reading.copy(seen.address(), target.address(), BYTES);
        reading.finish();
        let mut there = vec![0; BYTES];
        seen.read(0, &mut there);
        assert!(there == bytes, "thread {thread}, round {round}");
        assert_eq!(get.wait().0, OK);
    }
    writing.finish();
}

/// Words are used again thousands of times more often than there are; a stream that is late waits for nobody else's item.
#[test]
fn words_are_used_again() {
    const ROUNDS: usize = 300;
    const ITEMS: usize = 20;
    let (_turn, driver) = turn();
    driver.set_delay_us(0);
    let bench = Bench::new(driver, &Setup::MEMORY);
    let mut memory = [0u8; ITEMS];
    for _ in 0..ROUNDS {
        let mut batch = Batch::new();
        for (index, byte) in memory.iter_mut().enumerate() {
            batch.get(&[index as u8], std::slice::from_mut(byte));
        }
        let pending = bench.store.submit_gets(&batch, ordered(BEFORE, &bench.stream)).unwrap();
        for item in 0..ITEMS {
            assert_eq!(pending.make_wait(item, 1, bench.stream.handle), OK);
        }
        assert_eq!(pending.wait().0, NOT_FOUND);
    }
    bench.stream.finish();
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// There are so many words and no more: whoever comes when all are in use is told so, and all are there again afterwards.
#[test]
fn a_context_has_so_many_words() {
    const WORDS: usize = 4096;
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup { queue_items: 4 * WORDS as u32, ..Setup::POOL });
    for _ in 0..2 {
        bench.shut();
        let mut memory = vec![0u8; WORDS + 1];
        let mut batch = Batch::new();
        for (index, byte) in memory.iter_mut().enumerate() {
            batch.get(&index.to_le_bytes(), std::slice::from_mut(byte));
        }
        let pending = bench.store.submit_gets(&batch, ordered(AFTER, &bench.gate)).expect("submitted");
        for item in 0..WORDS {
            assert_eq!(pending.make_wait(item, 1, bench.stream.handle), OK, "item {item}");
        }
        assert_eq!(pending.make_wait(WORDS, 1, bench.stream.handle), BUSY);
        assert_eq!(
            bench.store.submit_gets(&bench.get(b"key", 0), ordered(BEFORE, &bench.stream)).err(),
            Some(BUSY)
        );
        // Those that have one can be waited for by others.
        assert_eq!(pending.make_wait(0, 1, bench.gate.handle), OK);
        assert_eq!(pending.cancel(), OK);
        bench.gate.release();
        assert_eq!(pending.wait().0, common::status::CANCELLED);
        bench.stream.finish();
        until("the gate is done", || bench.gate.pending() == 0);
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Of the threads that bring the first streams of a context one gets what it takes, and the others find it.
#[test]
fn a_context_is_got_to_know_once() {
    const THREADS: usize = 8;
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    for round in 0..10 {
        let context = Context::new(driver, round % 2);
        let streams: Vec<Stream> = (0..THREADS).map(|_| Stream::within(driver, context.handle)).collect();
        let registered = driver.calls("cuMemHostRegister");
        std::thread::scope(|scope| {
            for stream in &streams {
                let bench = &bench;
                scope.spawn(move || {
                    let mut byte = [0];
                    let mut batch = Batch::new();
                    batch.get(b"nil", &mut byte);
                    let pending = bench.store.submit_gets(&batch, ordered(AFTER | BEFORE, stream)).unwrap();
                    assert_eq!(pending.wait().0, NOT_FOUND);
                    stream.finish();
                });
            }
        });
        assert_eq!(driver.calls("cuMemHostRegister"), registered + 1, "round {round}");
        drop(streams);
    }
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}
