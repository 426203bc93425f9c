//! What fails, comes short or is told wrongly: every byte is right all the same, or the item that it belongs to says so.

use crate::common::exchange::{key, put_and_get};
use crate::common::status::{IO, OK, Status};
use crate::common::{Batch, Layout, Memory, Random, Scratch, Setup, Store, payload};
use crate::standin::Standin;
use crate::{BOTH, BOTH_WITH_FILES};

const ITEMS: usize = 24;
/// Odd, so that every object has a part that is not aligned; in several pieces.
const BYTES: usize = (3 << 20) + 1234;

fn setup(of: &Setup) -> Setup {
    Setup { slots: 2 * ITEMS as u32, chunk_bytes: BYTES as u64, buffer_bytes: 16 << 20, ..of.clone() }
}

/// Puts and gets of a batch under this setting all succeed; returns what the store counted as short.
#[track_caller]
fn overcome(standin: &Standin, of: &Setup, knobs: &[(&str, i32)]) -> u64 {
    let scratch = Scratch::new("gds-faults");
    let store = Store::open(&setup(of), &scratch);
    knobs.iter().for_each(|(knob, value)| standin.set(knob, *value));
    let (put, got) = put_and_get(&store, ITEMS, BYTES);
    assert_eq!((put, got), (vec![OK; ITEMS], vec![OK; ITEMS]), "{} {knobs:?}", of.backend);
    let stats = store.stats();
    assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0));
    assert_eq!(store.close(), OK);
    stats.short_transfers
}

/// Without a fault, as the measure of the others: in any order of events, and with both kinds of stores.
#[test]
fn a_batch_comes_back_whatever_the_order_of_its_events() {
    let standin = Standin::alone();
    for of in BOTH.iter().chain(&BOTH_WITH_FILES) {
        assert_eq!(overcome(&standin, of, &[("delay_us", 2000)]), 0);
        let buffered = Setup { direct_io: false, ..of.clone() };
        assert_eq!(overcome(&standin, &buffered, &[("delay_us", 100)]), 0);
    }
    assert!(standin.count("batches_run") > 0);
    assert!(standin.count("transfers") > standin.count("batches_run"), "batches have several entries");
}

/// cuFile says that an entry is complete and has moved half of it. Whoever believes the status returns old memory as data.
#[test]
fn a_short_transfer_that_says_it_is_complete_is_continued() {
    let standin = Standin::alone();
    for of in BOTH.iter().chain(&BOTH_WITH_FILES) {
        assert!(overcome(&standin, of, &[("short_every", 3)]) > 0, "{}", of.backend);
    }
}

/// Submissions that fail half way, events told twice, or not at all: no entry is lost, and none is believed done that is not.
#[test]
fn events_that_are_missing_or_wrong_cost_no_bytes() {
    let standin = Standin::alone();
    for fault in ["submit_code_every", "told_twice_every", "told_less_every"] {
        for every in [1, 2] {
            standin.set("told_twice_every", 0);
            standin.set("told_less_every", 0);
            standin.set("submit_code_every", 0);
            overcome(&standin, &Setup::GDS, &[(fault, every), ("delay_us", 200)]);
        }
    }
}

/// One object's blocks cannot be read or written. Its item says EIO; the others, though in the same batches of cuFile's, are
/// right, whether the failure is told by the call or only by the event.
#[test]
fn an_error_lands_on_its_item_alone() {
    let standin = Standin::alone();
    for of in &BOTH {
        for silent in [0, 1] {
            let scratch = Scratch::new("gds-error");
            let store = Store::open(&setup(of), &scratch);
            let (put, got) = put_and_get(&store, ITEMS, BYTES);
            assert_eq!((put, got), (vec![OK; ITEMS], vec![OK; ITEMS]));
            standin.set("silent_failure", silent);
            // A pool has a few files: the first slot of each begins there.
            standin.set("error_at_block", 1);
            let mut buffers = vec![vec![0; BYTES]; ITEMS];
            let mut gets = Batch::new();
            buffers.iter_mut().enumerate().for_each(|(index, buffer)| gets.get(&key(index), buffer));
            let (_, results) = store.get_batch(&gets);
            drop(gets);
            let failed: Vec<_> = results.iter().filter(|result| Status(result.status) == IO).collect();
            assert!(!failed.is_empty() && failed.len() < ITEMS, "{} of {ITEMS} failed", failed.len());
            assert!(failed.iter().all(|result| result.os_error == libc::EIO));
            for (index, result) in results.iter().enumerate() {
                assert!(
                    [OK, IO].contains(&Status(result.status)),
                    "item {index}: {:?}",
                    Status(result.status)
                );
                let object = payload(index as u64, BYTES);
                assert!(Status(result.status) != OK || buffers[index] == object, "item {index}");
            }
            standin.set("error_at_block", 0);
            assert_eq!(store.close(), OK);
        }
    }
}

