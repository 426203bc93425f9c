//! Chores: work that may wait for storage without being a transfer, done by a few threads of the store's own.
//!
//! Opening, naming and removing a file is nothing that a lane may wait for. It hands the work over and goes on; the
//! answer comes back through the lane's mailbox, which wakes it as a completion does. So it does after a panic, which
//! poisons the store: the item that the work was for ends with the work, and the lane learns that it is gone.
//!
//! The same threads ask the questions about keys that come in batches, after the lanes' work and never all of the threads at
//! a time: however long storage takes to answer, there is one left to open and publish what is transferred.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crossbeam_queue::SegQueue;

use super::inquiry::Inquiry;
use super::shared::Shared;
use crate::error::panic_message;
use crate::placement::Work;
use crate::sync::{Arc, AtomicUsize, Condvar, Mutex, Ordering, lock};
use crate::sys::thread;

/// Threads that do chores at most. They mostly wait for the file system, which serves a few at a time well.
const THREADS_MAX: usize = 8;
/// Of these, the threads that ask questions about keys at a time.
const ASKING_MAX: usize = 4;

/// The threads and their queue. They are started when there is work for them, so a store that has none has none.
pub struct Chores {
    shared: Arc<Shared>,
    state: Mutex<State>,
    work: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work<()>>,
    /// Batches of questions that wait for their next turn.
    questions: VecDeque<Inquiry>,
    /// Threads that are asking.
    asking: usize,
    /// Chores that nobody waits for: one at a time, after all others.
    background: Option<Work<()>>,
    background_runs: bool,
    started: usize,
    idle: usize,
    stopping: bool,
}

/// What the chore threads answer to one lane.
pub struct Mailbox<T> {
    answers: SegQueue<T>,
    /// Chores whose answers were lost to a panic.
    lost: AtomicUsize,
    /// The lane's number.
    lane: usize,
}

impl State {
    /// Questions that a thread could take up now.
    fn questions_due(&self) -> usize {
        self.questions.len().min(ASKING_MAX - self.asking)
    }
}

impl<T> Mailbox<T> {
    /// An empty one for the lane of that number.
    pub(super) fn new(lane: usize) -> Mailbox<T> {
        Mailbox { answers: SegQueue::new(), lost: AtomicUsize::new(0), lane }
    }

    /// The next answer.
    pub(super) fn pop(&self) -> Option<T> {
        self.answers.pop()
    }

    /// Answers that will never come, counted anew each time.
    pub(super) fn take_lost(&self) -> usize {
        if self.lost.load(Ordering::SeqCst) == 0 { 0 } else { self.lost.swap(0, Ordering::SeqCst) }
    }

    /// Whether there is nothing to learn.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.lost.load(Ordering::SeqCst) == 0
    }
}

impl Chores {
    /// No threads yet.
    pub fn new(shared: Arc<Shared>) -> Chores {
        Chores {
            shared,
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            threads: Mutex::new(Vec::new()),
        }
    }

    /// Has `work` done, and what `then` makes of its answer put into `mailbox`.
    pub(super) fn ask<T: Send + 'static, R: Send + 'static>(
        self: &Arc<Self>,
        work: Work<T>,
        then: impl FnOnce(T) -> R + Send + 'static,
        mailbox: &Arc<Mailbox<R>>,
    ) {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(mailbox));
        self.push(Work::new(move || {
            match catch_unwind(AssertUnwindSafe(|| then(work.run()))) {
                Ok(answer) => mailbox.answers.push(answer),
                Err(panic) => {
                    shared.poison(&panic_message(&*panic));
                    mailbox.lost.fetch_add(1, Ordering::SeqCst);
                }
            }
            if let Some(lane) = shared.lanes.get(mailbox.lane) {
                lane.wake_if_asleep();
            }
        }));
    }

    /// Has `work` done when there is nothing else to do. Dropped if such work is waiting already.
    pub(super) fn in_background(self: &Arc<Self>, work: Work<()>) {
        let mut state = lock(&self.state);
        if state.background.is_none() && !state.stopping {
            state.background = Some(work);
            self.call_one(state);
        }
    }

    /// Has the questions of a batch asked. Where no thread can be had, those that wait are given back to be asked here.
    pub fn inquire(self: &Arc<Self>, inquiry: Inquiry) -> VecDeque<Inquiry> {
        let mut state = lock(&self.state);
        state.questions.push_back(inquiry);
        self.call_one(state);
        let mut state = lock(&self.state);
        if state.started == 0 { std::mem::take(&mut state.questions) } else { VecDeque::new() }
    }

    fn push(self: &Arc<Self>, work: Work<()>) {
        let mut state = lock(&self.state);
        state.queue.push_back(work);
        self.call_one(state);
    }

    /// Has one thread look, a new one if all are busy.
    fn call_one(self: &Arc<Self>, mut state: crate::sync::MutexGuard<'_, State>) {
        // Those that were called and have not woken yet count as idle, and what they were called for is in the queue.
        let waiting = state.queue.len() + state.questions_due() + usize::from(state.background.is_some());
        if waiting == 0 {
            // Enough threads are asking; they go on by themselves.
            return;
        }
        if waiting <= state.idle {
            drop(state);
            self.work.notify_one();
            return;
        }
        if state.started == THREADS_MAX {
            return;
        }
        state.started += 1;
        drop(state);
        let chores = Arc::clone(self);
        match thread::spawn("nixl-chore", move || chores.serve()) {
            Ok(thread) => lock(&self.threads).push(thread),
            Err(error) => self.go_without(&error),
        }
    }

    /// No thread is to be had. Those there are will do; where there is none, whoever asked does the work.
    fn go_without(&self, error: &std::io::Error) {
        let mut state = lock(&self.state);
        state.started -= 1;
        if state.started > 0 {
            return;
        }
        let work = state.queue.pop_front();
        drop(state);
        self.shared.logger.warn(format_args!(
            "no thread can be started for work on files ({error}); an I/O thread does it, while its transfers wait"
        ));
        if let Some(work) = work {
            work.run();
        }
    }

    fn serve(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                work.run();
                state = lock(&self.state);
            } else if state.questions_due() > 0
                && let Some(inquiry) = state.questions.pop_front()
            {
                state.asking += 1;
                drop(state);
                let unfinished = self.ask_in_turn(inquiry);
                state = lock(&self.state);
                state.asking -= 1;
                state.questions.extend(unfinished);
            } else if !state.background_runs
                && let Some(work) = state.background.take()
            {
                state.background_runs = true;
                drop(state);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.run())) {
                    self.shared.poison(&panic_message(&*panic));
                }
                state = lock(&self.state);
                state.background_runs = false;
            } else if state.stopping {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// One turn of a batch; what is left of it comes back.
    fn ask_in_turn(&self, mut inquiry: Inquiry) -> Option<Inquiry> {
        // In a panic the batch goes with its items, all of which end.
        let asked = catch_unwind(AssertUnwindSafe(move || inquiry.turn().then_some(inquiry)));
        asked.unwrap_or_else(|panic| {
            self.shared.poison(&panic_message(&*panic));
            None
        })
    }

    /// Ends the threads once their queue is empty. The lanes have ended and all tickets are done, so nobody asks any more.
    pub fn stop(&self) {
        let ended = {
            let mut state = lock(&self.state);
            state.stopping = true;
            state.background = None;
            std::mem::take(&mut state.questions)
        };
        // All of their items were ended from outside.
        drop(ended);
        self.work.notify_all();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // Their work catches its own panics.
            drop(thread.join());
        }
    }
}
