//! A file in memory, read without the kernel.
//!
//! `pread` from tmpfs copies page by page and reaches half of what one long copy does (see docs/PERFORMANCE.md), and costs a
//! system call. A mapping is for reading only, so that no stray write of the process can reach a stored byte through it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use super::Stretch;
use crate::sys::bus_error::Guarded;
use crate::sys::{map, memory_file, retry_on_interrupt};

/// All of a file, as long as it was when it was mapped. Not locked in memory, even if the engine locks all of its own: what is
/// stored may be swapped, and a pool that has room for more than it holds takes what it holds.
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    /// `None`: the file cannot be cut.
    guarded: Option<Guarded>,
}

// SAFETY: the memory is owned by this value, and everybody only reads it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mapping").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Mapping {
    /// Maps `file`. `None`: it is empty, or [`GUARDED_MAX`](crate::sys::bus_error::GUARDED_MAX) are mapped already.
    ///
    /// # Errors
    /// What `fstat(2)`, `mmap(2)` or `sigaction(2)` answers.
    pub fn new(file: &File) -> io::Result<Option<Mapping>> {
        let length = usize::try_from(retry_on_interrupt(|| file.metadata())?.len()).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(None);
        }
        // SAFETY: what becomes of the file is the guard's business, or it cannot be cut.
        let start = unsafe { map::unlocked(length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())? };
        let mut mapping = Mapping { start, length, guarded: None };
        if !memory_file::cannot_shrink(file) {
            // SAFETY: the mapping is this value's own, read only, and unmapped by its drop after the guard is gone.
            let Some(guarded) = (unsafe { Guarded::new(start.as_ptr() as usize, length)? }) else {
                return Ok(None);
            };
            mapping.guarded = Some(guarded);
        }
        // A core dump of the engine is no place for its cache. Without it the dump is larger and nothing else.
        // SAFETY: the range is this mapping.
        unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_DONTDUMP) };
        Ok(Some(mapping))
    }

    /// Copies what the file holds from `offset` on into `slices`, one after the other, and returns the bytes. `None`:
    /// they are not all to be had here, now or ever, and what the slices hold is undefined; the file itself has to say.
    ///
    /// Where the file [can be cut](Mapping::can_be_cut) the calling thread must not block SIGBUS.
    pub fn read(&self, offset: u64, slices: &[Stretch]) -> Option<usize> {
        if self.is_cut() {
            return None;
        }
        let total = slices.iter().map(Stretch::length).sum::<usize>();
        let mut from = usize::try_from(offset).ok()?;
        if from.checked_add(total)? > self.length {
            return None;
        }
        for stretch in slices {
            let slice = stretch.host()?;
            // SAFETY: `from` and what follows lie inside the mapping, whose missing pages the guard replaces; the slice is
            // memory that is valid for writing until the request ends (HostPtr's contract), so it is no part of this
            // mapping, which cannot be written. This process writes no slot that is read (the catalog's leases); if
            // another one does, other bytes arrive, and the checksum, computed over what arrived, tells.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.start.as_ptr().add(from),
                    slice.pointer.as_ptr(),
                    slice.length,
                );
            }
            from += slice.length;
        }
        // The bytes are read before the question is asked.
        fence(Ordering::Acquire);
        (!self.is_cut()).then_some(total)
    }

    /// Its address, for tests that ask the kernel about it.
    #[cfg(test)]
    pub(crate) fn start(&self) -> usize {
        self.start.as_ptr().addr()
    }

    /// Whether somebody could cut the file, so that reading it may raise SIGBUS.
    pub fn can_be_cut(&self) -> bool {
        self.guarded.is_some()
    }

    fn is_cut(&self) -> bool {
        self.guarded.as_ref().is_some_and(Guarded::is_cut)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // First: once unmapped, the addresses may be anybody's.
        self.guarded = None;
        // SAFETY: the mapping is this value's own, and no read is under way while it is dropped.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
