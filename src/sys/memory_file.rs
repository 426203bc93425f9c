//! Files that live in memory and have no name.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use super::check;
use super::file::set_length;

/// A file of `length` bytes in memory (`memfd_create(2)`), sealed so that nobody can change its length: what is mapped of
/// it stays there. `name` shows in `/proc` only.
///
/// # Errors
/// What the system answers.
pub fn sealed(name: &CStr, length: u64) -> io::Result<File> {
    // SAFETY: the name is NUL-terminated and only read.
    let fd =
        check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: memfd_create returned a descriptor that nobody else owns.
    let file = unsafe { File::from_raw_fd(fd) };
    set_length(&file, length)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file)
}

/// Whether nobody can cut the file any more.
pub fn cannot_shrink(file: &File) -> bool {
    // SAFETY: takes no pointers.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    // -1, all bits: a file of a kind that has no seals.
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}
