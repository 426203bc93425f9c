//! A batch of puts, gets or questions about keys: what was asked, how each item ended, and the wait for the last one.
//!
//! The submitter fills a batch while it is alone with it; then it is shared, read-only but for
//! the items' results and the count of those not done. Each unfinished item is represented by one
//! [`ItemGuard`]; however a guard goes, its item ends, so no panic or early return can leave a
//! waiter behind.
//!
//! An item that was not started can also be ended from outside, by a cancel or at its deadline, while its guard waits
//! in some queue. Its stage says who was first: whoever starts it, or whoever ends it. The guard of an item that was
//! ended so is a stub, dropped without effect by whoever takes it out of the queue.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::age::Age;
use super::completion::CompletionQueue;
use super::question::Question;
use super::watch::{Far, Watch};
use crate::error::{Result, Status};
use crate::memory::{Mark, Stretch, Words};
use crate::sync::{
    Arc, AtomicBool, AtomicI32, AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, lock,
};

/// Most items of one batch.
pub const BATCH_ITEMS_MAX: usize = 65536;
/// Messages that one batch keeps; whoever reads more than a few reads the statuses.
pub const MESSAGES_MAX: usize = 8;

/// The highest device that [`Batch::devices`] tells apart; machines have sixteen.
pub const DEVICE_MAX: u16 = 63;

/// Which way the bytes of a batch go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Storage to memory.
    #[default]
    Get,
    /// Memory to storage.
    Put,
}

/// How one item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemResult {
    /// Its status.
    pub status: Status,
    /// The OS error number behind it, else 0.
    pub os_error: i32,
    /// Payload bytes moved.
    pub bytes: u64,
    /// Length of the stored object where it is known, else 0.
    pub object_length: u64,
}

impl ItemResult {
    /// An end that moved nothing.
    pub fn of(status: Status) -> ItemResult {
        ItemResult { status, os_error: 0, bytes: 0, object_length: 0 }
    }

    /// A failure with the OS error behind it.
    pub fn failed(status: Status, os_error: i32) -> ItemResult {
        ItemResult { status, os_error, bytes: 0, object_length: 0 }
    }
}

/// What an item asks for beside the plain transfer of a whole object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// A get of a range: its first byte in the object.
    pub range_offset: Option<u64>,
    /// A get that takes an object of any other length than its memory's for not found, or a put with `keep` that leaves
    /// no such object.
    pub exact: bool,
    /// A put that leaves a stored object as it is and moves nothing.
    pub keep: bool,
    /// A put that the eviction policy does not decline.
    pub must: bool,
    /// A get whose bytes are proven from the front, so that they can be used while the rest is on its way.
    pub front: bool,
}

/// What was asked for one key.
#[derive(Debug)]
pub struct Item {
    /// Digest of the effective key.
    pub digest: u128,
    /// What was asked for beside the plain transfer.
    pub wish: Wish,
    /// Bytes of all segments.
    pub length: usize,
    /// Whether some of them are a device's.
    pub is_on_device: bool,
    key: Range<usize>,
    stretches: Range<usize>,
    stage: AtomicU32,
    status: AtomicI32,
    os_error: AtomicI32,
    bytes: AtomicU64,
    object_length: AtomicU64,
    /// Bytes from the item's first on that are proven and in place.
    front_bytes: AtomicU64,
}

/// Nobody has touched the item's memory or storage for it.
const WAITING: u32 = 0;
/// A lane works on it, and it ends when that work does.
const STARTED: u32 = 1;
/// Its result stands, or is being written by whoever brought it here.
const ENDED: u32 = 2;

/// Where a batch reports its end, beside waking those who wait for it.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The queue.
    pub queue: Arc<CompletionQueue>,
    /// The submitter's word.
    pub user_data: u64,
}

