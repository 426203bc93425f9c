//! Mappings of files and memory that stay unlocked, whatever the process has asked for (`mlockall(2)`).

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// Maps `length` bytes at an address of the kernel's choice, as `mmap(2)` does, without reading or locking them.
///
/// Where a process has asked for all of its memory to be locked (`mlockall(2)` with MCL_FUTURE), `mmap` itself reads every
/// page that may be accessed and keeps it: of a sparse file in memory it makes a full one. So they are mapped
/// without access first, let go, and opened up then. Locked or not, they count against `RLIMIT_MEMLOCK` for a moment.
///
/// # Safety
/// As for `mmap`: whoever reads what is mapped answers for what becomes of the file.
///
/// # Errors
/// What `mmap(2)` and `mprotect(2)` answer; `EAGAIN` where the process may not lock so much.
pub unsafe fn unlocked(
    length: usize,
    protection: libc::c_int,
    flags: libc::c_int,
    file: RawFd,
) -> io::Result<NonNull<u8>> {
    // SAFETY: a mapping at an address that the kernel picks touches nothing that is there; nobody else knows it yet.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, file, 0);
        let Some(mapped) = NonNull::new(start.cast::<u8>()).filter(|_| start != libc::MAP_FAILED) else {
            return Err(io::Error::last_os_error());
        };
        // Changes nothing where nothing is locked, and fails for no mapping that is there.
        libc::munlock(start, length);
        if libc::mprotect(start, length, protection) < 0 {
            let error = io::Error::last_os_error();
            libc::munmap(start, length);
            return Err(error);
        }
        Ok(mapped)
    }
}
