//! A lane: one I/O thread with a queue of its own, which takes items, moves their records and ends them.
//!
//! The walk of one item: taken from the shared queue (gets first), placed (slot or file), cut into
//! pieces, pushed to the backend's queue, verified or published when the last piece is back. One item
//! stays on one lane, so its state needs no locks. A lane never waits for anything but its queue: what may take long
//! otherwise is a chore of other threads, whose answer comes through the mailbox; what finds a shared resource taken is
//! parked and tried again when somebody gives one back.

mod admission;
pub mod caller;
pub mod chores;
mod clock;
pub mod deadlines;
mod device;
mod flight;
mod front;
mod get;
pub mod inquiry;
mod item;
mod job;
mod line;
#[cfg(all(test, feature = "shuttle"))]
mod model_tests;
mod plan;
mod progress;
mod proof;
mod put;
mod reading;
mod registration;
mod reply;
pub mod shared;
mod spares;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use slab::Slab;

use self::chores::{Chores, Mailbox};
use self::device::Copies;
use self::flight::{Flight, InFlight};
use self::item::Parked;
use self::job::{Epilogue, Job};
use self::plan::{Bounds, bounds};
use self::registration::Region;
pub(super) use self::registration::Registered;
use self::reply::Reply;
use self::shared::{Shared, Takes};
use self::spares::Spares;
use crate::backend::{Backend, IoCompletion, IoQueue, Medium, Reach, Wait};
use crate::batch::{Direction, ItemGuard, ItemResult};
use crate::error::panic_message;
use crate::layout::record::CHECKSUM_BLOCK_BYTES;
use crate::memory::{Copier, Copiers, Stretch};
use crate::placement::Placement;
use crate::sync::Arc;
use crate::sys::{room, thread};

/// Items that one lane works on at a time; bounds its memory for trailers.
const JOBS_MAX: usize = 256;
/// Gets that a lane has others open at a time. More would be others' to take.
const GETS_OPENING_MAX: usize = 8;
/// Puts with payload to push that a lane has at a time: while one is being written, the next ones can destroy their
/// slots' old trailers, which have to be down before their payload begins, or have their files made.
const PUTS_AHEAD: usize = 8;
/// One part in this many of the queue, and of the items that a lane works on, is kept for gets.
const GET_RESERVE: usize = 4;
/// Attempts of a put that meets a full device, each after an eviction.
const PUT_ATTEMPTS_MAX: u32 = 3;
/// The pause before an item that met a shortage of descriptors is tried again. The process's other users of descriptors
/// do not say when they give one back.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);

/// The pause between two looks of a lane that does nothing any more but wait for what it has under way.
const POISONED_PAUSE: Duration = Duration::from_millis(10);

/// The state of one lane. What is under way goes first: copies are waited for by `drop`, requests by the drop of `queue`, which is
/// the first field. Then the kernel and the devices have let go of the memory that the other fields and the callers own.
pub(super) struct Lane<P: Placement> {
    queue: Box<dyn IoQueue>,
    copies: Copies,
    medium: Medium,
    bounds: Bounds,
    reach: Reach,
    index: usize,
    shared: Arc<Shared>,
    placement: Arc<P>,
    chores: Arc<Chores>,
    mailbox: Arc<Mailbox<Reply<P>>>,
    /// Whether the thread is a caller's, who waits for this one item anyway and so does its chores himself.
    is_callers: bool,
    /// Chores whose answers are awaited.
    asked: usize,
    jobs: Slab<Job<P>>,
    flights: Slab<Flight<P>>,
    /// Room for what the queue completes; whoever drives the lane takes it.
    completions: Vec<IoCompletion>,
    /// Requests that the queue did not take, to be completed with its own.
    refused: Vec<IoCompletion>,
    epilogues: Slab<Epilogue<P>>,
    /// Epilogues with tombstones to push.
    tombstones: VecDeque<usize>,
    /// Jobs with pieces still to push.
    gets: VecDeque<usize>,
    puts: VecDeque<usize>,
    parked_gets: VecDeque<Parked>,
    parked_puts: VecDeque<Parked>,
    bytes_in_flight: InFlight,
    /// Bytes pushed since the queue was last told to start.
    bytes_pushed: usize,
    gets_opening: usize,
    puts_opening: usize,
    /// Puts that have payload to push.
    puts_ahead: usize,
    /// Least bytes of one read.
    read_bytes_min: u64,
    /// A piece could not be pushed for want of a staging slice.
    wants_slice: bool,
    /// An item is parked for want of descriptors.
    is_short: bool,
    regions: Vec<Region>,
    /// For checksum blocks that straddle stretches of memory.
    scratch: Vec<u8>,
    /// Where a piece lies in the staging buffer, while it is looked at.
    staged: Vec<Stretch>,
    spares: Spares,
    /// Makes the copies; `None`: until the first item with memory on a device. It goes last: what it gives back to the driver waits
    /// for all of a device's work, and there may be a stream among that which waits for an item of this lane.
    copier: Option<Box<dyn Copier>>,
}