/// A batch. See the module.
#[derive(Debug, Default)]
pub struct Batch {
    /// Which way.
    pub direction: Direction,
    /// What is asked about its keys instead, in a batch that moves no bytes.
    pub question: Option<Question>,
    /// When items not yet started are given up.
    pub deadline: Option<Instant>,
    /// For how long it has been under way.
    pub age: Age,
    /// Its number in the ticket table.
    pub ticket: u64,
    /// Where its end is reported; taken by whoever reports it, so that nothing keeps the queue afterwards.
    pub notice: Mutex<Option<Notice>>,
    items: Vec<Item>,
    stretches: Vec<Stretch>,
    keys: Vec<u8>,
    /// A bit for each device whose memory is among the stretches.
    devices: u64,
    /// Room for whoever compares the segments before the batch is submitted; kept like the rest.
    pub ranges: Vec<(usize, usize)>,
    cancelled: AtomicBool,
    remaining: AtomicU32,
    watch: Watch,
    messages: Mutex<Vec<(u32, String)>>,
    done: Mutex<bool>,
    done_changed: Condvar,
}

impl Batch {
    /// Empties it for another use, keeping its memory.
    pub fn reset(&mut self, direction: Direction) {
        self.direction = direction;
        self.question = None;
        self.deadline = None;
        self.age = Age::default();
        self.ticket = 0;
        *lock(&self.notice) = None;
        self.items.clear();
        self.stretches.clear();
        self.keys.clear();
        self.devices = 0;
        lock(&self.messages).clear();
        self.cancelled = AtomicBool::new(false);
        self.remaining = AtomicU32::new(0);
        self.watch.reset();
        *lock(&self.done) = false;
    }

    /// Starts an item.
    pub fn push_item(&mut self, digest: u128, effective_key: &[u8], wish: Wish) {
        let key = self.keys.len()..self.keys.len() + effective_key.len();
        self.keys.extend_from_slice(effective_key);
        self.items.push(Item {
            digest,
            wish,
            length: 0,
            is_on_device: false,
            key,
            stretches: self.stretches.len()..self.stretches.len(),
            stage: AtomicU32::new(WAITING),
            status: AtomicI32::new(Status::InProgress.code()),
            os_error: AtomicI32::new(0),
            bytes: AtomicU64::new(0),
            object_length: AtomicU64::new(0),
            front_bytes: AtomicU64::new(0),
        });
        *self.remaining.get_mut() += 1;
    }

    /// Adds memory to the item started last. False if there is none or its length overflows.
    #[must_use]
    pub fn push_stretch(&mut self, stretch: Stretch) -> bool {
        let Some(item) = self.items.last_mut() else {
            return false;
        };
        let Some(length) = item.length.checked_add(stretch.length()) else {
            return false;
        };
        item.length = length;
        if let Some(device) = stretch.device() {
            item.is_on_device = true;
            self.devices |= 1 << device.min(DEVICE_MAX);
        }
        self.stretches.push(stretch);
        item.stretches.end = self.stretches.len();
        true
    }

    /// Items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Stretches of memory of all items.
    pub fn stretch_count(&self) -> usize {
        self.stretches.len()
    }

    /// A bit for each device whose memory is among the stretches, the last for [`DEVICE_MAX`] and all above.
    pub fn devices(&self) -> u64 {
        self.devices
    }

    /// Whether it has no items.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One item.
    pub fn item(&self, index: u32) -> &Item {
        &self.items[index as usize]
    }

    /// All items.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The effective key of an item.
    pub fn key(&self, item: &Item) -> &[u8] {
        &self.keys[item.key.clone()]
    }

    /// The memory of an item.
    pub fn stretches(&self, item: &Item) -> &[Stretch] {
        &self.stretches[item.stretches.clone()]
    }

