//! Who waits for a part of a batch: devices, by words of memory that rise as bytes come, and threads.
//!
//! However an item ends, its words are left at their highest value, so whoever waits on one goes on: ending drops them, and so
//! does the end of the batch itself. A batch that nobody watches pays one look at a flag for each item.
//!
//! Nobody is missed. Whoever watches raises the flag and then asks how far the item is; whoever ends an item or brings it on
//! writes that down and then looks at the flag. [`Watch`] is given the question, which the batch answers in such a way that one
//! of the two sees what the other has written.

use std::time::Duration;

use crate::error::{Error, Result, Status};
use crate::memory::signal::WORDS;
use crate::memory::{Mark, Signal, Words};
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, lock};

/// In the place of an item's number: all of them. No batch has so many.
const ALL: u32 = u32::MAX;

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Far {
    /// It has ended, however.
    pub(super) is_over: bool,
    /// Its first bytes that are proven and in place.
    pub(super) bytes: u64,
}

impl Far {
    fn reaches(self, bytes: u64) -> bool {
        self.is_over || self.bytes >= bytes
    }
}

/// Who watches a batch.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Somebody may be in here. Stays up until the batch is used anew.
    is_watched: AtomicBool,
    /// The words that follow an item, in the order of the items.
    signals: Mutex<Vec<(u32, Signal)>>,
    /// Signalled when an item has come on or ended.
    changed: Condvar,
}

impl Watch {
    /// Forgets what was, for another use of the batch.
    pub(super) fn reset(&mut self) {
        if std::mem::take(self.is_watched.get_mut()) {
            lock(&self.signals).clear();
        }
    }

    /// What a device has to wait for, on a word of `words`, until an item of so many `steps` has done `bytes` of them or is
    /// over; without an item, until all are. `None`: that is so already.
    ///
    /// # Errors
    /// [`Status::Busy`] if all words are taken.
    pub(super) fn mark(
        &self,
        index: Option<u32>,
        steps: u64,
        bytes: u64,
        words: &'static Words,
        how_far: impl Fn() -> Far,
    ) -> Result<Option<Mark>> {
        if how_far().reaches(bytes) {
            return Ok(None);
        }
        let index = index.unwrap_or(ALL);
        let mut signals = lock(&self.signals);
        let first = signals.partition_point(|(other, _)| *other < index);
        let mut mine = signals[first..].iter().take_while(|(other, _)| *other == index);
        let at = match mine.position(|(_, signal)| signal.is_of(words)) {
            Some(offset) => first + offset,
            None => {
                let signal = words.take(steps).ok_or_else(no_word)?;
                signals.insert(first, (index, signal));
                first
            }
        };
        self.is_watched.store(true, Ordering::SeqCst);
        let far = how_far();
        if far.is_over {
            signals.retain(|(other, _)| *other != index);
            return Ok(None);
        }
        let signal = &signals[at].1;
        signal.advance(far.bytes);
        Ok((!far.reaches(bytes)).then(|| signal.mark(bytes)))
    }

    /// Waits until an item has come so far or is over, or the time is up. `left`: how much of it there is, `None` for ever.
    pub(super) fn wait(&self, bytes: u64, left: impl Fn() -> Option<Duration>, how_far: impl Fn() -> Far) {
        if how_far().reaches(bytes) || left() == Some(Duration::ZERO) {
            return;
        }
        let mut signals = lock(&self.signals);
        self.is_watched.store(true, Ordering::SeqCst);
        while !how_far().reaches(bytes) {
            signals = match left() {
                None => self.changed.wait(signals).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(Duration::ZERO) => return,
                Some(left) => {
                    let waited = self.changed.wait_timeout(signals, left);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
            };
        }
    }

    /// An item has come so far, which is written down.
    pub(super) fn advance(&self, index: u32, bytes: u64) {
        if self.is_watched.load(Ordering::SeqCst) {
            let signals = lock(&self.signals);
            let first = signals.partition_point(|(other, _)| *other < index);
            let mine = signals[first..].iter().take_while(|(other, _)| *other == index);
            mine.for_each(|(_, signal)| signal.advance(bytes));
            drop(signals);
            self.changed.notify_all();
        }
    }

    /// An item has ended, perhaps as the last one, which is written down.
    pub(super) fn end(&self, index: u32, is_last: bool) {
        if self.is_watched.load(Ordering::Relaxed) {
            let mut signals = lock(&self.signals);
            if is_last {
                signals.clear();
            } else {
                let first = signals.partition_point(|(other, _)| *other < index);
                let behind = signals.partition_point(|(other, _)| *other <= index);
                drop(signals.drain(first..behind));
            }
            drop(signals);
            self.changed.notify_all();
        }
    }
}

fn no_word() -> Error {
    let message = format!(
        "{WORDS} items of a CUDA context are waited for by streams, the most there can be; wait for some first"
    );
    Error::new(Status::Busy, message)
}
