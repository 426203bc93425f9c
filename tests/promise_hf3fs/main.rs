//! HF3FS on a stand-in for 3FS's client library (`tests/standin_hf3fs`), which ends the process that breaks one of its rules.
//!
//! The library is one for the whole process, and what a test sets there holds for all: the tests take turns.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod daemon;
mod endings;
mod errors;
mod opening;
mod sharing;

use common::{Alone, Layout, Setup};

const MIB: usize = 1 << 20;

/// Both kinds of stores.
const BOTH: [Setup; 2] = [Setup::HF3FS, Setup { layout: Layout::Sharded, ..Setup::HF3FS }];