    /// Asks that items not yet started end; those who would start one look here. See also [`Batch::take_waiting`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Why an item should not be started any more, if so.
    pub fn stopped(&self) -> Option<Status> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Some(Status::Cancelled);
        }
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        late.then_some(Status::TimedOut)
    }

    /// Hands `end` each item that nobody has started, to be ended with [`Batch::finish`]; nobody can start it any more.
    pub fn take_waiting(&self, mut end: impl FnMut(&Item, u32)) {
        for (index, item) in self.items.iter().enumerate() {
            let taken = item.stage.compare_exchange(WAITING, ENDED, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                end(item, index as u32);
            }
        }
    }

    /// Whether all items have ended.
    pub fn is_done(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }

    /// Waits until all items have ended, or the time is up. True if they have.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if self.is_done() {
            return true;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut done = lock(&self.done);
        while !*done {
            done = match deadline {
                None => self.done_changed.wait(done).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.is_done();
                    }
                    let waited = self.done_changed.wait_timeout(done, left);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// How an item ended; `InProgress` while it has not.
    pub fn result(&self, item: &Item) -> ItemResult {
        let status = status_from_code(item.status.load(Ordering::Acquire));
        ItemResult {
            status,
            os_error: item.os_error.load(Ordering::Relaxed),
            bytes: item.bytes.load(Ordering::Relaxed),
            object_length: item.object_length.load(Ordering::Relaxed),
        }
    }

    /// What a device has to wait for, on a word of `words`, until so many bytes of an item are proven and in place or it has
    /// ended; without an item, until all have. `None`: that is so already.
    ///
    /// # Errors
    /// [`Status::Busy`] if all words are taken.
    pub fn mark(&self, index: Option<u32>, bytes: u64, words: &'static Words) -> Result<Option<Mark>> {
        let item = index.map(|index| self.item(index));
        // What is told from the front comes byte by byte, anything else at once.
        let steps = item.filter(|item| item.wish.front).map_or(1, |item| item.length as u64);
        // Of all items together no part is told.
        let bytes = if item.is_some() { bytes } else { 1 };
        self.watch.mark(index, steps, bytes, words, || self.how_far(item))
    }

    /// Waits until so many bytes of an item are proven and in place, or it has ended, or the time is up. How it ended, and how
    /// many are.
    pub fn wait_bytes(&self, index: u32, bytes: u64, timeout: Option<Duration>) -> (ItemResult, u64) {
        let item = self.item(index);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.watch.wait(bytes, left, || self.how_far(Some(item)));
        let result = self.result(item);
        let is_whole = result.status == Status::Ok;
        (result, if is_whole { result.bytes } else { item.front_bytes.load(Ordering::SeqCst) })
    }

    /// How far an item is, or the whole. Whoever ends an item writes that down, touches the number of unfinished ones, and then
    /// looks whether somebody watches. So is that number touched here, by one who said before that he does: the later of the
    /// two sees what the other has written. How far an item has come, and that somebody watches, is written and read in one
    /// order for all.
    fn how_far(&self, item: Option<&Item>) -> Far {
        let remaining = self.remaining.fetch_add(0, Ordering::AcqRel);
        match item {
            None => Far { is_over: remaining == 0, bytes: 0 },
            Some(item) => Far {
                is_over: item.status.load(Ordering::Acquire) != Status::InProgress.code(),
                bytes: item.front_bytes.load(Ordering::SeqCst),
            },
        }
    }

    /// What there is to say about items that failed: number and text, at most [`MESSAGES_MAX`] of them.
    pub fn messages(&self) -> MutexGuard<'_, Vec<(u32, String)>> {
        lock(&self.messages)
    }

    /// Whether an item's memory lies in this range of addresses.
    pub fn uses(&self, range: &Range<usize>) -> bool {
        let overlaps = |stretch: &Stretch| {
            let start = stretch.addr();
            start < range.end && range.start < start.saturating_add(stretch.length())
        };
        self.stretches.iter().any(overlaps)
    }

    /// The status of the whole: the first error, else `Pinned` if any item was not removed for that, else `NotFound` if any
    /// was not found, else `Ok`.
    pub fn summary(&self) -> Status {
        if !self.is_done() {
            return Status::InProgress;
        }
        let mut summary = Status::Ok;
        for item in &self.items {
            let status = status_from_code(item.status.load(Ordering::Acquire));
            if status.is_error() {
                return status;
            }
            if status != Status::Ok && summary != Status::Pinned {
                summary = status;
            }
        }
        summary
    }

    /// Writes an item's result down and tells of it. For whoever brought the item to its end, once.
    pub fn finish(&self, index: u32, result: ItemResult) {
        let item = self.item(index);
        item.os_error.store(result.os_error, Ordering::Relaxed);
        item.bytes.store(result.bytes, Ordering::Relaxed);
        item.object_length.store(result.object_length, Ordering::Relaxed);
        item.status.store(result.status.code(), Ordering::Release);
        let is_last = self.remaining.fetch_sub(1, Ordering::AcqRel) == 1;
        self.watch.end(index, is_last);
        if is_last {
            if let Some(notice) = lock(&self.notice).take() {
                notice.queue.push(self.ticket, notice.user_data, self.summary());
            }
            *lock(&self.done) = true;
            self.done_changed.notify_all();
        }
    }
}

