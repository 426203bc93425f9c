//! The queue of a lane: a ring for reads and one for writes.
//!
//! The library waits for results of one ring and for nothing else, and cannot watch a descriptor. So while something is under way
//! the lane waits in short turns, and looks at its waker and at the other ring in between; while nothing is, it sleeps on the waker.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::bounce::{Bounce, PIECE_BYTES};
use super::line::{Line, Memory};
use super::request::Request;
use crate::backend::queue::{IoCompletion, IoDirection, IoQueue, IoRequest, Wait};
use crate::backend::reach::IO_SLICES_MAX;
use crate::error::{Error, Status};
use crate::hf3fs::{Client, Iov, Ring};
use crate::memory::{HostSlice, Stretch};
use crate::sys::event::Event;
use crate::sys::room;

/// Stretches of memory that one request may have; each is a transfer of its own.
pub(super) const SLICES_MAX: usize = 64;
/// One turn of waiting, of which an item that comes meanwhile waits a half on average.
const TURN: Duration = Duration::from_micros(200);
/// After so long without a result it is asked whether the daemon is still there.
const QUIET_TIME_MAX: Duration = Duration::from_millis(500);
/// A ring that stays full for so long while nothing of it is under way is broken.
const FULL_TIME_MAX: Duration = Duration::from_secs(10);
/// How long after the daemon's end its requests are ended: the network's card may have a transfer under way until the kernel has
/// taken the daemon's connections down.
const DEATH_TIME: Duration = Duration::from_secs(1);

const _: () = assert!(SLICES_MAX < IO_SLICES_MAX);

/// The queue. Its drop waits for what is under way.
pub(super) struct UsrbioQueue {
    /// Reads, writes.
    lines: [Line; 2],
    requests: Slab<Request>,
    /// Those that are over, until they are taken out of the list.
    over: Vec<usize>,
    done: Vec<IoCompletion>,
    /// Emptied lists, set aside for all requests, so that none allocates.
    spare: Vec<Vec<Stretch>>,
    depth: usize,
    shared: Arc<Iov>,
    bounce: Bounce,
    /// Memory that is not shared may not be registered.
    refuses_others: bool,
    /// When something last came, or was pushed while there was nothing else.
    heard: Instant,
    /// When the daemon was found to be gone.
    died: Option<Instant>,
    waker: Arc<Event>,
    client: Arc<Client>,
}

impl UsrbioQueue {
    /// A queue of `entries` transfers at a time each way, and as many requests.
    pub(super) fn new(
        client: &Arc<Client>,
        shared: Arc<Iov>,
        entries: u32,
        refuses_others: bool,
        waker: Arc<Event>,
    ) -> io::Result<UsrbioQueue> {
        let depth = entries as usize;
        let line = |for_read| Ring::new(client, entries, for_read).map(|ring| Line::new(ring, depth));
        let bounce = Bounce::new(Iov::new(client, depth * PIECE_BYTES)?);
        Ok(UsrbioQueue {
            lines: [line(true)?, line(false)?],
            requests: Slab::with_capacity(depth),
            over: room::list(depth)?,
            done: room::list(depth)?,
            spare: (0..depth).map(|_| room::list(SLICES_MAX)).collect::<io::Result<_>>()?,
            depth,
            shared,
            bounce,
            refuses_others,
            heard: Instant::now(),
            died: None,
            waker,
            client: Arc::clone(client),
        })
    }

    fn under_way(&self) -> usize {
        self.lines.iter().map(Line::under_way).sum()
    }

    /// Puts in what there is room for, and tells the daemon.
    fn start(&mut self) -> io::Result<()> {
        let UsrbioQueue { lines, requests, over, shared, bounce, .. } = self;
        for line in lines.iter_mut().filter(|line| line.has_waiting()) {
            line.fill(requests, &mut Memory { shared, bounce }, over);
        }
        for line in lines {
            line.tell()?;
        }
        self.finish();
        Ok(())
    }

    /// Takes in what has come by now, or within `pause`. True if anything did.
    fn take(&mut self, pause: Duration) -> io::Result<bool> {
        let UsrbioQueue { lines: [reads, writes], requests, over, shared, bounce, .. } = self;
        let mut memory = Memory { shared, bounce };
        // Somebody waits for a read, so that is what is waited for where there is any.
        let (first, second) = if reads.under_way() > 0 { (writes, reads) } else { (reads, writes) };
        let mut came = first.take(Duration::ZERO, requests, &mut memory, over)?;
        came |= second.take(if came { Duration::ZERO } else { pause }, requests, &mut memory, over)?;
        if came {
            self.heard = Instant::now();
        }
        self.finish();
        Ok(came)
    }

