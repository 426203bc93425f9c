//! Memory of a device: what of it cuFile knows and for how long, and transfers of it that come short, fail or are told wrongly.
//!
//! CUDA's driver is the stand-in of `tests/standin_cuda`, and this cuFile moves a device's bytes by its copies.

use nixl_store::capi::*;

use crate::BOTH;
use crate::common::cuda::{self, ALLOCATIONS, Driver};
use crate::common::status::{IO, OK, Status};
use crate::common::{Batch, Kind, Layout, Memory, Random, Scratch, Setup, Store, Submit, payload};
use crate::standin::Standin;

const MIB: usize = 1 << 20;
const KIB: usize = 1 << 10;
const ITEMS: usize = 8;

/// Both stand-ins, for one test at a time. No rule of CUDA's is broken at its end, if it did not fail, and no context is retained
/// that was not before.
struct Turn {
    standin: Standin,
    driver: &'static Driver,
    before: [u64; 3],
}

impl Turn {
    fn take() -> Turn {
        let standin = Standin::alone();
        let driver = cuda::driver();
        driver.reset();
        Turn { before: Turn::left(driver), standin, driver }
    }

    fn left(driver: &Driver) -> [u64; 3] {
        [driver.live(ALLOCATIONS), driver.references(0).into(), driver.references(1).into()]
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.driver.broken_rule(), None);
            assert_eq!(Turn::left(self.driver), self.before, "allocations and references of contexts");
        }
    }
}

/// Both backends with the staging buffer in host memory and on a device, in stores with slots and with files.
fn stores() -> [Setup; 4] {
    let [gds, gds_mt] = BOTH.map(|of| Setup { memory: Kind::Device, ..of });
    [
        gds.clone(),
        Setup { device: "cuda", ..gds },
        Setup { device: "cuda:1", ..gds_mt.clone() },
        Setup { layout: Layout::Sharded, device: "cuda", ..gds_mt },
    ]
}

fn key(index: usize) -> Vec<u8> {
    format!("key {index}").into_bytes()
}

fn open(of: &Setup, bytes: usize) -> (Scratch, Store) {
    let scratch = Scratch::new("gds-device");
    let sized =
        Setup { slots: 2 * ITEMS as u32, chunk_bytes: bytes as u64, buffer_bytes: 16 << 20, ..of.clone() };
    let store = Store::open(&sized, &scratch);
    (scratch, store)
}

/// Puts and gets a batch whose items are aligned or not in turn; both answers of each, with every byte of those found compared.
#[track_caller]
fn put_and_get(store: &Store, bytes: usize) -> (Vec<Status>, Vec<Status>) {
    let memory: Vec<_> = (0..ITEMS).map(|_| Memory::new(bytes + 1)).collect();
    let segment = |index: usize| {
        let from = index % 2;
        vec![memory[index].segment(from..from + bytes)]
    };
    let mut memory_of_puts: Vec<_> = (0..ITEMS).map(|_| Memory::new(bytes + 1)).collect();
    let (mut puts, mut gets) = (Batch::new(), Batch::new());
    for (index, source) in memory_of_puts.iter_mut().enumerate() {
        let from = index % 2;
        source.bytes_mut()[from..from + bytes].copy_from_slice(&payload(index as u64, bytes));
        puts.raw(&key(index), vec![source.segment(from..from + bytes)], None);
        gets.raw(&key(index), segment(index), None);
    }
    let statuses = |results: Vec<nixl_store_result_t>| -> Vec<_> {
        results.iter().map(|result| Status(result.status)).collect()
    };
    let put = statuses(store.put_batch(&puts).1);
    let got = statuses(store.get_batch(&gets).1);
    for index in 0..ITEMS {
        let found = &memory[index].bytes()[index % 2..][..bytes];
        assert!(got[index] != OK || found == payload(index as u64, bytes), "item {index} has wrong bytes");
    }
    (put, got)
}

/// Puts and gets of a batch under this setting all succeed.
#[track_caller]
fn overcome(turn: &Turn, of: &Setup, bytes: usize, knobs: &[(&str, i32)]) {
    let (_scratch, store) = open(of, bytes);
    knobs.iter().for_each(|(knob, value)| turn.standin.set(knob, *value));
    let (put, got) = put_and_get(&store, bytes);
    assert_eq!((put, got), (vec![OK; ITEMS], vec![OK; ITEMS]), "{} {} {knobs:?}", of.backend, of.device);
    let stats = store.stats();
    assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0));
    assert_eq!(store.close(), OK);
    knobs.iter().for_each(|(knob, _)| turn.standin.set(knob, 0));
}

