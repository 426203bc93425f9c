//! MEMORY: a static pool in this process's memory (memfd files), moved by the lane itself.
//!
//! Nothing survives the process. It measures the library without a device below it, serves the tests,
//! and makes a cache in RAM.

use std::io;
use std::sync::Arc;

use super::inline::{self, InlineQueue};
use super::queue::{Backend, IoPath, IoQueue, Medium, Stores};
use super::reach::Reach;
use crate::config::Config;
use crate::error::Result;
use crate::log::Logger;
use crate::sys::event::Event;

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

    fn reach(&self) -> Reach {
        Reach::HOST
    }

    fn stores(&self) -> Stores {
        Stores::Memory
    }

    fn lanes_default(&self, _medium: Medium) -> u32 {
        inline::lanes_default()
    }

    fn supports_direct_io(&self) -> bool {
        false
    }

    fn open_queue(&self, waker: Arc<Event>, _medium: Medium) -> io::Result<Box<dyn IoQueue>> {
        Ok(Box::new(InlineQueue::new(waker)))
    }

    fn reads_mappings(&self, _medium: Medium) -> bool {
        true
    }

    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>> {
        Some(Box::new(InlineQueue::polled()))
    }
}
