//! MEMORY: a static pool in this process's memory (memfd files), moved by the lane itself.
//!
//! Nothing survives the process. It measures the library without a device below it, serves the tests,
//! and makes a cache in RAM.

use std::io;
use std::sync::Arc;

use super::posix::threads::transfer;
use super::{Backend, IoCompletion, IoPath, IoQueue, IoRequest, Wait};
use crate::config::Config;
use crate::error::Result;
use crate::log::Logger;
use crate::memory::HostSlice;
use crate::sys::event::Event;

/// Requests taken before their completions are asked for. Each is done when it is pushed, so this only bounds a list.
const DEPTH: usize = 64;
/// Lanes: the copies are the work, so as many as commonly have cores of their own beside the engine.
const LANES_DEFAULT: u32 = 2;

struct Memory;

/// Opens the backend.
///
/// # Errors
/// None; the signature is the table's.
pub fn open(_config: &Config, _logger: &Logger) -> Result<Box<dyn Backend>> {
    Ok(Box::new(Memory))
}

impl Backend for Memory {
    fn path(&self) -> IoPath {
        IoPath { name: "memory", reason: String::new() }
    }

    fn lanes_default(&self) -> u32 {
        LANES_DEFAULT
    }

    fn supports_direct_io(&self) -> bool {
        false
    }

    fn open_queue(&self, waker: Arc<Event>) -> io::Result<Box<dyn IoQueue>> {
        Ok(Box::new(InlineQueue { waker, done: Vec::with_capacity(DEPTH) }))
    }
}

/// A queue that does each request when it is pushed.
struct InlineQueue {
    waker: Arc<Event>,
    done: Vec<IoCompletion>,
}

impl IoQueue for InlineQueue {
    fn room(&self) -> usize {
        DEPTH - self.done.len()
    }

    fn in_flight(&self) -> usize {
        self.done.len()
    }

    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
        let result = transfer(request.direction, request.file, request.offset, request.slices);
        self.done.push(IoCompletion { token: request.token, result });
        Ok(())
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        if self.done.is_empty() && wait == Wait::Block {
            self.waker.wait(-1)?;
            self.waker.clear();
        }
        completions.append(&mut self.done);
        Ok(())
    }

    fn register(&mut self, _index: u16, _region: HostSlice) -> io::Result<bool> {
        Ok(false)
    }

    fn unregister(&mut self, _index: u16) {}
}
