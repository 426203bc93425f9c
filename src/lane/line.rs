//! The items of one direction that wait for a lane.

use crossbeam_queue::ArrayQueue;

use super::admission::Admission;
use crate::batch::{BATCH_ITEMS_MAX, ItemGuard};
use crate::error::{Error, Result};
use crate::sys::room;

/// Items of one direction: those that wait, and the bound on those waiting and under way.
#[derive(Debug)]
pub(super) struct Line {
    waiting: ArrayQueue<ItemGuard>,
    pub(super) admission: Admission,
}

impl Line {
    /// A line for `items_max` items; a larger batch is admitted when there is nothing else.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`](crate::error::Status::OutOfMemory).
    pub(super) fn new(items_max: usize) -> Result<Line> {
        let room = items_max.max(BATCH_ITEMS_MAX);
        Ok(Line { waiting: bounded(room)?, admission: Admission::new(items_max) })
    }

    /// Queues an admitted item.
    pub(super) fn push(&self, guard: ItemGuard) {
        // Admission bounds the queue, so it has room; a guard that is refused ends its item.
        drop(self.waiting.push(guard));
    }

    /// The next item to start.
    pub(super) fn pop(&self) -> Option<ItemGuard> {
        loop {
            let guard = self.waiting.pop()?;
            if !guard.is_stub() {
                return Some(guard);
            }
            drop(guard);
            self.admission.drop_stub();
        }
    }

    /// Whether items wait to be started, as far as can be told without taking one.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// Of one item in a queue: its guard, and the number that the queue keeps beside it.
const ENTRY_BYTES: usize = size_of::<ItemGuard>() + size_of::<usize>();

/// A queue of that size, or an error where its memory is not to be had.
fn bounded(items: usize) -> Result<ArrayQueue<ItemGuard>> {
    room::take(items.saturating_mul(ENTRY_BYTES), || Ok(ArrayQueue::new(items)))
        .map_err(|error| Error::os(format_args!("a queue of {items} items (nixl_store_queue_items)"), &error))
}
