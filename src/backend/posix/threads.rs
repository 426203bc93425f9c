//! Positioned reads and writes on a pool of threads, for where io_uring is refused.
//!
//! All lanes share the pool. A lane's queue is a sender of requests and a receiver of completions;
//! the waker doubles as the completion signal.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;

use crate::backend::positioned::transfer;
use crate::backend::queue::{IoCompletion, IoDirection, IoQueue, IoRequest, Wait};
use crate::backend::reach::IO_SLICES_MAX;
use crate::backend::target::Target;
use crate::memory::{HostSlice, Stretch};
use crate::sync::{Condvar, Mutex, lock};
use crate::sys::event::Event;
use crate::sys::{room, thread};

/// One in this many threads does nothing but read.
const READ_RESERVE: usize = 4;
/// Requests that one lane may have in the pool, per thread of the pool.
const REQUESTS_PER_THREAD: usize = 4;
/// About what a place for a completion takes beside its list of memory.
const ENTRY_BYTES: usize = 2 * size_of::<(IoCompletion, Vec<HostSlice>)>();

/// The threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    depth: usize,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    reads: VecDeque<Request>,
    writes: VecDeque<Request>,
    /// Threads that are writing.
    writing: usize,
    /// Most of them: some threads are kept for reads.
    writing_max: usize,
    stopping: bool,
}

impl State {
    /// Sets memory aside for a lane that may have `depth` requests waiting.
    fn make_room(&mut self, depth: usize) -> io::Result<()> {
        for line in [&mut self.reads, &mut self.writes] {
            line.try_reserve(line.capacity() + depth - line.len()).map_err(|_| room::out_of_memory())?;
        }
        Ok(())
    }

    /// The next request, reads first.
    fn next(&mut self) -> Option<Request> {
        if let Some(read) = self.reads.pop_front() {
            return Some(read);
        }
        if self.writing == self.writing_max {
            return None;
        }
        let write = self.writes.pop_front()?;
        self.writing += 1;
        Some(write)
    }
}

struct Request {
    token: u32,
    direction: IoDirection,
    target: Target,
    offset: u64,
    slices: Vec<Stretch>,
    done: Arc<Completions>,
}

struct Completions {
    /// As long as a lane may have requests in the pool.
    queue: ArrayQueue<(IoCompletion, Vec<Stretch>)>,
    waker: Arc<Event>,
}

impl Pool {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// What starting a thread answers.
    pub fn start(count: u32) -> io::Result<Arc<Pool>> {
        let writing_max = (count as usize - count as usize / READ_RESERVE).max(1);
        let state = State {
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            writing: 0,
            writing_max,
            stopping: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
        let depth = count as usize * REQUESTS_PER_THREAD;
        let pool = Arc::new(Pool { shared: Arc::clone(&shared), threads: Mutex::new(Vec::new()), depth });
        for index in 0..count {
            let shared = Arc::clone(&shared);
            let thread = thread::spawn(format!("nixl-io-{index}"), move || serve(&shared))?;
            lock(&pool.threads).push(thread);
        }
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).stopping = true;
        self.shared.work.notify_all();
        for thread in lock(&self.threads).drain(..) {
            // A thread of the pool runs no code that can panic; if it did, there is nothing to clean up.
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared) {
    loop {
        let mut state = lock(&shared.state);
        let request = loop {
            if let Some(request) = state.next() {
                break request;
            }
            if state.stopping {
                return;
            }
            state = match shared.work.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        };
        drop(state);
        let result = transfer(request.direction, &request.target, request.offset, &request.slices);
        if request.direction == IoDirection::Write {
            // This thread is the next to look; nobody need be woken for a write that had to wait.
            lock(&shared.state).writing -= 1;
        }
        // There is room for every request.
        drop(request.done.queue.push((IoCompletion::new(request.token, result), request.slices)));
        request.done.waker.signal();
    }
}

/// One lane's end of the pool.
pub struct ThreadQueue {
    pool: Arc<Pool>,
    completions: Arc<Completions>,
    in_flight: usize,
    /// Emptied slice lists, to be filled again; set aside for all requests, so that none allocates.
    spare: Vec<Vec<Stretch>>,
}

impl ThreadQueue {
    /// A queue into `pool`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(pool: Arc<Pool>, waker: Arc<Event>) -> io::Result<ThreadQueue> {
        let depth = pool.depth;
        lock(&pool.shared.state).make_room(depth)?;
        let (queue, spare) =
            room::take(depth * (IO_SLICES_MAX * size_of::<HostSlice>() + ENTRY_BYTES), || {
                let spare = (0..depth).map(|_| room::list(IO_SLICES_MAX)).collect::<io::Result<_>>()?;
                Ok((ArrayQueue::new(depth), spare))
            })?;
        Ok(ThreadQueue { pool, completions: Arc::new(Completions { queue, waker }), in_flight: 0, spare })
    }

    fn reap(&mut self, completions: &mut Vec<IoCompletion>) {
        while let Some((completion, mut slices)) = self.completions.queue.pop() {
            self.in_flight -= 1;
            slices.clear();
            self.spare.push(slices);
            completions.push(completion);
        }
    }
}

impl IoQueue for ThreadQueue {
    fn room(&self) -> usize {
        self.pool.depth.saturating_sub(self.in_flight)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_completed(&mut self) -> bool {
        !self.completions.queue.is_empty()
    }

    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
        let mut slices = self.spare.pop().unwrap_or_default();
        slices.extend_from_slice(request.slices);
        let IoRequest { token, direction, target, offset, .. } = *request;
        let (target, done) = (target.clone(), Arc::clone(&self.completions));
        let request = Request { token, direction, target, offset, slices, done };
        {
            let mut state = lock(&self.pool.shared.state);
            match direction {
                IoDirection::Read => state.reads.push_back(request),
                IoDirection::Write => state.writes.push_back(request),
            }
        }
        self.pool.shared.work.notify_one();
        self.in_flight += 1;
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        let before = completions.len();
        self.reap(completions);
        if let Wait::Until(moment) = wait
            && completions.len() == before
        {
            self.completions.waker.wait_until(moment)?;
            self.completions.waker.clear();
            self.reap(completions);
        }
        Ok(())
    }

    fn register(&mut self, _index: u16, _region: HostSlice) -> io::Result<bool> {
        Ok(false)
    }

    fn unregister(&mut self, _index: u16) {}
}

impl Drop for ThreadQueue {
    fn drop(&mut self) {
        let mut finished = Vec::new();
        while self.in_flight > 0 {
            if self.wait(Wait::Until(None), &mut finished).is_err() {
                std::process::abort();
            }
        }
    }
}
