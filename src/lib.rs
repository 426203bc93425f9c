//! KV-cache chunks on storage for C and C++ inference engines.
//!
//! The C API in [`capi`] is the product; everything below it is ordinary safe Rust except
//! the byte movers. Dependencies point one way, down the list of modules.

pub mod backend;
pub mod capi;
#[forbid(unsafe_code)]
pub mod config;
#[forbid(unsafe_code)]
pub mod error;
#[forbid(unsafe_code)]
pub mod log;
pub mod memory;
#[forbid(unsafe_code)]
pub mod metrics;
#[forbid(unsafe_code)]
pub mod store;
#[forbid(unsafe_code)]
pub mod sync;
pub mod sys;
#[forbid(unsafe_code)]
pub mod transfer;