/// With the direct path, and in compatibility mode; in any order of events.
#[test]
fn device_memory_comes_back_whatever_the_order_of_events() {
    let turn = Turn::take();
    for of in &stores() {
        for is_direct in [0, 1] {
            for bytes in [MIB, MIB + 1234] {
                let before = turn.standin.count("device_transfers");
                overcome(&turn, of, bytes, &[("is_direct", is_direct), ("delay_us", 500)]);
                assert!(turn.standin.count("device_transfers") > before, "none went direct");
            }
        }
    }
}

/// cuFile says that a transfer is complete and has moved half of it.
#[test]
fn a_short_transfer_of_device_memory_is_continued() {
    let turn = Turn::take();
    for of in &stores() {
        overcome(&turn, of, MIB + 1234, &[("short_every", 3)]);
        overcome(&turn, of, MIB, &[("short_every", 2), ("is_direct", 1)]);
    }
}

/// Submissions that fail half way, events told twice, or not at all.
#[test]
fn events_of_device_memory_that_are_wrong_cost_no_bytes() {
    let turn = Turn::take();
    for of in stores().iter().filter(|of| of.backend == "GDS") {
        for fault in ["submit_code_every", "told_twice_every", "told_less_every"] {
            for every in [1, 2] {
                overcome(&turn, of, MIB, &[(fault, every), ("delay_us", 200)]);
            }
        }
    }
}

/// Errors come and go: each item is right or says that it failed.
#[test]
fn under_errors_each_item_of_device_memory_is_right_or_says_so() {
    let turn = Turn::take();
    for of in &stores() {
        let (_scratch, store) = open(of, MIB);
        let mut random = Random::new(3);
        let (mut failed, mut done) = (0, 0);
        for _ in 0..12 {
            // What a put that failed was to replace would be found by the get.
            store.clear();
            // An entry of a batch that fails is done once more, by itself, and may succeed then.
            let every = if of.backend == "GDS" { random.between(3, 6) } else { random.between(10, 40) };
            turn.standin.set("error_every", every as i32);
            turn.standin.set("short_every", random.between(2, 9) as i32);
            turn.standin.set("silent_failure", random.below(2) as i32);
            let (put, got) = put_and_get(&store, 1 << random.between(12, 20));
            failed += put.iter().chain(&got).filter(|status| **status == IO).count();
            done += put.iter().chain(&got).filter(|status| **status == OK).count();
            turn.standin.set("error_every", 0);
        }
        assert!(failed > 0 && done > 0, "{failed} failed, {done} done");
        assert_eq!(put_and_get(&store, 64 * KIB), (vec![OK; ITEMS], vec![OK; ITEMS]));
        assert_eq!(store.close(), OK);
    }
}

/// Where there is a direct path, cuFile knows the staging buffer as long as the store is open, and no longer: it is forgotten before
/// it is freed, which the stand-in tells of.
#[test]
fn a_staging_buffer_on_a_device_is_known_while_the_store_is_open() {
    let turn = Turn::take();
    for of in &stores() {
        for is_direct in [0, 1] {
            turn.standin.set("is_direct", is_direct);
            let (_scratch, store) = open(of, MIB);
            let known = i32::from(is_direct == 1 && of.device != "cpu");
            assert_eq!(turn.standin.count("regions"), known, "{} {}", of.backend, of.device);
            assert_eq!(put_and_get(&store, MIB), (vec![OK; ITEMS], vec![OK; ITEMS]));
            assert_eq!(turn.standin.count("regions"), known);
            assert_eq!(store.close(), OK);
            assert_eq!(turn.standin.count("regions"), 0);
        }
    }
}

fn segment(address: *mut u8) -> Vec<nixl_store_segment_t> {
    vec![crate::common::memory::segment(address.cast(), MIB)]
}

fn one(key: &[u8], segments: Vec<nixl_store_segment_t>) -> Batch<'static> {
    let mut batch = Batch::new();
    batch.raw(key, segments, None);
    batch
}

