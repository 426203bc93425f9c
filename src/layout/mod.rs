//! How it lies on storage: the record, the same everywhere, and where records are put.

#[cfg(feature = "obj")]
pub mod bucket;
mod difference;
mod direct;
pub mod files;
pub mod pool;
pub mod record;
