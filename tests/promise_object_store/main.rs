//! Promises of the backend OBJ, on a real S3 server and through a proxy that breaks what passes.
//!
//! Each test has a prefix of its own in one bucket ([`place`]). At its end nothing is under way, no upload is left
//! behind, no connection is open; and no line of the log and no message of the whole suite has held a credential.

// Helpers may unwrap as tests do.
#![cfg(test)]
#![cfg(feature = "obj")]

#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../s3_common/mod.rs"]
mod s3_common;

mod basics;
mod crash;
mod endings;
mod examples;
mod faults;
mod lmcache;
mod lookups;
mod opening;
mod place;
mod replaced;
mod requests;
mod room;
mod secrets;
mod sharing;
mod stalls;
mod static_pool;

use crash_common::{helper, remote};

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    secrets::listen();
    helper::play(&[remote::ROLE, crash::ROLE, examples::ROLE, sharing::ROLE, secrets::ROLE]);
}
