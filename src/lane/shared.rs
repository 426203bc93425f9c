//! What the lanes share with the callers: submission queues, wake-ups, the poison flag.

use std::sync::mpsc;
use std::time::Instant;

use crossbeam_queue::SegQueue;

use super::admission::Admission;
use super::clock::Clock;
use super::line::Line;
use crate::batch::{Batch, Direction, ItemGuard, ItemResult};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::{HostSlice, Staging};
use crate::metrics::Metrics;
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicUsize, Mutex, Ordering, lock};
use crate::sys::event::Event;

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
    /// Get what it takes to copy from and to a device.
    Prepare {
        /// Its ordinal.
        device: u16,
        /// Told when it is had.
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

/// What a lane that sleeps could take, were it woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it waits for what it has under way.
    Nothing,
    /// A get.
    Gets,
    /// Either.
    Both,
}

impl Takes {
    /// Whether an item of that direction could be taken.
    pub fn covers(self, direction: Direction) -> bool {
        match direction {
            Direction::Get => self != Takes::Nothing,
            Direction::Put => self == Takes::Both,
        }
    }
}

/// The lane is awake. Else its state is one of the three below.
const AWAKE: u32 = 0;

fn asleep(takes: Takes) -> u32 {
    match takes {
        Takes::Nothing => 1,
        Takes::Gets => 2,
        Takes::Both => 3,
    }
}

/// The callers' side of one lane.
#[derive(Debug)]
pub struct LaneHandle {
    /// Ends its sleep.
    pub waker: Arc<Event>,
    /// Set by the lane before its last look for work and its sleep.
    state: AtomicU32,
    /// What it should do besides transfers.
    pub commands: SegQueue<Command>,
}

impl LaneHandle {
    fn new() -> std::io::Result<LaneHandle> {
        Ok(LaneHandle {
            waker: Arc::new(Event::new()?),
            state: AtomicU32::new(AWAKE),
            commands: SegQueue::new(),
        })
    }

    /// The lane has found nothing to do. It says that it will sleep, and what it could take, and then looks once more;
    /// whoever brings work does it the other way round, so one of the two sees the other. False: stay awake.
    pub fn announce_sleep(&self, takes: Takes, has_work: impl FnOnce() -> bool) -> bool {
        self.state.store(asleep(takes), Ordering::SeqCst);
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
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    /// Wakes the lane if it sleeps and could take an item of that direction.
    fn wake_for(&self, direction: Direction) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        let takes = match direction {
            Direction::Get => state >= asleep(Takes::Gets),
            Direction::Put => state == asleep(Takes::Both),
        };
        // Whoever changes it to awake gives the signal, so that two items wake two lanes.
        let woken =
            takes && self.state.compare_exchange(state, AWAKE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if woken {
            self.waker.signal();
        }
        woken
    }

    /// Wakes the lane if it sleeps; what it is to find was put there before.
    pub(super) fn wake_if_asleep(&self) {
        // As in `Shared::wake`.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if self.state.load(Ordering::SeqCst) != AWAKE && self.state.swap(AWAKE, Ordering::SeqCst) != AWAKE {
            self.waker.signal();
        }
    }

    /// Wakes the lane, asleep or about to be.
    pub fn wake(&self) {
        self.waker.signal();
    }
}

/// Shared by the store's methods and its lanes.
#[derive(Debug)]
pub struct Shared {
    gets: Line,
    puts: Line,
    /// Questions about keys; the chore threads have them.
    questions: Admission,
    /// The lanes' handles.
    pub lanes: Vec<LaneHandle>,
    /// Ends what was not started in time.
    pub clock: Clock,
    /// Staging buffer.
    pub staging: Arc<Staging>,
    /// Counters.
    pub metrics: Metrics,
    /// The operator's log.
    pub logger: Logger,
    /// Set when a lane found a shared resource taken; the next release wakes all lanes.
    starved: AtomicBool,
    /// Items that hold something of the placement's, or are just asking for it.
    holders: AtomicUsize,
    /// Set when the store is being closed: nothing more is admitted.
    refusing: AtomicBool,
    stopping: AtomicBool,
    poisoned: AtomicBool,
    poison_message: Mutex<String>,
}

