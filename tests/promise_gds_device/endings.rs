//! A device that hangs, deadlines, closing: what was started is waited for, what was not ends in time, and memory is the
//! caller's again no earlier than the device has let go of it.

use std::time::{Duration, Instant};

use crate::common::batch::{Batch, Submit};
use crate::common::status::{CLOSING, IN_PROGRESS, OK, TIMED_OUT};
use crate::common::{Kind, Scratch, Setup, Store, payload};
use crate::on_device::{OnDevice, even};
use crate::{KIB, MIB, STORES, Turn, end, get, one, put};

/// How long it is watched that something does not end.
const HELD_MS: u64 = 100;

/// A device that hangs holds up the items that wait for it: they end when it goes on, with the right bytes. Memory is freed by the
/// test as soon as they have, which the driver would tell of.
#[test]
fn items_of_a_device_that_hangs_end_when_it_goes_on() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&of, &scratch);
        let object = payload(1, MIB);
        for offset in [0, 1] {
            let spans = || even(MIB, MIB, 0, offset);
            let source = OnDevice::holding(Kind::Device, 0, spans(), &object);
            let target = OnDevice::new(Kind::Device, 0, spans());
            assert_eq!(put(&store, b"key", source.segments()), OK);
            turn.driver.hold_all(true);
            let puts = one(b"other", source.segments());
            let gets = one(b"key", target.segments());
            let held = store.submit_puts(&puts, Submit::default()).unwrap();
            let held_get = store.submit_gets(&gets, Submit::default()).unwrap();
            let Err(held) = held.try_wait(HELD_MS) else { panic!("{name}: a put without its device") };
            assert_eq!(held_get.poll(), IN_PROGRESS, "{name}");
            turn.driver.hold_all(false);
            assert_eq!(held.wait().0, OK, "{name}");
            drop(source);
            assert_eq!(held_get.wait().0, OK, "{name}");
            target.assert_holds(&object, &name);
            drop(target);
            assert_eq!(store.fetch(b"other", MIB).as_ref(), Some(&object), "{name}");
        }
        end(&store);
    }
}

/// Closing waits for what is under way, and the staging buffer is freed after that.
#[test]
fn a_close_waits_for_the_device() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES {
        for offset in [0, 1] {
            let scratch = Scratch::new(name);
            let store = Store::open(&of, &scratch);
            let object = payload(2, MIB);
            let spans = || even(MIB, MIB, 0, offset);
            let source = OnDevice::holding(Kind::Device, 0, spans(), &object);
            let target = OnDevice::new(Kind::Device, 0, spans());
            assert_eq!(put(&store, b"warm", source.segments()), OK);
            turn.driver.hold_all(true);
            let puts = one(b"key", source.segments());
            let gets = one(b"warm", target.segments());
            let pending = store.submit_puts(&puts, Submit::default()).unwrap();
            let pending_get = store.submit_gets(&gets, Submit::default()).unwrap();
            std::thread::scope(|scope| {
                let closing = scope.spawn(|| store.close());
                // Until the close has begun: from then on nothing new is taken.
                while store.contains(b"warm") != CLOSING {
                    std::thread::yield_now();
                }
                let has_waited = !closing.is_finished();
                turn.driver.hold_all(false);
                assert!(has_waited, "{name}: closed under a transfer");
                assert_eq!((pending.wait().0, pending_get.wait().0), (OK, OK), "{name}");
                assert_eq!(closing.join().unwrap(), OK);
            });
            target.assert_holds(&object, &name);
            let store = Store::open(&of, &scratch);
            let again = OnDevice::new(Kind::Device, 0, spans());
            assert_eq!(get(&store, b"key", again.segments()), OK, "{name}");
            again.assert_holds(&object, &name);
            end(&store);
        }
    }
}

/// More gets than a store starts at a time, on a device that stands still: those that were not started end at their deadline, the
/// others with their bytes.
#[test]
fn deadlines_are_kept_while_a_device_hangs() {
    const GETS: usize = 400;
    const BYTES: usize = 512 * KIB;
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { io_threads: 1, ..of }, &scratch);
        let object = payload(3, BYTES);
        assert_eq!(put(&store, b"key", OnDevice::whole(&object).segments()), OK);
        let targets: Vec<_> = (0..GETS).map(|_| OnDevice::room(BYTES)).collect();
        turn.driver.hold_all(true);
        let mut gets = Batch::new();
        targets.iter().for_each(|target| gets.raw(b"key", target.segments(), None));
        let begun = Instant::now();
        let submitted = Submit { timeout_ms: 300, ..Submit::default() };
        let pending = store.submit_gets(&gets, submitted).unwrap();
        // The items that wait are ended by the clock, which nobody can see but by the statistics.
        while store.stats().timed_out == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{name}: no item ended");
            std::thread::yield_now();
        }
        turn.driver.hold_all(false);
        let (status, results) = pending.wait();
        assert_eq!(status, TIMED_OUT, "{name}");
        let mut in_time = 0;
        for (result, target) in results.iter().zip(&targets) {
            if result.status == OK.0 {
                in_time += 1;
                target.assert_holds(&object, &name);
            } else {
                assert_eq!(result.status, TIMED_OUT.0, "{name}");
            }
        }
        assert!(in_time > 0 && in_time < GETS, "{name}: {in_time} of {GETS} were started");
        assert_eq!(get(&store, b"key", targets[0].segments()), OK, "{name}");
        assert_eq!(store.close(), OK);
    }
}
