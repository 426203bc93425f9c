//! Deadlines: one thread that ends what was not started in time.
//!
//! A lane can be held up by the kernel for as long as a device hangs, in a system call that should not block and does.
//! So deadlines are kept by a thread that never touches storage. It sleeps until the earliest deadline that it knows of;
//! whoever submits something with an earlier one wakes it. With deadlines of a constant length that is hardly ever, as
//! later batches have later deadlines.

use std::time::Instant;

use super::shared::Shared;
use crate::batch::ticket::TicketTable;
use crate::error::Status;
use crate::sync::Arc;
use crate::sys::thread;

/// Keeps deadlines until the store stops.
fn keep(shared: &Shared, tickets: &TicketTable) -> std::io::Result<()> {
    while !shared.clock.is_stopped() {
        let before = shared.clock.unset();
        let earliest = end_late(shared, tickets);
        // Most batches are over before anybody looks. The clock then stays at the moment that it was set to, so that those
        // which follow with later deadlines need not set it, and wake this thread, one after the other.
        let still_to_come = before.filter(|before| *before > Instant::now());
        shared.clock.wait(earliest.or(still_to_come))?;
    }
    Ok(())
}

/// Ends the unstarted items of all batches whose deadline has come; returns the earliest that has not. In a poisoned store,
/// which wakes this thread, it ends the questions too that nobody has begun to ask; the lanes see to the rest.
fn end_late(shared: &Shared, tickets: &TicketTable) -> Option<Instant> {
    let now = Instant::now();
    let mut earliest: Option<Instant> = None;
    let is_poisoned = shared.is_poisoned();
    tickets.for_each(&mut |batch| {
        if is_poisoned && batch.question.is_some() {
            return shared.end_waiting(batch, Status::Poisoned);
        }
        let Some(deadline) = batch.deadline else { return };
        if deadline <= now {
            shared.end_waiting(batch, Status::TimedOut);
        } else if !batch.is_done() {
            earliest = Some(earliest.map_or(deadline, |other| other.min(deadline)));
        }
    });
    earliest
}

/// Starts the thread.
///
/// # Errors
/// What starting a thread answers.
pub fn spawn(shared: Arc<Shared>, tickets: Arc<TicketTable>) -> std::io::Result<std::thread::JoinHandle<()>> {
    thread::spawn("nixl-deadlines", move || {
        if let Err(error) = keep(&shared, &tickets) {
            shared.poison_and_drop(&format!("the thread that keeps deadlines broke: {error}"));
        }
    })
}
