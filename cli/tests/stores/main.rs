//! `ls`, `stat`, `verify`, `copy`, `rm` and `clear` against real stores: in use by another process, left by one that was killed,
//! damaged, empty, closed to the user, on a disk, in memory and in a bucket. The other process is this one.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[cfg(feature = "obj")]
#[path = "../../../tests/s3_common/mod.rs"]
mod s3_common;

#[cfg(feature = "obj")]
mod buckets;
mod copying;
mod damage;
mod in_use;
mod listing;
mod refusals;
mod removing;
mod support;
mod watching;
