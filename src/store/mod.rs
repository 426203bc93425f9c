//! The store: keys in, bytes out. What is where, who may see it, and who moves it.

pub mod catalog;
pub mod engine;
pub mod files;
pub mod lane;
pub mod objects;
mod open;
pub mod placement;
pub mod pool;
pub mod record;
mod regions;
pub mod slots;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::{HostPtr, MemoryKind, Segment};
use crate::metrics;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock};
use crate::transfer::batch::Batch;
use crate::transfer::completion::CompletionQueue;
use crate::transfer::ticket::TicketTable;

use self::engine::Shared;
use self::placement::{Key, Keys};
use self::record::EffectiveKey;
use self::regions::Regions;

pub use crate::transfer::batch::{Direction, ItemResult};
pub use crate::transfer::completion::Completion;

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

/// A handle on a submitted batch; the number in the C API, never 0.
pub type Ticket = u64;

/// A handle on a completion queue; never 0.
pub type QueueId = u64;

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

/// Batches kept for another use after their ticket was waited for.
const SPARE_BATCHES_MAX: usize = 64;
/// Completion queues that one store may have.
const QUEUES_MAX: usize = 1024;

/// A store. All methods may be called from any thread.
pub struct Store {
    shared: Arc<Shared>,
    keys: Arc<dyn Keys>,
    lanes: Mutex<Vec<std::thread::JoinHandle<()>>>,
    tickets: TicketTable,
    queues: Mutex<HashMap<QueueId, Arc<CompletionQueue>>>,
    queue_next: AtomicU64,
    regions: Regions,
    namespace: Vec<u8>,
    timeout_default: Option<Duration>,
    capabilities: Capabilities,
    spare_batches: ArrayQueue<Arc<Batch>>,
    closing: AtomicBool,
}

/// Collects the items of a batch before it is submitted.
pub struct BatchBuilder<'a> {
    store: &'a Store,
    batch: Arc<Batch>,
}

impl BatchBuilder<'_> {
    /// Starts an item for `key`; `range_offset` is `Some` for a range get.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an empty or too long key or too many items.
    pub fn item(&mut self, key: &[u8], range_offset: Option<u64>) -> Result<()> {
        let key = EffectiveKey::new(&self.store.namespace, key)?;
        let batch = self.batch()?;
        if batch.len() == BATCH_ITEMS_MAX {
            return Err(invalid(format!("a batch has at most {BATCH_ITEMS_MAX} items")));
        }
        batch.push_item(key.digest(), key.bytes(), range_offset);
        Ok(())
    }

    /// Adds a segment to the item started last.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if it is empty, there is no item, or the item has too many segments or
    /// bytes; [`Status::Unsupported`] for device memory.
    pub fn segment(&mut self, segment: Segment) -> Result<()> {
        if segment.kind == MemoryKind::Cuda {
            let backend = &self.store.capabilities.backend;
            return Err(Error::new(
                Status::Unsupported,
                format!("backend {backend} moves host memory only; copy the segment to the host first"),
            ));
        }
        if segment.length == 0 {
            return Err(invalid("a segment of 0 bytes".to_owned()));
        }
        if !self.batch()?.push_segment(segment) {
            return Err(invalid("a segment without an item, or more bytes than memory can have".to_owned()));
        }
        Ok(())
    }

    /// Hands the batch to the I/O threads. From here to completion they own the memory.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an item without segments or a queue that is none; [`Status::Busy`] if
    /// a table or queue is full, past the deadline; [`Status::Closing`], [`Status::Poisoned`].
    pub fn submit(mut self, options: SubmitOptions) -> Result<Ticket> {
        let store = self.store;
        store.check_open()?;
        if self.batch.is_empty() || self.batch.items().iter().any(|item| item.length == 0) {
            return Err(invalid("a batch needs items, and each item memory".to_owned()));
        }
        let timeout = options.timeout.or(store.timeout_default);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let notice = options.queue.map(|queue| store.notice(queue, options.user_data)).transpose()?;
        let queue = notice.as_ref().map(|notice| Arc::clone(&notice.queue));
        let admitted = store.admit(&self.batch, deadline);
        let reserved = match admitted {
            Ok(reserved) => reserved,
            Err(error) => {
                queue.iter().for_each(|queue| queue.unreserve());
                return Err(error);
            }
        };
        let ticket = reserved.ticket;
        let batch = self.batch()?;
        batch.deadline = deadline;
        batch.notice = notice;
        batch.ticket = ticket;
        store.tickets.insert(reserved, Arc::clone(&self.batch));
        // `close` raises the flag and then waits for every batch in the table: either it sees this
        // one, or this sees the flag.
        if store.closing.load(Ordering::SeqCst) {
            store.tickets.take(ticket);
            store.shared.readmit(self.batch.direction, self.batch.len());
            queue.iter().for_each(|queue| queue.unreserve());
            return Err(closing());
        }
        store.shared.submit(&self.batch);
        Ok(ticket)
    }

    /// The batch, which nobody else holds before it is submitted.
    fn batch(&mut self) -> Result<&mut Batch> {
        Arc::get_mut(&mut self.batch)
            .ok_or_else(|| Error::new(Status::Internal, "a batch shared before its submission"))
    }
}

