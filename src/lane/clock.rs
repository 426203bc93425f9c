//! The clock: one thread that ends what was not started by its deadline.
//!
//! A lane can be held up by the kernel for as long as a device hangs, in a system call that should not block and does.
//! So deadlines are kept by a thread that never touches storage. It sleeps until the earliest deadline that it knows of;
//! whoever submits something with an earlier one wakes it. With deadlines of a constant length that is hardly ever, as
//! later batches have later deadlines.

use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::batch::ticket::TicketTable;
use crate::error::Status;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::sys::event::Event;

/// The clock is set to no moment: it looks at nothing until woken.
const NEVER: u64 = u64::MAX;

/// The submitters' side of the clock.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// When the thread looks next, in nanoseconds after `start`.
    next: AtomicU64,
    waker: Event,
    stopping: AtomicBool,
}

impl Clock {
    /// A clock that is not running yet.
    ///
    /// # Errors
    /// What `eventfd(2)` answers.
    pub(super) fn new() -> std::io::Result<Clock> {
        Ok(Clock {
            start: Instant::now(),
            next: AtomicU64::new(NEVER),
            waker: Event::new()?,
            stopping: AtomicBool::new(false),
        })
    }

    /// Has the thread look at the ticket table at that moment. The batch is in the table already.
    pub fn set(&self, deadline: Instant) {
        let moment = self.nanoseconds(deadline);
        if moment < self.next.fetch_min(moment, Ordering::SeqCst) {
            self.waker.signal();
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.waker.signal();
    }

    fn nanoseconds(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(NEVER).min(NEVER - 1)
    }

    fn moment(&self, nanoseconds: u64) -> Option<Instant> {
        if nanoseconds == NEVER { None } else { self.start.checked_add(Duration::from_nanos(nanoseconds)) }
    }
}

/// Runs the clock until the store stops. For a thread of its own.
///
/// # Errors
/// What `poll(2)` answers, which it does not on an eventfd that is open.
pub fn run(shared: &Shared, tickets: &TicketTable) -> std::io::Result<()> {
    let clock = &shared.clock;
    while !clock.stopping.load(Ordering::SeqCst) {
        clock.waker.clear();
        // From here on whoever submits sees that the clock is set to nothing, and wakes it; what is in the table already
        // is seen below.
        clock.next.store(NEVER, Ordering::SeqCst);
        if let Some(earliest) = end_late(shared, tickets) {
            clock.next.fetch_min(clock.nanoseconds(earliest), Ordering::SeqCst);
        }
        clock.waker.wait_until(clock.moment(clock.next.load(Ordering::SeqCst)))?;
    }
    Ok(())
}

/// Ends the unstarted items of all batches whose deadline has come; returns the earliest that has not.
fn end_late(shared: &Shared, tickets: &TicketTable) -> Option<Instant> {
    let now = Instant::now();
    let mut earliest: Option<Instant> = None;
    tickets.for_each(&mut |batch| {
        let Some(deadline) = batch.deadline else { return };
        if deadline <= now {
            shared.end_waiting(batch, Status::TimedOut);
        } else if !batch.is_done() {
            earliest = Some(earliest.map_or(deadline, |other| other.min(deadline)));
        }
    });
    earliest
}

/// Starts the clock's thread.
///
/// # Errors
/// What starting a thread answers.
pub fn spawn(shared: Arc<Shared>, tickets: Arc<TicketTable>) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("nixl-clock".to_owned()).spawn(move || {
        if let Err(error) = run(&shared, &tickets) {
            shared.poison_and_drop(&format!("the clock broke: {error}"));
        }
    })
}
