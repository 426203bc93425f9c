//! What the lanes share with the callers: submission queues, admission, wake-ups, the poison flag.

use std::sync::mpsc;
use std::time::Instant;

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::batch::{BATCH_ITEMS_MAX, Batch, Direction, ItemGuard, ItemResult};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::{HostSlice, Staging};
use crate::metrics::Metrics;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, lock};
use crate::sys::event::Event;
use crate::sys::room;

/// Of one item in a queue: its guard, and the number that the queue keeps beside it.
const ENTRY_BYTES: usize = size_of::<ItemGuard>() + size_of::<usize>();

/// A request to a lane that is not a transfer.
#[derive(Debug)]
pub enum Command {
    /// Register memory with the lane's queue; the answer is whether the device gains by it.
    Register {
        /// Number of the region.
        index: u16,
        /// The memory.
        region: HostSlice,
        /// Where the answer goes.
        reply: mpsc::Sender<std::io::Result<bool>>,
    },
    /// Forget a region.
    Unregister {
        /// Number of the region.
        index: u16,
        /// Told when it is done.
        reply: mpsc::Sender<std::io::Result<bool>>,
    },
}

/// The callers' side of one lane.
#[derive(Debug)]
pub struct LaneHandle {
    /// Ends its sleep.
    pub waker: Arc<Event>,
    /// Set by the lane before its last look for work and its sleep.
    sleeping: AtomicBool,
    /// What it should do besides transfers.
    pub commands: SegQueue<Command>,
}

/// Items of one direction, waiting and under way.
#[derive(Debug)]
struct Line {
    waiting: ArrayQueue<ItemGuard>,
    in_flight: AtomicUsize,
}

/// Shared by the store's methods and its lanes.
#[derive(Debug)]
pub struct Shared {
    gets: Line,
    puts: Line,
    items_max: usize,
    /// The lanes' handles.
    pub lanes: Vec<LaneHandle>,
    /// Staging buffer.
    pub staging: Staging,
    /// Counters.
    pub metrics: Metrics,
    /// The operator's log.
    pub logger: Logger,
    /// Set when a lane found a shared resource taken; the next release wakes all lanes.
    starved: AtomicBool,
    /// Items that lanes are working on; each may hold a file open.
    jobs: AtomicUsize,
    stopping: AtomicBool,
    poisoned: AtomicBool,
    poison_message: Mutex<String>,
    /// Submitters waiting for admission.
    submitters: Mutex<usize>,
    admission: Condvar,
}

impl LaneHandle {
    /// The lane has found nothing to do. It says that it will sleep and then looks once more; whoever
    /// brings work does it the other way round, so one of the two sees the other. False: stay awake.
    pub fn announce_sleep(&self, has_work: impl FnOnce() -> bool) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        // Pairs with the fence in `wake`: the look must not come before the announcement.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let stay_awake = has_work();
        if stay_awake {
            self.awake();
        }
        !stay_awake
    }

    /// The lane is awake and will look for work by itself.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

impl Line {
    fn new(items_max: usize) -> std::io::Result<Line> {
        // A batch larger than the bound is admitted alone, so there is room for either.
        let items_max = items_max.max(BATCH_ITEMS_MAX);
        let waiting = room::take(items_max * ENTRY_BYTES, || Ok(ArrayQueue::new(items_max)))?;
        Ok(Line { waiting, in_flight: AtomicUsize::new(0) })
    }

    fn admit(&self, count: usize, items_max: usize) -> bool {
        let add = |now: usize| (now == 0 || now + count <= items_max).then_some(now + count);
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }
}