    /// Ends the requests that are over.
    fn finish(&mut self) {
        for index in self.over.drain(..) {
            let Some(request) = self.requests.try_remove(index) else { continue };
            let (completion, mut slices) = request.into_completion();
            slices.clear();
            self.spare.push(slices);
            self.done.push(completion);
        }
    }

    /// Looks after the daemon where it has not been heard of for long.
    ///
    /// # Errors
    /// It is gone: what is under way will not end.
    fn look_after(&mut self) -> io::Result<()> {
        let quiet = self.heard.elapsed();
        if self.under_way() == 0 && self.lines.iter().any(Line::has_waiting) && quiet > FULL_TIME_MAX {
            return Err(io::Error::other("3FS's library says that a ring is full in which nothing is"));
        }
        if self.under_way() == 0 || quiet < QUIET_TIME_MAX {
            return Ok(());
        }
        if !self.client.is_dead() {
            self.client.look_after();
            return Ok(());
        }
        let died = *self.died.get_or_insert_with(Instant::now);
        if died.elapsed() < DEATH_TIME {
            return Ok(());
        }
        let path = self.client.mount().path().display();
        Err(io::Error::other(Error::new(
            Status::Io,
            format!(
                "the daemon of 3FS at {path} is gone, and what it had under way with it; mount it again and open the store anew"
            ),
        )))
    }
}

impl IoQueue for UsrbioQueue {
    fn room(&self) -> usize {
        self.depth - self.in_flight()
    }

    fn in_flight(&self) -> usize {
        self.requests.len() + self.done.len()
    }

    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
        let IoRequest { token, direction, target, offset, slices, .. } = *request;
        if self.room() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if slices.len() > SLICES_MAX || slices.iter().any(|slice| slice.host().is_none()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.in_flight() == 0 {
            self.heard = Instant::now();
        }
        let mut list = self.spare.pop().unwrap_or_default();
        list.extend_from_slice(slices);
        let index = self.requests.insert(Request::new(token, direction, target.clone(), offset, list));
        let [reads, writes] = &mut self.lines;
        match direction {
            IoDirection::Read => reads.push(index),
            IoDirection::Write => writes.push(index),
        }
        Ok(())
    }

    fn has_completed(&mut self) -> bool {
        // What breaks the queue is told by the next wait.
        !self.done.is_empty() || self.take(Duration::ZERO).unwrap_or(true)
    }

    fn submit(&mut self) -> io::Result<()> {
        self.start()
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        loop {
            self.start()?;
            self.take(Duration::ZERO)?;
            let Wait::Until(moment) = wait else { break };
            if !self.done.is_empty() {
                break;
            }
            self.look_after()?;
            if self.in_flight() == 0 {
                self.waker.wait_until(moment)?;
                break;
            }
            if self.waker.wait(0)? || moment.is_some_and(|moment| moment <= Instant::now()) {
                break;
            }
            self.pause()?;
        }
        self.waker.clear();
        completions.append(&mut self.done);
        Ok(())
    }

    fn register(&mut self, _index: u16, region: HostSlice) -> io::Result<bool> {
        if self.shared.holds(region) {
            return Ok(true);
        }
        if self.refuses_others {
            return Err(io::Error::other(Error::new(
                Status::InvalidArgument,
                "nixl_backend_params.mem_config is dram_zc, and this memory is not shared with 3FS's daemon: take it from \
                 nixl_store_memory_allocate(), or set mem_config: auto",
            )));
        }
        Ok(false)
    }

    fn unregister(&mut self, _index: u16) {}
}

impl UsrbioQueue {
    /// One turn of waiting.
    fn pause(&mut self) -> io::Result<()> {
        if self.under_way() > 0 {
            return self.take(TURN).map(drop);
        }
        // Nothing is under way and nothing could be put in: the rings are full all the same.
        self.waker.wait(1).map(drop)
    }
}

impl Drop for UsrbioQueue {
    fn drop(&mut self) {
        // What was not put in never begins. What is under way is waited for as long as the daemon lives, whatever the library says.
        while self.under_way() > 0 && self.look_after().is_ok() {
            if self.take(QUIET_TIME_MAX).is_err() {
                // It may say so at once, each time.
                let _ = self.waker.wait(1);
            }
        }
    }
}
