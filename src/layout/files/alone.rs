//! One at a time for each object: its eviction, and the publication of a newer file under its name.
//!
//! Whoever is at work on one object holds up nobody who is at work on another one: an unlink may take as long as the file
//! system likes.

use crate::sync::{Condvar, Mutex, lock};

/// The objects that somebody is at work on, few at any time, by the numbers of their bytes in the file of pins.
#[derive(Debug, Default)]
pub(super) struct AtWork {
    offsets: Mutex<Vec<u64>>,
    ended: Condvar,
}

/// The right to be at work on one object; given back when dropped.
#[derive(Debug)]
pub struct Alone<'a> {
    at_work: &'a AtWork,
    offset: u64,
}

impl AtWork {
    /// Waits until nobody is at work on the object of that number.
    pub(super) fn enter(&self, offset: u64) -> Alone<'_> {
        let mut offsets = lock(&self.offsets);
        while offsets.contains(&offset) {
            offsets = self.ended.wait(offsets).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        offsets.push(offset);
        Alone { at_work: self, offset }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let mut offsets = lock(&self.at_work.offsets);
        if let Some(place) = offsets.iter().position(|&offset| offset == self.offset) {
            offsets.swap_remove(place);
        }
        drop(offsets);
        self.at_work.ended.notify_all();
    }
}