impl<P: Placement> Drop for Lane<P> {
    fn drop(&mut self) {
        if let Some(copier) = &mut self.copier {
            copier.settle_all();
        }
    }
}

/// What lanes are made of, but for their queue.
pub struct Parts<P> {
    /// The store's.
    pub shared: Arc<Shared>,
    /// Where the records are.
    pub placement: Arc<P>,
    /// The store's chore threads.
    pub chores: Arc<Chores>,
    /// What the records lie on.
    pub medium: Medium,
    /// What goes direct.
    pub reach: Reach,
    /// Who copies between host and device; `None`: nobody, and no item has memory on a device.
    pub copiers: Option<Arc<dyn Copiers>>,
}

/// Starts the thread of lane `index`. What its queue answered at open arrives through `opened`: whether
/// the staging buffer is registered, or the error.
///
/// # Errors
/// What starting a thread answers.
pub(super) fn spawn<P: Placement>(
    index: usize,
    parts: Parts<P>,
    backend: Arc<dyn Backend>,
    opened: mpsc::Sender<std::io::Result<Registered>>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    thread::spawn(format!("nixl-lane-{index}"), move || {
        let shared = Arc::clone(&parts.shared);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let waker = Arc::clone(&shared.lanes[index].waker);
            let lane =
                backend.open_queue(waker, parts.medium).and_then(|queue| Lane::new(index, queue, parts));
            match lane {
                Err(error) => drop(opened.send(Err(error))),
                Ok(mut lane) => {
                    let registered = lane.register_staging();
                    drop(opened.send(Ok(registered)));
                    lane.run();
                }
            }
        }));
        if let Err(panic) = outcome {
            shared.poison_and_drop(&panic_message(&*panic));
            // Whoever opens the store may still wait for this lane's answer.
            drop(opened.send(Err(std::io::Error::other("the lane panicked"))));
        }
    })
}

impl<P: Placement> Lane<P> {
    /// A lane with all that its work needs set aside.
    fn new(index: usize, queue: Box<dyn IoQueue>, parts: Parts<P>) -> std::io::Result<Lane<P>> {
        let depth = queue.room();
        let Parts { shared, placement, chores, medium, reach, copiers } = parts;
        let spares = Spares::new(depth, placement.payload_bytes_max())?;
        let entries = size_of::<(usize, Job<P>)>() + size_of::<(usize, Epilogue<P>)>();
        let lines = 3 * size_of::<usize>() + 2 * size_of::<Parked>();
        let requests = size_of::<(usize, Flight<P>)>() + size_of::<IoCompletion>();
        let bytes = JOBS_MAX * (entries + lines) + depth * requests + CHECKSUM_BLOCK_BYTES;
        // Nothing of this size is taken later: a lane says that it is there, and then others take what is left.
        let lane = |scratch, completions| Lane {
            queue,
            copies: Copies::new(copiers),
            medium,
            bounds: bounds(medium),
            reach,
            index,
            shared,
            chores,
            mailbox: Arc::new(Mailbox::new(index)),
            is_callers: false,
            asked: 0,
            jobs: Slab::with_capacity(JOBS_MAX),
            flights: Slab::with_capacity(depth),
            completions,
            refused: Vec::new(),
            epilogues: Slab::with_capacity(JOBS_MAX),
            tombstones: VecDeque::with_capacity(JOBS_MAX),
            gets: VecDeque::with_capacity(JOBS_MAX),
            puts: VecDeque::with_capacity(JOBS_MAX),
            parked_gets: VecDeque::with_capacity(JOBS_MAX),
            parked_puts: VecDeque::with_capacity(JOBS_MAX),
            bytes_in_flight: InFlight::default(),
            bytes_pushed: 0,
            gets_opening: 0,
            puts_opening: 0,
            puts_ahead: 0,
            read_bytes_min: reading::piece_bytes_min(medium).max(reach.read_bytes_min),
            wants_slice: false,
            is_short: false,
            regions: Vec::new(),
            scratch,
            staged: Vec::with_capacity(1),
            spares,
            placement,
            copier: None,
        };
        room::take(bytes, || Ok(lane(room::filled(0, CHECKSUM_BLOCK_BYTES)?, room::list(depth)?)))
    }

