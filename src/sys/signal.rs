//! What is done while no signal can come in between.

use std::io;
use std::mem::MaybeUninit;

/// What a thread raises by a fault of its own: an address, a byte that is not there (see
/// [`bus_error`](super::bus_error)), a number, an instruction, a breakpoint, a system call that a filter refuses so.
pub const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// The calling thread blocks all signals but [`FAULTS`] while this lives. What is sent to it meanwhile arrives after.
pub struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    /// Blocks them; the drop restores the mask.
    pub fn here() -> Blocked {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset writes the set, which is then valid for the others; pthread_sigmask writes `before` and
        // cannot fail with these arguments.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            for fault in FAULTS {
                libc::sigdelset(set.as_mut_ptr(), fault);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            Blocked { before: before.assume_init() }
        }
    }
}

impl Blocked {
    /// Takes a signal that is pending because of this, if it is.
    fn take_back(&self, signal: libc::c_int) {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `before` is valid; sigemptyset writes the set, which is then valid for the other two; the time outlives
        // the call, and nobody asks what was taken.
        unsafe {
            if libc::sigismember(&raw const self.before, signal) == 1 {
                return;
            }
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::sigtimedwait(set.as_ptr(), std::ptr::null_mut(), &raw const at_once);
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask was this thread's own.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Does what makes a file larger or writes to it, on the engine's thread, so that neither its limits nor its timers hurt.
///
/// What reaches beyond `RLIMIT_FSIZE` raises SIGXFSZ beside its EFBIG, which would end the process: the signal is taken back,
/// unless the engine blocks it itself. And tmpfs before Linux 6.10 gives up all that it has reserved at any signal
/// (`fallocate(2)`, EINTR), so that the ticks of a profiler keep it from ever coming to its end: no signal comes in before it
/// does.
///
/// # Errors
/// What `work` answers.
pub fn undisturbed<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let blocked = Blocked::here();
    let done = work();
    if done.as_ref().err().and_then(io::Error::raw_os_error) == Some(libc::EFBIG) {
        blocked.take_back(libc::SIGXFSZ);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(line: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc");
        let bits = status.lines().find_map(|text| text.strip_prefix(line)).expect("a line");
        u64::from_str_radix(bits.trim(), 16).expect("a number")
    }

    const SIGXFSZ: u64 = 1 << (libc::SIGXFSZ - 1);

    fn raise() -> io::Result<()> {
        // SAFETY: takes no memory; the signal is blocked here.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGXFSZ) };
        assert_eq!(bits("SigPnd:") & SIGXFSZ, SIGXFSZ);
        Err(io::Error::from_raw_os_error(libc::EFBIG))
    }

    /// The signal that comes with an error does not arrive, no other can come in, and the mask is what it was.
    #[test]
    fn a_signal_that_an_error_brings_along_does_not_arrive() {
        let before = bits("SigBlk:");
        let (mut inside, mut tries) = (0, 0);
        let error = undisturbed(|| {
            (inside, tries) = (bits("SigBlk:"), tries + 1);
            raise()
        });
        assert_eq!(error.expect_err("the error").raw_os_error(), Some(libc::EFBIG));
        assert_eq!((bits("SigPnd:") & SIGXFSZ, bits("SigBlk:"), tries), (0, before, 1));
        assert!(FAULTS.into_iter().all(|fault| inside & 1 << (fault - 1) == 0));
        assert!(
            [libc::SIGTERM, libc::SIGPROF, libc::SIGXFSZ]
                .into_iter()
                .all(|signal| inside & 1 << (signal - 1) != 0)
        );
    }

    /// Who blocks the signal himself finds it pending, as after the system call itself.
    #[test]
    fn a_signal_that_the_caller_blocks_is_left_to_him() {
        let pending = std::thread::spawn(|| {
            // For good: it may not arrive when the thread ends.
            std::mem::forget(Blocked::here());
            undisturbed(raise).expect_err("the error");
            bits("SigPnd:") & SIGXFSZ
        });
        assert_eq!(pending.join().expect("ends"), SIGXFSZ);
    }
}
