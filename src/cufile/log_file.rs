//! cuFile's log: `cufile.log` in the working directory, unless `$CUFILE_LOGFILE_PATH` says where.
//!
//! The working directory is the engine's, so the file must not appear there. Neither cuFile's own parameter for the path
//! nor one for the level keeps it from being made (seen with 1.20), and the environment of a running process cannot be
//! changed safely while other threads read it. But the file is made by the thread that opens the driver, which is ours: it
//! gets a working directory of its own, an empty one in which `cufile.log` leads to /dev/null.

use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use crate::sys::random_u128;

/// Name of the log.
const NAME: &str = "cufile.log";

/// A directory for the log that is not wanted, gone when this is dropped.
pub(super) struct Elsewhere(PathBuf);

impl Elsewhere {
    /// Makes one. `None`: the user has said where the log goes.
    ///
    /// # Errors
    /// What the system answers.
    pub(super) fn new() -> io::Result<Option<Elsewhere>> {
        if std::env::var_os("CUFILE_LOGFILE_PATH").is_some() {
            return Ok(None);
        }
        let path = std::env::temp_dir().join(format!("nixl_store-cufile-{:032x}", random_u128()?));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let elsewhere = Elsewhere(path);
        symlink("/dev/null", elsewhere.0.join(NAME))?;
        Ok(Some(elsewhere))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// Makes a directory the working directory of the calling thread, and of those that it starts.
///
/// # Errors
/// What the system answers, `EPERM` in containers whose seccomp profile refuses `unshare(2)`.
pub(super) fn enter(directory: &Path) -> io::Result<()> {
    // SAFETY: takes no pointers; from here on this thread has a working directory and a umask of its own (`unshare(2)`).
    if unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    std::env::set_current_dir(directory)
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // What cannot be removed is an empty directory in the system's folder for such.
        let _ = std::fs::remove_file(self.0.join(NAME));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Removes the log that was made in the working directory all the same, if `made` says that it was not there before.
pub(super) fn remove(made: bool) {
    if made {
        // The descriptor that cuFile has open serves it as before.
        let _ = std::fs::remove_file(NAME);
    }
}

/// Whether the working directory has no log yet.
pub(super) fn is_absent() -> bool {
    Path::new(NAME).symlink_metadata().is_err()
}
