//! What fails, comes short, comes late or is told wrongly: every byte is right all the same, or the item that it belongs to says so.

use crate::common::exchange::put_and_get;
use crate::common::hf3fs::{Call, Order, Spoilt, What, Which};
use crate::common::status::{IO, NOT_FOUND, OK, Status};
use crate::common::{Scratch, Setup, Store};
use crate::{Alone, BOTH, MIB};

const ITEMS: usize = 16;
/// Odd, so that every object has a part that is not aligned; in several pieces.
const BYTES: usize = 3 * MIB + 1234;

fn setup(of: &Setup) -> Setup {
    Setup { slots: 2 * ITEMS as u32, chunk_bytes: BYTES as u64, buffer_bytes: 16 << 20, ..of.clone() }
}

/// Puts and gets of a batch all succeed, under what `set` sets; how many transfers the store counted as short.
#[track_caller]
fn overcome(standin: &Alone, of: &Setup, set: impl FnOnce()) -> u64 {
    let scratch = Scratch::new("hf3fs-faults");
    let store = Store::open(&setup(of), &scratch);
    set();
    let (put, got) = put_and_get(&store, ITEMS, BYTES);
    standin.reset();
    assert_eq!((put, got), (vec![OK; ITEMS], vec![OK; ITEMS]), "{of:?}");
    let stats = store.stats();
    assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0));
    assert_eq!(store.close(), OK);
    stats.short_transfers
}

/// Results come in any order, within a batch and between batches, and late.
#[test]
fn the_order_of_results_is_nobodys_business() {
    let standin = Alone::new();
    for of in &BOTH {
        for order in [Order::AsDone, Order::Reversed, Order::Random] {
            let short = overcome(&standin, of, || {
                standin.order(order);
                standin.delay_us(300);
            });
            assert_eq!(short, 0);
        }
    }
}

/// A ring may say that it is full long before it is, and when little is under way.
#[test]
fn a_ring_that_is_full_early_is_waited_for() {
    let standin = Alone::new();
    for of in &BOTH {
        for every in [2, 3, 7] {
            overcome(&standin, of, || standin.say_full(every));
        }
        for entries in [1, 3] {
            overcome(&standin, of, || standin.entries_max(entries));
        }
        // More than one writes alone: space comes back in the order of batches.
        overcome(&standin, of, || {
            standin.order(Order::Reversed);
            standin.say_full(2);
            standin.delay_us(100);
        });
    }
}

/// Half of what was asked for is moved, and told so. NIXL's plugin takes it for the whole.
#[test]
fn a_short_transfer_is_continued() {
    let standin = Alone::new();
    for of in &BOTH {
        for which in [Which::Reads, Which::Writes, Which::Both] {
            let short = overcome(&standin, of, || standin.spoil(Spoilt::Short, which, 3, 0));
            assert!(short > 0, "{which:?}");
        }
    }
}

/// EAGAIN and EINTR are tried again.
#[test]
fn errors_that_pass_are_overcome() {
    let standin = Alone::new();
    for of in &BOTH {
        for errno in [libc::EAGAIN, libc::EINTR] {
            overcome(&standin, of, || standin.spoil(Spoilt::Error, Which::Both, 5, errno));
        }
    }
}

/// The statuses of a put and a get under one fault, of a store that serves again afterwards.
#[track_caller]
fn under(
    standin: &Alone,
    of: &Setup,
    spoilt: Spoilt,
    which: Which,
    errno: i32,
) -> (Vec<Status>, Vec<Status>) {
    let scratch = Scratch::new("hf3fs-error");
    let store = Store::open(&setup(of), &scratch);
    standin.spoil(spoilt, which, 4, errno);
    let answers = put_and_get(&store, ITEMS, BYTES);
    assert!(standin.count(What::Faults) > 0);
    standin.reset();
    let (put, got) = put_and_get(&store, ITEMS, BYTES);
    assert_eq!((put, got), (vec![OK; ITEMS], vec![OK; ITEMS]));
    assert_eq!(store.close(), OK);
    answers
}

/// An error of a read or a write lands on its item, and what was put before is not lost by it.
#[test]
fn an_error_lands_on_its_item() {
    let standin = Alone::new();
    for of in &BOTH {
        let (put, got) = under(&standin, of, Spoilt::Error, Which::Reads, libc::EIO);
        assert_eq!(put, vec![OK; ITEMS]);
        assert!(got.contains(&IO) && got.iter().all(|status| [OK, IO].contains(status)), "{got:?}");
        let (put, got) = under(&standin, of, Spoilt::Error, Which::Writes, libc::EIO);
        assert!(put.contains(&IO) && put.iter().all(|status| [OK, IO].contains(status)), "{put:?}");
        for (put, got) in put.iter().zip(&got) {
            assert_eq!(*got, if *put == OK { OK } else { NOT_FOUND });
        }
    }
}

/// A result of more bytes than were asked for is a lie, and so an error.
#[test]
fn a_result_that_lies_is_an_error() {
    let standin = Alone::new();
    for of in &BOTH {
        let (put, got) = under(&standin, of, Spoilt::Long, Which::Both, 0);
        assert!(put.contains(&IO) || got.contains(&IO), "{put:?} {got:?}");
    }
}

/// A read of nothing is the end of what is there: a miss. A write of nothing is an error.
#[test]
fn a_transfer_of_nothing_is_no_object() {
    let standin = Alone::new();
    for of in &BOTH {
        let (put, got) = under(&standin, of, Spoilt::Zero, Which::Writes, 0);
        assert!(put.contains(&IO) && put.iter().all(|status| [OK, IO].contains(status)), "{put:?}");
        assert!(got.iter().zip(&put).all(|(got, put)| *got == if *put == OK { OK } else { NOT_FOUND }));
        let (put, got) = under(&standin, of, Spoilt::Zero, Which::Reads, 0);
        assert_eq!(put, vec![OK; ITEMS]);
        assert!(
            got.contains(&NOT_FOUND) && got.iter().all(|status| [OK, NOT_FOUND].contains(status)),
            "{got:?}"
        );
    }
}

/// An object whose file cannot be registered is an error of its item, and its descriptor is closed.
#[test]
fn a_file_that_cannot_be_registered_is_an_error() {
    let standin = Alone::new();
    let scratch = Scratch::new("hf3fs-register");
    let store = Store::open(&BOTH[1], &scratch);
    assert_eq!(store.put(b"key", &[7; 9000]), OK);
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    standin.fail(Call::Register, 1, libc::EMFILE);
    let (status, _) = store.get(b"key", &mut [0; 9000]);
    assert!(status != OK && status != NOT_FOUND, "{status:?}");
    standin.fail(Call::Register, 1, libc::EMFILE);
    assert_ne!(store.put(b"other", &[7; 9000]), OK);
    assert_eq!(store.fetch(b"other", 9000), None);
    // A number that somebody closed without a word: there are others.
    for _ in 0..3 {
        standin.fail(Call::Register, 1, libc::EINVAL);
        assert_eq!(store.fetch(b"key", 9000), Some(vec![7; 9000]));
    }
    assert_eq!(descriptors(), before);
    assert_eq!(store.close(), OK);
}
