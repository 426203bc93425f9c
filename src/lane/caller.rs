//! A lane that the calling thread drives itself, for a blocking call on one small object.
//!
//! Handing such an item to an I/O thread and back costs two wake-ups, more than all else that the library does for
//! it. Here the caller's own thread walks the same path with system calls that block. Large objects are better off
//! with the I/O threads, which keep several requests under way.

use super::{Lane, Parts};
use crate::backend::{IoCompletion, IoQueue, Medium, Wait};
use crate::batch::ItemGuard;
use crate::placement::Placement;
use crate::sync::thread;

/// Largest object carried to and from a device, in bytes: one request.
const DEVICE_BYTES_MAX: u64 = 1 << 20;

/// Something that does an item's work on the thread that asks.
pub(crate) trait Carrier: Send {
    /// Carries one item to its end. Gives it back if it has to wait for what others hold.
    fn carry(&mut self, guard: ItemGuard) -> Option<ItemGuard>;
}

/// Bytes of the largest object that is carried.
pub(crate) fn bytes_max(medium: Medium) -> u64 {
    match medium {
        // A copy is a copy, whoever does it.
        Medium::Memory => u64::MAX,
        Medium::Device => DEVICE_BYTES_MAX,
        // No queue of blocking calls is there for it.
        Medium::Server => 0,
    }
}

struct CallerLane<P: Placement> {
    lane: Lane<P>,
    completions: Vec<IoCompletion>,
}

/// A lane to be driven by callers, around a queue that completes what is pushed before it is waited for.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn new<P: Placement>(
    queue: Box<dyn IoQueue>,
    parts: Parts<P>,
) -> std::io::Result<Box<dyn Carrier>> {
    let medium = parts.medium;
    let mut lane = Lane::new(usize::MAX, queue, parts)?;
    let completions = std::mem::take(&mut lane.completions);
    lane.is_callers = true;
    if medium == Medium::Device {
        lane.read_bytes_min = DEVICE_BYTES_MAX;
    }
    Ok(Box::new(CallerLane { lane, completions }))
}

impl<P: Placement> CallerLane<P> {
    /// An item that waits for what others hold; they may be long about it.
    fn take_parked(&mut self) -> Option<ItemGuard> {
        let parked = self.lane.parked_gets.pop_front().or_else(|| self.lane.parked_puts.pop_front());
        parked.map(|parked| parked.guard)
    }
}

impl<P: Placement> Carrier for CallerLane<P> {
    fn carry(&mut self, guard: ItemGuard) -> Option<ItemGuard> {
        self.lane.start(guard, 0);
        loop {
            if let Some(guard) = self.take_parked() {
                return Some(guard);
            }
            let lane = &mut self.lane;
            if lane.is_idle() {
                return None;
            }
            lane.push_pieces();
            if let Err(error) = lane.queue.wait(Wait::Poll, &mut self.completions) {
                lane.shared.poison(&format!("the I/O queue of a caller broke: {error}"));
                lane.jobs.clear();
                lane.epilogues.clear();
            }
            self.completions.append(&mut lane.refused);
            if self.completions.is_empty() && lane.wants_slice {
                // Only memory that goes direct is carried, so this is rare; a transfer of another lane gives it back.
                thread::yield_now();
            }
            for completion in self.completions.drain(..) {
                lane.complete(completion);
            }
        }
    }
}
