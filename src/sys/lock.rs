//! Locks that the kernel drops when their owner dies.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::{check, retry_on_interrupt};

/// Takes the whole-file lock (`flock(2)`) without waiting. It lives as long as this open file.
///
/// # Errors
/// `WouldBlock` if another open file holds it; else what `flock` answers.
pub fn try_lock_exclusive(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    retry_on_interrupt(|| check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }))
        .map(drop)
}

/// Drops the whole-file lock at once, also where a forked child still has this open file.
///
/// # Errors
/// What `flock` answers.
pub fn unlock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    retry_on_interrupt(|| check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) })).map(drop)
}

/// Gives up a forked child's copy of an open file and of the locks that live with it; the parent's is not touched.
///
/// The descriptor's number stays taken, by an eventfd: its owner in the child may still close it, and must not hit a file that
/// was opened since. Safe between fork and exec: it allocates nothing and takes no lock.
pub fn let_go_in_child(file: &impl AsRawFd) {
    // SAFETY: takes no pointers.
    let Ok(nothing) = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }) else { return };
    // SAFETY: both descriptors are open; the child has no other thread that could be using the file.
    unsafe {
        libc::dup3(nothing, file.as_raw_fd(), libc::O_CLOEXEC);
        libc::close(nothing);
    }
}

/// What to do with one byte's open-file-description lock (`fcntl(2)`, `F_OFD_SETLK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteLock {
    /// Shared with other readers.
    Read,
    /// Alone.
    Write,
    /// None.
    Unlock,
}

/// Changes this open file's lock on the byte at `offset`, without waiting. The byte need not exist.
///
/// # Errors
/// `WouldBlock` if another open file's lock is in the way; else what `fcntl` answers.
pub fn try_lock_byte(file: &File, offset: u64, lock: ByteLock) -> io::Result<()> {
    // SAFETY: flock is plain old data, for which all zeros is valid; OFD locks ask for l_pid 0.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = match lock {
        ByteLock::Read => libc::F_RDLCK,
        ByteLock::Write => libc::F_WRLCK,
        ByteLock::Unlock => libc::F_UNLCK,
    } as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = super::file::to_off_t(offset)?;
    request.l_len = 1;
    // SAFETY: the descriptor is open and `request` is a valid flock that outlives the call.
    let result =
        retry_on_interrupt(|| check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &request) }));
    match result {
        // POSIX lets the kernel answer either; callers look for one.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        other => other.map(drop),
    }
}
