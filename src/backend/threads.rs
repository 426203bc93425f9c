//! Requests on a pool of threads, for whatever moves bytes by calls that block: positioned reads and writes where io_uring is
//! refused, cuFile's calls.
//!
//! All lanes share the pool. A lane's queue is a sender of requests and a receiver of completions;
//! the waker doubles as the completion signal. How a thread moves bytes is its [`Mover`]'s business.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;

use super::positioned::transfer;
use super::queue::{IoCompletion, IoDirection, IoQueue, IoRequest, Wait};
use super::reach::IO_SLICES_MAX;
use super::target::Target;
use crate::memory::{HostSlice, Stretch};
use crate::sync::{Condvar, Mutex, lock};
use crate::sys::event::Event;
use crate::sys::{room, thread};

/// One in this many threads does nothing but read.
const READ_RESERVE: usize = 4;
/// Requests that one lane may have in the pool, per thread of the pool.
const REQUESTS_PER_THREAD: usize = 4;
/// About what a place for a completion takes beside its list of memory.
const ENTRY_BYTES: usize = 2 * size_of::<(IoCompletion, Vec<Stretch>)>();

/// How one thread of a pool moves bytes.
pub trait Mover: Send {
    /// Most requests that it takes at a time.
    fn requests_max(&self) -> usize {
        1
    }

    /// Does requests of one direction and says how each ended, in any order. Blocks until all have: when it returns, nobody
    /// touches their memory any more.
    fn run(&mut self, requests: &mut [Request]);
}

/// Moves bytes by system calls.
pub struct Positioned;

impl Mover for Positioned {
    fn run(&mut self, requests: &mut [Request]) {
        for request in requests {
            request.result = transfer(request.direction, &request.target, request.offset, &request.slices);
        }
    }
}

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
    /// All of them.
    threads: usize,
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

    /// Takes the next requests, reads first: as many as are this thread's share of those that wait, so that the others find
    /// some too. False: there are none.
    fn take(&mut self, requests_max: usize, requests: &mut Vec<Request>) -> bool {
        let line = if !self.reads.is_empty() {
            &mut self.reads
        } else if self.writing < self.writing_max && !self.writes.is_empty() {
            self.writing += 1;
            &mut self.writes
        } else {
            return false;
        };
        let share = line.len().div_ceil(self.threads).clamp(1, requests_max);
        requests.extend(line.drain(..share));
        true
    }
}

/// A request on its way through the pool.
pub struct Request {
    token: u32,
    /// Which way.
    pub direction: IoDirection,
    /// What is read or written.
    pub target: Target,
    /// First byte in the target.
    pub offset: u64,
    /// The memory.
    pub slices: Vec<Stretch>,
    /// Bytes moved, possibly fewer than asked for, or the error. What a mover leaves as it is failed.
    pub result: io::Result<usize>,
    done: Arc<Completions>,
}

struct Completions {
    /// As long as a lane may have requests in the pool.
    queue: ArrayQueue<(IoCompletion, Vec<Stretch>)>,
    waker: Arc<Event>,
}

