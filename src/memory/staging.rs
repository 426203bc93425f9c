//! The staging buffer: slices through which bytes pass that cannot go direct, and memory lent to the engine.
//!
//! One mapping, cut into equal slices. A lane takes one slice for one stripe and gives it back when
//! the stripe is done, so whoever waits for a slice waits for a transfer, never for another waiter.
//! The engine may borrow runs of slices; some are always kept back for the lanes.

use std::io;

use super::arena::Arena;
use super::stretch::Stretch;
use crate::sync::{Arc, Mutex, lock};
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
    arena: Arena,
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

/// The right to one slice of the staging buffer; given back when dropped.
///
/// Whoever has a transfer under way through the slice keeps this until the transfer has landed.
#[derive(Debug)]
pub struct Hold {
    staging: Arc<Staging>,
    index: usize,
}

impl Hold {
    /// The memory of the slice.
    pub fn memory(&self) -> Stretch {
        let start = self.index * self.staging.slice_bytes;
        self.staging.region().part(start, start + self.staging.slice_bytes)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.staging.give_back(self.index);
    }
}

/// The right to some slices, mostly to one; given back when dropped.
#[derive(Debug, Default)]
pub struct Holds {
    first: Option<Hold>,
    /// Without memory of its own where one slice is enough.
    more: Vec<Hold>,
}

impl From<Hold> for Holds {
    fn from(hold: Hold) -> Holds {
        Holds { first: Some(hold), more: Vec::new() }
    }
}

impl Holds {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The memory of the first `bytes` of the slices, one after the other.
    pub fn memory(&self, bytes: usize) -> impl Iterator<Item = Stretch> {
        let mut left = bytes;
        self.first.iter().chain(&self.more).map_while(move |hold| {
            let slice = hold.memory();
            let length = slice.length().min(left);
            left -= length;
            (length > 0).then(|| slice.part(0, length))
        })
    }

    /// Whether they are a device's memory.
    pub fn is_on_device(&self) -> bool {
        self.first.as_ref().is_some_and(|hold| hold.staging.device().is_some())
    }
}

impl Staging {
    /// Cuts a buffer of about `bytes` from the memory that `arena` makes of a number of bytes.
    ///
    /// # Errors
    /// `InvalidInput` below [`SLICES_MIN`] x [`SLICE_BYTES_MIN`], else what `arena` answers.
    pub fn new(bytes: usize, arena: impl FnOnce(usize) -> io::Result<Arena>) -> io::Result<Staging> {
        let slice_bytes =
            (bytes / SLICES_MIN / SLICE_BYTES_MIN * SLICE_BYTES_MIN).clamp(SLICE_BYTES_MIN, SLICE_BYTES_MAX);
        let slices = bytes / slice_bytes;
        if slices < SLICES_MIN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let arena = arena(slices * slice_bytes)?;
        let state = State { used: room::filled(false, slices)?, free: slices, hint: 0, lent: Vec::new() };
        Ok(Staging { arena, slice_bytes, slices, state: Mutex::new(state) })
    }

    /// Bytes of one slice.
    pub fn slice_bytes(&self) -> usize {
        self.slice_bytes
    }

    /// Whether huge pages back it.
    pub fn is_huge(&self) -> bool {
        self.arena.is_huge()
    }

    /// The whole buffer, for registration.
    pub fn region(&self) -> Stretch {
        self.arena.memory()
    }

    /// Bytes of the whole buffer.
    pub fn bytes(&self) -> usize {
        self.region().length()
    }

    /// The device whose memory it is.
    pub fn device(&self) -> Option<u16> {
        self.region().device()
    }

    /// Takes a slice for a get, if one is free.
    pub fn take(self: &Arc<Self>) -> Option<Hold> {
        self.take_beyond(0)
    }

    /// Takes a slice for a put, if one is free beside those that are kept for gets.
    pub fn take_for_put(self: &Arc<Self>) -> Option<Hold> {
        self.take_beyond(self.kept_for_gets())
    }

    /// Takes slices of `bytes` together for a get, or none if there are not so many.
    pub fn take_bytes(self: &Arc<Self>, bytes: usize) -> Option<Holds> {
        self.take_bytes_beyond(bytes, 0)
    }

    /// The same for a put, beside those that are kept for gets.
    pub fn take_bytes_for_put(self: &Arc<Self>, bytes: usize) -> Option<Holds> {
        self.take_bytes_beyond(bytes, self.kept_for_gets())
    }

    /// Most bytes that a put can take together when nobody else has any.
    pub fn bytes_for_put_max(&self) -> usize {
        (self.slices - self.kept_for_gets()) * self.slice_bytes
    }

    fn kept_for_gets(&self) -> usize {
        (self.slices / GET_RESERVE).max(1)
    }

    fn take_bytes_beyond(self: &Arc<Self>, bytes: usize, kept: usize) -> Option<Holds> {
        let count = bytes.div_ceil(self.slice_bytes).max(1);
        if count == 1 {
            return self.take_beyond(kept).map(Holds::from);
        }
        let mut state = lock(&self.state);
        if state.free < count.checked_add(kept)? {
            return None;
        }
        let mut more = Vec::with_capacity(count - 1);
        let mut first = None;
        for index in 0..state.used.len() {
            if !state.used[index] && (first.is_none() || more.len() + 1 < count) {
                state.used[index] = true;
                state.free -= 1;
                let hold = Hold { staging: Arc::clone(self), index };
                match first {
                    None => first = Some(hold),
                    Some(_) => more.push(hold),
                }
            }
        }
        Some(Holds { first, more })
    }

