//! Tells a forked child from the process that opened a store.
//!
//! A child has the parent's memory and none of its threads: nothing that waits for an I/O thread
//! would ever return, and files and rings are shared with the parent. A number that the child's
//! fork handler raises tells the two apart for the price of one relaxed load per call, where
//! `getpid` would cost a system call.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result, Status};

static EPOCH: AtomicU64 = AtomicU64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn raise_epoch_in_child() {
    // Async-signal-safe, as POSIX asks of what runs between fork and exec: one atomic addition.
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between this process and the one that loaded the library.
pub(super) fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Installs the handler: from here on, every child that is forked counts one epoch more than its parent.
///
/// # Errors
/// [`Status::OutOfMemory`] if the C library cannot keep the handler.
pub(super) fn install() -> Result<()> {
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    // Two threads may both get here and install it twice. A child then counts two epochs more, which tells it apart as
    // well as one does. A lock would prevent that, but could be held by another thread at the moment of a fork.
    // SAFETY: the handler is a plain function that lives as long as the library does.
    let os_error = unsafe { libc::pthread_atfork(None, None, Some(raise_epoch_in_child)) };
    if os_error != 0 {
        let source = io::Error::from_raw_os_error(os_error);
        return Err(Error::os("pthread_atfork", &source).with_status(Status::OutOfMemory));
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// A child is forked without any store: only the epoch is looked at.
#[cfg(test)]
mod tests {
    use super::*;

    /// A child that mistook itself for its parent would wait for threads that it does not have.
    #[test]
    fn a_forked_child_has_another_epoch() {
        install().unwrap();
        install().unwrap();
        let before = epoch();
        // SAFETY: the child touches an atomic and leaves by `_exit`, both async-signal-safe.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(i32::from(epoch() == before)) };
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
        assert_eq!(epoch(), before);
    }
}
