//! A queue for files that lie in memory: each request is a copy, done by the lane itself when it is pushed.
//!
//! No kernel queue helps a copy: io_uring hands those that may block to worker threads (tmpfs has no
//! `IOCB_NOWAIT`, `io_uring(7)`), which costs two switches and finds the bytes in another core's cache when the
//! checksum is due.
//!
//! Gets copy from a mapping, and the first read of a page through it costs a page fault: nearly as much as the copy. So a
//! lane that has nothing else to do reads ahead what it has written, a byte of each stretch that one fault maps, before it
//! sleeps.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::positioned::transfer;
use super::queue::{IoCompletion, IoDirection, IoQueue, IoRequest, Wait};
use super::target::Target;
use crate::memory::{HostPtr, HostSlice, Mapping, Stretch};
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

/// Bytes of a file that one page fault maps where they are in memory (`fault_around_bytes` of the kernel's debugfs).
const FAULT_BYTES: u64 = 64 << 10;
/// Faults between two looks at whether there is something else to do: some 20 microseconds.
const FAULTS_AT_ONCE: u32 = 4;
/// Writes that are remembered to be read ahead. What is beyond is mapped by the get that reads it first.
const WRITTEN_MAX: usize = 1024;

/// Bytes that were written, and may not be mapped yet.
struct Written {
    target: Target,
    next: u64,
    end: u64,
}

/// The queue. It takes one request at a time, so that its bytes are still in this core's cache when they are looked at.
pub struct InlineQueue {
    /// Ends a sleep; who never sleeps in it has none.
    waker: Option<Arc<Event>>,
    done: Option<IoCompletion>,
    /// Never more than there is room for from the start.
    written: VecDeque<Written>,
    /// The thread is known not to block SIGBUS any more.
    is_unblocked: bool,
}

impl InlineQueue {
    /// A queue whose sleep `waker` ends, for the calling thread, which does nothing else.
    pub fn new(waker: Arc<Event>) -> InlineQueue {
        let written = VecDeque::with_capacity(WRITTEN_MAX);
        InlineQueue { waker: Some(waker), done: None, written, is_unblocked: false }
    }

    /// A queue that is only polled, for whoever calls from a thread of his own.
    pub fn polled() -> InlineQueue {
        InlineQueue { waker: None, done: None, written: VecDeque::new(), is_unblocked: false }
    }

    /// Reads from the file's mapping. `None`: there is none, or this is not to be had from it.
    fn read_mapping(&mut self, request: &IoRequest<'_>) -> Option<usize> {
        if request.direction == IoDirection::Write {
            return None;
        }
        self.read(request.target.open_file().ok()?.mapping()?, request.offset, request.slices)
    }

    fn read(&mut self, mapping: &Mapping, offset: u64, slices: &[Stretch]) -> Option<usize> {
        let unblocked = (mapping.can_be_cut() && !self.is_unblocked).then(Unblocked::here);
        let read = mapping.read(offset, slices);
        // A caller's own thread, whose queue is only polled, gets its mask back; a lane's needs none.
        if let (Some(unblocked), Some(_)) = (unblocked, &self.waker) {
            unblocked.for_good();
            self.is_unblocked = true;
        }
        read
    }

    /// Remembers what was written to a file that gets read through its mapping.
    fn note_written(&mut self, request: &IoRequest<'_>, bytes: usize) {
        let is_mapped = request.target.open_file().is_ok_and(|file| file.mapping().is_some());
        if request.direction == IoDirection::Write
            && is_mapped
            && self.written.len() < self.written.capacity()
        {
            let end = request.offset.saturating_add(bytes as u64);
            self.written.push_back(Written { target: request.target.clone(), next: request.offset, end });
        }
    }

