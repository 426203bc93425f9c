//! What one launch reads and writes besides payload: descriptors and sums, in pinned host memory that is used again.

use std::ptr::{NonNull, null_mut};

use super::code::SUCCESS;
use super::library::{KernelCalls, Library};
use crate::error::{Error, Result, Status};
use crate::memory::DeviceSlice;

/// Descriptors of one launch at most; what has more is several launches. A piece of 2 MiB in pages of 4 KiB has so many.
const ENTRIES_MAX: usize = 512;
/// Words of an entry: address, place in the buffer and bytes of a piece, or address, bytes and sum of a block.
const ENTRY_WORDS: usize = 3;
/// Words of a block's descriptor.
const BLOCK_WORDS: usize = 2;
/// Where in a set the sums begin.
const SUMS_AT: usize = BLOCK_WORDS * ENTRIES_MAX;
const SET_WORDS: usize = ENTRY_WORDS * ENTRIES_MAX;
/// Sets that are pinned together, 384 KiB: a lane has about so many pieces of 1 MiB under way.
const SETS_AT_ONCE: usize = 32;

/// A piece of a copy: an address of an item's memory, and one of the staging buffer, both as the device sees them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) memory: u64,
    pub(super) staging: u64,
    pub(super) bytes: usize,
}

/// The descriptors of one launch, and room for its sums. All blocks or all pieces; only written while no launch uses it.
#[derive(Debug)]
pub(super) struct LaunchSet {
    /// Pinned, [`SET_WORDS`] of them; the device sees them at the same address, as all that `cuMemHostAlloc` gives.
    words: NonNull<u64>,
    count: usize,
    /// Bytes of all entries.
    bytes: u64,
    /// Of each block, its number among those that were asked for.
    numbers: Vec<u32>,
}

/// Sets that no launch uses, and the pinned memory of all.
#[derive(Debug, Default)]
pub(super) struct SetPool {
    pinned: Vec<NonNull<u64>>,
    spare: Vec<LaunchSet>,
}

impl SetPool {
    /// Pins memory for some more, in the current context, which may wait for the device.
    ///
    /// # Errors
    /// What the driver answers.
    pub(super) fn grow(&mut self, library: &Library, calls: &KernelCalls) -> Result<()> {
        let words = SETS_AT_ONCE * SET_WORDS;
        let bytes = words * size_of::<u64>();
        let mut address = null_mut();
        // SAFETY: the driver writes the address.
        let code = unsafe { (calls.host_allocate)(&raw mut address, bytes, 0) };
        if code != SUCCESS {
            return Err(library.error(format_args!("pinning {bytes} bytes for descriptors"), code));
        }
        let Some(first) = NonNull::new(address.cast::<u64>()) else {
            return Err(Error::new(Status::Internal, "CUDA: pinned memory at address 0"));
        };
        // SAFETY: as many words, in whole pages, which nobody else has.
        unsafe { first.write_bytes(0, words) };
        self.pinned.push(first);
        self.spare.extend((0..SETS_AT_ONCE).map(|index| {
            // SAFETY: within what was pinned.
            let words = unsafe { first.add(index * SET_WORDS) };
            LaunchSet { words, count: 0, bytes: 0, numbers: Vec::with_capacity(ENTRIES_MAX) }
        }));
        Ok(())
    }

    /// An empty set.
    ///
    /// # Errors
    /// What the driver answers, if there is none and no more can be had.
    pub(super) fn take(&mut self, library: &Library, calls: &KernelCalls) -> Result<LaunchSet> {
        if self.spare.is_empty() {
            self.grow(library, calls)?;
        }
        self.spare.pop().ok_or_else(|| Error::new(Status::Internal, "a pool of sets without a set"))
    }

    /// Takes a set back that no launch uses any more.
    pub(super) fn keep(&mut self, mut set: LaunchSet) {
        (set.count, set.bytes) = (0, 0);
        set.numbers.clear();
        self.spare.push(set);
    }

    /// Gives the memory back, when all sets are here; the context that it was pinned in is current.
    pub(super) fn free(self, calls: &KernelCalls) {
        for first in self.pinned {
            // SAFETY: pinned once, given back once.
            unsafe { (calls.host_free)(first.as_ptr().cast()) };
        }
    }
}

impl LaunchSet {
    /// Whether there is no room for another entry.
    pub(super) fn is_full(&self) -> bool {
        self.count == ENTRIES_MAX
    }

    /// Adds a block, which is number `number` of those that are asked for. There is room.
    pub(super) fn push_block(&mut self, number: usize, block: &DeviceSlice) {
        self.numbers.push(number as u32);
        self.push([block.pointer.addr(), block.length as u64], block.length);
    }

    /// Adds a piece. There is room.
    pub(super) fn push_piece(&mut self, piece: Piece) {
        self.push([piece.memory, piece.staging, piece.bytes as u64], piece.bytes);
    }

    fn push<const N: usize>(&mut self, descriptor: [u64; N], bytes: usize) {
        debug_assert!(N <= ENTRY_WORDS && !self.is_full(), "descriptors stay within the set");
        let at = self.count * N;
        // SAFETY: the callers looked for room, entries of N words up to `ENTRIES_MAX` lie within the set, and no launch reads
        // it now.
        unsafe { self.words.add(at).cast::<[u64; N]>().write(descriptor) };
        self.count += 1;
        self.bytes += bytes as u64;
    }

    /// Entries.
    pub(super) fn count(&self) -> u32 {
        self.count as u32
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the device finds the descriptors.
    pub(super) fn address(&self) -> u64 {
        self.words.as_ptr().addr() as u64
    }

    /// Where the device puts the sums of blocks.
    pub(super) fn sums_address(&self) -> u64 {
        self.address() + (SUMS_AT * size_of::<u64>()) as u64
    }

    /// The sums of the blocks by their numbers, once the launch has ended.
    pub(super) fn sums(&self) -> impl Iterator<Item = (usize, u64)> {
        // SAFETY: a set has as many sums as entries behind `SUMS_AT`, and no launch writes them any more.
        let sums =
            unsafe { std::slice::from_raw_parts(self.words.add(SUMS_AT).as_ptr(), self.numbers.len()) };
        self.numbers.iter().zip(sums).map(|(&number, &sum)| (number as usize, sum))
    }
}
