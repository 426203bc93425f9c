//! A lane: one I/O thread with a queue of its own, which takes items, moves their records and ends them.
//!
//! The walk of one item: taken from the shared queue (gets first), placed (slot or file), cut into
//! pieces, pushed to the backend's queue, verified or published when the last piece is back. One item
//! stays on one lane, so its state needs no locks. A lane never waits for anything but its queue: what
//! finds a shared resource taken is parked and tried again when somebody gives one back.

pub mod caller;
mod flight;
mod get;
mod job;
#[cfg(all(test, feature = "shuttle"))]
mod model_tests;
mod progress;
mod put;
mod registration;
pub mod shared;
mod spares;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use slab::Slab;

use self::flight::{Flight, InFlight};
use self::job::Job;
use self::registration::Region;
pub(super) use self::registration::Registered;
use self::shared::Shared;
use self::spares::Spares;
use crate::backend::{Backend, IoCompletion, IoQueue, Medium, Wait};
use crate::batch::{Direction, ItemGuard, ItemResult};
use crate::error::Status;
use crate::layout::record::CHECKSUM_BLOCK_BYTES;
use crate::memory::Segment;
use crate::placement::{Key, Placement};
use crate::sync::Arc;
use crate::sys::{room, thread};

/// Items that one lane works on at a time; bounds its memory for trailers.
const JOBS_MAX: usize = 256;
/// Bytes under way from which a lane takes no more gets. Enough for devices that need a deep queue.
const READ_BYTES_MAX: usize = 64 << 20;
/// Bytes under way from which a lane pushes no more of its puts. Enough to cover a device's latency; more would only
/// queue up before the next get.
const WRITTEN_BYTES_MAX: usize = 8 << 20;
/// Puts with payload to push that a lane has at a time: while one is being written, the next ones can destroy their
/// slots' old trailers, which have to be down before their payload begins.
const PUTS_AHEAD: usize = 8;
/// One part in this many of the queue, and of the items that a lane works on, is kept for gets.
const GET_RESERVE: usize = 4;
/// Attempts of a put that meets a full device, each after an eviction.
const PUT_ATTEMPTS_MAX: u32 = 3;

/// An item that waits for room.
struct Parked {
    guard: ItemGuard,
    attempts: u32,
}

/// The state of one lane. `queue` is the first field so that it goes first: its drop waits for the kernel
/// to let go of the memory that the other fields and the callers own.
pub(super) struct Lane<P: Placement> {
    queue: Box<dyn IoQueue>,
    medium: Medium,
    index: usize,
    shared: Arc<Shared>,
    placement: Arc<P>,
    jobs: Slab<Job<P>>,
    flights: Slab<Flight>,
    /// Jobs with pieces still to push.
    gets: VecDeque<usize>,
    puts: VecDeque<usize>,
    parked: VecDeque<Parked>,
    bytes_in_flight: InFlight,
    /// Bytes pushed since the queue was last told to start.
    bytes_pushed: usize,
    /// Puts that have payload to push.
    puts_ahead: usize,
    /// Least bytes of one read.
    read_bytes_min: u64,
    /// A piece could not be pushed for want of a staging slice.
    wants_slice: bool,
    regions: Vec<Region>,
    /// For checksum blocks that straddle segments.
    scratch: Vec<u8>,
    spares: Spares,
}

/// Starts the thread of lane `index`. What its queue answered at open arrives through `opened`: whether
/// the staging buffer is registered, or the error.
///
/// # Errors
/// What starting a thread answers.
pub(super) fn spawn<P: Placement>(
    index: usize,
    shared: Arc<Shared>,
    placement: Arc<P>,
    backend: Arc<dyn Backend>,
    medium: Medium,
    opened: mpsc::Sender<std::io::Result<Registered>>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    thread::spawn(format!("nixl-lane-{index}"), move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let waker = Arc::clone(&shared.lanes[index].waker);
            let lane = backend
                .open_queue(waker, medium)
                .and_then(|queue| Lane::new(index, queue, medium, Arc::clone(&shared), placement));
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
            shared.poison(&panic_message(&*panic));
            shared.drop_waiting();
            // Whoever opens the store may still wait for this lane's answer.
            drop(opened.send(Err(std::io::Error::other("the lane panicked"))));
        }
    })
}

/// The text of a caught panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}

impl<P: Placement> Lane<P> {
    /// A lane with all that its work needs set aside.
    fn new(
        index: usize,
        queue: Box<dyn IoQueue>,
        medium: Medium,
        shared: Arc<Shared>,
        placement: Arc<P>,
    ) -> std::io::Result<Lane<P>> {
        let depth = queue.room();
        let spares = Spares::new(depth, placement.payload_bytes_max())?;
        let bytes = JOBS_MAX * size_of::<(usize, Job<P>)>() + depth * size_of::<(usize, Flight)>();
        let (jobs, flights, scratch) = room::take(bytes + CHECKSUM_BLOCK_BYTES, || {
            let (jobs, flights) = (Slab::with_capacity(JOBS_MAX), Slab::with_capacity(depth));
            Ok((jobs, flights, room::filled(0, CHECKSUM_BLOCK_BYTES)?))
        })?;
        Ok(Lane {
            queue,
            medium,
            index,
            shared,
            jobs,
            flights,
            gets: VecDeque::with_capacity(JOBS_MAX),
            puts: VecDeque::with_capacity(JOBS_MAX),
            parked: VecDeque::with_capacity(JOBS_MAX),
            bytes_in_flight: InFlight::default(),
            bytes_pushed: 0,
            puts_ahead: 0,
            read_bytes_min: get::piece_bytes_min(medium),
            wants_slice: false,
            regions: Vec::new(),
            scratch,
            spares,
            placement,
        })
    }

