//! The C API on an open store: what each call does with right arguments and with wrong ones.
//!
//! Everything runs against a store in memory, so that what fails here is the C layer or the store,
//! not a disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, in which a panic is a failure")]

mod arguments;
mod configuration;
mod exhaustion;
mod fixture;
mod lifetime;
mod log;
mod nouns;
mod questions;
mod transfers;
