//! Items whose memory is a CUDA device's: what goes wrong between host and device ends the item that met it, and nothing else.
//!
//! The driver is the stand-in of `tests/standin_cuda/`. It is one for the process, and so are its counts and the faults that it
//! is told to have: the tests take turns.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "obj")]
#[path = "../s3_common/mod.rs"]
mod s3_common;

mod endings;
mod small_segments;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::batch::{Batch, Submit};
use common::cuda::{Block, DELAY_US_MAX, Driver, EVENTS, FAILED, Kind, REGISTRATIONS, STREAMS, driver};
use common::status::{IN_PROGRESS, NOT_FOUND, OK, Status};
use common::{Scratch, Setup, Store, payload};
use nixl_store::capi::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// How long it is watched that something does not end.
const HELD_MS: u64 = 200;
/// `enum standin_copy`.
const HOST_TO_DEVICE: i32 = 0;
const DEVICE_TO_HOST: i32 = 1;

/// The stand-in, for one test at a time.
fn turn() -> (MutexGuard<'static, ()>, &'static Driver) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (turn, driver())
}

/// Asserts that nobody broke a rule of the driver's.
#[track_caller]
fn assert_rules_were_kept(driver: &Driver) {
    assert_eq!(driver.broken_rule(), None);
}

/// Memory on a device, and what an item says of it.
fn on_device(device: usize, bytes: usize) -> Block {
    driver().allocate(Kind::Device, device, bytes)
}

/// A batch of one item over segments that the test keeps.
fn one(key: &[u8], segments: Vec<nixl_store_segment_t>) -> Batch<'static> {
    let mut batch = Batch::new();
    batch.raw(key, segments, None);
    batch
}

fn put(store: &Store, key: &[u8], segments: Vec<nixl_store_segment_t>) -> Status {
    store.put_batch(&one(key, segments)).0
}

fn get(store: &Store, key: &[u8], segments: Vec<nixl_store_segment_t>) -> Status {
    store.get_batch(&one(key, segments)).0
}

/// Stores of each kind, with a name each.
fn stores() -> Vec<(&'static str, Setup)> {
    vec![
        ("device-pool", Setup::POOL),
        ("device-buffered", Setup { direct_io: false, ..Setup::POOL }),
        ("device-files", Setup::FILES),
        ("device-memory", Setup::MEMORY),
    ]
}

/// A copy that fails, as it is begun or on its way, is an error of its item, with the driver's word for it. The key has what it
/// had before, or nothing; the store goes on, and no slot, slice or stream is lost.
#[test]
fn a_copy_that_fails_fails_its_item_alone() {
    let (_turn, driver) = turn();
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = Store::open(&setup, &scratch);
        let object = payload(1, MIB);
        let block = on_device(0, 2 * MIB);
        block.write(0, &object);
        let whole = || vec![block.segment(0, MIB)];
        assert_eq!(put(&store, b"key", whole()), OK);
        for call in ["cuMemcpyAsync", "cuEventRecord"] {
            driver.fail(call, 1, FAILED);
            let (status, results) = store.put_batch(&one(b"other", whole()));
            assert_eq!(
                (status, results[0].status),
                (Status(NIXL_STORE_ERROR_IO), NIXL_STORE_ERROR_IO),
                "{call}"
            );
            assert_eq!(store.contains(b"other"), NOT_FOUND, "{name} {call}");
            driver.fail(call, 1, FAILED);
            assert_eq!(
                get(&store, b"key", vec![block.segment(MIB, MIB)]),
                Status(NIXL_STORE_ERROR_IO),
                "{call}"
            );
            // What went wrong was the copy: the record is where it was, and right.
            assert_eq!(get(&store, b"key", vec![block.segment(MIB, MIB)]), OK, "{name} {call}");
            let mut back = vec![0; MIB];
            block.read(MIB, &mut back);
            assert!(back == object, "{name} {call}");
        }
        // More rounds than there are slots or slices: what a failure took is given back.
        for _ in 0..2 * setup.slots {
            driver.fail("cuMemcpyAsync", 1, FAILED);
            assert_eq!(put(&store, b"other", whole()), Status(NIXL_STORE_ERROR_IO));
        }
        assert_eq!(put(&store, b"other", whole()), OK, "{name}");
        let stats = store.stats();
        assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0), "{name}");
        assert_eq!(store.close(), OK);
        assert_rules_were_kept(driver);
    }
}

