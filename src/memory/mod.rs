//! The caller's memory and the store's own: stretches, staging buffer, copies, checksums.

pub mod arena;
pub mod bytes;
pub mod copier;
pub mod mapping;
pub mod signal;
pub mod staging;
pub mod stretch;
mod xxh3;
pub mod zeroed;

pub use arena::{AlignedBuffer, Arena, zero_page};
pub use copier::{Copier, Copiers, CopyDirection, CopyDone, CopyPart};
pub use mapping::Mapping;
pub use signal::{Mark, Signal, Words};
pub use staging::{Holds, Staging};
pub use stretch::{DevicePtr, DeviceSlice, HostPtr, HostSlice, Stretch};
pub use zeroed::Zeroed;