    fn run(&mut self) {
        let mut completions: Vec<IoCompletion> = Vec::with_capacity(self.queue.room());
        loop {
            self.take_commands();
            self.advance();
            let idle = self.jobs.is_empty() && self.parked.is_empty();
            if self.shared.is_poisoned() {
                // Nothing new is started; what is under way is waited for, then everything ends.
                self.shared.drop_waiting();
                if self.queue.in_flight() == 0 {
                    return;
                }
            } else if idle && self.shared.is_stopping() && !self.shared.has_waiting(false) {
                return;
            }
            self.bytes_pushed = 0;
            let sleeps = !self.queue.has_completed() && self.fall_asleep();
            let wait = if sleeps { Wait::Block } else { Wait::Poll };
            if let Err(error) = self.queue.wait(wait, &mut completions) {
                self.shared.poison(&format!("the I/O queue of lane {} broke: {error}", self.index));
                return;
            }
            self.shared.lanes[self.index].awake();
            for completion in completions.drain(..) {
                self.complete(completion);
            }
        }
    }

    /// Raises the sleeping flag and looks once more for work. False: there is some, stay awake.
    fn fall_asleep(&mut self) -> bool {
        if !self.parked.is_empty() || self.wants_slice {
            // Others hold what this lane waits for: ask to be woken, then look again. Room in its own queue comes back
            // with its own completions.
            self.shared.starve();
            if self.advance() {
                return false;
            }
        }
        let handle = &self.shared.lanes[self.index];
        handle.announce_sleep(|| {
            (self.can_take() && self.shared.has_waiting(!self.can_take_puts()))
                || !handle.commands.is_empty()
                || self.shared.is_poisoned()
                || (self.shared.is_stopping() && self.jobs.is_empty() && self.parked.is_empty())
        })
    }

    /// Pushes what can be pushed and takes items while there is room. True if anything moved.
    fn advance(&mut self) -> bool {
        if self.shared.is_poisoned() {
            return false;
        }
        let mut advanced = self.push_pieces();
        advanced |= self.retry_parked();
        while self.can_take() {
            let Some(guard) = self.shared.next(!self.can_take_puts()) else { break };
            self.start(guard, 0);
            self.push_pieces();
            advanced = true;
        }
        advanced
    }

    /// Whether another item can be put to work at once.
    fn can_take(&self) -> bool {
        self.gets.is_empty()
            && self.jobs.len() + self.parked.len() < JOBS_MAX
            && self.queue.room() > 0
            && self.bytes_in_flight.read < READ_BYTES_MAX
    }

    /// Whether that may be a put. Gets must find room whatever puts have under way.
    fn can_take_puts(&self) -> bool {
        self.puts_ahead < PUTS_AHEAD
            && self.parked.is_empty()
            && self.jobs.len() < JOBS_MAX - JOBS_MAX / GET_RESERVE
            && self.put_room() > 0
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

    fn retry_parked(&mut self) -> bool {
        let mut advanced = false;
        for _ in 0..self.parked.len() {
            let Some(parked) = self.parked.pop_front() else { break };
            let before = self.parked.len();
            self.start(parked.guard, parked.attempts);
            if self.parked.len() > before {
                // Still nothing free; the others would not fare better.
                self.parked.rotate_right(1);
                break;
            }
            self.push_pieces();
            advanced = true;
        }
        advanced
    }

    fn push_pieces(&mut self) -> bool {
        let mut advanced = false;
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
            && self.bytes_in_flight.written < WRITTEN_BYTES_MAX
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

    /// Whether an error will pass: descriptors are short, and items under way will give some back.
    fn passes(&self, error: &crate::error::Error) -> bool {
        matches!(error.os_error(), libc::EMFILE | libc::ENFILE) && self.shared.has_jobs()
    }

    /// Ends an item. Whatever it held was given back before, so lanes that wait for such look again.
    fn finish(&self, guard: ItemGuard, result: ItemResult) {
        self.shared.finish(guard, result);
        self.shared.relieve();
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

/// The key and memory of an item, as its job needs them again and again.
fn item_parts(guard: &ItemGuard) -> Option<(Key<'_>, &[Segment])> {
    let (batch, item, _) = guard.parts()?;
    Some((Key { effective: batch.key(item), digest: item.digest }, batch.segments(item)))
}

/// The result of an operation that failed before or after its transfer; the item keeps the reason.
fn failed(guard: &ItemGuard, error: &crate::error::Error) -> ItemResult {
    guard.explain(|| error.message().to_owned());
    ItemResult::failed(error.status(), error.os_error())
}

/// The result of a transfer that failed.
fn failed_transfer(guard: &ItemGuard, what: &str, status: Status, os_error: i32) -> ItemResult {
    if os_error != 0 {
        guard.explain(|| {
            let key = item_parts(guard).map_or_else(String::new, |(key, _)| key.shown());
            format!("{what} key {key}: {}", std::io::Error::from_raw_os_error(os_error))
        });
    }
    ItemResult::failed(status, os_error)
}

/// The result of a get that found nothing to serve.
fn not_found() -> ItemResult {
    ItemResult::of(Status::NotFound)
}
