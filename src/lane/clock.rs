//! The clock by which [`super::deadlines`] are kept: when to look next, and the way to set it earlier.

use std::time::{Duration, Instant};

use crate::sync::{AtomicBool, AtomicU64, Ordering};
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

    /// Has the thread look at the ticket table now.
    pub(super) fn wake(&self) {
        self.waker.signal();
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.waker.signal();
    }

    /// Whether the thread should end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Sets the clock to nothing, and says what it was set to. Whoever submits from here on sees that and wakes the thread;
    /// what was submitted before is in the table, which the thread reads next.
    pub(super) fn unset(&self) -> Option<Instant> {
        self.waker.clear();
        self.moment(self.next.swap(NEVER, Ordering::SeqCst))
    }

    /// Waits for the earlier of that moment and those that were set since [`Clock::unset`]; not at all once the clock was
    /// stopped.
    ///
    /// # Errors
    /// What `poll(2)` answers.
    pub(super) fn wait(&self, earliest: Option<Instant>) -> std::io::Result<()> {
        if let Some(earliest) = earliest {
            self.next.fetch_min(self.nanoseconds(earliest), Ordering::SeqCst);
        }
        // Here, after `unset`: it takes away every signal that came before it, that of `stop` too.
        if self.is_stopped() {
            return Ok(());
        }
        self.waker.wait_until(self.moment(self.next.load(Ordering::SeqCst))).map(drop)
    }

    fn nanoseconds(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(NEVER).min(NEVER - 1)
    }

    fn moment(&self, nanoseconds: u64) -> Option<Instant> {
        if nanoseconds == NEVER { None } else { self.start.checked_add(Duration::from_nanos(nanoseconds)) }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// How long a thread that is not to sleep may take, on a machine that may be busy.
    const TIME_MAX: Duration = Duration::from_secs(20);

    /// Whoever closes a store waits for the thread that waits here: a stop that comes just before [`Clock::unset`], which
    /// takes its signal away, must end the wait all the same.
    #[test]
    fn a_stop_is_not_lost() {
        let clock = Arc::new(Clock::new().expect("an eventfd"));
        let (tell, told) = mpsc::channel();
        let waiting = Arc::clone(&clock);
        clock.stop();
        let thread = std::thread::spawn(move || {
            waiting.unset();
            tell.send(waiting.wait(None))
        });
        let ended = told.recv_timeout(TIME_MAX);
        // So that the thread ends, whatever was seen.
        clock.stop();
        thread.join().expect("no panic").expect("this test waits");
        assert!(matches!(ended, Ok(Ok(()))), "the wait did not end: {ended:?}");
    }
}
