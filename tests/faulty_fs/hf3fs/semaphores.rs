//! POSIX semaphores in `/dev/shm` by which clients tell a daemon that a ring has work. Nobody waits for them here.

use std::ffi::CString;
use std::sync::OnceLock;

use super::super::options::Host;

/// Paths of all of this process, made before there can be a signal that asks for them.
static PATHS: OnceLock<Vec<CString>> = OnceLock::new();

/// Where the semaphore with this end of its name is.
pub fn path(end: &str) -> String {
    format!("/dev/shm/sem.hf3fs-submit-ios.{end}")
}

/// Makes those of all hosts. They go with this process, unless it is killed.
pub fn make(hosts: &[Host]) {
    let ends = || hosts.iter().flat_map(|host| &host.semaphores);
    let _ = PATHS.set(ends().map(|end| CString::new(path(end)).unwrap()).collect());
    // SAFETY: the handler makes no other system calls than unlink and _exit.
    unsafe { libc::signal(libc::SIGTERM, on_end as *const () as libc::sighandler_t) };
    for end in ends() {
        let name = CString::new(format!("/hf3fs-submit-ios.{end}")).unwrap();
        // SAFETY: a NUL-terminated name, and the two arguments that O_CREAT takes.
        let semaphore = unsafe { libc::sem_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o666, 0) };
        assert_ne!(semaphore, libc::SEM_FAILED, "{}", std::io::Error::last_os_error());
        // SAFETY: it was opened just now, and nobody has it.
        unsafe { libc::sem_close(semaphore) };
    }
}

/// Removes them all; nothing where there are none.
pub fn remove() {
    for path in PATHS.get().into_iter().flatten() {
        // SAFETY: a NUL-terminated path.
        unsafe { libc::unlink(path.as_ptr()) };
    }
}

/// The process that started this one is gone.
extern "C" fn on_end(_signal: i32) {
    remove();
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(0) };
}
