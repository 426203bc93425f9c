//! Admission: the bound on items of one kind that wait or are under way, and the submitters that wait for room under it.
//!
//! Submitters are admitted in the order in which they came. Without that a large batch would wait for a moment in which
//! nothing is under way, while small ones that came later kept slipping in.

use std::collections::VecDeque;
use std::time::Instant;

use crate::error::{Error, Result, Status};
use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, lock};

/// Items of one kind, waiting and under way.
#[derive(Debug)]
pub struct Admission {
    /// Items admitted and not given back: waiting, stubs among them, or under way.
    admitted: AtomicUsize,
    /// Of these, the stubs.
    stubs: AtomicUsize,
    items_max: usize,
    /// Submitters in `turns`, to be known without its lock.
    submitters: AtomicUsize,
    turns: Mutex<Turns>,
    turn: Condvar,
}

/// Who waits for admission, in order.
#[derive(Debug, Default)]
struct Turns {
    waiting: VecDeque<u64>,
    next: u64,
}

impl Admission {
    /// Room for `items_max` items; a larger batch is admitted when there is nothing else.
    pub(super) fn new(items_max: usize) -> Admission {
        Admission {
            admitted: AtomicUsize::new(0),
            stubs: AtomicUsize::new(0),
            items_max,
            submitters: AtomicUsize::new(0),
            turns: Mutex::new(Turns::default()),
            turn: Condvar::new(),
        }
    }

    /// Waits until `count` more items may be under way, at most until `deadline`.
    ///
    /// # Errors
    /// [`Status::Busy`] when the deadline passes first; what `check` answers, which is asked at each wake-up.
    pub(super) fn admit(
        &self,
        count: usize,
        deadline: Option<Instant>,
        check: impl Fn() -> Result<()>,
    ) -> Result<()> {
        if self.submitters.load(Ordering::SeqCst) == 0 && self.try_admit(count) {
            return Ok(());
        }
        let mut turns = lock(&self.turns);
        // Before the next look at `admitted`: whoever gives room back looks at this after that.
        self.submitters.fetch_add(1, Ordering::SeqCst);
        let mine = turns.next;
        turns.next += 1;
        turns.waiting.push_back(mine);
        let outcome = loop {
            if turns.waiting.front() == Some(&mine) && self.try_admit(count) {
                break Ok(());
            }
            if let Err(error) = check() {
                break Err(error);
            }
            let Some(deadline) = deadline else {
                turns = self.turn.wait(turns).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(self.busy());
            }
            let waited = self.turn.wait_timeout(turns, left);
            turns = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        };
        turns.waiting.retain(|&turn| turn != mine);
        self.submitters.fetch_sub(1, Ordering::SeqCst);
        // It is the next one's turn, who may have looked in vain before.
        self.turn.notify_all();
        outcome
    }

    fn try_admit(&self, count: usize) -> bool {
        let add = |now: usize| (now == 0 || now + count <= self.items_max).then_some(now + count);
        self.admitted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
    }

    fn busy(&self) -> Error {
        Error::new(
            Status::Busy,
            format!(
                "submission queue full: {} items under way, at most {} (nixl_store_queue_items); wait for earlier \
                 tickets or allow a longer timeout",
                self.items(),
                self.items_max
            ),
        )
    }

    /// Gives back the admission of `count` items.
    pub(super) fn give_back(&self, count: usize) {
        self.admitted.fetch_sub(count, Ordering::SeqCst);
        if self.submitters.load(Ordering::SeqCst) > 0 {
            self.call_submitters();
        }
    }

    /// Has every submitter look again.
    pub(super) fn call_submitters(&self) {
        // Under the lock, so that no submitter is between its look and its sleep.
        drop(lock(&self.turns));
        self.turn.notify_all();
    }

    /// An item was ended from outside; its guard is a stub from here on, wherever it is.
    pub(super) fn add_stub(&self) {
        self.stubs.fetch_add(1, Ordering::SeqCst);
    }

    /// A stub is gone.
    pub(super) fn drop_stub(&self) {
        self.stubs.fetch_sub(1, Ordering::SeqCst);
        self.give_back(1);
    }

    /// Items waiting or under way. Each number is read by itself, so while items end it may be off by those.
    pub(super) fn items(&self) -> usize {
        let stubs = self.stubs.load(Ordering::SeqCst);
        self.admitted.load(Ordering::SeqCst).saturating_sub(stubs)
    }
}