impl Store {
    /// Refuses new work, drains what is outstanding, writes the snapshot, releases everything.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`] the second time; what writing the snapshot answers, which only
    /// costs the next open a scan.
    pub fn close(&self) -> Result<()> {
        if self.closing.swap(true, Ordering::SeqCst) {
            return Err(Error::new(Status::InvalidHandle, "the store is closed already"));
        }
        self.tickets.for_each(&mut |batch| {
            batch.wait(None);
        });
        self.shared.stop();
        for lane in std::mem::take(&mut *lock(&self.lanes)) {
            // A lane catches its own panics; the flag tells.
            drop(lane.join());
        }
        // Index and storage may disagree after a panic; the next open reads what storage says.
        if self.shared.is_poisoned() { Ok(()) } else { self.keys.close() }
    }

    /// In a forked child: gives up what belongs to the parent without touching it. The caller must
    /// leak the store afterwards: its threads, locks and temporaries are the parent's.
    pub fn abandon_after_fork(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// After a caught panic: refuse everything, fail what is outstanding.
    pub fn poison(&self, why: &str) {
        self.shared.poison(why);
    }

    /// Starts a batch of about `item_count` items.
    ///
    /// # Errors
    /// [`Status::Closing`], [`Status::Poisoned`].
    pub fn batch(&self, direction: Direction, item_count: usize) -> Result<BatchBuilder<'_>> {
        self.check_open()?;
        if item_count > BATCH_ITEMS_MAX {
            return Err(invalid(format!("a batch has at most {BATCH_ITEMS_MAX} items, not {item_count}")));
        }
        let mut batch = self.spare_batches.pop().unwrap_or_default();
        match Arc::get_mut(&mut batch) {
            Some(spare) => spare.reset(direction),
            // A lane is a moment from letting go of it.
            None => {
                let mut fresh = Batch::default();
                fresh.reset(direction);
                batch = Arc::new(fresh);
            }
        }
        Ok(BatchBuilder { store: self, batch })
    }

    /// Waits for a ticket; `timeout` `None` waits for ever. `InProgress` keeps the ticket, anything
    /// else released it after `results` saw every item.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`] for what is no ticket of this store, or one already waited for.
    pub fn ticket_wait(
        &self,
        ticket: Ticket,
        timeout: Option<Duration>,
        results: &mut dyn FnMut(usize, ItemResult),
    ) -> Result<Status> {
        let batch = self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?;
        if !batch.wait(timeout) {
            return Ok(Status::InProgress);
        }
        let batch = self.tickets.take(ticket).ok_or_else(|| no_ticket(ticket))?;
        for (index, item) in batch.items().iter().enumerate() {
            results(index, batch.result(item));
        }
        let summary = batch.summary();
        // Full: enough spares are kept.
        drop(self.spare_batches.push(batch));
        Ok(summary)
    }

