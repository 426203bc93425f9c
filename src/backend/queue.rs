//! The traits between lanes and backends: a backend opens queues, a queue takes requests and gives completions.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "obj")]
use super::obj::Bucket;
use super::reach::Reach;
use super::target::Target;
use crate::memory::{Arena, DeviceSlice, HostSlice, Stretch};
use crate::sys::event::Event;
use crate::sys::habits::Habits;

/// Which way the bytes of a request go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoDirection {
    /// Storage to memory.
    Read,
    /// Memory to storage.
    Write,
}

/// Most registered regions of one queue. The first is the staging buffer.
pub const REGIONS_MAX: u32 = 256;

/// Most bytes of one registered region: the kernel's limit for one fixed buffer (`io_uring_register(2)`).
pub const REGION_BYTES_MAX: usize = 1 << 30;

/// One contiguous part of a target, read into or written from stretches of memory.
#[derive(Clone, Copy, Debug)]
pub struct IoRequest<'a> {
    /// Given back with the completion.
    pub token: u32,
    /// Which way.
    pub direction: IoDirection,
    /// What is read or written. Whoever pushes keeps a clone of it until the completion.
    pub target: &'a Target,
    /// First byte in the target.
    pub offset: u64,
    /// The memory, none of it empty, within the backend's [`Reach`].
    pub slices: &'a [Stretch],
    /// The registered region that holds all of `slices`, if one does.
    pub region: Option<u16>,
    /// When it is to be given up. Only a queue whose requests can be called back does so; a device keeps its own time.
    pub deadline: Option<Instant>,
    /// Bytes of the blocks whose checksums a read is to bring along, from a backend that can ([`Reach::sums`]).
    pub sum_block_bytes: Option<usize>,
}

/// How a request ended: bytes moved, possibly fewer than asked for, or the error.
#[derive(Debug)]
pub struct IoCompletion {
    /// The request's token.
    pub token: u32,
    /// Bytes moved; 0 from a read is the end of the file.
    pub result: io::Result<usize>,
    /// XXH3 (64 bit) of each block that was read, the last one cut at the end of the request. Empty unless asked for.
    pub sums: Vec<u64>,
}

impl IoCompletion {
    /// An end without checksums.
    pub fn new(token: u32, result: io::Result<usize>) -> IoCompletion {
        IoCompletion { token, result, sums: Vec::new() }
    }
}

/// Whether [`IoQueue::wait`] may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return at once.
    Poll,
    /// Sleep until a request completes, the waker is signalled, or that moment comes; `None` never comes.
    Until(Option<Instant>),
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
    /// A device: transfers take time of their own, and many go on at once.
    Device,
    /// This machine's memory (tmpfs): a transfer is a copy.
    Memory,
    /// A server behind a network: a request costs a round trip, and many go on at once.
    Server,
}

/// What a backend moves bytes from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// Files below `nixl_path`.
    Files,
    /// Memory of this process, which nobody can name.
    Memory,
    /// Objects of a bucket.
    Bucket,
}

/// The path that a backend found to work, for capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoPath {
    /// `io_uring`, `inline`, `threads`, ….
    pub name: &'static str,
    /// Why nothing better; empty if nothing is degraded.
    pub reason: String,
}

/// Memory that a backend knows, for as long as this is kept.
pub type Known = Box<dyn Send + Sync>;

/// For whom a backend is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worker {
    /// Its number.
    pub id: u32,
    /// Ordinal of the CUDA device that it uses, if it named one.
    pub device: Option<u32>,
}

/// One way of moving bytes.
pub trait Backend: Send + Sync {
    /// The path in effect.
    fn path(&self) -> IoPath;

    /// What goes direct, of all queues.
    fn reach(&self) -> Reach;

    /// What its targets are, and so which placements it serves.
    fn stores(&self) -> Stores;

    /// Makes a file known, so that requests can name it.
    ///
    /// # Errors
    /// What the system answers.
    fn attach(&self, file: Arc<File>) -> io::Result<Target> {
        Ok(Target::file(file))
    }

    /// Whether [`attach`](Backend::attach) may refuse files for the file system that they are on, so that a store tries it once
    /// before it is open.
    fn may_refuse_files(&self) -> bool {
        false
    }

    /// What its files do otherwise than those of a local file system.
    fn habits(&self) -> Habits {
        Habits::default()
    }

    /// Memory of `bytes`, from which a staging buffer is cut; in huge pages if asked for and to be had.
    ///
    /// # Errors
    /// What `mmap(2)` answers.
    fn staging(&self, bytes: usize, huge_pages: bool) -> io::Result<Arena> {
        Arena::new(bytes, huge_pages)
    }

    /// Makes a device's memory known, so that its transfers need no copy. It is forgotten when the answer is dropped; `None`:
    /// there is nothing to gain.
    ///
    /// # Errors
    /// Why it could not be, in words; transfers go on without.
    fn know(&self, _memory: DeviceSlice) -> std::result::Result<Option<Known>, String> {
        Ok(None)
    }

    /// The bucket, of a backend that stores in one.
    #[cfg(feature = "obj")]
    fn bucket(&self) -> Option<&Bucket> {
        None
    }

    /// What files are to it that the system says lie on `found`.
    fn medium(&self, found: Medium) -> Medium {
        found
    }

    /// Lanes to run unless the configuration says otherwise.
    fn lanes_default(&self, medium: Medium) -> u32;

    /// Whether O_DIRECT means anything here.
    fn supports_direct_io(&self) -> bool;

    /// Opens the queue of one lane, on the thread that will use it, to files on `medium`; `waker` ends its sleep.
    ///
    /// # Errors
    /// What the system answers.
    fn open_queue(&self, waker: Arc<Event>, medium: Medium) -> io::Result<Box<dyn IoQueue>>;

    /// Whether queues for files on that medium read from a target's mapping, so that mapping them is worth it.
    fn reads_mappings(&self, medium: Medium) -> bool;

    /// A queue that does each request while it is pushed and is only polled, for whoever calls from a thread of his own.
    /// `None`: this backend has no such calls.
    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>>;
}