/// Errors come and go at random, in puts and gets: each item is right or says that it failed, and no rule is broken.
#[test]
fn under_many_errors_each_item_is_right_or_says_so() {
    let standin = Standin::alone();
    for of in BOTH.iter().chain(&BOTH_WITH_FILES) {
        let scratch = Scratch::new("gds-errors");
        let store = Store::open(&setup(of), &scratch);
        let mut random = Random::new(7);
        let (mut failed, mut done) = (0, 0);
        for _ in 0..6 {
            // What a put that failed was to replace would be found by the get.
            store.clear();
            // An entry of a batch that fails is done once more, by itself, and may succeed then.
            let every = if of.backend == "GDS" { random.between(3, 6) } else { random.between(10, 60) };
            standin.set("error_every", every as i32);
            standin.set("short_every", random.between(2, 9) as i32);
            standin.set("silent_failure", random.below(2) as i32);
            let (put, got) = put_and_get(&store, ITEMS, 1 << random.between(12, 21));
            failed += put.iter().chain(&got).filter(|status| **status == IO).count();
            done += put.iter().chain(&got).filter(|status| **status == OK).count();
            standin.set("error_every", 0);
        }
        assert!(failed > 0 && done > 0, "{failed} failed, {done} done");
        assert_eq!(store.close(), OK);
    }
}

/// A driver that takes little at a time, and batches and threads of the least size: everything is cut to that.
#[test]
fn transfers_are_cut_to_what_the_driver_and_the_parameters_say() {
    let standin = Standin::alone();
    standin.set("max_direct_kib", 64);
    overcome(&standin, &Setup::GDS, &[]);
    overcome(&standin, &Setup::GDS_MT, &[]);
    standin.set("max_direct_kib", 0);
    let least = Setup {
        params: &[("batch_pool_size", 1), ("batch_limit", 1), ("max_request_size", 65536)],
        ..Setup::GDS
    };
    overcome(&standin, &least, &[]);
    // No multiple of what O_DIRECT asks for.
    overcome(&standin, &Setup { params: &[("max_request_size", 10_000)], ..Setup::GDS }, &[]);
    overcome(&standin, &Setup { params: &[("thread_count", 1)], ..Setup::GDS_MT }, &[]);
}

/// More bytes at a time than cuFile has buffers for make a submission hang for ever. Here twice as many are wanted.
#[test]
fn what_is_under_way_stays_within_cufiles_buffers() {
    const LARGE: usize = 32 << 20;
    const GETS: usize = 8;
    let standin = Standin::alone();
    let scratch = Scratch::new("gds-bounds");
    let params = &[("batch_pool_size", 64)];
    let store = Store::open(&Setup { slots: 2, chunk_bytes: LARGE as u64, params, ..Setup::GDS }, &scratch);
    let object = payload(1, LARGE);
    assert_eq!(store.put(b"key", &object), OK);
    standin.set("delay_us", 20_000);
    let memory: Vec<_> = (0..GETS).map(|_| Memory::new(LARGE)).collect();
    let mut gets = Batch::new();
    memory.iter().for_each(|memory| gets.raw(b"key", vec![memory.segment(0..LARGE)], None));
    let (status, _) = store.get_batch(&gets);
    assert_eq!(status, OK);
    assert!(memory.iter().all(|memory| memory.bytes()[..LARGE] == object[..]));
    let peak = standin.count("buffers_peak");
    assert!((24..=64).contains(&peak), "{peak} buffers at a time");
    assert_eq!(store.close(), OK);
}

/// A file that cuFile cannot open a second time, because it was replaced meanwhile, has its bytes all the same; it is said once.
#[test]
fn an_object_that_cufile_cannot_name_is_read_without_it() {
    let standin = Standin::alone();
    for of in &BOTH {
        let files = Setup { layout: Layout::Sharded, ..of.clone() };
        let scratch = Scratch::new("gds-nameless");
        let store = Store::open(&setup(&files), &scratch);
        standin.set("register_code", 5031);
        let (put, got) = put_and_get(&store, ITEMS, BYTES);
        assert_eq!((put, got), (vec![OK; ITEMS], vec![OK; ITEMS]));
        assert_eq!(store.logged("without cuFile"), 1);
        standin.set("register_code", 0);
        // The next ones have batches again.
        let before = standin.count("batches_run");
        let (put, got) = put_and_get(&store, ITEMS, BYTES);
        assert_eq!((put, got), (vec![OK; ITEMS], vec![OK; ITEMS]));
        assert_eq!(standin.count("batches_run") > before, of.backend == "GDS");
        assert_eq!(store.close(), OK);
    }
}