impl Shared {
    /// Queues for `lanes` lanes that admit `items_max` items a direction.
    ///
    /// # Errors
    /// What `eventfd(2)` answers; `ENOMEM`.
    pub fn new(lanes: usize, items_max: usize, staging: Staging, logger: Logger) -> std::io::Result<Shared> {
        let handle = |_| {
            Ok(LaneHandle {
                waker: Arc::new(Event::new()?),
                sleeping: AtomicBool::new(false),
                commands: SegQueue::new(),
            })
        };
        Ok(Shared {
            gets: Line::new(items_max)?,
            puts: Line::new(items_max)?,
            items_max,
            lanes: (0..lanes).map(handle).collect::<std::io::Result<_>>()?,
            staging,
            metrics: Metrics::default(),
            logger,
            starved: AtomicBool::new(false),
            jobs: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            poison_message: Mutex::new(String::new()),
            submitters: Mutex::new(0),
            admission: Condvar::new(),
        })
    }

    /// Waits until `count` more items may be under way, at most until `deadline`.
    ///
    /// # Errors
    /// [`Status::Busy`] when the deadline passes first; [`Status::Poisoned`].
    pub fn admit(&self, direction: Direction, count: usize, deadline: Option<Instant>) -> Result<()> {
        let line = self.line(direction);
        if line.admit(count, self.items_max) {
            return Ok(());
        }
        let mut submitters = lock(&self.submitters);
        *submitters += 1;
        let outcome = loop {
            if line.admit(count, self.items_max) {
                break Ok(());
            }
            if let Err(error) = self.check_poison() {
                break Err(error);
            }
            let Some(deadline) = deadline else {
                submitters =
                    self.admission.wait(submitters).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(Error::new(
                    Status::Busy,
                    format!(
                        "submission queue full: {} items under way, at most {} (nixl_store_queue_items); \
                         wait for earlier tickets or allow a longer timeout",
                        line.in_flight.load(Ordering::Relaxed),
                        self.items_max
                    ),
                ));
            }
            let waited = self.admission.wait_timeout(submitters, left);
            submitters = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        };
        *submitters -= 1;
        outcome
    }

    /// Takes an admission back: the batch was not submitted.
    pub fn readmit(&self, direction: Direction, count: usize) {
        self.line(direction).in_flight.fetch_sub(count, Ordering::AcqRel);
        drop(lock(&self.submitters));
        self.admission.notify_all();
    }

    /// Queues the items of an admitted batch and wakes lanes for them.
    pub fn submit(&self, batch: &Arc<Batch>) {
        let line = self.line(batch.direction);
        let count = batch.len();
        for index in 0..count {
            // Admission bounds the queue, so it has room; a guard that is refused ends its item.
            drop(line.waiting.push(ItemGuard::new(Arc::clone(batch), index as u32)));
        }
        self.wake(count);
        if self.poisoned.load(Ordering::SeqCst) {
            self.drop_waiting();
        }
    }

    /// Queues an admitted item whose work was begun elsewhere and could not go on there.
    pub fn resubmit(&self, guard: ItemGuard) {
        let Some((batch, _, _)) = guard.parts() else { return };
        let line = self.line(batch.direction);
        // Its admission still stands, so there is room.
        drop(line.waiting.push(guard));
        self.wake(1);
        if self.poisoned.load(Ordering::SeqCst) {
            self.drop_waiting();
        }
    }

    /// Ends an item and makes room for another.
    pub fn finish(&self, guard: ItemGuard, result: ItemResult) {
        let Some((batch, item, _)) = guard.parts() else { return };
        let (direction, length) = (batch.direction, item.length as u64);
        self.count(direction, &result, length);
        // Before the item ends: whoever waits for it may submit again at once.
        self.line(direction).in_flight.fetch_sub(1, Ordering::AcqRel);
        guard.finish(result);
        if *lock(&self.submitters) > 0 {
            self.admission.notify_all();
        }
    }

    /// The next item to start: gets first. `gets_only` leaves the puts.
    pub fn next(&self, gets_only: bool) -> Option<ItemGuard> {
        let next = self.gets.waiting.pop();
        if gets_only { next } else { next.or_else(|| self.puts.waiting.pop()) }
    }

    /// Whether items wait to be started.
    pub fn has_waiting(&self, gets_only: bool) -> bool {
        !self.gets.waiting.is_empty() || (!gets_only && !self.puts.waiting.is_empty())
    }

