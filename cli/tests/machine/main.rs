//! `doctor` and `bench`, as an operator runs them: the built command, on real files, pools in use, and a real S3 server.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod bench;
#[cfg(feature = "obj")]
mod bucket;
mod doctor;
mod run;
#[cfg(feature = "obj")]
#[path = "../../../tests/s3_common/mod.rs"]
mod s3_common;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../../../tests/crash_common/sandbox.rs"]
mod sandbox;
