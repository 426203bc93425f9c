//! Items of many small segments: one launch copies what would be hundreds of copies, and copies do it where there is none.

use crate::common::batch::Submit;
use crate::common::cuda::{
    ALLOCATIONS, Block, Driver, EVENTS, FAILED, Kind, MODULES, REGISTRATIONS, STREAMS,
};
use crate::common::status::{NOT_FOUND, OK, Status};
use crate::common::{Random, Scratch, Setup, Store, payload};
use crate::endings::close_waits;
use crate::{KIB, MIB, assert_rules_were_kept, get, on_device, one, put, stores, turn};
use nixl_store::capi::*;

const OBJECT_BYTES: usize = 900_001;
/// Launches that an object of this size may take: pieces are as large as slices of the staging buffer, 1 MiB here.
const LAUNCHES_MAX: u64 = 2;

/// Where the segments of an object lie: odd lengths at odd addresses, `gap` apart at least.
fn spans(seed: u64, bytes: usize, length_max: usize) -> Vec<(usize, usize)> {
    let mut random = Random::new(seed);
    let (mut at, mut left, mut spans) = (random.below(64), bytes, Vec::new());
    while left > 0 {
        let length = random.between(1, length_max).min(left);
        spans.push((at, length));
        at += length + random.between(1, 50);
        left -= length;
    }
    spans
}

fn segments(block: &Block, spans: &[(usize, usize)]) -> Vec<nixl_store_segment_t> {
    spans.iter().map(|&(at, length)| block.segment(at, length)).collect()
}

fn write(block: &Block, spans: &[(usize, usize)], object: &[u8]) {
    let mut from = 0;
    for &(at, length) in spans {
        block.write(at, &object[from..from + length]);
        from += length;
    }
}

fn read(block: &Block, spans: &[(usize, usize)]) -> Vec<u8> {
    let mut object = Vec::new();
    for &(at, length) in spans {
        let mut part = vec![0; length];
        block.read(at, &mut part);
        object.extend(part);
    }
    object
}

/// Launches and copies so far.
fn work(driver: &Driver) -> [u64; 2] {
    ["cuLaunchKernel", "cuMemcpyAsync"].map(|call| driver.calls(call))
}

fn since(driver: &Driver, before: [u64; 2]) -> [u64; 2] {
    let now = work(driver);
    [now[0] - before[0], now[1] - before[1]]
}

/// An object in hundreds of segments goes in and out by a launch or two, whatever kind of memory and store it is, and comes back
/// into segments that are cut elsewhere.
#[test]
fn many_small_segments_are_few_launches() {
    let (_turn, driver) = turn();
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { cuda_device: Some(0), ..setup }, &scratch);
        for (seed, kind) in (1..).zip([Kind::Device, Kind::Pool, Kind::Vmm, Kind::Managed]) {
            let block = driver.allocate(kind, 0, 2 * MIB);
            let object = payload(seed, OBJECT_BYTES);
            let from = spans(seed, OBJECT_BYTES, 5000);
            let to = spans(seed + 10, OBJECT_BYTES, 3000);
            assert!(from.len() > 200);
            write(&block, &from, &object);
            let before = work(driver);
            assert_eq!(put(&store, &[seed as u8], segments(&block, &from)), OK, "{name} {kind:?}");
            let [launches, copies] = since(driver, before);
            assert!(launches <= LAUNCHES_MAX && copies <= 1, "{name} {kind:?}: {launches}, {copies}");
            assert_eq!(store.fetch(&[seed as u8], MIB).as_ref(), Some(&object), "{name} {kind:?}");
            let before = work(driver);
            assert_eq!(get(&store, &[seed as u8], segments(&block, &to)), OK, "{name} {kind:?}");
            let [launches, copies] = since(driver, before);
            assert!(launches <= LAUNCHES_MAX && copies <= 1, "{name} {kind:?}: {launches}, {copies}");
            assert!(read(&block, &to) == object, "{name} {kind:?}");
        }
        assert_eq!(store.close(), OK);
        assert_rules_were_kept(driver);
    }
}