/// The message of a failed item names the copy and the driver's error.
#[test]
fn a_failed_copy_is_told_in_words() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-words");
    let store = Store::open(&Setup::POOL, &scratch);
    let block = on_device(0, 64 * KIB);
    driver.fail("cuMemcpyAsync", 1, FAILED);
    let key = b"key";
    let address = std::ptr::without_provenance(block.address() as usize);
    // SAFETY: a key of the stated length, and device memory that lives on.
    let status = unsafe { nixl_store_put(store.handle(), key.as_ptr().cast(), key.len(), address, 64 * KIB) };
    assert_eq!(status, NIXL_STORE_ERROR_IO);
    let message = common::status::message();
    assert!(
        message.contains("copying 65536 bytes from") && message.contains("CUDA_ERROR_LAUNCH_FAILED"),
        "{message}"
    );
    assert_eq!(store.close(), OK);
}

/// A device that hangs holds up the items that wait for it and no others: not those of the same batch, nor of the same lane.
/// What was started ends when the device goes on; what was not ends at its deadline.
#[test]
fn a_device_that_hangs_holds_up_no_other_item() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-hangs");
    // One lane, and eight slices: puts of the device's cannot take all.
    let setup = Setup { io_threads: 1, buffer_bytes: 8 << 20, ..Setup::POOL };
    let store = Store::open(&setup, &scratch);
    let block = on_device(0, 4 * MIB);
    let object = payload(2, MIB);
    block.write(0, &object);
    assert_eq!(put(&store, b"before", vec![block.segment(0, MIB)]), OK);
    driver.hold_all(true);
    let puts = one(b"held", vec![block.segment(0, MIB)]);
    let held = store.submit_puts(&puts, Submit::default()).unwrap();
    let gets = one(b"before", vec![block.segment(MIB, MIB)]);
    let held_get = store.submit_gets(&gets, Submit::default()).unwrap();
    for round in 0..20u8 {
        let host = payload(u64::from(round), 200 * KIB);
        assert_eq!(store.put(&[round], &host), OK);
        assert_eq!(store.fetch(&[round], MIB).as_ref(), Some(&host));
    }
    assert_eq!((held.poll(), held_get.poll()), (IN_PROGRESS, IN_PROGRESS));
    driver.hold_all(false);
    assert_eq!((held.wait().0, held_get.wait().0), (OK, OK));
    let mut back = vec![0; MIB];
    block.read(MIB, &mut back);
    assert!(back == object);
    assert_eq!(store.fetch(b"held", MIB).as_ref(), Some(&object));
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// The caller's thread waits for no device while it submits, and has the contexts that it had, also none.
#[test]
fn the_callers_thread_is_left_as_it_was() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-caller");
    let store = Store::open(&Setup::POOL, &scratch);
    let block = on_device(1, MIB);
    let (depth, waits) = (driver.context_depth(), driver.sync_calls_here());
    assert_eq!(put(&store, b"key", vec![block.segment(0, MIB)]), OK);
    assert_eq!(get(&store, b"key", vec![block.segment(0, MIB)]), OK);
    assert_eq!((driver.context_depth(), driver.sync_calls_here()), (depth, waits));
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A closed store leaves no stream, no event and no pinned memory, however its copies ended.
#[test]
fn a_closed_store_leaves_nothing_with_the_driver() {
    let (_turn, driver) = turn();
    let count = || [REGISTRATIONS, STREAMS, EVENTS].map(|kind| driver.live(kind));
    let before = count();
    for round in 0..3 {
        let scratch = Scratch::new("device-leaks");
        let store = Store::open(&Setup::POOL, &scratch);
        let blocks = [on_device(0, MIB), on_device(1, MIB)];
        for (index, block) in blocks.iter().enumerate() {
            if round == 1 {
                driver.fail("cuMemcpyAsync", 1, FAILED);
            }
            let wanted = if round == 1 { Status(NIXL_STORE_ERROR_IO) } else { OK };
            assert_eq!(put(&store, &[index as u8], vec![block.segment(0, MIB)]), wanted);
        }
        assert!(count() > before, "the store has streams and a pinned buffer while it is open");
        assert_eq!(store.close(), OK);
        assert_eq!(count(), before, "round {round}");
    }
    assert_rules_were_kept(driver);
}

