//! Deadlines and closing on a device that stands still: what was not started ends in time, what was is waited for, and memory
//! is left alone from the moment at which its item has ended.

use std::time::{Duration, Instant};

use crate::BOTH;
use crate::common::memory::Memory;
use crate::common::status::{OK, TIMED_OUT};
use crate::common::{Batch, Scratch, Setup, Store, Submit, payload};
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
        let object = payload(1, BYTES);
        assert_eq!(store.put(b"key", &object), OK);
        standin.set("gate_closed", 1);
        let mut buffers = vec![vec![0; BYTES]; 256];
        let mut gets = Batch::new();
        buffers.iter_mut().for_each(|buffer| gets.get(b"key", buffer));
        let begun = Instant::now();
        let pending = store.submit_gets(&gets, Submit { timeout_ms: 300, ..Submit::default() }).unwrap();
        // The items that wait are ended by the clock, which nobody can see but by the statistics.
        while store.stats().timed_out == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "no item ended");
            std::thread::yield_now();
        }
        standin.set("gate_closed", 0);
        let (status, results) = pending.wait();
        assert_eq!(status, TIMED_OUT);
        let in_time = results.iter().filter(|result| result.status == OK.0).count();
        assert!(in_time > 0 && in_time < results.len(), "{in_time} of {} were started", results.len());
        drop(gets);
        for (result, buffer) in results.iter().zip(&buffers) {
            assert!(result.status != OK.0 || *buffer == object);
        }
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
        let memory: Vec<_> = (0..32).map(|_| Memory::new(BYTES)).collect();
        let mut gets = Batch::new();
        memory.iter().for_each(|memory| gets.raw(b"key", vec![memory.segment(0..BYTES)], None));
        let pending = store.submit_gets(&gets, Submit::default()).unwrap();
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| store.close());
            let (status, _) = pending.wait();
            // Whoever still writes there ends this process.
            memory.iter().for_each(|memory| memory.protect(libc::PROT_NONE));
            assert_eq!(status, OK);
            assert_eq!(closing.join().unwrap(), OK);
        });
        memory.iter().for_each(|memory| memory.protect(libc::PROT_READ));
        assert!(memory.iter().all(|memory| memory.bytes()[..BYTES] == object[..]));
        standin.set("delay_us", 0);
    }
}
