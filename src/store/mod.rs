//! The store: keys in, bytes out. What is where, who may see it, and who moves it.

mod commands;
mod gate;
mod meter;
mod open;
mod options;
mod place;
mod prefix;
pub mod prospect;
mod reading;
mod regions;
mod settings;
mod streams;
mod submit;
mod tickets;

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use crate::batch::Batch;
use crate::batch::completion::CompletionQueue;
use crate::batch::ticket::TicketTable;
use crate::config::Layout;
use crate::cuda;
use crate::error::{Error, Result, Status};
use crate::memory::{Copiers, Stretch};
use crate::status;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock, RwLockReadGuard, lock};

use self::gate::Gate;
use self::meter::Meter;
use self::regions::Regions;
use self::streams::Streams;
use crate::catalog::Chains;
use crate::lane::caller::Carrier;
use crate::lane::chores::Chores;
use crate::lane::shared::Shared;
use crate::layout::record::{self, EffectiveKey};
use crate::placement::{Key, Keys};

pub(crate) use self::open::namespace;
pub(crate) use self::place::{chunk_bytes, pool_name};

pub use self::options::{Capabilities, DeviceService, OpenOptions, Stats, SubmitOptions};
pub use self::prefix::PrefixMatch;
pub use self::reading::{Reading, metrics_text};
pub use self::streams::StreamOrder;
pub use self::submit::BatchBuilder;
pub use crate::batch::BATCH_ITEMS_MAX;
pub use crate::batch::completion::Completion;
pub use crate::batch::{Direction, ItemResult, Question, Wish};
pub use crate::catalog::FORESEEN_MAX as PLAN_KEYS_MAX;
pub use crate::layout::record::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};

/// Most segments of one item.
pub const SEGMENTS_PER_ITEM_MAX: usize = 65536;

/// Keys of a chain that are looked up at a time: enough to have a memory access under way for each while the first comes
/// back, few enough that a chain which ends early costs little.
pub const PREFIX_GROUP_KEYS: usize = 16;

/// A handle on a submitted batch; the number in the C API, never 0.
pub type Ticket = u64;

/// A handle on a completion queue; never 0.
pub type QueueId = u64;

/// Batches kept for another use after their ticket was waited for.
const SPARE_BATCHES_MAX: usize = 64;
/// Items and segments of the largest batch that is kept; larger ones would hold on to their memory.
const SPARE_BATCH_ITEMS_MAX: usize = 4096;
/// Blocking calls that one store carries on the callers' own threads at a time.
const CARRIERS: usize = 8;
/// Completion queues that one store may have.
const QUEUES_MAX: usize = 1024;

/// A store. All methods may be called from any thread.
pub struct Store {
    shared: Arc<Shared>,
    keys: Arc<dyn Keys>,
    /// Where requests and their keys are written down, if the eviction policy knows them.
    chains: Option<Arc<Chains>>,
    /// The lanes, and who keeps deadlines.
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    chores: Arc<Chores>,
    streams: Streams,
    tickets: Arc<TicketTable>,
    queues: Mutex<HashMap<QueueId, Arc<CompletionQueue>>>,
    queue_next: AtomicU64,
    regions: Regions,
    namespace: Vec<u8>,
    timeout_default: Option<Duration>,
    capabilities: Capabilities,
    /// The device that items mostly lie on, as far as is known.
    device: Option<u16>,
    /// Whether the backend moves the memory of devices itself.
    reaches_devices: bool,
    /// Lanes for blocking calls on one small object; whoever finds none uses the I/O threads.
    carriers: ArrayQueue<Box<dyn Carrier>>,
    carried_bytes_max: u64,
    spare_batches: ArrayQueue<Arc<Batch>>,
    gate: Gate,
    /// Held for reading by calls that work on storage on their caller's own thread, so that closing can wait for them: they may
    /// take long, and they use the engine's log function.
    calls: RwLock<()>,
    meter: Arc<Meter>,
    /// Where others can read what is measured, if such a place could be had.
    status: Mutex<Option<status::Server>>,
}

