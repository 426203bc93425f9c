//! Batches and CUDA streams: transfers start after the work that they are to follow, work that waits for transfers runs after
//! them, and no stream is left standing, whatever becomes of them.
//!
//! The driver is the stand-in of `tests/standin_cuda/`. It is one for the process, and so are its counts and the faults that it
//! is told to have: the tests take turns. A batch is kept waiting by a stream that is held: it was submitted to follow it.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "obj")]
#[path = "../s3_common/mod.rs"]
mod s3_common;

mod after;
mod arguments;
mod driver_faults;
mod ends;
mod kinds;
mod many;
mod progress;

use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use common::batch::{Batch, Pending, Submit};
use common::cuda::{Block, Driver, FAILED, Kind, driver};
use common::status::{OK, Status};
use common::streams::Stream;
use common::{Scratch, Setup, Store, payload};
use nixl_store::capi::*;

const MIB: usize = 1 << 20;
/// Bytes of the tests' objects.
const BYTES: usize = 300_000;
/// How long it is watched that something does not happen.
const WATCHED_MS: u64 = 60;

const AFTER: u32 = NIXL_STORE_SUBMIT_AFTER_STREAM;
const BEFORE: u32 = NIXL_STORE_SUBMIT_BEFORE_STREAM;
const ALL: usize = NIXL_STORE_ITEMS_ALL;

/// The stand-in, for one test at a time, with what it had counted before forgotten.
fn turn() -> (MutexGuard<'static, ()>, &'static Driver) {
    static TURN: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    // A test that fails leaves batches behind, which are waited for: nothing they follow may be held then.
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            driver().hold_all(false);
            before(info);
        }));
    });
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    driver().reset();
    (turn, driver())
}

/// Asserts that nobody broke a rule of the driver's.
#[track_caller]
fn assert_rules_were_kept(driver: &Driver) {
    assert_eq!(driver.broken_rule(), None);
}

/// A store with memory on devices in it, and streams.
struct Bench {
    store: Store,
    /// What a batch follows that is to be kept waiting.
    gate: Stream,
    /// An engine's.
    stream: Stream,
    /// Where gets go to.
    block: Block,
    /// Where the stream copies that to.
    seen: Block,
    scratch: Scratch,
}

impl Bench {
    fn new(driver: &'static Driver, setup: &Setup) -> Bench {
        let scratch = Scratch::new("streams");
        let store = Store::open(setup, &scratch);
        Bench {
            store,
            gate: Stream::new(driver, 0),
            stream: Stream::new(driver, 0),
            block: driver.allocate(Kind::Device, 0, BYTES),
            seen: driver.allocate(Kind::Device, 0, BYTES),
            scratch,
        }
    }

    /// A get of a key into the block.
    fn get(&self, key: &[u8], flags: u32) -> Batch<'static> {
        let mut batch = Batch::new();
        batch.raw(key, vec![self.block.segment(0, BYTES)], None);
        batch.flag(flags);
        batch
    }

    /// Submits a get that follows the gate.
    #[track_caller]
    fn gated(&self, batch: &Batch<'static>, timeout_ms: u64) -> Pending<'_, 'static> {
        let submit = Submit { timeout_ms, flags: AFTER, stream: self.gate.handle, ..Submit::default() };
        let pending = self.store.submit_gets(batch, submit);
        pending.unwrap_or_else(|status| panic!("{status:?}: {}", common::status::message()))
    }

    /// Holds the gate with work on it.
    fn shut(&self) {
        self.gate.hold();
        self.gate.fill(self.seen.address(), 0, 1);
    }

    /// Puts the copy on the stream that shows what it sees.
    fn look(&self) {
        self.stream.copy(self.seen.address(), self.block.address(), BYTES);
    }

    /// What the stream has seen, once it is done.
    #[track_caller]
    fn seen(&self) -> Vec<u8> {
        self.stream.finish();
        let mut bytes = vec![0; BYTES];
        self.seen.read(0, &mut bytes);
        bytes
    }
}

/// The bytes of an object of the tests'.
fn object(seed: u64) -> Vec<u8> {
    payload(seed, BYTES)
}

/// How a stream is ordered with a batch, which ends in time also where the two wait for each other.
fn ordered(flags: u32, stream: &Stream) -> Submit<'static> {
    Submit { flags, stream: stream.handle, timeout_ms: 30_000, ..Submit::default() }
}

/// Puts an object from host memory.
#[track_caller]
fn put(store: &Store, key: &[u8], bytes: &[u8]) {
    assert_eq!(store.put(key, bytes), OK, "{}", common::status::message());
}

const IO: Status = Status(NIXL_STORE_ERROR_IO);