impl Shared {
    /// Queues for `lanes` lanes that admit `items_max` items a direction.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`]; what `eventfd(2)` answers.
    pub fn new(lanes: usize, items_max: usize, staging: Arc<Staging>, logger: Logger) -> Result<Shared> {
        let event = |error: std::io::Error| Error::os("making the lanes' wake-ups", &error);
        Ok(Shared {
            gets: Line::new(items_max)?,
            puts: Line::new(items_max)?,
            questions: Admission::new(items_max),
            lanes: (0..lanes).map(|_| LaneHandle::new()).collect::<std::io::Result<_>>().map_err(event)?,
            clock: Clock::new().map_err(event)?,
            staging,
            metrics: Metrics::default(),
            logger,
            starved: AtomicBool::new(false),
            holders: AtomicUsize::new(0),
            refusing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            poison_message: Mutex::new(String::new()),
        })
    }

    /// Waits until `count` more items may be under way, at most until `deadline`, behind who came before.
    ///
    /// # Errors
    /// [`Status::Busy`] when the deadline passes first; [`Status::Closing`], [`Status::Poisoned`].
    pub fn admit(&self, direction: Direction, count: usize, deadline: Option<Instant>) -> Result<()> {
        self.line(direction).admission.admit(count, deadline, || self.check_open())
    }

    /// Takes an admission back: the batch was not submitted.
    pub fn readmit(&self, direction: Direction, count: usize) {
        self.line(direction).admission.give_back(count);
    }

    /// Queues the items of an admitted batch and wakes lanes for them.
    pub fn submit(&self, batch: &Arc<Batch>) {
        let line = self.line(batch.direction);
        let count = batch.len();
        for index in 0..count {
            line.push(ItemGuard::new(Arc::clone(batch), index as u32));
        }
        self.wake(batch.direction, count);
        if self.poisoned.load(Ordering::SeqCst) {
            self.drop_waiting();
        }
    }

    /// Queues an admitted item whose work was begun elsewhere and could not go on there.
    pub fn resubmit(&self, guard: ItemGuard) {
        let Some((batch, _, _)) = guard.parts() else { return };
        let direction = batch.direction;
        // Its admission still stands, so there is room.
        self.line(direction).push(guard);
        self.wake(direction, 1);
        if self.poisoned.load(Ordering::SeqCst) {
            self.drop_waiting();
        }
    }

    /// Ends an item and makes room for another.
    pub fn finish(&self, guard: ItemGuard, result: ItemResult) {
        let Some((batch, item, _)) = guard.parts() else { return };
        let (direction, length) = (batch.direction, item.length as u64);
        if !guard.end() {
            return self.line(direction).admission.drop_stub();
        }
        self.count(batch, &result, length);
        // Before the item ends: whoever waits for it may submit again at once.
        self.line(direction).admission.give_back(1);
        guard.finish(result);
    }

    /// Ends the items of a batch that nobody has started. Their admission comes back when a lane meets their guards.
    pub fn end_waiting(&self, batch: &Batch, status: Status) {
        let result = ItemResult::of(status);
        batch.take_waiting(|item, index| {
            if batch.question.is_some() {
                self.count_question(&result);
                self.questions.add_stub();
            } else {
                self.count(batch, &result, item.length as u64);
                self.line(batch.direction).admission.add_stub();
            }
            batch.finish(index, result);
        });
    }

    /// As [`Shared::admit`], of questions about keys. They have a bound of their own, which is as large.
    ///
    /// # Errors
    /// As for [`Shared::admit`].
    pub fn admit_questions(&self, count: usize, deadline: Option<Instant>) -> Result<()> {
        self.questions.admit(count, deadline, || self.check_open())
    }

    /// As [`Shared::readmit`], of questions about keys.
    pub fn readmit_questions(&self, count: usize) {
        self.questions.give_back(count);
    }

    /// As [`Shared::finish`], of a question about a key.
    pub(super) fn finish_question(&self, guard: ItemGuard, result: ItemResult) {
        if !guard.end() {
            return self.questions.drop_stub();
        }
        self.count_question(&result);
        self.questions.give_back(1);
        guard.finish(result);
    }

    /// The next item to start: gets first. `gets_only` leaves the puts.
    pub fn next(&self, gets_only: bool) -> Option<ItemGuard> {
        let next = self.gets.pop();
        if gets_only { next } else { next.or_else(|| self.puts.pop()) }
    }

    /// Whether items wait that a lane which takes this could start.
    pub fn has_waiting(&self, takes: Takes) -> bool {
        (takes.covers(Direction::Get) && self.gets.has_waiting())
            || (takes.covers(Direction::Put) && self.puts.has_waiting())
    }

    /// Items waiting or under way.
    pub fn in_flight(&self) -> usize {
        self.gets.admission.items() + self.puts.admission.items() + self.questions.items()
    }

