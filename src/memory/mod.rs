//! The caller's memory and the store's own: pointers, segments, staging buffer, checksums.

pub mod aligned;
pub mod bytes;
pub mod mapping;
pub mod segment;
pub mod staging;
mod xxh3;

pub use aligned::{AlignedBuffer, zero_page};
pub use mapping::Mapping;
pub use segment::{HostPtr, HostSlice, MemoryKind, Segment};
pub use staging::Staging;
