//! The promises around a put: it is visible as a whole or not at all, replacing a key never harms a reader of its old
//! bytes, what is read or pinned stays, room is made before a put fails, and the caller's memory is the library's
//! between submit and completion only, however an operation ends.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod deadlines;
mod endings;
mod eviction;
#[cfg(feature = "fault-injection")]
mod failures;
mod full;
mod order;
mod version;
mod visibility;

use common::{Layout, Setup};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The kinds of store that differ in how puts become visible or how bytes move.
const STORES: &[(&str, Setup)] = &[
    ("pool", Setup::POOL),
    ("pool-buffered", Setup { direct_io: false, ..Setup::POOL }),
    ("pool-threads", Setup { uring: false, ..Setup::POOL }),
    ("pool-tight", Setup { buffer_bytes: 256 << 10, kernel_queue_size: 16, ..Setup::POOL }),
    ("files", Setup::FILES),
    ("files-lmcache", Setup { layout: Layout::Lmcache, direct_io: false, ..Setup::FILES }),
    ("memory", Setup::MEMORY),
    #[cfg(feature = "fault-injection")]
    ("pool-faulty", Setup { fault: "short:3,eintr:5,eagain:7", ..Setup::POOL }),
    #[cfg(feature = "fault-injection")]
    ("files-faulty", Setup { fault: "short:3,eintr:5,eagain:7", ..Setup::FILES }),
];

/// Those that differ in this process.
fn stores() -> impl Iterator<Item = &'static (&'static str, Setup)> {
    STORES.iter().filter(|(_, setup)| setup.is_distinct())
}

/// One store of each layout.
fn layouts() -> impl Iterator<Item = &'static (&'static str, Setup)> {
    stores().filter(|(name, _)| ["pool", "files", "files-lmcache", "memory"].contains(name))
}

fn key(index: usize) -> Vec<u8> {
    format!("key-{index:05}").into_bytes()
}

#[test]
fn once_more_over_hf3fs() {
    common::hf3fs::once_more(&[], 27);
}