/// The right and duty to end one item.
#[derive(Debug)]
pub struct ItemGuard {
    batch: Option<Arc<Batch>>,
    index: u32,
}

impl ItemGuard {
    /// Guards item `index`; there must be one guard for each item.
    pub fn new(batch: Arc<Batch>, index: u32) -> ItemGuard {
        ItemGuard { batch: Some(batch), index }
    }

    /// The batch and the item's number in it; `None` only after `finish`, which consumes the guard.
    pub fn parts(&self) -> Option<(&Batch, &Item, u32)> {
        self.batch.as_deref().map(|batch| (batch, batch.item(self.index), self.index))
    }

    /// Keeps the text that says why the item fails, if there is room.
    pub fn explain(&self, text: impl FnOnce() -> String) {
        if let Some(batch) = &self.batch {
            let mut messages = batch.messages();
            if messages.len() < MESSAGES_MAX {
                messages.push((self.index, text()));
            }
        }
    }

    /// Begins the work on the item. False: it was ended from outside, and its memory is the caller's again.
    #[must_use]
    pub fn start(&self) -> bool {
        let Some((_, item, _)) = self.parts() else { return false };
        match item.stage.compare_exchange(WAITING, STARTED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            // Started before: its work is begun anew.
            Err(stage) => stage == STARTED,
        }
    }

    /// Tells that the item's first `bytes` bytes are proven and in place, while the rest is on its way.
    pub fn advance(&self, bytes: u64) {
        if let Some((batch, item, index)) = self.parts() {
            item.front_bytes.store(bytes, Ordering::SeqCst);
            batch.watch.advance(index, bytes);
        }
    }

    /// Takes the start back: nothing is under way for the item any more, so it may be ended from outside again.
    pub fn put_back(&self) {
        if let Some((_, item, _)) = self.parts() {
            // Only who started it gets here, and nobody ends a started item from outside.
            item.stage.store(WAITING, Ordering::Release);
        }
    }

    /// Whether the item was ended from outside, so that this is a stub.
    pub fn is_stub(&self) -> bool {
        self.parts().is_none_or(|(_, item, _)| item.stage.load(Ordering::Acquire) == ENDED)
    }

    /// Takes the right to end the item; whoever gets it calls [`ItemGuard::finish`]. False: it was ended from outside.
    #[must_use]
    pub fn end(&self) -> bool {
        self.parts().is_some_and(|(_, item, _)| item.stage.swap(ENDED, Ordering::AcqRel) != ENDED)
    }

    /// Writes the result down, after [`ItemGuard::end`] gave the right to.
    pub fn finish(mut self, result: ItemResult) {
        if let Some(batch) = self.batch.take() {
            batch.finish(self.index, result);
        }
    }
}

impl Drop for ItemGuard {
    /// A guard that goes without `finish` is a stub, or goes in a panic's unwinding or with a poisoned store.
    fn drop(&mut self) {
        if self.end()
            && let Some(batch) = self.batch.take()
        {
            batch.finish(self.index, ItemResult::of(Status::Poisoned));
        }
    }
}

/// The status with this number; a number that is none is a bug here, not in the caller.
fn status_from_code(code: i32) -> Status {
    Status::from_code(code).unwrap_or(Status::Internal)
}