/// Registered memory of every device is known until it is unregistered, which waits for its transfers, or until the store is
/// closed.
#[test]
fn registered_memory_is_known_until_it_is_unregistered() {
    let turn = Turn::take();
    turn.standin.set("is_direct", 1);
    for of in &BOTH {
        let (_scratch, store) = open(of, MIB);
        for device in [0, 1] {
            let block = turn.driver.allocate(Kind::Device, device, 2 * MIB);
            let address =
                std::ptr::without_provenance_mut::<u8>(block.address().next_multiple_of(4096) as usize);
            let object = payload(device as u64, MIB);
            turn.driver.write(address.addr() as u64, &object);
            assert_eq!(store.register(address, MIB), OK);
            assert_eq!(turn.standin.count("regions"), 1);
            assert_eq!(store.put_batch(&one(b"key", segment(address))).0, OK);
            turn.driver.write(address.addr() as u64, &vec![0; MIB]);
            turn.standin.set("gate_closed", 1);
            let gets = one(b"key", segment(address));
            let held = store.submit_gets(&gets, Submit::default()).unwrap();
            std::thread::scope(|scope| {
                let (place, store) = (address.addr(), &store);
                let unregistering =
                    scope.spawn(move || store.unregister(std::ptr::without_provenance_mut(place)));
                let early = held.try_wait(50);
                let has_waited = !unregistering.is_finished();
                turn.standin.set("gate_closed", 0);
                let Err(held) = early else { panic!("a get without its transfer") };
                assert!(has_waited, "unregistered under a transfer");
                assert_eq!(held.wait().0, OK);
                assert_eq!(unregistering.join().unwrap(), OK);
            });
            assert_eq!(turn.standin.count("regions"), 0);
            let mut back = vec![0; MIB];
            turn.driver.read(address.addr() as u64, &mut back);
            assert!(back == object);
        }
        // The caller may free it as soon as the store is closed.
        let block = turn.driver.allocate(Kind::Device, 1, MIB);
        let address = std::ptr::without_provenance_mut::<u8>(block.address() as usize);
        assert_eq!(store.register(address, MIB), OK);
        assert_eq!(store.close(), OK);
        assert_eq!(turn.standin.count("regions"), 0);
    }
}

/// Memory that cuFile refuses to know is served all the same, and it is said, with cuFile's code.
#[test]
fn memory_that_cannot_be_registered_is_served_with_a_warning() {
    const NO_ROOM: i32 = 5036;
    let turn = Turn::take();
    turn.standin.set("is_direct", 1);
    for of in &stores() {
        turn.standin.set("memory_code", NO_ROOM);
        let (_scratch, store) = open(of, MIB);
        let has_buffer = usize::from(of.device != "cpu");
        assert_eq!(store.logged("goes by copies of cuFile's"), has_buffer);
        assert_eq!(store.logged("5036"), has_buffer);
        let block = turn.driver.allocate(Kind::Device, 0, MIB);
        let address = std::ptr::without_provenance_mut::<u8>(block.address() as usize);
        assert_eq!(store.register(address, MIB), OK);
        assert_eq!(store.logged("registering device memory failed"), 1);
        assert_eq!(turn.standin.count("regions"), 0);
        assert_eq!(put_and_get(&store, MIB), (vec![OK; ITEMS], vec![OK; ITEMS]));
        assert_eq!(store.unregister(address), OK);
        turn.standin.set("memory_code", 0);
        assert_eq!(store.register(address, MIB), OK);
        assert_eq!(turn.standin.count("regions"), 1);
        assert_eq!(store.close(), OK);
    }
}

/// Transfers under way when a store is closed have ended when that returns: cuFile forgets the buffer after the last of them.
#[test]
fn a_close_forgets_memory_after_the_last_transfer() {
    let turn = Turn::take();
    turn.standin.set("is_direct", 1);
    for of in stores().iter().filter(|of| of.device != "cpu") {
        let (_scratch, store) = open(&Setup { memory: Kind::Host, ..of.clone() }, MIB);
        let block = turn.driver.allocate(Kind::Device, 0, 2 * MIB);
        // Not aligned: by way of the staging buffer.
        let address = block.address().next_multiple_of(4096) as usize + 8;
        let address = std::ptr::without_provenance_mut::<u8>(address);
        assert_eq!(store.put_batch(&one(b"key", segment(address))).0, OK);
        turn.standin.set("gate_closed", 1);
        let gets = one(b"key", segment(address));
        let held = store.submit_gets(&gets, Submit::default()).unwrap();
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| store.close());
            while store.contains(b"key") == OK {
                std::thread::yield_now();
            }
            let known = turn.standin.count("regions");
            // Before any assertion: a failed one would wait for the close.
            turn.standin.set("gate_closed", 0);
            assert_eq!((known, held.wait().0), (1, OK));
            assert_eq!(closing.join().unwrap(), OK);
        });
        assert_eq!(turn.standin.count("regions"), 0);
    }
}
