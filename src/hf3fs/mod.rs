//! 3FS's own client library, loaded when a store first needs it and never linked: shared-memory rings (USRBIO) in place of reads
//! and writes through FUSE.
//!
//! It owns the library's functions (`library`), what is a mount of 3FS (`mount`), the thread that makes and destroys all that
//! the file system's daemon shares with this process (`client`), and that: memory (`memory`), rings (`ring`), registered files
//! (`file`). Addresses are the caller's: who moves bytes vouches for the memory.
//!
//! What is said here of 3FS's behaviour is from the sources of its client and its daemon
//! (<https://github.com/deepseek-ai/3FS>: `src/lib/api/UsrbIo.cc`, `src/fuse/IoRing.cc`, `src/fuse/FuseOps.cc`).

mod client;
mod file;
mod library;
mod memory;
mod mount;
mod ring;
mod types;

pub use client::Client;
pub use file::Registered;
pub use memory::Iov;
pub use mount::{Mount, Wanted};
pub use ring::{Completed, Ring, Transfer};
