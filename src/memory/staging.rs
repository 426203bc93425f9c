//! The staging buffer: slices through which bytes pass that cannot go direct, and memory lent to the engine.
//!
//! One mapping, cut into equal slices. A lane takes one slice for one stripe and gives it back when
//! the stripe is done, so whoever waits for a slice waits for a transfer, never for another waiter.
//! The engine may borrow runs of slices; some are always kept back for the lanes.

use std::io;

use super::aligned::Mapping;
use super::segment::{HostPtr, HostSlice};
use crate::sync::{Mutex, lock};
use crate::sys::room;

/// Largest slice, in bytes; also the largest stripe of a staged transfer.
pub const SLICE_BYTES_MAX: usize = 1 << 20;
/// Smallest slice, in bytes: one checksum block.
pub const SLICE_BYTES_MIN: usize = 64 << 10;
/// A buffer is cut into at least this many slices; together with [`SLICE_BYTES_MIN`] this is the smallest buffer.
pub const SLICES_MIN: usize = 4;
/// One in this many slices, and at least two, is kept back from the engine: for the lanes.
const LENDING_RESERVE: usize = 8;
/// One in this many slices, and at least one, is kept back from puts: gets must not wait for writes to end. Less
/// than what is kept back from the engine, so that puts have a slice even when the engine has borrowed all it can.
const GET_RESERVE: usize = 16;

/// The staging buffer.
#[derive(Debug)]
pub struct Staging {
    mapping: Mapping,
    slice_bytes: usize,
    slices: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    used: Vec<bool>,
    free: usize,
    /// Where the next search starts; slices before it are likely taken.
    hint: usize,
    /// Runs lent to the engine: first slice and count.
    lent: Vec<(usize, usize)>,
}

/// One slice of the staging buffer, held by a lane.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice(usize);

impl Staging {
    /// Maps a buffer of about `bytes`.
    ///
    /// # Errors
    /// `InvalidInput` below [`SLICES_MIN`] x [`SLICE_BYTES_MIN`], else what `mmap(2)` answers, `ENOMEM` most of all.
    pub fn new(bytes: usize, huge_pages: bool) -> io::Result<Staging> {
        let slice_bytes =
            (bytes / SLICES_MIN / SLICE_BYTES_MIN * SLICE_BYTES_MIN).clamp(SLICE_BYTES_MIN, SLICE_BYTES_MAX);
        let slices = bytes / slice_bytes;
        if slices < SLICES_MIN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mapping = Mapping::new(slices * slice_bytes, huge_pages)?;
        let state = State { used: room::filled(false, slices)?, free: slices, hint: 0, lent: Vec::new() };
        Ok(Staging { mapping, slice_bytes, slices, state: Mutex::new(state) })
    }

    /// Bytes of one slice.
    pub fn slice_bytes(&self) -> usize {
        self.slice_bytes
    }

    /// Whether huge pages back it.
    pub fn is_huge(&self) -> bool {
        self.mapping.is_huge()
    }

    /// The whole buffer, for registration.
    pub fn region(&self) -> HostSlice {
        self.mapping.host_slice()
    }

    /// Takes a slice for a get, if one is free.
    pub fn take(&self) -> Option<Slice> {
        self.take_beyond(0)
    }

    /// Takes a slice for a put, if one is free beside those that are kept for gets.
    pub fn take_for_put(&self) -> Option<Slice> {
        self.take_beyond((self.slices / GET_RESERVE).max(1))
    }

    fn take_beyond(&self, kept: usize) -> Option<Slice> {
        let mut state = lock(&self.state);
        if state.free <= kept {
            return None;
        }
        let hint = state.hint;
        let found = (hint..state.used.len()).chain(0..hint).find(|&index| !state.used[index])?;
        state.used[found] = true;
        state.free -= 1;
        state.hint = found + 1;
        Some(Slice(found))
    }

    /// Gives a slice back.
    pub fn give_back(&self, slice: Slice) {
        let mut state = lock(&self.state);
        state.used[slice.0] = false;
        state.free += 1;
        state.hint = state.hint.min(slice.0);
    }

    /// The memory of a slice.
    pub fn memory(&self, slice: &Slice) -> HostSlice {
        let start = slice.0 * self.slice_bytes;
        HostSlice { pointer: self.region().pointer.offset(start), length: self.slice_bytes }
    }

