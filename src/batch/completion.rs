//! A queue of finished tickets with an eventfd, for engines that run an event loop.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crossbeam_queue::ArrayQueue;

use crate::error::Status;
use crate::sync::{AtomicUsize, Ordering};
use crate::sys::event::Event;

/// Tickets that one queue may owe its reader: submitted with it and not yet drained.
pub const COMPLETIONS_MAX: usize = 4096;

/// One drained completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The finished ticket.
    pub ticket: u64,
    /// What the submitter gave.
    pub user_data: u64,
    /// The summary status of the ticket.
    pub status: Status,
}

/// The queue. Any thread may push and drain.
#[derive(Debug)]
pub struct CompletionQueue {
    finished: ArrayQueue<Completion>,
    event: Event,
    /// Promised and not yet drained; at most the capacity, so a push always finds room.
    owed: AtomicUsize,
}

impl CompletionQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// What `eventfd(2)` answers.
    pub fn new() -> io::Result<CompletionQueue> {
        Ok(CompletionQueue {
            finished: ArrayQueue::new(COMPLETIONS_MAX),
            event: Event::new()?,
            owed: AtomicUsize::new(0),
        })
    }

    /// Promises room for one ticket. False: the reader must drain first.
    pub fn reserve(&self) -> bool {
        let add = |owed: usize| (owed < COMPLETIONS_MAX).then_some(owed + 1);
        self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Takes a promise back: the ticket was not submitted.
    pub fn unreserve(&self) {
        self.owed.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds a finished ticket and makes the eventfd readable.
    pub fn push(&self, ticket: u64, user_data: u64, status: Status) {
        // Cannot be full: `owed` counts this one.
        let _ = self.finished.push(Completion { ticket, user_data, status });
        self.event.signal();
    }

    /// Hands up to `capacity` completions to `sink`. The eventfd stays readable while some are left.
    pub fn drain(&self, capacity: usize, sink: &mut dyn FnMut(Completion)) -> usize {
        self.event.clear();
        let mut count = 0;
        while count < capacity
            && let Some(completion) = self.finished.pop()
        {
            self.owed.fetch_sub(1, Ordering::Relaxed);
            sink(completion);
            count += 1;
        }
        if !self.finished.is_empty() {
            self.event.signal();
        }
        count
    }

    /// The eventfd, owned by the queue.
    pub fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event loop that drains a few at a time is woken until nothing is left, and never after.
    #[test]
    fn the_eventfd_is_readable_exactly_while_completions_wait() {
        let queue = CompletionQueue::new().expect("eventfd");
        let readable = || queue.event.wait(0).expect("poll");
        assert!(!readable());
        for ticket in 1..=5 {
            assert!(queue.reserve());
            queue.push(ticket, ticket * 10, Status::Ok);
        }
        let mut seen = Vec::new();
        assert_eq!(queue.drain(3, &mut |completion| seen.push(completion.ticket)), 3);
        assert!(readable());
        assert_eq!(queue.drain(3, &mut |completion| seen.push(completion.ticket)), 2);
        assert!(!readable());
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    }

    /// A reader that never drains is told so at submit; no completion is ever dropped.
    #[test]
    fn a_queue_that_is_not_drained_fills_up_and_says_so() {
        let queue = CompletionQueue::new().expect("eventfd");
        let mut promised = 0u64;
        while queue.reserve() {
            promised += 1;
            queue.push(promised, 0, Status::Ok);
        }
        assert_eq!(promised, COMPLETIONS_MAX as u64);
        assert_eq!(queue.drain(usize::MAX, &mut |_| {}), COMPLETIONS_MAX);
        assert!(queue.reserve());
    }
}
