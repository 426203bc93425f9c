//! The end of a store, by a close or a bug, while a device has memory of an item.

use crate::common::batch::{Batch, Pending, Submit};
use crate::common::cuda::Driver;
use crate::common::status::{OK, Status};
use crate::common::{Scratch, Setup, Store, payload};
use crate::{HELD_MS, MIB, assert_rules_were_kept, on_device, one, put, turn};
use nixl_store::capi::*;

/// Closes a store while the device is held, which has something of a batch: that waits, and both end well.
#[track_caller]
pub fn close_waits(driver: &Driver, store: &Store, pending: Pending<'_, '_>) {
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| store.close());
        // Until the close has begun: from then on nothing new is taken.
        while store.put(b"late", b"x") != Status(NIXL_STORE_ERROR_CLOSING) {
            std::thread::yield_now();
        }
        assert!(!closing.is_finished());
        driver.hold_all(false);
        assert_eq!(pending.wait().0, OK);
        assert_eq!(closing.join().unwrap(), OK);
    });
}

/// Closing waits for the copies under way: memory is not let go of before the device has.
#[test]
fn a_close_waits_for_the_device() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-close");
    let store = Store::open(&Setup::POOL, &scratch);
    let block = on_device(0, MIB);
    let object = payload(3, MIB);
    block.write(0, &object);
    assert_eq!(put(&store, b"warm", vec![block.segment(0, MIB)]), OK);
    driver.hold_all(true);
    let puts = one(b"key", vec![block.segment(0, MIB)]);
    let pending = store.submit_puts(&puts, Submit::default()).unwrap();
    close_waits(driver, &store, pending);
    assert_rules_were_kept(driver);
    let store = Store::open(&Setup::POOL, &scratch);
    assert_eq!(store.fetch(b"key", MIB).as_ref(), Some(&object));
    assert_eq!(store.close(), OK);
}

/// A lane whose queue breaks ends its items early, and none before the device has let go of its memory.
#[test]
fn a_bug_gives_no_memory_back_before_the_device_is_done() {
    let (_turn, driver) = turn();
    let scratch = Scratch::new("device-bug");
    let setup = Setup {
        fault: "broken:2",
        io_threads: 1,
        cuda_device: Some(0),
        chunk_bytes: 4 * MIB as u64,
        ..Setup::POOL
    };
    let store = Store::open(&setup, &scratch);
    let block = on_device(0, MIB);
    let copies = driver.calls("cuMemcpyAsync");
    driver.hold_all(true);
    let puts = one(b"key", vec![block.segment(0, MIB)]);
    let held = store.submit_puts(&puts, Submit::default()).unwrap();
    while driver.calls("cuMemcpyAsync") == copies {
        std::thread::yield_now();
    }
    let data = payload(1, 2 * MIB);
    let mut others = Batch::new();
    others.put(b"other", &data);
    let others = store.submit_puts(&others, Submit::default()).unwrap();
    while store.contains(b"other") != Status(NIXL_STORE_ERROR_POISONED) {
        std::thread::yield_now();
    }
    let Err(held) = held.try_wait(HELD_MS) else { panic!("the device still has the memory") };
    driver.hold_all(false);
    assert_eq!(held.wait().0, Status(NIXL_STORE_ERROR_POISONED));
    assert_eq!(others.wait().0, Status(NIXL_STORE_ERROR_POISONED));
    drop(block);
    assert_eq!(store.close(), Status(NIXL_STORE_ERROR_POISONED));
    assert_rules_were_kept(driver);
}