    /// Lends `bytes` to the engine, page-aligned. `None`: no run of slices is free beside the lanes' reserve.
    pub fn lend(&self, bytes: usize) -> Option<HostPtr> {
        let count = bytes.div_ceil(self.slice_bytes);
        let mut state = lock(&self.state);
        let reserve = (self.slices / LENDING_RESERVE).max(2);
        if count == 0 || state.free < count.checked_add(reserve)? {
            return None;
        }
        let mut run = 0;
        // From the end, so that runs and the lanes' single slices crowd different ends.
        let first = (0..state.used.len()).rev().find(|&index| {
            run = if state.used[index] { 0 } else { run + 1 };
            run == count
        })?;
        state.used[first..first + count].fill(true);
        state.free -= count;
        state.lent.push((first, count));
        Some(self.region().pointer.offset(first * self.slice_bytes))
    }

    /// Bytes of the run that was lent at this address; 0 if none was.
    pub fn lent_bytes(&self, pointer: HostPtr) -> usize {
        let state = lock(&self.state);
        self.lent_at(&state, pointer).map_or(0, |position| state.lent[position].1 * self.slice_bytes)
    }

    fn lent_at(&self, state: &State, pointer: HostPtr) -> Option<usize> {
        let base = self.region().pointer.addr();
        state.lent.iter().position(|&(first, _)| base + first * self.slice_bytes == pointer.addr())
    }

    /// Takes back what [`Staging::lend`] gave. False: that address was not lent.
    pub fn take_back(&self, pointer: HostPtr) -> bool {
        let mut state = lock(&self.state);
        let Some(position) = self.lent_at(&state, pointer) else {
            return false;
        };
        let (first, count) = state.lent.swap_remove(position);
        state.used[first..first + count].fill(false);
        state.free += count;
        state.hint = state.hint.min(first);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine can borrow much, but never the lanes' last slices: staged transfers always advance.
    #[test]
    fn lending_never_starves_the_lanes() {
        let staging = Staging::new(16 * SLICE_BYTES_MAX, false).expect("maps");
        let mut lent = Vec::new();
        while let Some(pointer) = staging.lend(SLICE_BYTES_MAX + 1) {
            lent.push(pointer);
        }
        assert_eq!(lent.len(), 7);
        let slice = staging.take().expect("a slice is left for the lanes");
        staging.give_back(slice);
        for pointer in lent {
            assert_eq!(pointer.addr() % super::super::aligned::PAGE_BYTES, 0);
            assert!(staging.take_back(pointer));
            assert!(!staging.take_back(pointer));
        }
        let all: Vec<_> = std::iter::from_fn(|| staging.take()).collect();
        assert_eq!(all.len(), 16);
    }

    /// Writes that do not end leave slices to reads, in the smallest buffer and with all lent that can be lent;
    /// and the engine's borrowing leaves one to writes.
    #[test]
    fn puts_leave_slices_to_gets() {
        for bytes in [SLICES_MIN * SLICE_BYTES_MIN, 16 * SLICE_BYTES_MAX, 128 * SLICE_BYTES_MAX] {
            let staging = Staging::new(bytes, false).expect("maps");
            let put_slices = std::iter::from_fn(|| staging.take_for_put()).count();
            let get_slices = std::iter::from_fn(|| staging.take()).count();
            assert_eq!(put_slices + get_slices, bytes / staging.slice_bytes());
            assert!(get_slices >= 1 && put_slices >= 2 * get_slices, "{put_slices} and {get_slices}");

            let staging = Staging::new(bytes, false).expect("maps");
            while staging.lend(1).is_some() {}
            assert!(staging.take_for_put().is_some());
            assert!(staging.take().is_some());
        }
    }

    /// Every buffer from the smallest on is cut into whole slices; a smaller one is refused.
    #[test]
    fn small_buffers_are_cut_small_and_tiny_ones_refused() {
        assert!(Staging::new(SLICES_MIN * SLICE_BYTES_MIN - 1, false).is_err());
        for kib in [256, 300, 1000, 4096, 5000, 100_000] {
            let staging = Staging::new(kib << 10, false).expect("maps");
            assert_eq!(staging.slice_bytes() % SLICE_BYTES_MIN, 0);
            let count = std::iter::from_fn(|| staging.take()).count();
            assert!(count >= SLICES_MIN && count * staging.slice_bytes() <= kib << 10);
        }
    }
}
