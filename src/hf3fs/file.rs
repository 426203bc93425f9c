//! A file that the library knows, so that a ring can name it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::client::Client;

/// A registered descriptor; deregistered when dropped, which has to be before the descriptor is closed: its number would stay
/// unusable, or its next file's transfers would go to this one.
///
/// The library keeps a second descriptor for it.
pub struct Registered {
    descriptor: RawFd,
    client: Arc<Client>,
}

impl Registered {
    /// Registers an open file. Whoever keeps the answer keeps the file open.
    ///
    /// # Errors
    /// `EBADF` for a file that is not 3FS's, or whose number is beyond the hard limit at which the library was loaded; `EINVAL`
    /// for a descriptor that somebody registered and closed.
    pub fn of(client: &Arc<Client>, file: &File) -> io::Result<Registered> {
        let descriptor = file.as_raw_fd();
        // SAFETY: takes numbers; the descriptor is open.
        let answer = unsafe { (client.library().register_fd)(descriptor, 0) };
        if answer > 0 {
            return Err(io::Error::from_raw_os_error(answer));
        }
        Ok(Registered { descriptor, client: Arc::clone(client) })
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

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}