    /// Maps the next few stretches of what was written.
    fn read_ahead(&mut self) {
        for _ in 0..FAULTS_AT_ONCE {
            let Some(Written { target, next, end }) = self.written.front_mut() else { return };
            let (target, offset) = (target.clone(), *next);
            *next = (offset / FAULT_BYTES + 1) * FAULT_BYTES;
            let is_last = *next >= *end;
            let mut byte = 0u8;
            // SAFETY: a byte of this function's own, written before it returns.
            let pointer = unsafe { HostPtr::new(&raw mut byte) };
            let slice = [Stretch::Host(HostSlice { pointer, length: 1 })];
            let read = target.open_file().ok().and_then(|file| self.read(file.mapping()?, offset, &slice));
            // One that is cut is no use any more.
            if is_last || read.is_none() {
                self.written.pop_front();
            }
        }
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
        if let Ok(bytes) = result {
            self.note_written(request, bytes);
        }
        self.done = Some(IoCompletion::new(request.token, result));
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        if let (None, Wait::Until(moment), Some(waker)) = (&self.done, wait, self.waker.clone()) {
            let is_time = || moment.is_some_and(|moment| moment <= Instant::now());
            while !self.written.is_empty() && !is_time() && !waker.wait(0)? {
                self.read_ahead();
            }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::sys::memory_file;

    const BYTES: usize = 1 << 20;

    /// How many pages of these addresses the process has mapped, as the kernel says.
    fn mapped_pages(start: usize, length: usize) -> usize {
        const PAGE_BYTES: usize = 4096;
        const PRESENT: u64 = 1 << 63;
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        let mut entries = vec![0u8; length / PAGE_BYTES * 8];
        pagemap.read_exact_at(&mut entries, (start / PAGE_BYTES * 8) as u64).unwrap();
        entries
            .chunks(8)
            .filter(|entry| u64::from_ne_bytes((*entry).try_into().unwrap()) & PRESENT != 0)
            .count()
    }

    /// A lane that sleeps has mapped what it wrote, so that the first get of it costs no page faults; one that has something
    /// else to do has not stopped for it.
    #[test]
    fn what_was_written_is_mapped_before_a_sleep() {
        let file = memory_file::sealed(c"inline test", 2 * BYTES as u64).unwrap();
        let mapping = Mapping::new(&file).unwrap().unwrap();
        let start = mapping.start();
        let target = Target::mapped(Arc::new(file), mapping);
        let waker = Arc::new(Event::new().unwrap());
        let mut queue = InlineQueue::new(Arc::clone(&waker));
        let mut bytes = vec![7u8; BYTES];
        // SAFETY: the vector outlives every request.
        let pointer = unsafe { HostPtr::new(bytes.as_mut_ptr()) };
        let slices = [Stretch::Host(HostSlice { pointer, length: BYTES })];
        let mut completions = Vec::new();
        let direction = IoDirection::Write;
        queue
            .push(&IoRequest {
                token: 1,
                direction,
                target: &target,
                offset: 4096,
                slices: &slices,
                region: None,
                deadline: None,
                sum_block_bytes: None,
            })
            .unwrap();
        queue.wait(Wait::Poll, &mut completions).unwrap();
        assert_eq!(completions.pop().unwrap().result.unwrap(), BYTES);
        assert_eq!(mapped_pages(start, 2 * BYTES), 0);
        waker.signal();
        queue.wait(Wait::Until(None), &mut completions).unwrap();
        assert_eq!(mapped_pages(start, 2 * BYTES), 0, "it was told of something else before it began");
        while !queue.written.is_empty() {
            let soon = Instant::now().checked_add(std::time::Duration::from_millis(1));
            queue.wait(Wait::Until(soon), &mut completions).unwrap();
        }
        assert!(mapped_pages(start + 4096, BYTES) == BYTES / 4096);
        assert!(completions.is_empty() && queue.written.is_empty());
    }

    /// More is written than can be remembered: the rest is left to the gets.
    #[test]
    fn what_is_remembered_is_bounded() {
        let file = memory_file::sealed(c"inline test", 4096).unwrap();
        let mapping = Mapping::new(&file).unwrap().unwrap();
        let target = Target::mapped(Arc::new(file), mapping);
        let mut queue = InlineQueue::new(Arc::new(Event::new().unwrap()));
        let room = queue.written.capacity();
        let mut byte = 1u8;
        // SAFETY: the byte outlives every request.
        let pointer = unsafe { HostPtr::new(&raw mut byte) };
        let slices = [Stretch::Host(HostSlice { pointer, length: 1 })];
        let mut completions = Vec::new();
        for token in 0..WRITTEN_MAX as u32 + 100 {
            let request = IoRequest {
                token,
                direction: IoDirection::Write,
                target: &target,
                offset: 0,
                slices: &slices,
                region: None,
                deadline: None,
                sum_block_bytes: None,
            };
            queue.push(&request).unwrap();
            queue.wait(Wait::Poll, &mut completions).unwrap();
        }
        assert_eq!((queue.written.len(), queue.written.capacity()), (room, room));
        queue.wait(Wait::Until(Some(Instant::now())), &mut completions).unwrap();
        assert_eq!(queue.written.len(), room, "no time, no reading ahead");
    }
}