/// One object may lie on the host and on several devices, in any order, and go back to others.
#[test]
fn an_item_may_lie_on_several_devices() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-several");
    let store = Store::open(&Setup::POOL, &scratch);
    assert!(driver.devices() >= 2);
    let object = payload(4, 900_001);
    let blocks = [on_device(0, MIB), on_device(1, MIB)];
    let mut host = vec![0u8; MIB];
    host[..300_000].copy_from_slice(&object[300_000..600_000]);
    blocks[0].write(5, &object[..300_000]);
    blocks[1].write(0, &object[600_000..]);
    let of_host = |memory: &mut [u8], bytes: usize| nixl_store_segment_t {
        address: memory.as_mut_ptr().cast(),
        length: bytes as u64,
        memory_kind: NIXL_STORE_MEMORY_AUTO,
        cuda_device: 0,
        reserved: [0; 2],
    };
    let parts =
        vec![blocks[0].segment(5, 300_000), of_host(&mut host, 300_000), blocks[1].segment(0, 300_001)];
    assert_eq!(put(&store, b"key", parts), OK);
    assert_eq!(store.fetch(b"key", MIB).as_ref(), Some(&object));
    // Back with host and devices changed over, cut elsewhere.
    let mut back = vec![0u8; MIB];
    let parts =
        vec![of_host(&mut back, 65_537), blocks[1].segment(100, 700_000), blocks[0].segment(0, 134_464)];
    assert_eq!(get(&store, b"key", parts), OK);
    assert!(back[..65_537] == object[..65_537]);
    let (mut middle, mut end) = (vec![0; 700_000], vec![0; 134_464]);
    blocks[1].read(100, &mut middle);
    blocks[0].read(0, &mut end);
    assert!(middle == object[65_537..765_537] && end == object[765_537..]);
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// The trailer of a record holds the sums of all its pieces, so it waits for all copies, which end in any order where the pieces
/// come from different devices.
#[test]
fn a_record_waits_for_all_its_copies() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-order");
    // The trailer goes down with the last piece in a file that nobody sees yet.
    let store = Store::open(&Setup { buffer_bytes: 16 << 20, ..Setup::FILES }, &scratch);
    let object = payload(6, 3 * MIB);
    let blocks = [on_device(0, 2 * MIB), on_device(1, MIB)];
    blocks[0].write(0, &object[..2 * MIB]);
    blocks[1].write(0, &object[2 * MIB..]);
    driver.set_delay_us(500);
    for round in 0..30u8 {
        let parts = vec![blocks[0].segment(0, 2 * MIB), blocks[1].segment(0, MIB)];
        assert_eq!(put(&store, &[round], parts), OK);
    }
    driver.set_delay_us(DELAY_US_MAX);
    for round in 0..30u8 {
        assert_eq!(store.fetch(&[round], 3 * MIB).as_ref(), Some(&object), "round {round}");
    }
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Memory is the caller's again when a call returns, also when what failed is the question whether the copy has ended: it may be
/// freed then.
#[test]
fn memory_is_not_given_back_before_the_device_is_done() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-question");
    let store = Store::open(&Setup::POOL, &scratch);
    let block = on_device(0, MIB);
    driver.hold_all(true);
    let puts = one(b"key", vec![block.segment(0, MIB)]);
    let held = store.submit_puts(&puts, Submit::default()).unwrap();
    // The lane looks now and then.
    let asked = driver.calls("cuEventQuery");
    driver.fail("cuEventQuery", 1, FAILED);
    while driver.calls("cuEventQuery") == asked {
        std::thread::yield_now();
    }
    let Err(held) = held.try_wait(HELD_MS) else { panic!("the device still has the memory") };
    driver.hold_all(false);
    let (status, results) = held.wait();
    assert_eq!((status, results[0].status), (Status(NIXL_STORE_ERROR_IO), NIXL_STORE_ERROR_IO));
    drop(block);
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A stream that cannot be had fails its item, and leaves none behind.
#[test]
fn a_stream_that_cannot_be_had_leaves_none_behind() {
    let (_turn, driver) = turn();
    let before = driver.live(STREAMS);
    // The first is the kernels' own, which stays.
    for nth in [2, 3] {
        let scratch = Scratch::new("device-streams");
        let setup = Setup { io_threads: 1, ..Setup::POOL };
        let store = Store::open(&setup, &scratch);
        let ready = driver.live(STREAMS) + 1;
        let block = on_device(0, 64 * KIB);
        let whole = || vec![block.segment(0, 64 * KIB)];
        driver.fail("cuStreamCreate", nth, FAILED);
        assert_eq!(put(&store, b"key", whole()), Status(NIXL_STORE_ERROR_IO), "{nth}");
        assert_eq!(driver.live(STREAMS), ready, "{nth}");
        assert_eq!(put(&store, b"key", whole()), OK, "{nth}");
        assert_eq!(store.close(), OK);
        assert_eq!(driver.live(STREAMS), before, "{nth}");
    }
    assert_rules_were_kept(driver);
}

