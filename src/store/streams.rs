//! Batches and streams of the caller's: transfers that start after work on a stream, and work on a stream that waits for
//! transfers. Lanes never see a stream: a batch is held until its stream has come to the point where it was submitted, and a
//! stream waits for words that the batch's items raise however they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::commands;
use crate::batch::{Batch, DEVICE_MAX, ItemGuard, ItemResult};
use crate::cuda::{self, CallersStream, Devices, Point, StreamHandle};
use crate::error::{Error, Result, Status, panic_message};
use crate::lane::shared::Shared;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock};
use crate::sys::event::Event;
use crate::sys::thread;

/// How often a held batch is looked at whose stream nobody tells of.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How often one is looked at whose stream rings: a device that broke may not, nor does a deadline or a cancel.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How a batch and a stream are ordered.
#[derive(Clone, Copy, Debug)]
pub struct StreamOrder {
    /// The stream.
    pub stream: StreamHandle,
    /// The batch starts after the work that is on the stream already.
    pub after: bool,
    /// Work that is put on the stream later waits until all items have ended.
    pub before: bool,
}

/// What a store has for streams.
pub(super) struct Streams {
    shared: Arc<Shared>,
    devices: Arc<Devices>,
    /// A bit for each device that was prepared.
    prepared: AtomicU64,
    holder: Arc<Holder>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    is_running: AtomicBool,
}

impl Streams {
    pub(super) fn new(shared: &Arc<Shared>, devices: &Arc<Devices>) -> Result<Streams> {
        let waker = Event::new().map_err(|error| Error::os("making the wake-up for streams", &error))?;
        Ok(Streams {
            shared: Arc::clone(shared),
            devices: Arc::clone(devices),
            prepared: AtomicU64::new(0),
            holder: Arc::new(Holder {
                waker: Arc::new(waker),
                arrived: Mutex::new(Vec::new()),
                stopping: AtomicBool::new(false),
            }),
            thread: Mutex::new(None),
            is_running: AtomicBool::new(false),
        })
    }

    /// The devices that batches may have memory of.
    pub(super) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Gets all that `order` takes of the driver and the system, which may wait for a device: before the stream waits.
    ///
    /// # Errors
    /// What is missing; [`Status::OutOfMemory`] if no thread can be had.
    pub(super) fn get_ready(&self, batch: &Batch, order: StreamOrder, stream: &CallersStream) -> Result<()> {
        if order.before {
            stream.words()?;
            self.prepare(batch)?;
        }
        if order.after { self.start() } else { Ok(()) }
    }

    /// Puts on the stream what orders it and the batch; answers the point that the batch has to wait for.
    ///
    /// # Errors
    /// What the driver answers. The batch has to be let go of then, with which the stream goes on.
    pub(super) fn order(
        &self,
        batch: &Batch,
        order: StreamOrder,
        stream: &CallersStream,
    ) -> Result<Option<Point>> {
        let mut point = None;
        // First, or the batch would wait for its own end.
        if order.after {
            let mut here = stream.point()?;
            if !here.is_met()? {
                here.ring_when_met(&self.holder.waker);
                point = Some(here);
            }
        }
        if order.before {
            make_wait(batch, None, 0, stream)?;
        }
        Ok(point)
    }

    /// Keeps an admitted batch that is in the ticket table until the stream has come to `point`.
    pub(super) fn hold(&self, batch: Arc<Batch>, point: Point) {
        let held = Held { shared: Arc::clone(&self.shared), batch, point, is_over: false };
        lock(&self.holder.arrived).push(held);
        self.holder.waker.signal();
    }

    /// Makes what is put on the stream later wait until so many bytes of an item are proven and in place, or it has ended;
    /// without an item, until all have.
    ///
    /// # Errors
    /// What is missing; what the driver answers; [`Status::Busy`] if too many items are waited for.
    pub(super) fn wait(
        &self,
        batch: &Batch,
        item: Option<u32>,
        bytes: u64,
        stream: StreamHandle,
    ) -> Result<()> {
        stream.with(|stream| {
            self.prepare(batch)?;
            make_wait(batch, item, bytes, stream)
        })
    }

    /// Has what is held looked at.
    pub(super) fn look(&self) {
        if self.is_running.load(Ordering::Acquire) {
            self.holder.waker.signal();
        }
    }

