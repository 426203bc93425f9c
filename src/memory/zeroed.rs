//! Numbers that begin as zero, and take no memory before they are written.

use std::io;

use crate::sync::AtomicU64;

/// A list of numbers of fixed length. Those that were never written take address space and nothing else, a page at a time, also
/// where the process locks all of its memory.
#[cfg(not(feature = "shuttle"))]
#[derive(Debug)]
pub struct Zeroed {
    start: std::ptr::NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is this value's own, and made of atomics.
#[cfg(not(feature = "shuttle"))]
unsafe impl Send for Zeroed {}
// SAFETY: as above.
#[cfg(not(feature = "shuttle"))]
unsafe impl Sync for Zeroed {}

#[cfg(not(feature = "shuttle"))]
impl Zeroed {
    /// So many zeros.
    ///
    /// # Errors
    /// `ENOMEM`, also for lengths that nothing can have; what `mmap(2)` answers, which takes no list of none.
    pub fn new(count: usize) -> io::Result<Zeroed> {
        let bytes = count.checked_mul(size_of::<AtomicU64>()).ok_or_else(crate::sys::room::out_of_memory)?;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: memory that nobody has seen, of no file.
        let start = unsafe { crate::sys::map::unlocked(bytes, access, flags, -1) }?.cast();
        Ok(Zeroed { start, count })
    }

    /// The numbers.
    #[inline]
    pub fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is that long, aligned to pages, zeroed, and there until the drop; its memory is only ever used
        // through atomics.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

#[cfg(not(feature = "shuttle"))]
impl Drop for Zeroed {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
}

/// The same under the model checker, whose atomics are no plain numbers.
#[cfg(feature = "shuttle")]
#[derive(Debug)]
pub struct Zeroed(Vec<AtomicU64>);

#[cfg(feature = "shuttle")]
impl Zeroed {
    /// So many zeros.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(count: usize) -> io::Result<Zeroed> {
        let mut list = crate::sys::room::list(count)?;
        list.resize_with(count, || AtomicU64::new(0));
        Ok(Zeroed(list))
    }

    /// The numbers.
    #[inline]
    pub fn all(&self) -> &[AtomicU64] {
        &self.0
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;
    use crate::sync::Ordering;

    #[test]
    fn what_was_not_written_is_zero() {
        let numbers = Zeroed::new(3 << 20).unwrap();
        assert_eq!(numbers.all().len(), 3 << 20);
        numbers.all()[1 << 20].store(7, Ordering::Relaxed);
        let read = |at: usize| numbers.all()[at].load(Ordering::Relaxed);
        assert_eq!((read(0), read(1 << 20), read((3 << 20) - 1)), (0, 7, 0));
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        for count in [usize::MAX, usize::MAX / 8, 1 << 58] {
            let error = Zeroed::new(count).map(drop).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOMEM), "{count}");
        }
    }
}
