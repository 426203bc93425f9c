//! Locks that the kernel drops when their owner dies.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

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

/// The process that holds the whole-file lock of this file, as the kernel tells it (`proc_locks(5)`); the lock is not touched.
/// `None` also for a process that cannot be seen from here: of another host, or of a container beside this one.
///
/// # Errors
/// What reading the kernel's lists answers.
pub fn lock_holder(file: &File) -> io::Result<Option<u32>> {
    // The number that `stat(2)` gives for a device is not always the one of this list (btrfs); that of the mount is.
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let mount =
        about.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim).unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let device = mounts
        .lines()
        .map(|line| line.split(' '))
        .find_map(|mut fields| (fields.next() == Some(mount)).then(|| fields.nth(1)?.split_once(':'))?);
    let (major, minor) = match device.map(|(major, minor)| (major.parse::<u32>(), minor.parse::<u32>())) {
        Some((Ok(major), Ok(minor))) => (major, minor),
        _ => return Err(io::Error::other("the mount of the file is not in /proc/self/mountinfo")),
    };
    let inode = retry_on_interrupt(|| file.metadata())?.ino();
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    let locks = std::fs::read_to_string("/proc/locks")?;
    // One that waits for the lock has an arrow behind the number.
    Ok(locks.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, "WRITE", process, of, ..] if of == place => process.parse().ok(),
        _ => None,
    }))
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