    fn take_beyond(self: &Arc<Self>, kept: usize) -> Option<Hold> {
        let mut state = lock(&self.state);
        if state.free <= kept {
            return None;
        }
        let hint = state.hint;
        let found = (hint..state.used.len()).chain(0..hint).find(|&index| !state.used[index])?;
        state.used[found] = true;
        state.free -= 1;
        state.hint = found + 1;
        Some(Hold { staging: Arc::clone(self), index: found })
    }

    fn give_back(&self, index: usize) {
        let mut state = lock(&self.state);
        state.used[index] = false;
        state.free += 1;
        state.hint = state.hint.min(index);
    }

    /// Lends `bytes` to the engine, page-aligned. `None`: no run of slices is free beside the lanes' reserve.
    pub fn lend(&self, bytes: usize) -> Option<Stretch> {
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
        let start = first * self.slice_bytes;
        Some(self.region().part(start, start + bytes))
    }

    /// Bytes of the run that was lent at this address; 0 if none was.
    pub fn lent_bytes(&self, address: usize) -> usize {
        let state = lock(&self.state);
        self.lent_at(&state, address).map_or(0, |position| state.lent[position].1 * self.slice_bytes)
    }

    fn lent_at(&self, state: &State, address: usize) -> Option<usize> {
        let base = self.region().addr();
        state.lent.iter().position(|&(first, _)| base + first * self.slice_bytes == address)
    }

    /// Takes back what [`Staging::lend`] gave. False: that address was not lent.
    pub fn take_back(&self, address: usize) -> bool {
        let mut state = lock(&self.state);
        let Some(position) = self.lent_at(&state, address) else {
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

    fn mapped(bytes: usize) -> io::Result<Arc<Staging>> {
        Staging::new(bytes, |bytes| Arena::new(bytes, false)).map(Arc::new)
    }

    /// The engine can borrow much, but never the lanes' last slices: staged transfers always advance.
    #[test]
    fn lending_never_starves_the_lanes() {
        let staging = mapped(16 * SLICE_BYTES_MAX).expect("maps");
        let mut lent = Vec::new();
        while let Some(pointer) = staging.lend(SLICE_BYTES_MAX + 1) {
            lent.push(pointer);
        }
        assert_eq!(lent.len(), 7);
        drop(staging.take().expect("a slice is left for the lanes"));
        for pointer in lent {
            assert_eq!(pointer.addr() % super::super::arena::PAGE_BYTES, 0);
            assert!(staging.take_back(pointer.addr()));
            assert!(!staging.take_back(pointer.addr()));
        }
        let all: Vec<_> = std::iter::from_fn(|| staging.take()).collect();
        assert_eq!(all.len(), 16);
    }

    /// Writes that do not end leave slices to reads, in the smallest buffer and with all lent that can be lent;
    /// and the engine's borrowing leaves one to writes.
    #[test]
    fn puts_leave_slices_to_gets() {
        for bytes in [SLICES_MIN * SLICE_BYTES_MIN, 16 * SLICE_BYTES_MAX, 128 * SLICE_BYTES_MAX] {
            let staging = mapped(bytes).expect("maps");
            let of_puts: Vec<_> = std::iter::from_fn(|| staging.take_for_put()).collect();
            let of_gets: Vec<_> = std::iter::from_fn(|| staging.take()).collect();
            assert_eq!(of_puts.len() + of_gets.len(), bytes / staging.slice_bytes());
            assert!(!of_gets.is_empty() && of_puts.len() >= 2 * of_gets.len());

            let staging = mapped(bytes).expect("maps");
            while staging.lend(1).is_some() {}
            assert!(staging.take_for_put().is_some());
            assert!(staging.take().is_some());
        }
    }

    /// Slices that are taken together are as many as it takes, apart from each other, and taken as a whole or not at all.
    #[test]
    fn slices_are_taken_together_or_not_at_all() {
        let staging = mapped(16 * SLICE_BYTES_MAX).expect("maps");
        let apart = [staging.take(), staging.take()];
        let holds = staging.take_bytes(3 * SLICE_BYTES_MAX + 1).expect("four");
        let memory: Vec<Stretch> = holds.memory(3 * SLICE_BYTES_MAX + 1).collect();
        let lengths: Vec<usize> = memory.iter().map(Stretch::length).collect();
        assert_eq!(lengths, [SLICE_BYTES_MAX, SLICE_BYTES_MAX, SLICE_BYTES_MAX, 1]);
        let apart_too = apart.iter().flatten().map(Hold::memory);
        let mut starts: Vec<usize> =
            memory.iter().copied().chain(apart_too).map(|slice| slice.addr()).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), 6);
        assert!(staging.take_bytes(11 * SLICE_BYTES_MAX).is_none());
        assert!(staging.take_bytes_for_put(10 * SLICE_BYTES_MAX).is_none(), "one is kept for gets");
        assert!(staging.take_bytes(10 * SLICE_BYTES_MAX).is_some());
        drop((apart, holds));
        assert_eq!(staging.bytes_for_put_max(), 15 * SLICE_BYTES_MAX);
        assert!(staging.take_bytes_for_put(15 * SLICE_BYTES_MAX).is_some());
    }

    /// Every buffer from the smallest on is cut into whole slices; a smaller one is refused.
    #[test]
    fn small_buffers_are_cut_small_and_tiny_ones_refused() {
        assert!(mapped(SLICES_MIN * SLICE_BYTES_MIN - 1).is_err());
        for kib in [256, 300, 1000, 4096, 5000, 100_000] {
            let staging = mapped(kib << 10).expect("maps");
            assert_eq!(staging.slice_bytes() % SLICE_BYTES_MIN, 0);
            let count = std::iter::from_fn(|| staging.take()).collect::<Vec<_>>().len();
            assert!(count >= SLICES_MIN && count * staging.slice_bytes() <= kib << 10);
        }
    }
}
