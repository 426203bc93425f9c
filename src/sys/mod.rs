//! System calls that std does not wrap, as safe functions over file descriptors.

pub mod at;
pub mod bus_error;
pub mod dir;
pub mod event;
pub mod file;
pub mod fork;
pub mod habits;
pub mod loader;
pub mod lock;
pub mod map;
pub mod memory_file;
pub mod mounts;
pub mod prefetch;
pub mod room;
pub mod signal;
pub mod socket;
pub mod thread;
pub mod xattr;

use std::io;

/// Most tries of a call that is interrupted each time, so that a file system that answers nothing else, or a timer that is
/// faster than it, keeps nobody for ever.
const INTERRUPTED_TRIES_MAX: u32 = 100;

/// Repeats a system call while a signal interrupts it. Any call on a file may be interrupted: where file systems of a network or
/// of user space wait for their server (`fuse(4)`, `nfs(5)`).
///
/// # Errors
/// What the call answers; EINTR after [`INTERRUPTED_TRIES_MAX`] tries.
pub fn retry_on_interrupt<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..INTERRUPTED_TRIES_MAX {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
    call()
}

/// Turns the `-1` convention of libc into a `Result`.
pub(crate) fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// The name of this host, for messages about who holds a lock; empty if it cannot be had.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// The user as whom this process acts.
pub fn user_id() -> u32 {
    // SAFETY: takes no pointers, and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether the kernel is of this version or a later one; false if it does not say.
pub fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(its_major)), Some(Ok(its_minor))) => (its_major, its_minor) >= (major, minor),
        _ => false,
    }
}

/// How many descriptors this process may have open (the soft limit of `RLIMIT_NOFILE`).
pub fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that outlives the call; it stays zero if the call fails.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur
}

/// How many it may have at most, whatever it sets (the hard limit).
pub fn descriptor_limit_hard() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: as above.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_max
}

/// Bytes that a file of this process may have (the soft limit of `RLIMIT_FSIZE`). At a write past it the kernel sends
/// SIGXFSZ, which ends a process that does not expect it.
pub fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is a valid rlimit that outlives the call; it stays without a limit if the call fails.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    limit.rlim_cur
}

/// Random bytes from the kernel.
///
/// # Errors
/// What reading `/dev/urandom` answers.
pub fn random_u128() -> io::Result<u128> {
    use std::io::Read;
    let mut bytes = [0u8; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call is repeated until it says something else, and not for ever.
    #[test]
    fn interrupted_calls_are_repeated_but_not_for_ever() {
        let mut tries = 0;
        let mut answer_after = |interruptions: u32| {
            tries = 0;
            retry_on_interrupt(|| {
                tries += 1;
                if tries > interruptions { Ok(tries) } else { Err(io::ErrorKind::Interrupted.into()) }
            })
        };
        assert_eq!(answer_after(0).expect("at once"), 1);
        assert_eq!(answer_after(7).expect("the eighth time"), 8);
        assert_eq!(answer_after(u32::MAX).expect_err("never").kind(), io::ErrorKind::Interrupted);
        assert_eq!(tries, INTERRUPTED_TRIES_MAX);
    }
}
