//! What the tests of the promises share: stores in scratch directories, opened and used through the C ABI.
//!
//! Everything here calls the exported functions as a C program would; nothing reaches behind them. What a store
//! writes is looked at with a reader of its own (`format`), made from `docs/FORMAT.md` and not from the
//! library's code.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of this")]

pub mod alone;
pub mod batch;
pub mod cuda;
pub mod exchange;
pub mod format;
pub mod hf3fs;
pub mod memory;
pub mod mirror;
pub mod payload;
pub mod questions;
pub mod setup;
pub mod status;
pub mod store;
pub mod streams;

pub use alone::Alone;
pub use batch::{Batch, Submit};
pub use cuda::Kind;
pub use memory::{Cut, Memory, Pieces};
pub use payload::{Random, payload};
pub use setup::{Layout, Scratch, Setup};
pub use store::Store;
