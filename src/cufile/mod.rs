//! cuFile, NVIDIA's library for storage and GPUs, loaded when a store first needs it and never linked.
//!
//! It owns the library's functions (`library`), the driver that a process has open once (`driver`), files that the driver
//! knows (`file`), memory that it knows (`region`) and batches of transfers (`batch`). Addresses are the caller's: who moves bytes vouches for the memory.
//!
//! What is said here of cuFile's behaviour and not in its reference was seen with libcufile 1.20.0 (CUDA 13), the memory
//! errors under valgrind.

mod batch;
mod driver;
mod errors;
mod file;
mod library;
mod log_file;
mod region;
mod types;

pub use batch::{Batch, Entry};
pub use driver::{Driver, InContext, Properties};
pub use file::{ALIGNMENT, Registered, Registration};
pub use region::Region;
