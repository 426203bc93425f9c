//! Promise 7, sharing is safe: a static pool has one owner at a time ([`pool`]), a dynamic store any number of processes
//! ([`dynamic`]), and a forked child keeps its hands off both ([`fork`]).

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../crash_common/mod.rs"]
mod crash_common;

mod dynamic;
mod fork;
mod pool;

use crash_common::api::Store;
use crash_common::{helper, remote, versions};

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[&[remote::ROLE, dynamic::REPLACE_ROLE], &fork::ROLES[..]].concat());
}

/// The version that a key holds, every byte checked.
fn version(store: &Store, key: &str) -> Option<u64> {
    versions::version(store, key, 1 << 20)
}

/// But for forked children: the daemon of the stand-in is threads, which stay behind, and a lock of its that one of them holds stays
/// held. And a child has the client's copies of descriptors, of which it cannot let go.
#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(&["fork::"], 10);
}
