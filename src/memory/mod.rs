//! The caller's memory and the store's own: pointers, segments, staging buffer, registration.

pub mod segment;

pub use segment::{HostPtr, MemoryKind, Segment};
