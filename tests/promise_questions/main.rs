//! Questions about keys where storage hangs, refuses, or is not to be asked: what was not begun ends in time, transfers go
//! on, close waits, each error lands on its item, and a presence cache is believed.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../faulty_fs/mod.rs"]
mod faulty_fs;

mod cached;
mod hanging;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    faulty_fs::serve_if_asked();
}
