//! Who waits for a part of a batch: devices, by words of memory that rise as bytes come, and threads.
//!
//! However an item ends, its words are left at their highest value, so whoever waits on one goes on: ending drops them, and so
//! does the end of the batch itself. A batch that nobody watches pays one look at a flag for each item. The flag is raised
//! before the number of unfinished items is touched, and an item's status is written before it: of one who begins to watch
//! and one who ends the item, each touches that number, so the later of the two sees what the other has written.

use std::time::{Duration, Instant};

use super::items::{Batch, Item, ItemResult};
use crate::error::{Error, Result, Status};
use crate::memory::signal::WORDS;
use crate::memory::{Mark, Signal, Words};
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, lock};

/// In the place of an item's number: all of them. No batch has so many.
const ALL: u32 = u32::MAX;

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
        *self.is_watched.get_mut() = false;
        lock(&self.signals).clear();
    }
}

impl Batch {
    /// What a device has to wait for, on a word of `words`, until so many bytes of an item are proven and in place or it has
    /// ended; `None` as the item: until all have ended. `None`: that is so already.
    ///
    /// # Errors
    /// [`Status::Busy`] if all words are taken.
    pub fn mark(&self, index: Option<u32>, bytes: u64, words: &'static Words) -> Result<Option<Mark>> {
        let item = index.map(|index| self.item(index));
        if self.has_come(item, bytes) {
            return Ok(None);
        }
        let key = index.unwrap_or(ALL);
        let mut signals = lock(&self.watch.signals);
        let first = signals.partition_point(|(other, _)| *other < key);
        let mine = signals[first..].iter().take_while(|(other, _)| *other == key);
        let at = match mine.clone().position(|(_, signal)| signal.is_of(words)) {
            Some(offset) => first + offset,
            None => {
                // What is told from the front comes byte by byte, anything else at once.
                let steps = item.filter(|item| item.wish.front).map_or(1, |item| item.length as u64);
                let signal = words.take(steps).ok_or_else(no_word)?;
                signals.insert(first, (key, signal));
                first
            }
        };
        self.announce();
        if self.has_ended(item) {
            signals.retain(|(other, _)| *other != key);
            return Ok(None);
        }
        let signal = &signals[at].1;
        if let Some(item) = item {
            signal.advance(item.front_bytes.load(Ordering::SeqCst));
        }
        Ok((!self.has_come(item, bytes)).then(|| signal.mark(bytes)))
    }

    /// Waits until so many bytes of an item are proven and in place, or it has ended, or the time is up. How it ended, and how
    /// many are.
    pub fn wait_bytes(&self, index: u32, bytes: u64, timeout: Option<Duration>) -> (ItemResult, u64) {
        let item = self.item(index);
        if !self.has_come(Some(item), bytes) && timeout != Some(Duration::ZERO) {
            let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            let mut signals = lock(&self.watch.signals);
            self.announce();
            while !self.has_come(Some(item), bytes) {
                signals = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    None => {
                        self.watch.changed.wait(signals).unwrap_or_else(std::sync::PoisonError::into_inner)
                    }
                    Some(Duration::ZERO) => break,
                    Some(left) => {
                        let waited = self.watch.changed.wait_timeout(signals, left);
                        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                    }
                };
            }
        }
        let result = self.result(item);
        let bytes = match result.status {
            Status::Ok => result.bytes,
            _ => item.front_bytes.load(Ordering::SeqCst),
        };
        (result, bytes)
    }

    /// An item has come so far.
    pub(super) fn tell_advance(&self, index: u32, bytes: u64) {
        // Pairs with `announce`, after which whoever watches reads how far the item has come.
        if self.watch.is_watched.load(Ordering::SeqCst) {
            let signals = lock(&self.watch.signals);
            let first = signals.partition_point(|(other, _)| *other < index);
            let mine = signals[first..].iter().take_while(|(other, _)| *other == index);
            mine.for_each(|(_, signal)| signal.advance(bytes));
            drop(signals);
            self.watch.changed.notify_all();
        }
    }

    /// An item has ended, perhaps as the last one; its end is written down, and the number of unfinished items touched.
    pub(super) fn tell_end(&self, index: u32, is_last: bool) {
        if self.watch.is_watched.load(Ordering::Relaxed) {
            let mut signals = lock(&self.watch.signals);
            if is_last {
                signals.clear();
            } else {
                let first = signals.partition_point(|(other, _)| *other < index);
                let behind = signals.partition_point(|(other, _)| *other <= index);
                drop(signals.drain(first..behind));
            }
            drop(signals);
            self.watch.changed.notify_all();
        }
    }

    /// Begins to watch: whatever ends or comes on after this looks for who watches, and whatever did before is seen.
    fn announce(&self) {
        self.watch.is_watched.store(true, Ordering::SeqCst);
        self.remaining.fetch_add(0, Ordering::AcqRel);
    }

    fn has_ended(&self, item: Option<&Item>) -> bool {
        match item {
            None => self.is_done(),
            Some(item) => self.result(item).status != Status::InProgress,
        }
    }

    fn has_come(&self, item: Option<&Item>, bytes: u64) -> bool {
        self.has_ended(item) || item.is_some_and(|item| item.front_bytes.load(Ordering::SeqCst) >= bytes)
    }
}

fn no_word() -> Error {
    Error::new(
        Status::Busy,
        format!(
            "{WORDS} items of a CUDA context are waited for by streams, the most there can be; wait for some first"
        ),
    )
}
