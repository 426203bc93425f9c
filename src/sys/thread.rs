//! Threads of the store's own, which take no signal that is the engine's.
//!
//! A signal that is sent to a process is handled by any thread that does not block it. An engine that blocks one in its
//! threads, to wait for it in one place (`sigwait(3)`, `signalfd(2)`), would lose it to a thread that it knows nothing of,
//! and a handler of the engine's may not be fit to run on one. So threads that are started here block every signal, from
//! their first instruction on, because a new thread has the mask of the one that starts it (`pthread_create(3)`).
//!
//! Signals that a thread raises by a fault of its own are left as the starting thread has them: a blocked one would end
//! the process past the engine's handler, which may be there to report the crash.
//!
//! SIGXFSZ is among those that are blocked, so that a write beyond `RLIMIT_FSIZE` answers EFBIG and ends no process.

use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use super::room;
use super::signal::Blocked;

/// Stack of a thread that asks for no other, in bytes, as std has it. Asked for before the thread is started, because
/// `pthread_create(3)` answers EAGAIN where it finds no room for it, as it does for a limit on threads.
pub const STACK_BYTES: usize = 2 << 20;
/// Starts a thread that takes no signals. The caller's own mask is afterwards what it was.
///
/// # Errors
/// What starting a thread answers: `EAGAIN` for a limit on threads, `ENOMEM`.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = Builder::new().name(name.into());
    let _blocked = Blocked::here();
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    room::take(STACK_BYTES, || builder.spawn(body))
}

/// As [`spawn`], for a thread of `stack_bytes` that ends before `scope` does.
///
/// # Errors
/// As for [`spawn`].
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: impl Into<String>,
    stack_bytes: usize,
    body: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let builder = Builder::new().name(name.into()).stack_size(stack_bytes);
    let _blocked = Blocked::here();
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    room::take(stack_bytes, || builder.spawn_scoped(scope, body))
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;
    use crate::sys::signal::FAULTS;

    fn mask() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask");
        u64::from_str_radix(mask.trim(), 16).expect("a number")
    }

    const fn bit(signal: libc::c_int) -> u64 {
        1 << (signal - 1)
    }

    /// All but those that nobody can block, the two of the C library's own, and the faults.
    fn wanted() -> u64 {
        let open = FAULTS.into_iter().chain([libc::SIGKILL, libc::SIGSTOP, 32, 33]);
        open.fold(u64::MAX, |mask, signal| mask & !bit(signal))
    }

    /// Both kinds of threads block what they should, and whoever starts them has the mask that it had.
    #[test]
    fn threads_start_with_signals_blocked_and_the_callers_mask_stays() {
        let before = mask();
        assert_eq!(before & bit(libc::SIGTERM), 0);
        assert_eq!(spawn("test", mask).expect("starts").join().expect("ends"), wanted());
        std::thread::scope(|scope| {
            let thread = spawn_scoped(scope, "test", STACK_BYTES, mask).expect("starts");
            assert_eq!(thread.join().expect("ends"), wanted());
        });
        assert_eq!(mask(), before);
    }

    /// A fault that the starting thread blocks stays blocked; nothing is opened behind its back.
    #[test]
    fn faults_are_left_as_the_caller_has_them() {
        let inner = std::thread::spawn(|| {
            // SAFETY: the set is written before it is used; the thread is this test's own.
            unsafe {
                let mut set = MaybeUninit::<libc::sigset_t>::uninit();
                libc::sigemptyset(set.as_mut_ptr());
                libc::sigaddset(set.as_mut_ptr(), libc::SIGBUS);
                libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            }
            (spawn("test", mask).expect("starts").join().expect("ends"), mask())
        });
        assert_eq!(inner.join().expect("ends"), (wanted() | bit(libc::SIGBUS), bit(libc::SIGBUS)));
    }

    /// A thread that cannot be started is an error, after which the mask is as it was.
    #[test]
    fn a_thread_that_cannot_be_had_is_an_error() {
        let before = mask();
        std::thread::scope(|scope| {
            assert!(spawn_scoped(scope, "test", usize::MAX >> 1, || ()).is_err());
        });
        assert_eq!(mask(), before);
    }
}