impl Pool {
    /// Starts a thread for each of the movers, of which there is at least one.
    ///
    /// # Errors
    /// What starting a thread answers.
    pub fn start<M: Mover + 'static>(movers: Vec<M>) -> io::Result<Arc<Pool>> {
        let count = movers.len();
        let state = State {
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            writing: 0,
            writing_max: (count - count / READ_RESERVE).max(1),
            threads: count,
            stopping: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
        let depth = count * REQUESTS_PER_THREAD;
        let pool = Arc::new(Pool { shared: Arc::clone(&shared), threads: Mutex::new(Vec::new()), depth });
        for (index, mover) in movers.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let requests = room::list(mover.requests_max())?;
            let thread = thread::spawn(format!("nixl-io-{index}"), move || serve(&shared, mover, requests))?;
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

fn serve(shared: &Shared, mut mover: impl Mover, mut requests: Vec<Request>) {
    loop {
        let mut state = lock(&shared.state);
        while !state.take(mover.requests_max(), &mut requests) {
            if state.stopping {
                return;
            }
            state = match shared.work.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
        drop(state);
        mover.run(&mut requests);
        if requests.first().is_some_and(|request| request.direction == IoDirection::Write) {
            // This thread is the next to look; nobody need be woken for a write that had to wait.
            lock(&shared.state).writing -= 1;
        }
        for Request { token, target, slices, result, done, .. } in requests.drain(..) {
            // Before the completion is seen: who takes it may close the file.
            drop(target);
            // There is room for every request.
            drop(done.queue.push((IoCompletion::new(token, result), slices)));
            done.waker.signal();
        }
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
            room::take(depth * (IO_SLICES_MAX * size_of::<Stretch>() + ENTRY_BYTES), || {
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
        let result = Err(io::ErrorKind::Other.into());
        let request = Request { token, direction, target, offset, slices, result, done };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::AlignedBuffer;

    /// Takes several at a time, and says of each that it moved its offset.
    struct Several;

    impl Mover for Several {
        fn requests_max(&self) -> usize {
            8
        }

        fn run(&mut self, requests: &mut [Request]) {
            assert!(requests.iter().all(|request| request.direction == requests[0].direction));
            // The last first: the order is nobody's business.
            for request in requests.iter_mut().rev() {
                request.result = Ok(request.offset as usize);
            }
        }
    }

    fn state(threads: usize) -> State {
        let (reads, writes) = (VecDeque::new(), VecDeque::new());
        State { reads, writes, writing: 0, writing_max: 1, threads, stopping: false }
    }

    fn request(direction: IoDirection, done: &Arc<Completions>) -> Request {
        let target = Target::file(Arc::new(tempfile()));
        let (slices, result) = (Vec::new(), Ok(0));
        Request { token: 0, direction, target, offset: 0, slices, result, done: Arc::clone(done) }
    }

    fn tempfile() -> std::fs::File {
        std::fs::File::open("/dev/null").expect("there")
    }

    fn completions() -> Arc<Completions> {
        let waker = Arc::new(Event::new().expect("an eventfd"));
        Arc::new(Completions { queue: ArrayQueue::new(64), waker })
    }

    /// A thread that takes many at a time leaves some to the others, takes reads first, and one kind only.
    #[test]
    fn a_thread_takes_its_share_of_one_kind() {
        let done = completions();
        let mut state = state(4);
        let mut taken = Vec::new();
        assert!(!state.take(8, &mut taken));
        state.writes.extend((0..5).map(|_| request(IoDirection::Write, &done)));
        state.reads.extend((0..9).map(|_| request(IoDirection::Read, &done)));
        let mut shares = Vec::new();
        while state.take(2, &mut taken) {
            assert!(taken.iter().all(|one| one.direction == taken[0].direction));
            shares.push((taken[0].direction, taken.len()));
            taken.clear();
        }
        let reads = [(IoDirection::Read, 2), (IoDirection::Read, 2), (IoDirection::Read, 2)];
        assert_eq!(shares[..3], reads);
        assert_eq!(shares.iter().filter(|(direction, _)| *direction == IoDirection::Write).count(), 1);
        assert_eq!(state.writes.len(), 3, "the only thread that may write is writing");
    }

    /// Whatever a mover takes together and in what order it does it, each request has its own completion.
    #[test]
    fn each_request_of_many_has_its_completion() {
        let pool = Pool::start(vec![Several, Several]).expect("threads");
        let waker = Arc::new(Event::new().expect("an eventfd"));
        let mut queue = ThreadQueue::new(pool, waker).expect("a queue");
        let buffer = AlignedBuffer::new(4096).expect("memory");
        let target = Target::file(Arc::new(tempfile()));
        let slices = [Stretch::Host(buffer.host_slice(0, 4096))];
        let mut completed = Vec::new();
        for token in 0..200u32 {
            while queue.room() == 0 {
                queue.wait(Wait::Until(None), &mut completed).expect("waits");
            }
            let direction = if token % 3 == 0 { IoDirection::Write } else { IoDirection::Read };
            queue
                .push(&IoRequest {
                    token,
                    direction,
                    target: &target,
                    offset: u64::from(token) * 10,
                    slices: &slices,
                    region: None,
                    deadline: None,
                    sum_block_bytes: None,
                })
                .expect("there is room");
        }
        while queue.in_flight() > 0 {
            queue.wait(Wait::Until(None), &mut completed).expect("waits");
        }
        completed.sort_by_key(|completion| completion.token);
        let told: Vec<_> = completed.into_iter().map(|one| (one.token, one.result.expect("done"))).collect();
        assert_eq!(told, (0..200).map(|token| (token, token as usize * 10)).collect::<Vec<_>>());
    }
}