    fn run(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        loop {
            self.take_commands();
            self.take_answers();
            self.advance();
            if self.shared.is_poisoned() {
                // Nothing new is started; what is under way is waited for, then everything ends.
                self.shared.drop_waiting();
                if self.queue.in_flight() == 0 && self.asked == 0 && self.copies.is_empty() {
                    return;
                }
            } else if self.is_idle() && self.shared.is_stopping() && !self.shared.has_waiting(Takes::Both) {
                return;
            }
            self.bytes_pushed = 0;
            let may_sleep =
                !self.queue.has_completed() && self.refused.is_empty() && !self.has_more_to_push();
            let wait = match may_sleep && self.fall_asleep() {
                true => self.copies.watched(self.sleep()),
                // Only what is under way is waited for, and that may be long.
                false if self.shared.is_poisoned() => Wait::Until(Instant::now().checked_add(POISONED_PAUSE)),
                false => Wait::Poll,
            };
            if let Err(error) = self.queue.wait(wait, &mut completions) {
                let index = self.index;
                self.shared.poison_and_drop(&format!("the I/O queue of lane {index} broke: {error}"));
                return;
            }
            self.shared.lanes[self.index].awake();
            completions.append(&mut self.refused);
            for completion in completions.drain(..) {
                self.complete(completion);
            }
            self.take_copies();
        }
    }

    /// Whether pushing made more to push or to take in: the end of an item that failed while it was pushed, a copy that could
    /// not be begun.
    fn has_more_to_push(&self) -> bool {
        self.copies.has_ended() || (!self.tombstones.is_empty() && self.queue.room() > 0)
    }

    /// Items that this lane has, in whatever state.
    fn items(&self) -> usize {
        self.jobs.len() + self.epilogues.len() + self.parked_gets.len() + self.parked_puts.len() + self.asked
    }

    fn is_idle(&self) -> bool {
        self.items() == 0
    }

    fn sleep(&self) -> Wait {
        Wait::Until(if self.is_short { Instant::now().checked_add(SHORTAGE_PAUSE) } else { None })
    }

    /// Raises the sleeping flag and looks once more for work. False: there is some, stay awake.
    fn fall_asleep(&mut self) -> bool {
        if !self.parked_gets.is_empty() || !self.parked_puts.is_empty() || self.wants_slice {
            // Others hold what this lane waits for: ask to be woken, then look again. Room in its own queue comes back
            // with its own completions.
            self.shared.starve();
            if self.advance() {
                return false;
            }
        }
        let handle = &self.shared.lanes[self.index];
        let takes = self.takes();
        handle.announce_sleep(takes, || {
            self.shared.has_waiting(takes)
                || !handle.commands.is_empty()
                || !self.mailbox.is_empty()
                || self.shared.is_poisoned()
                || (self.shared.is_stopping() && self.is_idle())
        })
    }

