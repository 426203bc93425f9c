//! Each item is counted, once, on each path.

use std::collections::BTreeMap;
use std::time::Instant;

use nixl_store::capi::*;

use crate::common::status::{BUFFER_TOO_SMALL, CANCELLED, NOT_FOUND, OK, Status, TIMED_OUT};
use crate::common::{Batch, Scratch, Setup, Store, Submit, payload};
use crate::{KIB, cufile_common, text};

/// Payload bytes of objects, and the classes that they belong to: at a bound, above it, and between.
const SIZES: [(usize, &str); 6] = [
    (100, "64KiB"),
    (64 * KIB, "64KiB"),
    (64 * KIB + 1, "256KiB"),
    (1024 * KIB, "1MiB"),
    (1024 * KIB + 1, "4MiB"),
    (2048 * KIB, "4MiB"),
];
const CHUNK_BYTES: usize = 2048 * KIB;

/// Every way by which bytes move, as far as an item's end is concerned.
fn setups() -> Vec<(&'static str, Setup)> {
    let large = |setup: &Setup| Setup {
        chunk_bytes: CHUNK_BYTES as u64,
        buffer_bytes: 16 << 20,
        slots: 32,
        ..setup.clone()
    };
    let mut setups = vec![
        ("io_uring", large(&Setup::POOL)),
        ("threads", large(&Setup { uring: false, ..Setup::POOL })),
        ("files", large(&Setup::FILES)),
        ("memory", large(&Setup::MEMORY)),
        ("3FS", large(&Setup::HF3FS)),
    ];
    if cufile_common::is_real() {
        setups.extend([("cuFile", large(&Setup::GDS)), ("cuFile's calls", large(&Setup::GDS_MT))]);
    }
    setups
}

