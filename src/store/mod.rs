//! The store: keys in, bytes out. What is where, who may see it, and who moves it.

pub mod catalog;

use std::time::Duration;

use crate::config::Config;
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::{HostPtr, Segment};
use crate::metrics;

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest namespace in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 255;
/// Most items of one batch.
pub const BATCH_ITEMS_MAX: usize = 65536;
/// Most segments of one item.
pub const SEGMENTS_PER_ITEM_MAX: usize = 65536;

/// What the engine knows and the YAML does not.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bytes of the largest object.
    pub chunk_bytes: Option<u64>,
    /// This worker's rank.
    pub worker_id: u32,
    /// Workers that work together; at least 1.
    pub world_size: u32,
    /// CUDA device of this worker, if it has one.
    pub cuda_device: Option<u32>,
    /// Separates keys of users that share a store; at most [`NAMESPACE_BYTES_MAX`] bytes.
    pub namespace: Vec<u8>,
    /// Where messages go.
    pub logger: Logger,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Storage to memory.
    Get,
    /// Memory to storage.
    Put,
}

/// A handle on a submitted batch; the number in the C API, never 0.
pub type Ticket = u64;

/// A handle on a completion queue; never 0.
pub type QueueId = u64;

/// How one item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemResult {
    /// Its status.
    pub status: Status,
    /// The OS error number behind it, else 0.
    pub os_error: i32,
    /// Payload bytes moved.
    pub bytes: u64,
    /// Length of the stored object where it is known, else 0.
    pub object_length: u64,
}

/// One drained completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The finished ticket.
    pub ticket: Ticket,
    /// What the submitter gave.
    pub user_data: u64,
    /// What [`Store::ticket_wait`] will return for it.
    pub status: Status,
}

/// How a batch is submitted.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubmitOptions {
    /// Deadline for the whole batch from now; `None` takes the store's default.
    pub timeout: Option<Duration>,
    /// Queue that gets the completion.
    pub queue: Option<QueueId>,
    /// Given back in the completion.
    pub user_data: u64,
}

/// Which path is in effect and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `POSIX`, `MEMORY`, ….
    pub backend: String,
    /// `io_uring` or `threads`.
    pub io_path: String,
    /// Why a better path is not in effect; empty if nothing was degraded.
    pub reason: String,
    /// `static`, `dynamic/sharded`, `dynamic/lmcache`.
    pub layout: String,
    /// Whether O_DIRECT is in effect.
    pub direct_io: bool,
    /// Whether the staging buffer is registered with the kernel.
    pub registered_buffers: bool,
    /// Alignment of pointers and segment lengths from which transfers go direct, in bytes; 1 is any.
    pub direct_alignment: u64,
    /// Largest object in bytes.
    pub object_bytes_max: u64,
    /// I/O threads.
    pub io_threads: u32,
}

/// Counters and gauges of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Totals since open.
    pub totals: metrics::Snapshot,
    /// Keys stored now, as far as this process knows.
    pub keys: u64,
    /// Payload bytes stored now, as far as this process knows.
    pub bytes_stored: u64,
    /// Slots of a static pool, 0 if dynamic.
    pub slots: u64,
    /// Free slots.
    pub slots_free: u64,
    /// Capacity in bytes; 0 is unlimited.
    pub capacity_bytes: u64,
    /// Keys pinned by this process.
    pub keys_pinned: u64,
    /// Items waiting or under way.
    pub items_in_flight: u64,
}

/// A store. All methods may be called from any thread.
pub struct Store {
    _private: (),
}

/// Collects the items of a batch before it is submitted.
pub struct BatchBuilder<'a> {
    _store: &'a Store,
}