    /// How many items the ticket's batch has.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn ticket_item_count(&self, ticket: Ticket) -> Result<usize> {
        Ok(self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?.len())
    }

    /// What [`Store::ticket_wait`] would return now, without waiting or releasing.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn ticket_poll(&self, ticket: Ticket) -> Result<Status> {
        Ok(self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?.summary())
    }

    /// Asks that the items not yet started end with `Cancelled`. Those under way finish.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn ticket_cancel(&self, ticket: Ticket) -> Result<()> {
        self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?.cancel();
        self.shared.wake_all();
        Ok(())
    }

    /// Makes a completion queue.
    ///
    /// # Errors
    /// [`Status::Busy`] past the limit; what `eventfd(2)` answers.
    pub fn queue_create(&self) -> Result<QueueId> {
        self.check_open()?;
        let queue = CompletionQueue::new().map_err(|error| Error::os("making a completion queue", &error))?;
        let mut queues = lock(&self.queues);
        if queues.len() >= QUEUES_MAX {
            return Err(Error::new(
                Status::Busy,
                format!("a store has at most {QUEUES_MAX} completion queues"),
            ));
        }
        let id = self.queue_next.fetch_add(1, Ordering::Relaxed);
        queues.insert(id, Arc::new(queue));
        Ok(id)
    }

    /// The queue's eventfd.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn queue_fd(&self, queue: QueueId) -> Result<i32> {
        Ok(self.queue(queue)?.fd())
    }

    /// Hands up to `capacity` completions to `sink`; returns how many.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn queue_drain(
        &self,
        queue: QueueId,
        capacity: usize,
        sink: &mut dyn FnMut(Completion),
    ) -> Result<usize> {
        Ok(self.queue(queue)?.drain(capacity, sink))
    }

    /// Forgets a queue. Tickets submitted with it complete all the same.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn queue_destroy(&self, queue: QueueId) -> Result<()> {
        lock(&self.queues).remove(&queue).map(drop).ok_or_else(no_queue)
    }

    /// Registers the engine's memory, so that the kernel need not pin it for each transfer.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for memory that overlaps a registered region or is not mapped;
    /// [`Status::Busy`] past the number of regions.
    pub fn memory_register(&self, address: HostPtr, length: usize) -> Result<()> {
        self.check_open()?;
        self.regions.register(&self.shared, address, length)
    }

    /// Undoes [`Store::memory_register`] for the region that begins at `address`.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if none does.
    pub fn memory_unregister(&self, address: HostPtr) -> Result<()> {
        self.check_open()?;
        self.regions.unregister(&self.shared, address)
    }

    /// Lends `length` bytes of the staging buffer, page-aligned.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`] if that much is not free in one piece.
    pub fn memory_allocate(&self, length: usize) -> Result<HostPtr> {
        self.check_open()?;
        let staging = &self.shared.staging;
        staging.lend(length).ok_or_else(|| {
            Error::new(
                Status::OutOfMemory,
                format!(
                    "{length} bytes are not free in one piece in the staging buffer of {} bytes; free some or \
                     raise nixl_buffer_size",
                    staging.region().length
                ),
            )
        })
    }

    /// Takes back what [`Store::memory_allocate`] lent.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an address that was not lent.
    pub fn memory_free(&self, address: HostPtr) -> Result<()> {
        if self.shared.staging.take_back(address) {
            self.shared.relieve();
            return Ok(());
        }
        Err(invalid(format!("{:#x} was not allocated from this store", address.addr())))
    }

    /// Whether the key is stored.
    ///
    /// # Errors
    /// As [`EffectiveKey::new`] and the file system answer.
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        self.with_key(key, |key| self.keys.contains(key))
    }

    /// Length of the stored object, if there is one.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn length(&self, key: &[u8]) -> Result<Option<u64>> {
        self.with_key(key, |key| self.keys.length(key))
    }

    /// Removes the key: `Ok`, `NotFound` or `Pinned`.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn remove(&self, key: &[u8]) -> Result<Status> {
        let removed = self.with_key(key, |key| self.keys.remove(key));
        self.shared.relieve();
        removed
    }

    /// Keeps the key from eviction; false if it is not stored. Pins count.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn pin(&self, key: &[u8]) -> Result<bool> {
        self.with_key(key, |key| self.keys.pin(key))
    }

    /// Takes one pin back; false if the key is not pinned.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn unpin(&self, key: &[u8]) -> Result<bool> {
        let unpinned = self.with_key(key, |key| self.keys.unpin(key));
        self.shared.relieve();
        unpinned
    }

    /// Removes all but pinned keys; returns how many.
    ///
    /// # Errors
    /// What the file system answers; some keys may be gone.
    pub fn clear(&self) -> Result<u64> {
        self.check_open()?;
        let removed = self.keys.clear();
        self.shared.relieve();
        removed
    }

    /// Waits for the puts submitted before, then makes them durable.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn flush(&self) -> Result<()> {
        self.check_open()?;
        self.tickets.for_each(&mut |batch| {
            if batch.direction == Direction::Put {
                batch.wait(None);
            }
        });
        self.keys.sync()
    }

    /// Counters and gauges.
    ///
    /// # Errors
    /// [`Status::Closing`], [`Status::Poisoned`].
    pub fn stats(&self) -> Result<Stats> {
        self.check_open()?;
        let gauges = self.keys.gauges();
        let mut totals = self.shared.metrics.snapshot();
        totals.quarantined_slots = gauges.slots_quarantined;
        totals.evictions = gauges.evictions;
        Ok(Stats {
            totals,
            keys: gauges.keys,
            bytes_stored: gauges.bytes,
            slots: gauges.slots,
            slots_free: gauges.slots_free,
            capacity_bytes: gauges.capacity_bytes,
            keys_pinned: gauges.keys_pinned,
            items_in_flight: self.shared.in_flight() as u64,
        })
    }

    /// Which path is in effect and why.
    ///
    /// # Errors
    /// [`Status::Closing`], [`Status::Poisoned`].
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.check_open()?;
        Ok(self.capabilities.clone())
    }

    fn with_key<T>(&self, key: &[u8], act: impl FnOnce(&Key<'_>) -> Result<T>) -> Result<T> {
        self.check_open()?;
        let key = EffectiveKey::new(&self.namespace, key)?;
        act(&Key { effective: key.bytes(), digest: key.digest() })
    }

    fn check_open(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) {
            return Err(closing());
        }
        self.shared.check_poison()
    }

    /// Waits for room among the items under way and takes a ticket.
    fn admit(&self, batch: &Batch, deadline: Option<Instant>) -> Result<crate::transfer::ticket::Reserved> {
        let reserved = self.tickets.reserve().ok_or_else(|| {
            Error::new(
                Status::Busy,
                format!(
                    "{} tickets are outstanding, the most a store has; wait for some with nixl_store_ticket_wait",
                    crate::transfer::ticket::TICKETS_MAX
                ),
            )
        })?;
        match self.shared.admit(batch.direction, batch.len(), deadline) {
            Ok(()) => Ok(reserved),
            Err(error) => {
                self.tickets.cancel(reserved);
                Err(error)
            }
        }
    }

    fn notice(&self, queue: QueueId, user_data: u64) -> Result<crate::transfer::batch::Notice> {
        let queue = self.queue(queue)?;
        if queue.reserve() {
            return Ok(crate::transfer::batch::Notice { queue, user_data });
        }
        let most = crate::transfer::completion::COMPLETIONS_MAX;
        Err(Error::new(Status::Busy, format!("the completion queue owes {most} completions; drain it first")))
    }

    fn queue(&self, queue: QueueId) -> Result<Arc<CompletionQueue>> {
        lock(&self.queues).get(&queue).cloned().ok_or_else(no_queue)
    }
}

impl Drop for Store {
    /// A store that was never closed is closed; a closed one has nothing left to do.
    fn drop(&mut self) {
        // Nobody is left to hear of an error, and the next open recovers from one.
        drop(self.close());
    }
}

fn invalid(message: String) -> Error {
    Error::new(Status::InvalidArgument, message)
}

fn closing() -> Error {
    Error::new(Status::Closing, "the store is being closed")
}

fn no_ticket(ticket: Ticket) -> Error {
    Error::new(
        Status::InvalidHandle,
        format!("{ticket:#x} is no ticket of this store, or was waited for already"),
    )
}

fn no_queue() -> Error {
    Error::new(Status::InvalidHandle, "not a completion queue of this store, or destroyed already")
}