impl Store {
    /// Refuses new work, drains what is outstanding, writes the snapshot, releases everything.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`] the second time; [`Status::Poisoned`] after a panic; what writing the snapshot answers, which only
    /// costs the next open a scan.
    pub fn close(&self) -> Result<()> {
        if self.shared.stop_admitting() {
            return Err(Error::new(Status::InvalidHandle, "the store is closed already"));
        }
        self.shared.call_submitters();
        drop(lock(&self.status).take());
        self.gate.wait_until_empty();
        // Whoever comes from now on finds the store closing.
        drop(self.calls.write());
        self.tickets.for_each(&mut |batch| {
            batch.wait(None);
        });
        self.streams.stop();
        self.shared.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A lane catches its own panics; the flag tells.
            drop(thread.join());
        }
        self.chores.stop();
        if let Err(poisoned) = self.shared.check_poison() {
            // Index and storage may disagree after a panic; the next open reads what storage says.
            self.keys.give_up();
            return Err(poisoned);
        }
        self.keys.close()
    }

    /// In a forked child: gives up what belongs to the parent without touching it. The parent's locks then
    /// die with the parent, whatever becomes of the child. The caller must leak the store afterwards: its
    /// threads, locks and temporaries are the parent's.
    pub fn abandon_after_fork(&self) {
        // Nobody waits for room: other threads are the parent's.
        self.shared.stop_admitting();
        // A thread that had it at the fork was closing the store.
        if let Ok(server) = self.status.try_lock() {
            server.iter().for_each(status::Server::let_go_in_child);
        }
        self.keys.abandon_after_fork();
    }

    /// After a caught panic: refuse everything, fail what is outstanding.
    pub fn poison(&self, why: &str) {
        self.shared.poison(why);
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
    pub fn memory_register(&self, memory: Stretch) -> Result<()> {
        let _call = self.call()?;
        self.regions.register(&self.shared, memory)
    }

    /// Undoes [`Store::memory_register`] for the region that begins at `address`, after waiting for the
    /// transfers that use it.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if none does.
    pub fn memory_unregister(&self, address: usize) -> Result<()> {
        let _call = self.call()?;
        self.settle(address, self.regions.length(address));
        self.regions.unregister(&self.shared, address)
    }

    /// Lends `length` bytes of the staging buffer, page-aligned.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`] if that much is not free in one piece.
    pub fn memory_allocate(&self, length: usize) -> Result<Stretch> {
        self.check_open()?;
        let staging = &self.shared.staging;
        staging.lend(length).ok_or_else(|| {
            Error::new(
                Status::OutOfMemory,
                format!(
                    "{length} bytes are not free in one piece in the staging buffer of {} bytes; free some or \
                     raise nixl_buffer_size",
                    staging.bytes()
                ),
            )
        })
    }

    /// Takes back what [`Store::memory_allocate`] lent, after waiting for the transfers that use it.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an address that was not lent.
    pub fn memory_free(&self, address: usize) -> Result<()> {
        self.settle(address, self.shared.staging.lent_bytes(address));
        if self.shared.staging.take_back(address) {
            self.shared.relieve();
            return Ok(());
        }
        Err(invalid(format!("{address:#x} was not allocated from this store")))
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
        let _call = self.call()?;
        let removed = self.with_key(key, |key| self.keys.remove(key));
        self.shared.relieve();
        removed
    }

    /// As [`Store::contains`], for a key of any namespace.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn contains_of(&self, key: &EffectiveKey) -> Result<bool> {
        self.check_open()?;
        self.keys.contains(&Key { effective: key.bytes(), digest: key.digest() })
    }

    /// As [`Store::remove`], for a key of any namespace.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn remove_of(&self, key: &EffectiveKey) -> Result<Status> {
        let _call = self.call()?;
        let removed = self.keys.remove(&Key { effective: key.bytes(), digest: key.digest() });
        self.shared.relieve();
        removed
    }

    /// Keeps the key from eviction; false if it is not stored. Pins count.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn pin(&self, key: &[u8]) -> Result<bool> {
        let _call = self.call()?;
        self.with_key(key, |key| self.keys.pin(key))
    }

    /// Takes one pin back; false if the key is not pinned.
    ///
    /// # Errors
    /// As for [`Store::contains`].
    pub fn unpin(&self, key: &[u8]) -> Result<bool> {
        let _call = self.call()?;
        let unpinned = self.with_key(key, |key| self.keys.unpin(key));
        self.shared.relieve();
        unpinned
    }

    /// Removes all but pinned keys; returns how many.
    ///
    /// # Errors
    /// What the file system answers; some keys may be gone.
    pub fn clear(&self) -> Result<u64> {
        let _call = self.call()?;
        let removed = self.keys.clear();
        self.shared.relieve();
        removed
    }

    /// Waits for the puts submitted before, then makes them durable.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn flush(&self) -> Result<()> {
        let _call = self.call()?;
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
        Ok(self.meter.stats())
    }

    /// All that is measured, for [`metrics_text`]. Also of a poisoned store: that is what somebody has to see.
    ///
    /// # Errors
    /// [`Status::Closing`].
    pub fn reading(&self) -> Result<Reading> {
        self.shared.check_admitting()?;
        Ok(self.meter.read())
    }

    /// Which path is in effect and why.
    ///
    /// # Errors
    /// [`Status::Closing`], [`Status::Poisoned`].
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.check_open()?;
        Ok(Capabilities { devices: self.device_service(), ..self.capabilities.clone() })
    }

    /// How the memory of devices is served, as far as is known now.
    fn device_service(&self) -> DeviceService {
        if !cuda::is_in_process() {
            return DeviceService { path: "none", checksums: "none", reason: String::new() };
        }
        let devices = self.streams.devices();
        // A device that nobody has named or used is not made ready for a question.
        let why_not = devices.why_no_sums();
        let can_sum = self.device.map_or(why_not.is_none(), |device| devices.can_sum(device));
        let path = match self.capabilities.io_path.ends_with("_compat") {
            _ if !(self.reaches_devices && can_sum) => "staged",
            true => "direct_compat",
            false => "direct",
        };
        // What a backend does not move itself is summed where it passes.
        let wanted = self.reaches_devices || self.shared.staging.device().is_some();
        let reason = why_not.filter(|_| wanted && !can_sum);
        let checksums = if wanted && can_sum { "cuda" } else { "cpu" };
        DeviceService { path, checksums, reason: reason.unwrap_or_default() }
    }

    /// Waits for the transfers under way that use this memory.
    fn settle(&self, address: usize, length: usize) {
        let range = address..address.saturating_add(length);
        self.tickets.for_each(&mut |batch| {
            if batch.uses(&range) {
                batch.wait(None);
            }
        });
    }

    #[inline]
    fn with_key<T>(&self, key: &[u8], act: impl FnOnce(&Key<'_>) -> Result<T>) -> Result<T> {
        self.check_open()?;
        EffectiveKey::lend(&self.namespace, key, |effective| {
            act(&Key { effective, digest: record::digest(effective) })
        })?
    }

    /// Whether objects are named by their keys alone, so that a namespace would be lost.
    fn keeps_no_namespaces(&self) -> bool {
        self.capabilities.layout == Layout::Lmcache.dynamic_name()
    }

    /// Begins a call that [`Store::close`] waits for.
    fn call(&self) -> Result<RwLockReadGuard<'_, ()>> {
        // Nothing is behind the lock that a panic could have left half done.
        let call = self.calls.read().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        Ok(call)
    }

    /// # Errors
    /// [`Status::Closing`], [`Status::Poisoned`].
    pub(crate) fn check_open(&self) -> Result<()> {
        self.shared.check_open()
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

fn no_queue() -> Error {
    Error::new(Status::InvalidHandle, "not a completion queue of this store, or destroyed already")
}
