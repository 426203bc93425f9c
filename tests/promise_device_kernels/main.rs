//! The library's kernels at work: checksums of device memory, and many small parts copied by one launch.
//!
//! Copiers are driven as a lane drives them, over the stand-in of `tests/standin_cuda/`, which runs the kernels' source on a
//! processor and lets them touch what they are told to and nothing else. It is one for the process: the tests take turns.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod failures;
mod parts;
mod rig;
mod sums;
