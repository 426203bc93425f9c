//! A file that the library knows, so that a ring can name it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::client::Client;

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
    _copy: Option<OwnedFd>,
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
                    close_on_exec(-minus_second);
                    return Ok(Registered { descriptor, client: Arc::clone(client), _copy: copy });
                }
            }
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor
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

/// The library's second descriptor is one that programs which the engine starts would inherit, and with it the file and its locks for
/// as long as they run.
fn close_on_exec(second: RawFd) {
    if second > 0 {
        // SAFETY: takes numbers. A number that is not open is refused.
        unsafe { libc::fcntl(second, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}