    /// Pushes what can be pushed and takes items while there is room. True if anything moved.
    fn advance(&mut self) -> bool {
        if self.shared.is_poisoned() {
            return false;
        }
        let mut advanced = self.push_pieces();
        advanced |= self.retry_parked();
        loop {
            let takes = self.takes();
            if takes == Takes::Nothing {
                return advanced;
            }
            let Some(guard) = self.shared.next(takes == Takes::Gets) else { return advanced };
            self.start(guard, 0);
            self.push_pieces();
            advanced = true;
        }
    }

    /// What other items can be put to work at once. Gets must find room whatever puts have under way.
    fn takes(&self) -> Takes {
        let items = self.items();
        let gets = self.gets.is_empty()
            && self.gets_opening < GETS_OPENING_MAX
            && items < JOBS_MAX
            && self.queue.room() > 0
            && self.bytes_in_flight.read < self.bounds.read_bytes_max;
        let puts = self.puts_ahead + self.puts_opening < PUTS_AHEAD
            && self.parked_puts.is_empty()
            && items < JOBS_MAX - JOBS_MAX / GET_RESERVE
            && self.put_room() > 0;
        match (gets, puts) {
            (false, _) => Takes::Nothing,
            (true, false) => Takes::Gets,
            (true, true) => Takes::Both,
        }
    }

    /// Requests that puts may push, leaving some of the queue to gets.
    fn put_room(&self) -> usize {
        let depth = self.queue.room() + self.queue.in_flight();
        self.queue.room().saturating_sub(depth / GET_RESERVE)
    }

    fn start(&mut self, guard: ItemGuard, attempts: u32) {
        let Some((batch, _, _)) = guard.parts() else { return };
        if let Some(status) = batch.stopped() {
            return self.finish(guard, ItemResult::of(status));
        }
        match batch.direction {
            Direction::Get => self.start_get(guard),
            Direction::Put => self.start_put(guard, attempts),
        }
    }

    /// Tries parked items again, gets first. A put that still finds no room says nothing of what a get would find.
    fn retry_parked(&mut self) -> bool {
        self.is_short = false;
        let mut advanced = false;
        for _ in 0..self.parked_gets.len() {
            let Some(Parked { guard, attempts }) = self.parked_gets.pop_front() else { break };
            advanced |= self.retry(guard, attempts);
        }
        for _ in 0..self.parked_puts.len() {
            let Some(Parked { guard, attempts }) = self.parked_puts.pop_front() else { break };
            if !self.retry(guard, attempts) {
                // Still nothing free; the others would not fare better, and keep their order.
                self.parked_puts.rotate_right(1);
                break;
            }
            advanced = true;
        }
        advanced
    }

    /// False: the item is parked again, as the last of its kind.
    fn retry(&mut self, guard: ItemGuard, attempts: u32) -> bool {
        let parked = self.parked_gets.len() + self.parked_puts.len();
        self.start(guard, attempts);
        if self.parked_gets.len() + self.parked_puts.len() > parked {
            return false;
        }
        self.push_pieces();
        true
    }

    fn push_pieces(&mut self) -> bool {
        let mut advanced = self.push_ready();
        advanced |= self.push_tombstones();
        self.wants_slice = false;
        while let Some(&index) = self.gets.front() {
            match self.push_get_piece(index) {
                Pushed::More => advanced = true,
                Pushed::Last => {
                    advanced = true;
                    self.gets.pop_front();
                    self.finish_if_done(index);
                }
                Pushed::Blocked => break,
            }
        }
        while self.put_room() > 0
            && self.bytes_in_flight.written < self.bounds.written_bytes_max
            && let Some(&index) = self.puts.front()
        {
            match self.push_put_piece(index) {
                Pushed::More => advanced = true,
                Pushed::Last => {
                    advanced = true;
                    self.puts.pop_front();
                    self.finish_if_done(index);
                }
                Pushed::Blocked => break,
            }
        }
        advanced
    }
}

/// What became of an attempt to push a job's next piece.
enum Pushed {
    /// Pushed; the job has more.
    More,
    /// The job has nothing more to push, for now or for good.
    Last,
    /// No room in the queue or the staging buffer.
    Blocked,
}
