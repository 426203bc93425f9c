//! Copies between host memory and a device's, as lanes need them: the twin of a backend's queue.

use std::io;

use super::stretch::{DeviceSlice, HostPtr};
use crate::sync::Arc;
use crate::sys::event::Event;

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    /// From the device into host memory.
    FromDevice,
    /// From host memory to the device.
    ToDevice,
}

/// One contiguous part of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyPart {
    /// The host's side, as long as the device's.
    pub host: HostPtr,
    /// The device's side.
    pub device: DeviceSlice,
}

impl CopyPart {
    /// Appends this part to `parts`, as a part of its own or as more of the last one where it lies behind that on both sides.
    pub fn push_to(self, parts: &mut Vec<CopyPart>) {
        if let Some(last) = parts.last_mut()
            && last.device.device == self.device.device
            && last.device.pointer.offset(last.device.length) == self.device.pointer
            && last.host.offset(last.device.length) == self.host
        {
            last.device.length += self.device.length;
            return;
        }
        parts.push(self);
    }
}

/// How a copy ended.
#[derive(Debug)]
pub struct CopyDone {
    /// Its token.
    pub token: u32,
    /// Whether all of it was copied.
    pub result: io::Result<()>,
}

/// Makes copies for one thread. Dropping it waits for those under way.
pub trait Copier: Send {
    /// Begins a copy. Both sides are the copier's until the copy is handed back.
    ///
    /// # Errors
    /// Nothing was begun.
    fn push(&mut self, token: u32, direction: CopyDirection, parts: &[CopyPart]) -> io::Result<()>;

    /// Appends what has ended, without waiting. The waker is signalled when something has.
    fn reap(&mut self, done: &mut Vec<CopyDone>);
}

/// Gives copiers.
pub trait Copiers: Send + Sync {
    /// A copier for one thread, which signals `waker` when a copy has ended.
    ///
    /// # Errors
    /// There is no driver or no device, or it refuses; what is missing.
    fn copier(&self, waker: Arc<Event>) -> io::Result<Box<dyn Copier>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::DevicePtr;
    use crate::memory::stretch::testing::pointer_to;

    /// Parts that lie behind each other on both sides are one copy; a gap on either side, or another device, begins another.
    #[test]
    fn neighbours_are_one_copy() {
        let mut memory = [0u8; 64];
        let host = pointer_to(&mut memory);
        let part = |at: usize, address: u64, device: u16, length: usize| CopyPart {
            host: host.offset(at),
            device: DeviceSlice { pointer: DevicePtr::new(address), length, device },
        };
        let mut parts = Vec::new();
        for (at, address, device, length) in
            [(0, 1000, 0, 8), (8, 1008, 0, 8), (16, 1024, 0, 8), (32, 1032, 0, 8), (40, 1040, 1, 8)]
        {
            part(at, address, device, length).push_to(&mut parts);
        }
        let lengths: Vec<usize> = parts.iter().map(|part| part.device.length).collect();
        assert_eq!(lengths, [16, 8, 8, 8]);
    }
}
