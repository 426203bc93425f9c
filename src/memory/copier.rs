//! Copies that a device has a side of, and checksums of its memory, as lanes need them: the twin of a backend's queue.

use std::io;

use super::stretch::{DeviceSlice, Stretch};
use crate::sync::Arc;
use crate::sys::event::Event;

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    /// From the items' memory into the staging buffer: puts.
    IntoStaging,
    /// From the staging buffer to the items' memory: gets.
    OutOfStaging,
}

/// One contiguous part of a copy: two stretches of one length, of which at least one is a device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyPart {
    /// The staging buffer's side.
    pub staging: Stretch,
    /// The item's side.
    pub memory: Stretch,
}

impl CopyPart {
    /// Appends this part to `parts`, as a part of its own or as more of the last one where it lies behind that on both sides.
    pub fn push_to(self, parts: &mut Vec<CopyPart>) {
        if let Some(last) = parts.last_mut()
            && let Some(staging) = last.staging.joined(self.staging)
            && let Some(memory) = last.memory.joined(self.memory)
        {
            *last = CopyPart { staging, memory };
            return;
        }
        parts.push(self);
    }

    /// The device whose stream makes it: that of the item's memory, to which others may have no access, or else the staging
    /// buffer's.
    pub fn device(&self) -> Option<u16> {
        self.memory.device().or_else(|| self.staging.device())
    }
}

/// How the work under one token ended.
#[derive(Debug)]
pub struct CopyDone {
    /// Its token.
    pub token: u32,
    /// Whether all of it was done.
    pub result: io::Result<()>,
    /// The checksums of its blocks, in their order; to be given back with [`Copier::recycle`].
    pub sums: Vec<u64>,
}

/// Makes copies and computes checksums on devices for one thread. Dropping it waits for those under way.
pub trait Copier: Send {
    /// Gets all that work on a device takes of the driver, which may wait for the device.
    ///
    /// # Errors
    /// What the driver answers.
    fn prepare(&mut self, device: u16) -> io::Result<()>;

    /// Begins to copy `parts`, and then to compute the XXH3 of each of `blocks`, which are device memory and may be what was
    /// copied to. All of it is the copier's until it was handed back.
    ///
    /// # Errors
    /// Nothing was begun.
    fn push(
        &mut self,
        token: u32,
        direction: CopyDirection,
        parts: &[CopyPart],
        blocks: &[DeviceSlice],
    ) -> io::Result<()>;

    /// Appends what has ended, without waiting. The waker is signalled when something has.
    fn reap(&mut self, done: &mut Vec<CopyDone>);

    /// Waits until nothing is under way any more.
    fn settle_all(&mut self);

    /// Takes back the memory of sums that were looked at.
    fn recycle(&mut self, _sums: Vec<u64>) {}
}

/// Gives copiers.
pub trait Copiers: Send + Sync {
    /// A copier for one thread, which signals `waker` when a copy has ended.
    ///
    /// # Errors
    /// There is no driver or no device, or it refuses; what is missing.
    fn copier(&self, waker: Arc<Event>) -> io::Result<Box<dyn Copier>>;

    /// Whether checksums can be computed on a device. What that takes is had by the first who asks.
    fn can_sum(&self, _device: u16) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::stretch::testing::pointer_to;
    use crate::memory::{DevicePtr, HostSlice};

    /// Parts that lie behind each other on both sides are one copy; a gap on either side, or another device, begins another.
    #[test]
    fn neighbours_are_one_copy() {
        let mut memory = [0u8; 64];
        let host = pointer_to(&mut memory);
        let part = |at: usize, address: u64, device: u16, length: usize| CopyPart {
            staging: HostSlice { pointer: host.offset(at), length }.into(),
            memory: Stretch::Device(DeviceSlice { pointer: DevicePtr::new(address), length, device }),
        };
        let mut parts = Vec::new();
        for (at, address, device, length) in
            [(0, 1000, 0, 8), (8, 1008, 0, 8), (16, 1024, 0, 8), (32, 1032, 0, 8), (40, 1040, 1, 8)]
        {
            part(at, address, device, length).push_to(&mut parts);
        }
        let lengths: Vec<usize> = parts.iter().map(|part| part.memory.length()).collect();
        assert_eq!(lengths, [16, 8, 8, 8]);
    }
}
