//! The built command against real stores: in use by another process, left by one that was killed, damaged, empty, closed to the
//! user, on a disk, in memory and in a bucket of a real S3 server; and on machines that refuse what a store would like to have.
//! The other process is this one.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[cfg(feature = "obj")]
#[path = "../../../tests/s3_common/mod.rs"]
mod s3_common;

mod bench;
#[cfg(feature = "obj")]
mod buckets;
mod copying;
mod damage;
mod doctor;
#[cfg(feature = "obj")]
mod doctor_bucket;
mod in_use;
mod listing;
mod refusals;
mod removing;
mod run;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../../../tests/crash_common/sandbox.rs"]
mod sandbox;
mod support;
mod terminal;
mod watching;
