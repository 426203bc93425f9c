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