    /// Ends the thread; all batches have ended.
    pub(super) fn stop(&self) {
        self.holder.stopping.store(true, Ordering::SeqCst);
        self.holder.waker.signal();
        if let Some(thread) = lock(&self.thread).take() {
            // It catches its own panics.
            drop(thread.join());
        }
    }

    /// What the batch's transfers would have to get of the driver while the stream waits.
    fn prepare(&self, batch: &Batch) -> Result<()> {
        let mut left = batch.devices() & !self.prepared.load(Ordering::Acquire);
        while left != 0 {
            let device = left.trailing_zeros() as u16;
            self.devices.prepare(device)?;
            commands::prepare(&self.shared, device)?;
            left &= left - 1;
            if device < DEVICE_MAX {
                self.prepared.fetch_or(1 << device, Ordering::Release);
            }
        }
        Ok(())
    }

    fn start(&self) -> Result<()> {
        if self.is_running.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (holder, shared) = (Arc::clone(&self.holder), Arc::clone(&self.shared));
            let started = thread::spawn("nixl-streams", move || holder.run(&shared));
            *thread = Some(
                started
                    .map_err(|error| Error::no_thread("starting the thread that follows streams", &error))?,
            );
            self.is_running.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Without an item: until all have ended.
fn make_wait(batch: &Batch, item: Option<u32>, bytes: u64, stream: &CallersStream) -> Result<()> {
    match batch.mark(item, bytes, stream.words()?)? {
        Some(mark) => stream.wait(mark),
        None => Ok(()),
    }
}

/// What the thread `nixl-streams` shares with those who submit.
struct Holder {
    waker: Arc<Event>,
    arrived: Mutex<Vec<Held>>,
    stopping: AtomicBool,
}

impl Holder {
    fn run(&self, shared: &Shared) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.follow()));
        let why = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("the thread that follows streams broke: {error}"),
            Err(panic) => panic_message(&*panic),
        };
        shared.poison_and_drop(&why);
        // Those that were in the thread's hands ended with it; these come while nobody is there to see.
        while !self.stopping.load(Ordering::SeqCst) {
            lock(&self.arrived).clear();
            if self.waker.wait_until(Instant::now().checked_add(CHECK_INTERVAL)).is_err() {
                std::thread::sleep(CHECK_INTERVAL);
            }
            self.waker.clear();
        }
    }

    fn follow(&self) -> std::io::Result<()> {
        cuda::stand_aside();
        let (mut held, mut arrived) = (Vec::new(), Vec::new());
        loop {
            self.waker.clear();
            std::mem::swap(&mut *lock(&self.arrived), &mut arrived);
            held.append(&mut arrived);
            held.retain_mut(|batch: &mut Held| !batch.is_settled());
            if held.is_empty() && self.stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
            let pause = match held.iter().all(|batch| batch.point.rings()) {
                true if held.is_empty() => None,
                true => Some(CHECK_INTERVAL),
                false => Some(LOOK_INTERVAL),
            };
            self.waker.wait_until(pause.and_then(|pause| Instant::now().checked_add(pause)))?;
        }
    }
}

/// A batch that waits for a stream: admitted, in the ticket table, and in no line. However this goes, its items end or are
/// handed on.
struct Held {
    shared: Arc<Shared>,
    batch: Arc<Batch>,
    point: Point,
    is_over: bool,
}

impl Held {
    /// Hands the batch to the lanes once the stream has come to its point, or ends it; false: neither yet.
    fn is_settled(&mut self) -> bool {
        // By a deadline or a cancel: what is left are stubs, which nobody else has met.
        if self.batch.is_done() || self.shared.is_poisoned() {
            self.end(ItemResult::of(Status::Poisoned), None);
            return true;
        }
        match self.point.is_met() {
            Ok(false) => return false,
            Ok(true) => {
                self.is_over = true;
                // What the stream took is not the store's latency.
                self.batch.age.let_go();
                self.shared.submit(&self.batch);
            }
            // Nobody knows what the device does with the memory, so it is left alone.
            Err(error) => self.end(ItemResult::of(Status::Io), Some(&error)),
        }
        true
    }

    /// Ends the items that were not ended from outside, and gives the admission of all back.
    fn end(&mut self, result: ItemResult, why: Option<&Error>) {
        self.is_over = true;
        for index in 0..self.batch.len() {
            let guard = ItemGuard::new(Arc::clone(&self.batch), index as u32);
            if let Some(error) = why {
                guard.explain(|| error.message().to_owned());
            }
            self.shared.finish(guard, result);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(ItemResult::of(Status::Poisoned), None);
        }
    }
}
