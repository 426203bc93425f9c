//! Promise: once a store has settled, the path of a request allocates nothing, on no thread of the process.
//!
//! An allocation is a lock that another thread may hold, a page fault now and then, and memory that grows without
//! anybody's decision. What a request needs was set aside when the store was opened, or is used again.
//!
//! A store with a file per key opens, names and removes a file for each item. Each of these is handed to another thread,
//! with a copy of the key, and allocates a little beside the system calls; how little is bounded here too.
//!
//! One test, since what counts is the whole process: a second one, or the harness telling of its end, would be
//! counted with it.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../cufile_common/mod.rs"]
mod cufile_common;

mod allocator;
mod operations;
mod request;

use common::cuda::driver;
use common::streams::Stream;
use common::{Layout, Scratch, Setup, Store};
use operations::{OPERATIONS, Work};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const KIB: usize = 1 << 10;
/// Rounds in which the store fills up and settles.
const WARM_ROUNDS: usize = 3;
/// Rounds that are counted.
const ROUNDS: usize = 3;

/// A line of the table.
struct Case {
    name: &'static str,
    setup: Setup,
    /// Bytes of an object, and objects of a batch.
    bytes: usize,
    items: usize,
    /// Bytes that memory begins behind a page boundary; more than 0 means that O_DIRECT needs a copy.
    offset: usize,
    /// Whether batches are ordered with a stream too. From then on the process has a driver, so these come last.
    has_stream: bool,
    /// Calls of the allocator for each item that an operation moves or asks for, on average over all operations.
    calls_per_item_max: u64,
}

const SMALL: Case = Case {
    name: "",
    setup: Setup::POOL,
    bytes: 64 * KIB,
    items: 64,
    offset: 0,
    has_stream: false,
    calls_per_item_max: 0,
};
/// Objects of several pieces.
const LARGE: Case = Case { bytes: 2048 * KIB + 5000, items: 16, ..SMALL };

const THREADS: Setup = Setup { uring: false, ..Setup::POOL };
const BUFFERED: Setup = Setup { direct_io: false, ..Setup::POOL };
const HF3FS_FILES: Setup = Setup { layout: Layout::Sharded, ..Setup::HF3FS };
const LMCACHE: Setup = Setup { layout: Layout::Lmcache, ..Setup::FILES };

const CASES: &[Case] = &[
    Case { name: "io_uring, O_DIRECT, aligned, 64 KiB", ..SMALL },
    Case { name: "io_uring, O_DIRECT, aligned, 2 MiB", ..LARGE },
    Case { name: "io_uring, O_DIRECT, staged, 64 KiB", offset: 8, ..SMALL },
    Case { name: "io_uring, O_DIRECT, staged, 2 MiB", offset: 8, ..LARGE },
    Case { name: "io_uring, buffered, 64 KiB", setup: BUFFERED, offset: 8, ..SMALL },
    Case { name: "io_uring, buffered, 2 MiB", setup: BUFFERED, offset: 8, ..LARGE },
    Case { name: "threads, O_DIRECT, aligned, 64 KiB", setup: THREADS, ..SMALL },
    Case { name: "threads, O_DIRECT, staged, 2 MiB", setup: THREADS, offset: 8, ..LARGE },
    Case { name: "cuFile's batches, O_DIRECT, 64 KiB", setup: Setup::GDS, ..SMALL },
    Case { name: "cuFile's batches, O_DIRECT, staged, 2 MiB", setup: Setup::GDS, offset: 8, ..LARGE },
    Case { name: "cuFile's calls, O_DIRECT, 2 MiB", setup: Setup::GDS_MT, ..LARGE },
    Case { name: "3FS's rings, staged, 64 KiB", setup: Setup::HF3FS, offset: 8, ..SMALL },
    Case { name: "3FS's rings, staged, 2 MiB", setup: Setup::HF3FS, offset: 8, ..LARGE },
    Case {
        name: "3FS's rings, a file per key",
        setup: HF3FS_FILES,
        offset: 8,
        calls_per_item_max: 12,
        ..SMALL
    },
    Case { name: "memory, 64 KiB", setup: Setup::MEMORY, offset: 8, ..SMALL },
    Case { name: "memory, 2 MiB", setup: Setup::MEMORY, ..LARGE },
    Case { name: "a file per key", setup: Setup::FILES, calls_per_item_max: 10, ..SMALL },
    Case { name: "a file per key, LMCache's names", setup: LMCACHE, calls_per_item_max: 12, ..SMALL },
    Case { name: "io_uring, O_DIRECT, 64 KiB, with a stream", has_stream: true, ..SMALL },
    Case { name: "memory, 2 MiB, with a stream", setup: Setup::MEMORY, has_stream: true, ..LARGE },
];

/// Runs all operations on one store; what each called the allocator for while it was counted.
fn measure(case: &Case) -> Vec<(&'static str, u64, String)> {
    let scratch = Scratch::new("no-allocation");
    // Room for two batches, in slots or in files with their trailers: whatever puts, evicts.
    let slots = 2 * case.items as u32;
    let file_bytes = (case.bytes as u64).next_multiple_of(4096) + 4096;
    let capacity_bytes = u64::from(slots) * file_bytes;
    let setup = Setup { slots, chunk_bytes: case.bytes as u64, capacity_bytes, ..case.setup.clone() };
    let stream = case.has_stream.then(|| Stream::new(driver(), 0));
    let mut work = Work::new(Store::open(&setup, &scratch), case.items, case.bytes, case.offset, stream);
    work.warm_batches();
    for _ in 0..WARM_ROUNDS {
        OPERATIONS.iter().for_each(|(_, operation)| operation(&mut work));
    }
    let mut called: Vec<_> = OPERATIONS.iter().map(|(name, _)| (*name, 0, String::new())).collect();
    for _ in 0..ROUNDS {
        for ((_, operation), (_, calls, traces)) in OPERATIONS.iter().zip(&mut called) {
            let (more, from) = allocator::calls_during(|| operation(&mut work));
            *calls += more;
            if traces.is_empty() {
                *traces = from;
            }
        }
    }
    let stats = work.end();
    assert!(stats.evictions > 0, "puts have to evict");
    assert!(stats.bytes_direct > 0 || case.offset > 0, "some transfers have to go without a copy");
    assert!(stats.bytes_staged > 0 || !case.setup.direct_io, "some transfers have to be staged");
    called
}

#[test]
fn the_path_of_a_request_allocates_nothing() {
    let mut failures = String::new();
    for case in CASES {
        if case.setup.backend.starts_with("GDS") && !cufile_common::is_real() {
            continue;
        }
        let called = measure(case);
        let calls: u64 = called.iter().map(|(_, calls, _)| calls).sum();
        if calls <= case.calls_per_item_max * (ROUNDS * case.items * OPERATIONS.len()) as u64 {
            continue;
        }
        for (operation, calls, traces) in called.into_iter().filter(|(_, calls, _)| *calls > 0) {
            failures += &format!("{}: {operation}: {calls} calls of the allocator\n{traces}\n", case.name);
        }
    }
    assert!(failures.is_empty(), "a store that has settled allocates:\n{failures}");
}
