//! Files that live in memory and have no name.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use super::check;

/// A file in memory (`memfd_create(2)`); `name` shows in `/proc` only.
///
/// # Errors
/// What the system answers.
pub fn anonymous(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is NUL-terminated and only read.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: memfd_create returned a descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}