    /// Items waiting or under way.
    pub fn in_flight(&self) -> usize {
        self.gets.in_flight.load(Ordering::Relaxed) + self.puts.in_flight.load(Ordering::Relaxed)
    }

    /// Wakes up to `count` sleeping lanes.
    pub fn wake(&self, count: usize) {
        // Pairs with the fence in `announce_sleep`: the work must be there before the look at the flags.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let sleeping = self.lanes.iter().filter(|lane| lane.sleeping.swap(false, Ordering::SeqCst));
        for lane in sleeping.take(count) {
            lane.waker.signal();
        }
    }

    /// Notes that a lane waits for something that another one holds. The lane must look once more
    /// after this and before it sleeps.
    pub fn starve(&self) {
        self.starved.store(true, Ordering::SeqCst);
    }

    /// Something that lanes may wait for was given back.
    pub fn relieve(&self) {
        if self.starved.load(Ordering::SeqCst) && self.starved.swap(false, Ordering::SeqCst) {
            self.wake_all();
        }
    }

    /// A lane began to work on an item.
    pub fn job_begins(&self) {
        self.jobs.fetch_add(1, Ordering::SeqCst);
    }

    /// A lane is done with an item and whatever it held.
    pub fn job_ends(&self) {
        self.jobs.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether any lane is working on an item, so that something will be given back.
    pub fn has_jobs(&self) -> bool {
        self.jobs.load(Ordering::SeqCst) > 0
    }

    /// Tells the lanes to end once nothing is under way.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Whether lanes should end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Refuses all further work.
    pub fn poison(&self, why: &str) {
        {
            let mut message = lock(&self.poison_message);
            if message.is_empty() {
                *message = why.to_owned();
            }
        }
        if !self.poisoned.swap(true, Ordering::SeqCst) {
            self.logger.error(format_args!("store poisoned after an internal panic: {why}"));
        }
        self.wake_all();
        // Under the lock, so that no submitter is between its look at the flag and its sleep.
        drop(lock(&self.submitters));
        self.admission.notify_all();
    }

    /// Whether a panic was caught.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    /// # Errors
    /// [`Status::Poisoned`] after a panic.
    pub fn check_poison(&self) -> Result<()> {
        if !self.is_poisoned() {
            return Ok(());
        }
        let why = lock(&self.poison_message).clone();
        let message =
            format!("the store is poisoned after an internal panic ({why}); close it and open it again");
        Err(Error::new(Status::Poisoned, message))
    }

    /// Ends every waiting item of a poisoned store.
    pub fn drop_waiting(&self) {
        while self.next(false).is_some() {}
    }

    /// Wakes every lane, asleep or about to be.
    pub fn wake_all(&self) {
        for lane in &self.lanes {
            lane.waker.signal();
        }
    }

    fn line(&self, direction: Direction) -> &Line {
        match direction {
            Direction::Get => &self.gets,
            Direction::Put => &self.puts,
        }
    }

    fn count(&self, direction: Direction, result: &ItemResult, length: u64) {
        let metrics = &self.metrics;
        match (direction, result.status) {
            (_, Status::Cancelled) => metrics.cancelled.increment(),
            (_, Status::TimedOut) => metrics.timed_out.increment(),
            (Direction::Get, Status::Ok) => {
                metrics.gets_hit.increment();
                metrics.bytes_got.add(result.bytes);
            }
            (Direction::Get, Status::NotFound) => metrics.gets_missed.increment(),
            (Direction::Get, _) => metrics.gets_failed.increment(),
            // Left as it was stored: nothing was put.
            (Direction::Put, Status::Ok) if result.bytes == 0 => {}
            (Direction::Put, Status::Ok) => {
                metrics.puts_ok.increment();
                metrics.bytes_put.add(length);
            }
            (Direction::Put, _) => metrics.puts_failed.increment(),
        }
    }
}