/// A range of such an object comes into segments as any other, and leaves what lies between them alone.
#[test]
fn a_range_comes_into_small_segments() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-small-range");
    let store = Store::open(&Setup::POOL, &scratch);
    let object = payload(20, OBJECT_BYTES);
    assert_eq!(store.put(b"key", &object), OK);
    for (seed, from, bytes) in [(21, 0, 5000), (22, 70_001, 200_003), (23, OBJECT_BYTES - 90_000, 90_000)] {
        let block = on_device(1, MIB);
        let before = payload(seed, MIB);
        block.write(0, &before);
        let spans = spans(seed, bytes, 700);
        let mut batch = crate::common::Batch::new();
        batch.raw(b"key", segments(&block, &spans), Some(from as u64));
        assert_eq!(store.get_batch(&batch).0, OK);
        let mut wanted = before;
        let mut at = from;
        for &(place, length) in &spans {
            wanted[place..place + length].copy_from_slice(&object[at..at + length]);
            at += length;
        }
        let mut found = vec![0; MIB];
        block.read(0, &mut found);
        assert!(found == wanted, "{from} {bytes}");
    }
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A driver that cannot use the kernels is told once; items of small segments are copied as if there were none.
#[test]
fn without_kernels_small_segments_are_copied() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-no-kernels");
    let store = Store::open(&Setup { io_threads: 1, ..Setup::POOL }, &scratch);
    let block = on_device(0, 2 * MIB);
    let object = payload(30, OBJECT_BYTES);
    let spans = spans(30, OBJECT_BYTES, 5000);
    write(&block, &spans, &object);
    driver.fail("cuModuleLoadData", 1, 222);
    for round in 0..2u8 {
        let before = work(driver);
        assert_eq!(put(&store, &[round], segments(&block, &spans)), OK);
        let [launches, copies] = since(driver, before);
        assert!(launches == 0 && copies >= spans.len() as u64, "{launches}, {copies}");
        assert_eq!(store.fetch(&[round], MIB).as_ref(), Some(&object));
        assert_eq!(get(&store, &[round], segments(&block, &spans)), OK);
        assert!(read(&block, &spans) == object);
    }
    assert_eq!(store.logged("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"), 1);
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A launch that is refused fails its item and no other, in words; the store goes on, and leaves nothing when it is closed.
#[test]
fn a_launch_that_is_refused_fails_its_item_alone() {
    let (_turn, driver) = turn();
    let count = || [ALLOCATIONS, REGISTRATIONS, STREAMS, EVENTS, MODULES].map(|kind| driver.live(kind));
    for (name, setup) in stores() {
        let block = on_device(0, 2 * MIB);
        let before = count();
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { cuda_device: Some(0), ..setup.clone() }, &scratch);
        let object = payload(40, OBJECT_BYTES);
        let spans = spans(40, OBJECT_BYTES, 5000);
        write(&block, &spans, &object);
        assert_eq!(put(&store, b"key", segments(&block, &spans)), OK);
        // More rounds than there are slots or slices: what a failure took is given back.
        for _ in 0..2 * setup.slots {
            driver.fail("cuLaunchKernel", 1, FAILED);
            let (status, results) = store.put_batch(&one(b"other", segments(&block, &spans)));
            assert_eq!((status, results[0].status), (Status(NIXL_STORE_ERROR_IO), NIXL_STORE_ERROR_IO));
            assert_eq!(store.contains(b"other"), NOT_FOUND, "{name}");
            driver.fail("cuLaunchKernel", 1, FAILED);
            assert_eq!(get(&store, b"key", segments(&block, &spans)), Status(NIXL_STORE_ERROR_IO), "{name}");
        }
        assert_eq!(put(&store, b"other", segments(&block, &spans)), OK, "{name}");
        assert_eq!(get(&store, b"key", segments(&block, &spans)), OK, "{name}");
        assert!(read(&block, &spans) == object);
        let stats = store.stats();
        assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0), "{name}");
        assert_eq!(store.close(), OK);
        assert_eq!(count(), before, "{name}");
        assert_rules_were_kept(driver);
    }
}

/// A close waits for launches that are under way, and the descriptors that they read stay until then.
#[test]
fn a_close_waits_for_launches() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-small-close");
    let store = Store::open(&Setup { cuda_device: Some(0), ..Setup::POOL }, &scratch);
    let block = on_device(0, 256 * KIB);
    let object = payload(50, 100_000);
    let spans = spans(50, 100_000, 900);
    write(&block, &spans, &object);
    assert_eq!(put(&store, b"warm", segments(&block, &spans)), OK);
    let launched = driver.calls("cuLaunchKernel");
    driver.hold_all(true);
    let puts = one(b"key", segments(&block, &spans));
    let pending = store.submit_puts(&puts, Submit::default()).unwrap();
    while driver.calls("cuLaunchKernel") == launched {
        std::thread::yield_now();
    }
    close_waits(driver, &store, pending);
    assert_rules_were_kept(driver);
    let store = Store::open(&Setup::POOL, &scratch);
    assert_eq!(store.fetch(b"key", MIB).as_ref(), Some(&object));
    assert_eq!(store.close(), OK);
}
