//! A file that the library knows, so that a ring can name it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::client::Client;
use crate::sys::lock;

/// Descriptors that are tried for one file. As many numbers may be unusable, after the death of a daemon with that many files.
const ATTEMPTS_MAX: usize = 256;

/// A registered descriptor; deregistered when dropped, which has to be before the descriptor is closed: its number would stay
/// unusable, or its next file's transfers would go to this one.
///
/// The library keeps a second descriptor for it.
pub struct Registered {
    descriptor: RawFd,
    client: Arc<Client>,
    /// Where the file's own number is unusable.
    copy: Option<OwnedFd>,
    /// The library's.
    second: Option<Second>,
}

/// The descriptor that the library keeps, and closes.
struct Second(RawFd);

impl AsRawFd for Second {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Registered {
    /// Registers an open file. Whoever keeps the answer keeps the file open.
    ///
    /// A number that was registered and cannot be deregistered any more, because its daemon died, stays unusable for the life of the
    /// process, for the second descriptor too. So numbers are taken up until one is found that will do.
    ///
    /// # Errors
    /// `EBADF` for a file that is not 3FS's, or whose number is beyond the hard limit at which the library was loaded; `EINVAL` where
    /// no number will do; what copying the descriptor answers.
    pub fn of(client: &Arc<Client>, file: &File) -> io::Result<Registered> {
        let mut taken = Vec::new();
        let mut copy: Option<OwnedFd> = None;
        loop {
            let descriptor = copy.as_ref().map_or(file.as_raw_fd(), AsRawFd::as_raw_fd);
            // SAFETY: takes numbers; the descriptor is open.
            let answer = unsafe { (client.library().register_fd)(descriptor, 0) };
            match answer {
                libc::EINVAL if taken.len() < ATTEMPTS_MAX => {
                    taken.extend(copy.take());
                    copy = Some(file.as_fd().try_clone_to_owned()?);
                }
                error if error > 0 => return Err(io::Error::from_raw_os_error(error)),
                minus_second => {
                    let second = Second::of(-minus_second, file);
                    return Ok(Registered { descriptor, client: Arc::clone(client), copy, second });
                }
            }
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor
    }

    /// In a forked child: gives up its copies of the file, and of the locks that live with it; the parent's are not touched.
    pub fn let_go_in_child(&self) {
        self.copy.iter().for_each(lock::let_go_in_child);
        self.second.iter().for_each(lock::let_go_in_child);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.client.is_here() {
            // SAFETY: registered, and no transfer names it any more: whoever pushes one keeps its target.
            unsafe { (self.client.library().deregister_fd)(self.descriptor) };
        }
    }
}

impl Second {
    /// Finds the library's descriptor for a file behind what it answered, and keeps it from programs that the engine starts, which
    /// would have the file and its locks for as long as they run. `None`: the answer is no descriptor of that file.
    fn of(number: RawFd, file: &File) -> Option<Second> {
        if number <= 0 || number == file.as_raw_fd() {
            return None;
        }
        // SAFETY: stat is plain old data, for which all zeros is valid; both places are writable. A number that is not open is
        // refused.
        let is_it = unsafe {
            let (mut its, mut ours): (libc::stat, libc::stat) = std::mem::zeroed();
            libc::fstat(number, &raw mut its) == 0
                && libc::fstat(file.as_raw_fd(), &raw mut ours) == 0
                && (its.st_dev, its.st_ino) == (ours.st_dev, ours.st_ino)
        };
        // SAFETY: takes numbers.
        let is_kept = is_it && unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
        is_kept.then_some(Second(number))
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}
