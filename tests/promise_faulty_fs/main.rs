//! Promises on a file system that hangs, refuses and lies.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../faulty_fs/mod.rs"]
mod faulty_fs;
mod itself;

use crash_common::helper;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    if faulty_fs::serve_if_asked() {
        return;
    }
    helper::play(&[itself::HANGING_ROLE]);
}
