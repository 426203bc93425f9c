//! The thread for what nobody waits for: the lease is renewed, failed puts are undone, others' objects are looked for.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Core, Kind};
use crate::layout::bucket::lease::RENEWAL_INTERVAL;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, lock};
use crate::sys::thread;

/// How long after failed puts were looked for those that are left are looked for again.
const UNDO_INTERVAL: Duration = Duration::from_secs(2);
/// How long one round of that may take: short of the time between two renewals.
const UNDO_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the thread sleeps that has nothing to do, unless it is called.
const IDLE_PAUSE: Duration = Duration::from_secs(3600);
/// How long closing takes: the end of what the thread is at, a last look for failed puts, the lease given back.
pub(super) const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long of that is kept for the lease.
const LEASE_TIME_MIN: Duration = Duration::from_secs(1);

/// The thread, and the way to end it.
pub(super) struct Keeper {
    thread: Mutex<Option<JoinHandle<()>>>,
    is_closed: AtomicBool,
}

/// Wakes the thread.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    ringing: Condvar,
}

/// What it was rung for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rung {
    /// It is to end.
    end: bool,
    /// Much was put since the bucket was looked at, or a put failed.
    look: bool,
}

impl Bell {
    /// Sleeps for `time`, or until it is rung.
    fn sleep(&self, time: Duration) -> Rung {
        let mut rung = lock(&self.rung);
        let until = Instant::now() + time;
        while *rung == Rung::default() {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return Rung::default();
            };
            rung = match self.ringing.wait_timeout(rung, left) {
                Ok((rung, _)) => rung,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let why = *rung;
        rung.look = false;
        why
    }

    /// Has the thread look at the bucket soon.
    pub(super) fn call(&self) {
        lock(&self.rung).look = true;
        self.ringing.notify_all();
    }

    fn end(&self) {
        lock(&self.rung).end = true;
        self.ringing.notify_all();
    }
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// What starting a thread answers.
    pub(super) fn start(core: &Arc<Core>) -> io::Result<Keeper> {
        let thread = {
            let core = Arc::clone(core);
            thread::spawn("nixl-bucket", move || run(&core))?
        };
        Ok(Keeper { thread: Mutex::new(Some(thread)), is_closed: AtomicBool::new(false) })
    }

    /// Ends the thread, undoes what is left, and gives the lease back. What cannot be done in time is logged.
    pub(super) fn close(&self, core: &Arc<Core>) {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let deadline = Instant::now() + CLOSE_TIME_MAX;
        core.stopping.store(true, Ordering::Release);
        core.bell.end();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of its own went to stderr.
            drop(thread.join());
        }
        let undoing = Arc::clone(core);
        if core.undo.len() > 0 {
            core.bucket.client.block_on(async move { undoing.undo_all(deadline).await });
            match core.undo.len() {
                0 => {}
                left => core.logger.warn(format_args!(
                    "{}: {left} puts failed without an answer and could not be looked for before the close; the next open \
                     aborts their uploads once they are a day old",
                    core.names.root()
                )),
            }
        }
        // A thread that hung until now has left no time; the lease is worth one request more.
        core.give_lease_back(deadline.max(Instant::now() + LEASE_TIME_MIN));
    }

    /// In a forked child, where there is no such thread: nothing is waited for, and the lease stays the parent's.
    pub(super) fn abandon(&self) {
        self.is_closed.store(true, Ordering::Release);
        // Somebody may have held the lock at the fork.
        if let Ok(mut thread) = self.thread.try_lock() {
            std::mem::forget(thread.take());
        }
    }
}

impl Core {
    /// Gives the lease on a pool back, if there is one.
    pub(super) fn give_lease_back(self: &Arc<Self>, deadline: Instant) {
        let core = Arc::clone(self);
        if self.is_pool() {
            self.bucket.client.block_on(async move {
                if let Kind::Pool { owner, .. } = &core.kind {
                    owner.give_back(&core.logger, Some(deadline)).await;
                }
            });
        }
    }
}

fn run(core: &Arc<Core>) {
    let client = &core.bucket.client;
    {
        let core = Arc::clone(core);
        client.block_on(async move { core.abort_old_uploads().await });
    }
    let begun = Instant::now();
    let mut renewal = core.is_pool().then(|| begun + RENEWAL_INTERVAL);
    let mut listing = core.listing_interval().map(|(longest, _)| begun + longest);
    let mut listed = begun;
    let mut undone = None::<Instant>;
    loop {
        let undoing = (core.undo.len() > 0).then(|| undone.map_or(begun, |undone| undone + UNDO_INTERVAL));
        let next = [renewal, listing, undoing].into_iter().flatten().min();
        let pause = next.map_or(IDLE_PAUSE, |next| next.saturating_duration_since(Instant::now()));
        let rung = core.bell.sleep(pause);
        if rung.end {
            return;
        }
        let now = Instant::now();
        if renewal.is_some_and(|due| due <= now) {
            let renewing = Arc::clone(core);
            client.block_on(async move {
                if let Kind::Pool { owner, .. } = &renewing.kind {
                    owner.renew(&renewing.logger).await;
                }
            });
            renewal = Some(now + RENEWAL_INTERVAL);
        }
        if undoing.is_some_and(|due| due <= now) {
            let undoer = Arc::clone(core);
            client.block_on(async move { undoer.undo_all(now + UNDO_TIME_MAX).await });
            undone = Some(Instant::now());
        }
        let Some((longest, shortest)) = core.listing_interval() else { continue };
        if listing.is_some_and(|due| due <= now) {
            let more = core.look_at_fleet();
            // After it has ended, so that a slow server is not listed without a pause.
            listed = Instant::now();
            listing = Some(listed + if more { shortest } else { longest });
        } else if rung.look {
            listing = listing.map(|due| due.min(listed + shortest));
        }
    }
}
