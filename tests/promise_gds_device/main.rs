//! GDS and GDS_MT with a device's memory, on NVIDIA's own libcufile over the tests' stand-in for CUDA's driver: what is aligned
//! goes direct, all else is staged, and either way a get has the right bytes or says what it met.
//!
//! One CUDA driver and one cuFile serve the process, and so do their counts and the faults that a test asks for: the tests take
//! turns.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../cufile_common/mod.rs"]
mod cufile_common;

mod allocated;
mod cuda12;
mod damage;
mod direct;
mod endings;
mod failures;
mod on_device;
mod opening;
mod staged;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::batch::Batch;
use common::cuda::{Driver, driver};
use common::status::{OK, Status};
use common::{Setup, Store};
use nixl_store::capi::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// cuFile takes 100 ms to end a batch.
const GDS: Setup = Setup { params: &[("batch_pool_size", 2)], ..Setup::GDS };

/// Both backends, with the staging buffer in host memory and on a device.
const STORES: [(&str, Setup); 4] = [
    ("gds-host-buffer", GDS),
    ("gds-device-buffer", Setup { device: "cuda", ..GDS }),
    ("gds-mt-host-buffer", Setup::GDS_MT),
    ("gds-mt-device-buffer", Setup { device: "cuda:0", ..Setup::GDS_MT }),
];

/// CUDA and cuFile, for one test at a time. At the end of a test that did not fail, no rule of CUDA's was broken.
struct Turn {
    driver: &'static Driver,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    /// `None`: this machine is told to do without cuFile, which is said.
    fn take() -> Option<Turn> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // cuFile looks for CUDA's driver when it is loaded, and no later.
        let driver = driver();
        // What a test that failed has left.
        driver.reset();
        cufile_common::is_real().then_some(Turn { driver, _turn: turn })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.driver.hold_all(false);
        if !std::thread::panicking() {
            assert_eq!(self.driver.broken_rule(), None);
        }
    }
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

/// What moved since the last time: bytes that went direct, and bytes that were staged.
struct Moved {
    direct: u64,
    staged: u64,
}

impl Moved {
    fn new(store: &Store) -> Moved {
        let stats = store.stats();
        Moved { direct: stats.bytes_direct, staged: stats.bytes_staged }
    }

    fn next(&mut self, store: &Store) -> (u64, u64) {
        let now = Moved::new(store);
        let moved = (now.direct - self.direct, now.staged - self.staged);
        *self = now;
        moved
    }
}

/// Ends a test in which nothing was to be damaged.
#[track_caller]
fn end(store: &Store) {
    let stats = store.stats();
    assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0));
    assert_eq!(store.close(), OK);
}