/// With a device named, what takes time is done by the open: transfers pin nothing then.
#[test]
fn a_store_that_is_told_its_device_is_ready_when_it_is_open() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-named");
    let setup = Setup { cuda_device: Some(1), ..Setup::POOL };
    // What streams of its context need is had by the first who names the device, and stays with the context.
    assert_eq!(Store::open(&setup, &scratch).close(), OK);
    let pinned = driver.live(REGISTRATIONS);
    let store = Store::open(&setup, &scratch);
    assert_eq!(driver.live(REGISTRATIONS), pinned + 1);
    assert_eq!(store.logged("cannot be used"), 0);
    assert_eq!(store.close(), OK);
    assert_eq!(driver.live(REGISTRATIONS), pinned);
    // One that is not there is told; items on others are served.
    let store = Store::open(&Setup { cuda_device: Some(77), ..Setup::POOL }, &scratch);
    assert_eq!(store.logged("device 77 cannot be used for items"), 1);
    let block = on_device(0, 64 * KIB);
    assert_eq!(put(&store, b"key", vec![block.segment(0, 64 * KIB)]), OK);
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A put to a bucket is one request, which has to fit the staging buffer where its bytes come from a device; what does not is told
/// what to change.
#[cfg(feature = "obj")]
#[test]
fn a_put_that_the_staging_buffer_cannot_hold_is_told_so() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-bucket");
    let setup = Setup { buffer_bytes: 1 << 20, ..Setup::objects(s3_common::on_the_server) };
    let store = Store::open(&setup, &scratch);
    let block = on_device(0, MIB);
    let key = b"key";
    let address = std::ptr::without_provenance(block.address() as usize);
    // SAFETY: a key of the stated length, and device memory that lives on.
    let status = unsafe { nixl_store_put(store.handle(), key.as_ptr().cast(), key.len(), address, MIB) };
    assert_eq!(status, NIXL_STORE_ERROR_TOO_LARGE);
    let message = common::status::message();
    assert!(message.contains("use a larger nixl_buffer_size"), "{message}");
    assert_eq!(store.contains(key), NOT_FOUND);
    assert_eq!(put(&store, key, vec![block.segment(0, 512 * KIB)]), OK);
    assert_eq!(get(&store, key, vec![block.segment(0, 512 * KIB)]), OK);
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Segments that lie behind each other on the device are copied as one.
#[test]
fn neighbours_are_copied_together() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-neighbours");
    let store = Store::open(&Setup::POOL, &scratch);
    let block = on_device(0, MIB);
    let object = payload(5, MIB);
    block.write(0, &object);
    let pages = || (0..MIB / 4096).map(|page| block.segment(page * 4096, 4096)).collect::<Vec<_>>();
    let before = [driver.copies(DEVICE_TO_HOST), driver.copies(HOST_TO_DEVICE)];
    assert_eq!(put(&store, b"key", pages()), OK);
    assert_eq!(get(&store, b"key", pages()), OK);
    let after = [driver.copies(DEVICE_TO_HOST), driver.copies(HOST_TO_DEVICE)];
    let made: Vec<(u64, u64)> =
        after.iter().zip(&before).map(|(after, before)| (after.0 - before.0, after.1 - before.1)).collect();
    for (copies, bytes) in made {
        assert!(copies <= 2 && bytes == MIB as u64, "{copies} copies of {bytes} bytes");
    }
    assert_eq!(store.fetch(b"key", MIB).as_ref(), Some(&object));
    assert_eq!(store.close(), OK);
}

/// Memory that ends before the segment does, and an address that is said to be a device's and is not, are refused before
/// anything is submitted.
#[test]
fn wrong_device_memory_is_refused_at_once() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-wrong");
    let store = Store::open(&Setup::POOL, &scratch);
    let block = on_device(0, 64 * KIB);
    let mut host = [0u8; 64];
    let said = nixl_store_segment_t {
        address: host.as_mut_ptr().cast(),
        length: 64,
        memory_kind: NIXL_STORE_MEMORY_CUDA,
        cuda_device: 0,
        reserved: [0; 2],
    };
    for (segments, told) in [
        (vec![block.segment(0, 64 * KIB + 1)], "where 65536 are allocated"),
        (vec![block.segment(0, KIB), block.segment(60 * KIB, 8 * KIB)], "where 4096 are allocated"),
        (vec![said], "is said to be CUDA device memory"),
    ] {
        let refused = store.submit_puts(&one(b"key", segments), Submit::default()).err();
        assert_eq!(refused, Some(Status(NIXL_STORE_ERROR_INVALID_ARGUMENT)));
        assert!(common::status::message().contains(told), "{}", common::status::message());
    }
    assert_eq!(store.stats().items_in_flight, 0);
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Registering device memory is no error, though nothing gains by it.
#[test]
fn device_memory_may_be_registered_and_needs_not_be() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-registered");
    let store = Store::open(&Setup::POOL, &scratch);
    let block = on_device(0, MIB);
    let address = std::ptr::without_provenance_mut::<u8>(block.address() as usize);
    assert_eq!(store.register(address, MIB), OK);
    assert_eq!(
        store.register(address, MIB),
        Status(NIXL_STORE_ERROR_INVALID_ARGUMENT),
        "it is registered already"
    );
    assert_eq!(put(&store, b"key", vec![block.segment(0, MIB)]), OK);
    assert_eq!(store.unregister(address), OK);
    assert_eq!(get(&store, b"key", vec![block.segment(0, MIB)]), OK);
    assert_eq!(store.close(), OK);
    assert_rules_were_kept(driver);
}
