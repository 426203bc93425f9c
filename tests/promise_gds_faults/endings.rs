//! Deadlines and closing on a device that stands still: what was not started ends in time, what was is waited for, and memory
//! is left alone from the moment at which its item has ended.

use crate::BOTH;
use crate::common::exchange::{all_hold, begin_gets, close_off, deadlines_are_kept};
use crate::common::status::OK;
use crate::common::{Scratch, Setup, Store, payload};
use crate::standin::Standin;

const BYTES: usize = 1 << 20;

/// All threads are in calls that do not return. Items that no thread has yet end at their deadline; the others once the device
/// answers, with their bytes.
#[test]
fn deadlines_are_kept_while_the_device_stands_still() {
    let standin = Standin::alone();
    for of in &BOTH {
        let scratch = Scratch::new("gds-deadline");
        let store = Store::open(&Setup { slots: 300, chunk_bytes: BYTES as u64, ..of.clone() }, &scratch);
        deadlines_are_kept(&store, BYTES, |still| standin.set("gate_closed", i32::from(still)));
        assert_eq!(store.close(), OK);
    }
}

/// A store is closed with transfers under way that take their time. When close returns they have ended: the memory may go.
#[test]
fn close_waits_until_the_device_has_let_go_of_the_memory() {
    let standin = Standin::alone();
    for of in &BOTH {
        let scratch = Scratch::new("gds-close");
        let store = Store::open(&Setup { slots: 64, chunk_bytes: BYTES as u64, ..of.clone() }, &scratch);
        let object = payload(2, BYTES);
        assert_eq!(store.put(b"key", &object), OK);
        standin.set("delay_us", 50_000);
        let (memory, pending) = begin_gets(&store, b"key", 32, BYTES);
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| store.close());
            let (status, _) = pending.wait();
            close_off(&memory);
            assert_eq!(status, OK);
            assert_eq!(closing.join().unwrap(), OK);
        });
        assert!(all_hold(&memory, &object));
        standin.set("delay_us", 0);
    }
}
