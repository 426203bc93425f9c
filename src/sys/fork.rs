//! What a fork leaves of the library in the child: a number by which it knows itself, and locks that nobody holds.
//!
//! A child has the parent's memory and none of its threads: nothing that waits for an I/O thread
//! would ever return, and files and rings are shared with the parent. A number that the child's
//! fork handler raises tells the two apart for the price of one relaxed load per call, where
//! `getpid` would cost a system call.
//!
//! What belongs to a store stays behind with the parent's store. But the child may open a store of its own, and a lock of the
//! whole process that another thread of the parent held at the moment of the fork would be held in the child for ever. All
//! such locks are here, and the fork handler makes them anew.

use std::cell::UnsafeCell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static EPOCH: AtomicU64 = AtomicU64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);
static TURNS: [OfProcess; 5] = [const { OfProcess(UnsafeCell::new(Mutex::new(()))) }; 5];

/// What one thread of the process does at a time.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Asks for memory and takes it.
    Memory,
    /// Installs the handler of SIGBUS.
    BusError,
    /// Opens or closes cuFile's driver.
    CuFile,
    /// Gets to know a CUDA context.
    CudaContext,
    /// Loads 3FS's library.
    Hf3fs,
}

/// A lock that a forked child has anew.
struct OfProcess(UnsafeCell<Mutex<()>>);

// SAFETY: threads only ever get at the mutex inside, which is made for them; it is replaced only by `begin_child`, where no
// other thread is.
unsafe impl Sync for OfProcess {}

extern "C" fn begin_child() {
    // Async-signal-safe, as POSIX asks of what runs between fork and exec: one atomic addition, a few stores.
    EPOCH.fetch_add(1, Ordering::Relaxed);
    for turn in &TURNS {
        // SAFETY: the child has this thread alone, and it holds none: nobody forks while his turn lasts. Without a drop of what
        // was there, which owns nothing.
        unsafe { turn.0.get().write(Mutex::new(())) };
    }
}

/// How many forks lie between this process and the one that loaded the library.
pub fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Installs the handler: from here on, every child that is forked counts one epoch more than its parent.
///
/// # Errors
/// `ENOMEM` if the C library cannot keep the handler.
pub fn install() -> io::Result<()> {
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    // Two threads may both get here and install it twice. A child then counts two epochs more, which tells it apart as
    // well as one does. A lock would prevent that, but could be held by another thread at the moment of a fork.
    // SAFETY: the handler is a plain function that lives as long as the library does.
    let os_error = unsafe { libc::pthread_atfork(None, None, Some(begin_child)) };
    if os_error != 0 {
        return Err(io::Error::from_raw_os_error(os_error));
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// Waits until no other thread of this process has that turn; it lasts as long as the answer lives, and nobody may fork in it.
///
/// # Errors
/// As for [`install`].
pub fn wait_for(turn: Turn) -> io::Result<MutexGuard<'static, ()>> {
    install()?;
    // SAFETY: see `OfProcess`.
    let mutex = unsafe { &*TURNS[turn as usize].0.get() };
    Ok(mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Children are forked without any store.
#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Seconds after which a child that waits is ended by SIGALRM.
    const CHILD_SECONDS_MAX: u32 = 20;

    /// How a child ended that runs `body` and leaves with what it answers.
    fn fork(body: impl FnOnce() -> bool) -> i32 {
        // SAFETY: the child does what the library does in a child, and leaves by `_exit`.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: takes no pointers; ends the child without running anything of the parent's.
            unsafe {
                libc::alarm(CHILD_SECONDS_MAX);
                libc::_exit(i32::from(!body()));
            }
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        status
    }

    /// A child that mistook itself for its parent would wait for threads that it does not have.
    #[test]
    fn a_forked_child_has_another_epoch() {
        install().expect("installs");
        install().expect("installs");
        let before = epoch();
        assert_eq!(fork(|| epoch() != before), 0);
        assert_eq!(epoch(), before);
    }

    /// A store that a child opens needs every lock of the process, whatever threads of its parent were doing at the fork.
    #[test]
    fn a_forked_child_waits_for_no_thread_of_its_parents() {
        for turn in [Turn::Memory, Turn::BusError, Turn::CuFile, Turn::CudaContext] {
            let (held, is_held) = mpsc::channel();
            let (let_go, may_let_go) = mpsc::channel::<()>();
            let holder = std::thread::spawn(move || {
                let _mine = wait_for(turn).expect("the turn comes");
                held.send(()).expect("this test waits");
                may_let_go.recv().expect("this test tells");
            });
            is_held.recv().expect("held");
            // Twice: what the child made anew works as before.
            let status = fork(|| (0..2).all(|_| wait_for(turn).is_ok()));
            let_go.send(()).expect("the holder waits");
            holder.join().expect("no panic");
            assert_eq!(status, 0, "{turn:?}: the child waited for a thread that it does not have");
        }
    }
}
