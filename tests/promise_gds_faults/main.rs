//! GDS and GDS_MT on a cuFile that breaks: a library of the tests' own (`tests/standin_cufile`), which does what real ones
//! do at their worst, and counts whoever breaks one of cuFile's rules.
//!
//! The library is one for the whole process, and what a test sets there holds for all: the tests take turns.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../cufile_common/mod.rs"]
mod cufile_common;

mod device;
mod endings;
mod errors;
mod killed;
mod opening;
mod standin;

use common::{Layout, Setup};

/// Both backends.
const BOTH: [Setup; 2] = [Setup::GDS, Setup::GDS_MT];

/// Both, with a file per key.
const BOTH_WITH_FILES: [Setup; 2] =
    [Setup { layout: Layout::Sharded, ..Setup::GDS }, Setup { layout: Layout::Sharded, ..Setup::GDS_MT }];
