//! KV-cache chunks on storage for C and C++ inference engines.
//!
//! The C API in [`capi`] is the product; everything below it is ordinary safe Rust except
//! the byte movers. Dependencies point one way, down the list of modules.
//!
//! `cbindgen:ignore` keeps the constants of a module out of the C header, which is made from [`capi`] alone.

/// cbindgen:ignore
pub mod backend;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod batch;
pub mod capi;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod catalog;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod config;
/// cbindgen:ignore
pub mod cuda;
/// cbindgen:ignore
pub mod cufile;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod error;
/// cbindgen:ignore
pub mod hf3fs;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod inspect;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod lane;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod layout;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod log;
/// cbindgen:ignore
pub mod memory;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod metrics;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod placement;
/// cbindgen:ignore
#[cfg(feature = "obj")]
pub mod s3;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod status;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod store;
/// cbindgen:ignore
#[forbid(unsafe_code)]
pub mod sync;
/// cbindgen:ignore
pub mod sys;
