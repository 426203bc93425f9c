//! The promise: a get returns exactly the bytes of the latest completed put of that very key, or says not found,
//! whatever became of the bytes on storage.
//!
//! Storage is damaged here as disks, operators and attackers damage it: bytes flipped anywhere, files cut, emptied,
//! swapped and replaced, whole records in the wrong place, records forged with every checksum right, transfers that
//! fail. No damage may end in wrong bytes, an error of the library's own, a crash or a hang; it costs what was
//! damaged and nothing else.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "fault-injection")]
mod faults;
mod files;
mod flips;
mod forgeries;
mod index;
mod planted;
mod remembered;
mod unverified;

use common::payload::assert_same;
use common::status::{NOT_FOUND, OK};
use common::{Layout, Scratch, Setup, Store, payload};

const KIB: u64 = 1 << 10;
/// Bytes of the largest object of these tests: three checksum blocks and a bit.
const CHUNK_BYTES: u64 = 200 * KIB;

/// The stores that keep bytes on storage, where they can be damaged.
const STORES: &[(&str, Setup)] = &[
    ("pool", Setup { chunk_bytes: CHUNK_BYTES, ..Setup::POOL }),
    ("pool-buffered", Setup { chunk_bytes: CHUNK_BYTES, direct_io: false, ..Setup::POOL }),
    ("pool-threads", Setup { chunk_bytes: CHUNK_BYTES, uring: false, ..Setup::POOL }),
    ("files", Setup::FILES),
    ("files-buffered", Setup { direct_io: false, ..Setup::FILES }),
    ("files-lmcache", Setup { layout: Layout::Lmcache, ..Setup::FILES }),
];

/// Those that differ in this process.
fn stores() -> impl Iterator<Item = &'static (&'static str, Setup)> {
    STORES.iter().filter(|(_, setup)| setup.is_distinct())
}

fn dynamic() -> impl Iterator<Item = &'static (&'static str, Setup)> {
    stores().filter(|(_, setup)| !setup.is_static())
}

fn pools() -> impl Iterator<Item = &'static (&'static str, Setup)> {
    stores().filter(|(_, setup)| setup.is_static())
}

fn key(index: usize) -> Vec<u8> {
    format!("key-{index:05}").into_bytes()
}

/// Puts `count` objects of `length` bytes.
#[track_caller]
fn put_objects(store: &Store, count: usize, length: usize) {
    for index in 0..count {
        assert_eq!(store.put(&key(index), &payload(index as u64, length)), OK);
    }
}

/// Gets an object that may have been damaged: the right bytes, or not found. True if they were found.
#[track_caller]
fn right_or_absent(store: &Store, index: usize, length: usize, what: &dyn std::fmt::Display) -> bool {
    let mut buffer = vec![0; length + 1];
    match store.get(&key(index), &mut buffer) {
        (OK, Some(found)) => {
            assert_same(&buffer[..found], &payload(index as u64, length), what);
            true
        }
        (NOT_FOUND, None) => false,
        other => panic!("{what}: {other:?}: {}", common::status::message()),
    }
}

/// Asserts that a store that met damage goes on: what is put into it comes back.
#[track_caller]
fn assert_goes_on(store: &Store, length: usize, what: &dyn std::fmt::Display) {
    for index in 90_000..90_004 {
        assert_eq!(store.put(&key(index), &payload(index as u64, length)), OK, "{what}");
    }
    for index in 90_000..90_004 {
        assert!(right_or_absent(store, index, length, what), "{what}");
    }
}

/// Opens the store of a scratch directory anew. `as_after_a_crash`: without what a clean close left.
#[track_caller]
fn reopen(setup: &Setup, scratch: &Scratch, as_after_a_crash: bool) -> Store {
    if as_after_a_crash && setup.is_static() {
        std::fs::remove_file(scratch.data().join("nixl_store_pool/snapshot")).unwrap();
    }
    Store::open(setup, scratch)
}

/// But for what is no file: it is refused there, as one that O_DIRECT does not go with.
#[test]
fn once_more_over_hf3fs() {
    common::hf3fs::once_more(&["a_pool_with_something_else_for_a_file_is_refused"], 38);
}