impl BatchBuilder<'_> {
    /// Starts an item for `key`; `range_offset` is `Some` for a range get.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an empty or too long key.
    pub fn item(&mut self, _key: &[u8], _range_offset: Option<u64>) -> Result<()> {
        Err(unmerged())
    }

    /// Adds a segment to the item started last.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if there is no item or it has too many segments; [`Status::Unsupported`] for device memory.
    pub fn segment(&mut self, _segment: Segment) -> Result<()> {
        Err(unmerged())
    }

    /// Hands the batch to the I/O threads. From here to completion they own the memory.
    ///
    /// # Errors
    /// [`Status::Busy`] if the queues are full past the deadline.
    pub fn submit(self, _options: SubmitOptions) -> Result<Ticket> {
        Err(unmerged())
    }
}

fn unmerged() -> Error {
    Error::new(Status::Unsupported, "not merged yet")
}

#[allow(missing_docs, clippy::missing_errors_doc)]
impl Store {
    pub fn open(_config: &Config, _options: &OpenOptions) -> Result<Store> {
        Err(unmerged())
    }
    /// Refuses new work, drains what is outstanding, writes the snapshot, releases everything.
    pub fn close(&self) -> Result<()> {
        Err(unmerged())
    }
    /// In a forked child: gives up what belongs to the parent without touching it.
    pub fn abandon_after_fork(&self) {}
    /// After a caught panic: refuse everything, fail what is outstanding.
    pub fn poison(&self, _why: &str) {}
    pub fn batch(&self, _direction: Direction, _item_count: usize) -> Result<BatchBuilder<'_>> {
        Err(unmerged())
    }
    /// `timeout` `None` waits for ever. `InProgress` keeps the ticket; anything else released it after `results` saw every item.
    pub fn ticket_wait(
        &self,
        _ticket: Ticket,
        _timeout: Option<Duration>,
        _results: &mut dyn FnMut(usize, ItemResult),
    ) -> Result<Status> {
        Err(unmerged())
    }
    pub fn ticket_poll(&self, _ticket: Ticket) -> Result<Status> {
        Err(unmerged())
    }
    pub fn ticket_cancel(&self, _ticket: Ticket) -> Result<()> {
        Err(unmerged())
    }
    pub fn queue_create(&self) -> Result<QueueId> {
        Err(unmerged())
    }
    pub fn queue_fd(&self, _queue: QueueId) -> Result<i32> {
        Err(unmerged())
    }
    /// Hands up to `capacity` completions to `sink`; returns how many.
    pub fn queue_drain(
        &self,
        _queue: QueueId,
        _capacity: usize,
        _sink: &mut dyn FnMut(Completion),
    ) -> Result<usize> {
        Err(unmerged())
    }
    pub fn queue_destroy(&self, _queue: QueueId) -> Result<()> {
        Err(unmerged())
    }
    pub fn memory_register(&self, _address: HostPtr, _length: usize) -> Result<()> {
        Err(unmerged())
    }
    pub fn memory_unregister(&self, _address: HostPtr) -> Result<()> {
        Err(unmerged())
    }
    pub fn memory_allocate(&self, _length: usize) -> Result<HostPtr> {
        Err(unmerged())
    }
    pub fn memory_free(&self, _address: HostPtr) -> Result<()> {
        Err(unmerged())
    }
    pub fn contains(&self, _key: &[u8]) -> Result<bool> {
        Err(unmerged())
    }
    pub fn length(&self, _key: &[u8]) -> Result<Option<u64>> {
        Err(unmerged())
    }
    /// Ok, NotFound or Pinned.
    pub fn remove(&self, _key: &[u8]) -> Result<Status> {
        Err(unmerged())
    }
    /// False if the key is not stored.
    pub fn pin(&self, _key: &[u8]) -> Result<bool> {
        Err(unmerged())
    }
    /// False if the key is not pinned.
    pub fn unpin(&self, _key: &[u8]) -> Result<bool> {
        Err(unmerged())
    }
    /// Removes all but pinned keys; returns how many.
    pub fn clear(&self) -> Result<u64> {
        Err(unmerged())
    }
    pub fn flush(&self) -> Result<()> {
        Err(unmerged())
    }
    pub fn stats(&self) -> Result<Stats> {
        Err(unmerged())
    }
    pub fn capabilities(&self) -> Result<Capabilities> {
        Err(unmerged())
    }
}
