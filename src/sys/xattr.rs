//! Extended attributes of open files and directories.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::{check, retry_on_interrupt};

/// Gives the attribute `name` a value. Some file systems take it for a command.
///
/// # Errors
/// What `fsetxattr(2)` answers.
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    let file = file.as_fd().as_raw_fd();
    let (start, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: `name` is NUL-terminated, the descriptor is open, and `value` is read for its length.
    let set = || check(unsafe { libc::fsetxattr(file, name.as_ptr(), start, length, 0) });
    retry_on_interrupt(set).map(drop)
}

/// Reads the attribute `name` into `value`; returns its length.
///
/// # Errors
/// What `fgetxattr(2)` answers: `ENODATA` if there is none, `ERANGE` if it is longer than `value`.
pub fn get(file: impl AsFd, name: &CStr, value: &mut [u8]) -> io::Result<usize> {
    if value.is_empty() {
        // The call would tell the length that is needed.
        return Err(io::Error::from_raw_os_error(libc::ERANGE));
    }
    let file = file.as_fd().as_raw_fd();
    retry_on_interrupt(|| {
        // SAFETY: `name` is NUL-terminated, the descriptor is open, and `value` is writable for its length.
        let read = unsafe { libc::fgetxattr(file, name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory's attribute is written and read through a descriptor that is open for reading alone, never past the memory
    /// it is read into; one that the file system does not know is an error with its number.
    #[test]
    fn a_directorys_attribute_is_written_and_read() {
        let path = std::env::temp_dir().join(format!("nixl_store-xattr-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("made");
        let directory = std::fs::File::open(&path).expect("opened");
        let unknown = set(&directory, c"hf3fs.lock", b"try_lock").expect_err("no such namespace");
        assert_eq!(unknown.raw_os_error(), Some(libc::EOPNOTSUPP));
        let mut value = [0; 8];
        match set(&directory, c"user.nixl_store", b"value") {
            // Some file systems have none for users.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP)),
            Ok(()) => {
                let length = get(&directory, c"user.nixl_store", &mut value).expect("there");
                assert_eq!(&value[..length], b"value");
                for room in [0, 4] {
                    let error =
                        get(&directory, c"user.nixl_store", &mut value[..room]).expect_err("too long");
                    assert_eq!(error.raw_os_error(), Some(libc::ERANGE));
                }
            }
        }
        let absent = get(&directory, c"user.nixl_store_absent", &mut value).expect_err("absent");
        assert!(matches!(absent.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)), "{absent}");
        std::fs::remove_dir(&path).expect("removed");
    }
}
