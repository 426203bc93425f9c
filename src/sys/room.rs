//! Memory that may not be there: what has its size from the configuration is asked for and not taken.
//!
//! Rust's collections end the process where memory is missing. What a store sets aside at open can be large, and a limit
//! (`ulimit -v`, a system that promises no more than it has) is the engine's to live with: it gets a status. Small
//! allocations are not asked for one by one; [`take`] leaves room for them.

use std::io;

use super::fork::{self, Turn};
use super::map;

/// Bytes that are left to everybody else by whoever takes memory through [`take`]. The C library's allocator takes a megabyte from
/// the system for the smallest piece where its heap cannot grow (`MMAP_AS_MORECORE_SIZE` of glibc), so this is one for whoever
/// takes, and some for threads that need a piece at the same time.
const LEFT_BYTES: usize = 4 << 20;

/// Calls `take_it`, which allocates about `bytes`, if there is room for so much. It calls nothing of this module but
/// [`list`] and [`filled`]. One at a time asks and takes, so that two do not take what both were promised.
///
/// # Errors
/// `ENOMEM`; else what `take_it` answers.
pub fn take<T>(bytes: usize, take_it: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _alone = fork::wait_for(Turn::Memory)?;
    check(bytes.saturating_add(LEFT_BYTES))?;
    take_it()
}

/// An empty list with room for `capacity` entries.
///
/// # Errors
/// `ENOMEM`.
pub fn list<T>(capacity: usize) -> io::Result<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(capacity).map_err(|_| out_of_memory())?;
    Ok(list)
}

/// A list of `count` equal entries.
///
/// # Errors
/// `ENOMEM`.
pub fn filled<T: Clone>(entry: T, count: usize) -> io::Result<Vec<T>> {
    let mut list = list(count)?;
    list.resize(count, entry);
    Ok(list)
}

/// What the system says where it has no memory.
pub fn out_of_memory() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

/// Whether so many bytes could be mapped now. They are not touched, so this costs no time to speak of.
fn check(bytes: usize) -> io::Result<()> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: memory that nobody has seen when it goes again. Whatever is answered means that there is too little, EAGAIN
    // that the process may not lock so much.
    unsafe {
        let start = map::unlocked(bytes, protection, flags, -1).map_err(|_| out_of_memory())?;
        libc::munmap(start.as_ptr().cast(), bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than an address space has is an error, whoever asks; what is not taken is there for the next.
    #[test]
    fn what_cannot_be_had_is_an_error() {
        let errno = |error: io::Error| error.raw_os_error();
        for bytes in [usize::MAX, usize::MAX >> 2, 1 << 60] {
            assert_eq!(list::<u8>(bytes).map_err(errno).err(), Some(Some(libc::ENOMEM)));
            assert_eq!(filled(1u64, bytes).map_err(errno).err(), Some(Some(libc::ENOMEM)));
            let taken = take(bytes, || -> io::Result<()> { panic!("nothing is taken") });
            assert_eq!(taken.map_err(errno).err(), Some(Some(libc::ENOMEM)));
        }
        assert_eq!(filled(7u8, 3).expect("three bytes"), [7, 7, 7]);
        assert!(take(1 << 20, || list::<u8>(1 << 20)).expect("a megabyte").capacity() >= 1 << 20);
    }
}