/// How many items ended in which way, by direction.
type Ends = BTreeMap<(&'static str, Status), u64>;

fn count(ends: &mut Ends, direction: &'static str, results: &[nixl_store_result_t]) {
    for result in results {
        *ends.entry((direction, Status(result.status))).or_default() += 1;
    }
}

/// Compares the text with the stats, and with what was seen to end.
#[track_caller]
fn assert_told(store: &Store, ends: &Ends, name: &str) {
    let (text, stats) = (text(store), store.stats());
    let told = |sample: &str, labels: &[(&str, &str)]| text.one(&format!("nixl_store_{sample}"), labels);
    for (sample, labels, stat) in [
        ("gets_total", &[("outcome", "hit")][..], stats.gets_hit),
        ("gets_total", &[("outcome", "miss")], stats.gets_missed),
        ("gets_total", &[("outcome", "failed")], stats.gets_failed),
        ("puts_total", &[("outcome", "stored")], stats.puts_ok),
        ("puts_total", &[("outcome", "declined")], stats.puts_declined),
        ("puts_total", &[("outcome", "failed")], stats.puts_failed),
        ("ended_early_total", &[("reason", "timed_out")], stats.timed_out),
        ("ended_early_total", &[("reason", "cancelled")], stats.cancelled),
        ("payload_bytes_total", &[("direction", "get")], stats.bytes_got),
        ("payload_bytes_total", &[("direction", "put")], stats.bytes_put),
        ("moved_bytes_total", &[("path", "direct")], stats.bytes_direct),
        ("moved_bytes_total", &[("path", "staged")], stats.bytes_staged),
        ("evictions_total", &[], stats.evictions),
        ("corruptions_total", &[], stats.corruptions),
        ("unverified_gets_total", &[], stats.gets_unverified),
        ("short_transfers_total", &[], stats.short_transfers),
        ("retries_total", &[], stats.retries),
        ("keys", &[], stats.keys),
        ("pinned_keys", &[], stats.keys_pinned),
        ("stored_bytes", &[], stats.bytes_stored),
        ("capacity_bytes", &[], stats.capacity_bytes),
        ("slots", &[], stats.slots),
        ("free_slots", &[], stats.slots_free),
        ("quarantined_slots", &[], stats.quarantined_slots),
        ("items_in_flight", &[], 0),
        ("poisoned", &[], 0),
    ] {
        assert_eq!(told(sample, labels), stat, "{name}: {sample} {labels:?}");
    }
    let ended = |direction, status| ends.get(&(direction, status)).copied().unwrap_or_default();
    let timed = |direction| text.sum("nixl_store_latency_seconds_count", &[("direction", direction)]) as u64;
    assert_eq!((timed("get"), timed("put")), (ended("get", OK), ended("put", OK)), "{name}: {ends:?}");
    assert_eq!((stats.gets_hit, stats.puts_ok), (ended("get", OK), ended("put", OK)), "{name}");
    assert_eq!(stats.gets_missed, ended("get", NOT_FOUND), "{name}");
    assert_eq!(stats.gets_failed, ended("get", BUFFER_TOO_SMALL), "{name}");
    assert_eq!(stats.timed_out, ended("get", TIMED_OUT) + ended("put", TIMED_OUT), "{name}");
    assert_eq!(stats.cancelled, ended("get", CANCELLED) + ended("put", CANCELLED), "{name}");
}

/// Puts and gets objects of each size, alone and in a batch, and misses some; every path there is.
#[test]
fn every_item_is_in_one_histogram_once() {
    for (name, setup) in setups() {
        let scratch = Scratch::new("metrics");
        let store = Store::open(&setup, &scratch);
        let (started, mut ends) = (Instant::now(), Ends::new());
        let objects: Vec<Vec<u8>> =
            SIZES.iter().enumerate().map(|(seed, (bytes, _))| payload(seed as u64, *bytes)).collect();
        let key = |way: &str, size: usize| format!("{way}-{size}").into_bytes();
        let mut batch = Batch::new();
        for (size, object) in objects.iter().enumerate() {
            assert_eq!(store.put(&key("alone", size), object), OK);
            *ends.entry(("put", OK)).or_default() += 1;
            batch.put(&key("batch", size), object);
        }
        count(&mut ends, "put", &store.put_batch(&batch).1);
        // What is there stays, and nothing was put.
        let mut kept = Batch::new();
        kept.put(&key("batch", 0), &objects[0]);
        kept.flag(NIXL_STORE_ITEM_KEEP);
        assert_eq!(store.put_batch(&kept).0, OK);
        for way in ["alone", "batch", "none"] {
            let mut buffers: Vec<Vec<u8>> = SIZES.iter().map(|(bytes, _)| vec![0; *bytes]).collect();
            let mut batch = Batch::new();
            for (size, buffer) in buffers.iter_mut().enumerate() {
                let (status, _) = store.get(&key(way, size), &mut vec![0; SIZES[size].0]);
                *ends.entry(("get", status)).or_default() += 1;
                batch.get(&key(way, size), buffer);
            }
            let (_, results) = store.get_batch(&batch);
            count(&mut ends, "get", &results);
            assert!(
                results.iter().all(|result| (result.status == NIXL_STORE_OK) == (way != "none")),
                "{name}"
            );
        }
        let (status, _) = store.get(&key("batch", 5), &mut [0; 10]);
        assert_eq!(status, BUFFER_TOO_SMALL, "{name}");
        *ends.entry(("get", status)).or_default() += 1;
        let taken = started.elapsed().as_secs_f64();
        assert_told(&store, &ends, name);

        let text = text(&store);
        for class in ["64KiB", "256KiB", "1MiB", "4MiB"] {
            let objects = SIZES.iter().filter(|(_, of)| *of == class).count() as u64;
            let timed = |direction| {
                text.one("nixl_store_latency_seconds_count", &[("direction", direction), ("size", class)])
            };
            assert_eq!((timed("put"), timed("get")), (2 * objects, 4 * objects), "{name}: {class}");
        }
        // No item took longer than all of them.
        let items = text.sum("nixl_store_latency_seconds_count", &[]);
        let sum = text.sum("nixl_store_latency_seconds_sum", &[]);
        assert!(sum > 0.0 && sum <= items * taken, "{name}: {sum} s in {taken} s");
        let within = text.sum("nixl_store_latency_seconds_bucket", &[("le", "67.108864")]);
        assert_eq!(within, items, "{name}");
    }
}

/// Items that end early are counted as that and nowhere else, whoever ends them: the clock, a cancel, or a lane that comes to
/// them first and moves their bytes.
#[test]
fn what_ends_early_is_in_no_histogram() {
    const BATCHES: u64 = 40;
    for (name, setup) in setups() {
        let scratch = Scratch::new("metrics");
        let store = Store::open(&setup, &scratch);
        let object = payload(1, CHUNK_BYTES);
        let mut ends = Ends::new();
        for round in 0..BATCHES {
            let mut batch = Batch::new();
            (0..16).for_each(|item| batch.put(format!("{item}").as_bytes(), &object));
            let options = Submit { timeout_ms: u64::from(round % 2 == 0), ..Submit::default() };
            let pending = match store.submit_puts(&batch, options) {
                Ok(pending) => pending,
                Err(_) => continue,
            };
            if round % 4 == 1 {
                pending.cancel();
            }
            count(&mut ends, "put", &pending.wait().1);
        }
        assert!(ends.keys().any(|(_, status)| *status != OK), "{name}: {ends:?}");
        assert_told(&store, &ends, name);
    }
}

/// Threads that put and get at once, alone and in batches: nothing is lost, and nothing counted twice.
#[test]
fn threads_lose_nothing() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 50;
    let setup = Setup { slots: 64, chunk_bytes: 64 * KIB as u64, ..Setup::MEMORY };
    let scratch = Scratch::new("metrics");
    let store = Store::open(&setup, &scratch);
    let object = payload(1, 64 * KIB);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, object) = (&store, &object);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = format!("{thread}-{}", round % 8).into_bytes();
                    assert_eq!(store.put(&key, object), OK);
                    assert_eq!(store.get(&key, &mut vec![0; 64 * KIB]).0, OK);
                    let mut buffers = vec![vec![0; 64 * KIB]; 4];
                    let mut batch = Batch::new();
                    buffers.iter_mut().for_each(|buffer| batch.get(&key, buffer));
                    assert_eq!(store.get_batch(&batch).0, OK);
                }
            });
        }
    });
    let ended = (THREADS * ROUNDS) as u64;
    assert_told(&store, &Ends::from([(("put", OK), ended), (("get", OK), 5 * ended)]), "threads");
}
