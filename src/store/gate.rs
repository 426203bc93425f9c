//! Counts the threads inside a short passage, so that closing can wait for the last one to leave.

use crate::sync::{AtomicUsize, Ordering, thread};

/// The passage.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: AtomicUsize,
}

/// A thread inside; leaves when dropped.
#[derive(Debug)]
pub(super) struct Entered<'a>(&'a Gate);

impl Gate {
    /// Enters. Whoever enters looks at the closing flag afterwards.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        Entered(self)
    }

    /// Waits until nobody is inside who entered before. The passage never blocks, so this is a matter of
    /// a few yields.
    pub(super) fn wait_until_empty(&self) {
        while self.inside.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
