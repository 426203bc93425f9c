//! HF3FS on both stand-ins at once: bytes go through rings (`tests/standin_hf3fs`), names, lengths and locks through a mount that has
//! the habits of 3FS's FUSE client (`tests/faulty_fs`), and a process that dies leaves both as it leaves 3FS.
//!
//! Tests that have a store in their own process take turns at the library's stand-in, which is one for the process. Others have
//! their stores in helper processes ([`user`]).

// Helpers may unwrap as tests do.
#![cfg(test)]
#![allow(clippy::duplicate_mod, reason = "both kinds of helpers load the stand-in")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../faulty_fs/mod.rs"]
mod faulty_fs;

mod daemon;
mod errors;
mod files;
mod killed;
mod late;
mod names;
mod owner;
mod user;
mod world;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    if faulty_fs::serve_if_asked() {
        return;
    }
    crash_common::helper::play(&[user::ROLE, daemon::ROLE]);
}
