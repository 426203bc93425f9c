//! How bytes move: one trait, one folder or file per backend, one table of names.
//!
//! A backend knows files, offsets and memory; it knows no keys, slots or records. Each lane (I/O
//! thread) of the store opens one [`IoQueue`] and is its only user, so a queue needs no locks and
//! backends whose rings belong to one thread fit as they are.

pub mod fault;
pub mod inline;
pub mod memory;
pub mod posix;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::config::{BackendKind, Config};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::{HostSlice, Mapping};
use crate::sys::event::Event;

/// Which way the bytes of a request go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoDirection {
    /// Storage to memory.
    Read,
    /// Memory to storage.
    Write,
}

/// Most memory stretches of one request: `IOV_MAX` of Linux (`readv(2)`).
pub const IO_SLICES_MAX: usize = 1024;

/// Most registered regions of one queue. The first is the staging buffer.
pub const REGIONS_MAX: u32 = 256;

/// Most bytes of one registered region: the kernel's limit for one fixed buffer (`io_uring_register(2)`).
pub const REGION_BYTES_MAX: usize = 1 << 30;

/// One contiguous stretch of a file, read into or written from stretches of memory.
#[derive(Clone, Copy, Debug)]
pub struct IoRequest<'a> {
    /// Given back with the completion.
    pub token: u32,
    /// Which way.
    pub direction: IoDirection,
    /// The file. Whoever pushes keeps it open until the completion.
    pub file: RawFd,
    /// The file's mapping, where it lies in memory and has one. Queues that copy read from it.
    pub mapping: Option<&'a Mapping>,
    /// First byte in the file.
    pub offset: u64,
    /// The memory, at most [`IO_SLICES_MAX`] stretches, none empty.
    pub slices: &'a [HostSlice],
    /// The registered region that holds all of `slices`, if one does.
    pub region: Option<u16>,
}

/// How a request ended: bytes moved, possibly fewer than asked for, or the error.
#[derive(Debug)]
pub struct IoCompletion {
    /// The request's token.
    pub token: u32,
    /// Bytes moved; 0 from a read is the end of the file.
    pub result: io::Result<usize>,
}

/// Whether [`IoQueue::wait`] may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return at once.
    Poll,
    /// Sleep until a request completes or the waker is signalled.
    Block,
}

/// A queue of requests, used by one thread at a time. Dropping it waits for the requests under way.
pub trait IoQueue: Send {
    /// Requests that may be pushed now.
    fn room(&self) -> usize;

    /// Requests pushed and not yet handed back.
    fn in_flight(&self) -> usize;

    /// Takes a request; there must be [`room`](IoQueue::room).
    ///
    /// # Errors
    /// The request was not taken.
    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()>;

    /// Whether [`wait`](IoQueue::wait) would hand back a completion without sleeping, as far as can be told without a
    /// system call.
    fn has_completed(&mut self) -> bool;

    /// Starts what was pushed. [`wait`](IoQueue::wait) does so too; this is for whoever has more to prepare first.
    ///
    /// # Errors
    /// As for [`wait`](IoQueue::wait).
    fn submit(&mut self) -> io::Result<()>;

    /// Starts what was pushed and appends what has completed.
    ///
    /// # Errors
    /// The queue is broken; requests under way can only be waited for by dropping it.
    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()>;

    /// Registers memory under `index`, below [`REGIONS_MAX`]. Returns whether the device gains by it.
    ///
    /// # Errors
    /// What the system answers, `ENOMEM` for a locked-memory limit most of all; transfers go on without.
    fn register(&mut self, index: u16, region: HostSlice) -> io::Result<bool>;

    /// Forgets the region under `index`. Transfers under way through it are not harmed.
    fn unregister(&mut self, index: u16);
}

/// What the files of a store lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A device or a server: transfers take time of their own, and many go on at once.
    Device,
    /// This machine's memory (tmpfs): a transfer is a copy.
    Memory,
}

/// The path that a backend found to work, for capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoPath {
    /// `io_uring`, `inline`, `threads`, ….
    pub name: &'static str,
    /// Why nothing better; empty if nothing is degraded.
    pub reason: String,
}

/// One way of moving bytes.
pub trait Backend: Send + Sync {
    /// The path in effect.
    fn path(&self) -> IoPath;

    /// Lanes to run unless the configuration says otherwise.
    fn lanes_default(&self, medium: Medium) -> u32;

    /// Whether O_DIRECT means anything here.
    fn supports_direct_io(&self) -> bool;

    /// Opens the queue of one lane, on the thread that will use it, to files on `medium`; `waker` ends its sleep.
    ///
    /// # Errors
    /// What the system answers.
    fn open_queue(&self, waker: Arc<Event>, medium: Medium) -> io::Result<Box<dyn IoQueue>>;

    /// Whether queues for files on that medium read from [`IoRequest::mapping`], so that mapping them is worth it.
    fn reads_mappings(&self, medium: Medium) -> bool;

    /// A queue that does each request while it is pushed and is only polled, for whoever calls from a thread of his own.
    /// `None`: this backend has no such calls.
    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>>;
}

type Constructor = fn(&Config, &Logger) -> Result<Box<dyn Backend>>;

/// The backends that are built in. Adding one adds a line.
const BACKENDS: &[(BackendKind, Constructor)] =
    &[(BackendKind::Posix, posix::open), (BackendKind::Memory, memory::open)];

/// Opens the configured backend.
///
/// # Errors
/// [`Status::Unsupported`] naming the backend and those built in; else what the backend answers.
pub fn open(config: &Config, logger: &Logger) -> Result<Box<dyn Backend>> {
    let Some((_, constructor)) = BACKENDS.iter().find(|(kind, _)| *kind == config.backend) else {
        let built: Vec<String> = BACKENDS.iter().map(|(kind, _)| kind.to_string()).collect();
        return Err(Error::new(
            Status::Unsupported,
            format!(
                "nixl_backend {} is not part of this build of nixl_store; set one of: {}",
                config.backend,
                built.join(", ")
            ),
        ));
    };
    fault::wrap(constructor(config, logger)?, config)
}

impl std::fmt::Display for BackendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackendKind::Posix => "POSIX",
            BackendKind::Gds => "GDS",
            BackendKind::GdsMt => "GDS_MT",
            BackendKind::Hf3fs => "HF3FS",
            BackendKind::Obj => "OBJ",
            BackendKind::Memory => "MEMORY",
        })
    }
}