    /// Wakes up to `count` sleeping lanes that can take an item of that direction.
    fn wake(&self, direction: Direction, count: usize) {
        // Pairs with the fence in `announce_sleep`: the work must be there before the look at the flags.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let mut left = count;
        for lane in &self.lanes {
            if left == 0 {
                return;
            }
            left -= usize::from(lane.wake_for(direction));
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

    /// An item is about to ask the placement for what it needs.
    pub fn hold(&self) {
        self.holders.fetch_add(1, Ordering::SeqCst);
    }

    /// It has given everything back, or got nothing.
    pub fn let_go(&self) {
        self.holders.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether any item holds something, and so will give it back.
    pub fn has_holders(&self) -> bool {
        self.holders.load(Ordering::SeqCst) > 0
    }

    /// Admits nothing more; whether that was so before. Who waits for room hears of it by [`Shared::call_submitters`].
    pub fn stop_admitting(&self) -> bool {
        self.refusing.swap(true, Ordering::SeqCst)
    }

    /// # Errors
    /// [`Status::Closing`].
    pub fn check_admitting(&self) -> Result<()> {
        if self.refusing.load(Ordering::SeqCst) {
            return Err(Error::new(Status::Closing, "the store is being closed"));
        }
        Ok(())
    }

    /// # Errors
    /// [`Status::Closing`], [`Status::Poisoned`].
    pub fn check_open(&self) -> Result<()> {
        self.check_admitting()?;
        self.check_poison()
    }

    /// Has everybody who waits for room look whether the store is still open. Else the store would be closed only when the
    /// device has made room for them, or their deadlines have passed.
    pub fn call_submitters(&self) {
        for admission in [&self.gets.admission, &self.puts.admission, &self.questions] {
            admission.call_submitters();
        }
    }

    /// Tells the lanes to end once nothing is under way.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.clock.stop();
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
            self.logger.error(format_args!("store poisoned after an internal error: {why}"));
        }
        self.wake_all();
        // Questions wait for threads that a device may hold up; whoever keeps deadlines ends them.
        self.clock.wake();
        self.call_submitters();
    }

    /// Refuses all further work and ends what waits for a lane, on behalf of a lane that ends early.
    pub fn poison_and_drop(&self, why: &str) {
        self.poison(why);
        self.drop_waiting();
    }

    /// Whether the store was poisoned.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    /// # Errors
    /// [`Status::Poisoned`] after a panic or an I/O queue that broke.
    pub fn check_poison(&self) -> Result<()> {
        if !self.is_poisoned() {
            return Ok(());
        }
        let why = lock(&self.poison_message).clone();
        let message =
            format!("the store is poisoned after an internal error ({why}); close it and open it again");
        Err(Error::new(Status::Poisoned, message))
    }

    /// Ends every waiting item of a poisoned store.
    pub fn drop_waiting(&self) {
        while let Some(guard) = self.next(false) {
            self.finish(guard, ItemResult::of(Status::Poisoned));
        }
    }

    /// Wakes every lane, asleep or about to be.
    pub fn wake_all(&self) {
        self.lanes.iter().for_each(LaneHandle::wake);
    }

    fn line(&self, direction: Direction) -> &Line {
        match direction {
            Direction::Get => &self.gets,
            Direction::Put => &self.puts,
        }
    }

    fn count_question(&self, result: &ItemResult) {
        match result.status {
            Status::Cancelled => self.metrics.cancelled.increment(),
            Status::TimedOut => self.metrics.timed_out.increment(),
            _ => {}
        }
    }

    fn count(&self, batch: &Batch, result: &ItemResult, length: u64) {
        let metrics = &self.metrics;
        // A reading of the clock for each item that moved its bytes, so that those at the end of a long batch are told from those
        // at its start: a hundredth of what the smallest item takes.
        match (batch.direction, result.status) {
            (_, Status::Cancelled) => metrics.cancelled.increment(),
            (_, Status::TimedOut) => metrics.timed_out.increment(),
            (Direction::Get, Status::Ok) => {
                metrics.get_latency.add(result.bytes, batch.age.nanoseconds());
                metrics.bytes_got.add(result.bytes);
            }
            (Direction::Get, Status::NotFound) => metrics.gets_missed.increment(),
            (Direction::Get, _) => metrics.gets_failed.increment(),
            // Left as it was stored: nothing was put.
            (Direction::Put, Status::Ok) if result.bytes == 0 => {}
            (Direction::Put, Status::Ok) => {
                metrics.put_latency.add(length, batch.age.nanoseconds());
                metrics.bytes_put.add(length);
            }
            (Direction::Put, Status::NotAdmitted) => metrics.puts_declined.increment(),
            (Direction::Put, _) => metrics.puts_failed.increment(),
        }
    }
}
