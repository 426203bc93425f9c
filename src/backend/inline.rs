//! A queue for files that lie in memory: each request is a copy, done by the lane itself when it is pushed.
//!
//! No kernel queue helps a copy: io_uring hands those that may block to worker threads (tmpfs has no
//! `IOCB_NOWAIT`, `io_uring(7)`), which costs two switches and finds the bytes in another core's cache when the
//! checksum is due.

use std::io;
use std::sync::Arc;

use super::positioned::transfer;
use super::queue::{IoCompletion, IoDirection, IoQueue, IoRequest, Wait};
use crate::memory::HostSlice;
use crate::sys::bus_error::Unblocked;
use crate::sys::event::Event;
use crate::sys::signal::undisturbed;

/// Lanes unless the configuration says otherwise: the copies are the work, so half of the processors, the other half
/// being the engine's; two at least, and no more than commonly fill the memory's bandwidth.
pub fn lanes_default() -> u32 {
    const LANES_MIN: usize = 2;
    const LANES_MAX: usize = 8;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).clamp(LANES_MIN, LANES_MAX) as u32
}

/// The queue. It takes one request at a time, so that its bytes are still in this core's cache when they are looked at.
pub struct InlineQueue {
    /// Ends a sleep; who never sleeps in it has none.
    waker: Option<Arc<Event>>,
    done: Option<IoCompletion>,
    /// The thread is known not to block SIGBUS any more.
    is_unblocked: bool,
}

impl InlineQueue {
    /// A queue whose sleep `waker` ends, for the calling thread, which does nothing else.
    pub fn new(waker: Arc<Event>) -> InlineQueue {
        InlineQueue { waker: Some(waker), done: None, is_unblocked: false }
    }

    /// A queue that is only polled, for whoever calls from a thread of his own.
    pub fn polled() -> InlineQueue {
        InlineQueue { waker: None, done: None, is_unblocked: false }
    }

    /// Reads from the file's mapping. `None`: there is none, or this is not to be had from it.
    fn read_mapping(&mut self, request: &IoRequest<'_>) -> Option<usize> {
        if request.direction == IoDirection::Write {
            return None;
        }
        let mapping = request.target.open_file().ok()?.mapping()?;
        let unblocked = (mapping.can_be_cut() && !self.is_unblocked).then(Unblocked::here);
        let read = mapping.read(request.offset, request.slices);
        // A caller's own thread, whose queue is only polled, gets its mask back; a lane's needs none.
        if let (Some(unblocked), Some(_)) = (unblocked, &self.waker) {
            unblocked.for_good();
            self.is_unblocked = true;
        }
        read
    }
}

impl IoQueue for InlineQueue {
    fn room(&self) -> usize {
        usize::from(self.done.is_none())
    }

    fn in_flight(&self) -> usize {
        usize::from(self.done.is_some())
    }

    fn has_completed(&mut self) -> bool {
        self.done.is_some()
    }

    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
        if self.done.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let by_system_call = || transfer(request.direction, request.target, request.offset, request.slices);
        let result = match self.read_mapping(request) {
            Some(bytes) => Ok(bytes),
            // On a thread of the engine's, where SIGXFSZ would be the end.
            None if self.waker.is_none() && request.direction == IoDirection::Write => {
                undisturbed(by_system_call)
            }
            None => by_system_call(),
        };
        self.done = Some(IoCompletion::new(request.token, result));
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        if let (None, Wait::Until(moment), Some(waker)) = (&self.done, wait, &self.waker) {
            waker.wait_until(moment)?;
            waker.clear();
        }
        completions.extend(self.done.take());
        Ok(())
    }

    fn register(&mut self, _index: u16, _region: HostSlice) -> io::Result<bool> {
        Ok(false)
    }

    fn unregister(&mut self, _index: u16) {}
}
