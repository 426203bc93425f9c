//! What a helper takes away from itself: system calls, privileges, limits.

use std::fs::File;

/// The ordinary user that a helper of root's becomes; nothing belongs to it.
pub const ORDINARY_USER: u32 = 65533;

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    // SAFETY: takes no memory.
    unsafe { libc::geteuid() == 0 }
}

/// Takes away what is named, for the rest of the process's life.
pub fn enter(what: &str) {
    match what.split_once('=') {
        None if what == "no-io_uring" => refuse_io_uring(),
        // Nothing reaches storage by it, as on FUSE file systems, and nobody is told.
        None if what == "idle-syncfs" => answer(&[(libc::SYS_syncfs, 0)]),
        // As on file systems that cannot reserve space.
        None if what == "no-fallocate" => answer(&[(libc::SYS_fallocate, libc::EOPNOTSUPP)]),
        None if what == "ordinary-user" => become_ordinary(),
        Some(("descriptors", most)) => limit(libc::RLIMIT_NOFILE, most.parse().unwrap()),
        Some(("address-space", most)) => limit(libc::RLIMIT_AS, most.parse().unwrap()),
        // Beyond it a write ends the process with SIGXFSZ.
        Some(("file-size", most)) => limit(libc::RLIMIT_FSIZE, most.parse().unwrap()),
        Some(("memlock", most)) => limit(libc::RLIMIT_MEMLOCK, most.parse().unwrap()),
        Some(("umask", mask)) => {
            // SAFETY: takes no memory.
            unsafe { libc::umask(u32::from_str_radix(mask, 8).unwrap()) };
        }
        _ => panic!("{what:?} cannot be taken away"),
    }
}

/// Answers EPERM to `io_uring_setup`, as container runtimes do.
///
/// Every thread that is started later inherits the filter; the store starts its threads from the one that opens it.
pub fn refuse_io_uring() {
    answer(&[(libc::SYS_io_uring_setup, libc::EPERM)]);
}

/// Answers the system calls with these errors, or with success for 0, without carrying them out: for this thread and
/// those that it starts.
pub fn answer(calls: &[(libc::c_long, i32)]) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let unless = |k: u32, skip: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skip,
        k,
    };
    let number = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number)];
    for &(call, error) in calls {
        filter.push(unless(call as u32, 1));
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error as u32));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter live during the calls, which copy them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

fn become_ordinary() {
    // SAFETY: the list of groups is empty; the C library applies the change to every thread.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER), 0);
        assert_eq!(libc::setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER), 0);
        // A change of user clears it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the struct lives during the call.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Cuts the power of an ext4 or XFS file system: what was not synced is gone at the next mount.
pub fn cut_power(anywhere: &std::path::Path) -> std::io::Result<()> {
    /// `_IOR('X', 125, __u32)`, FS_IOC_SHUTDOWN.
    const SHUTDOWN: libc::c_ulong = 0x8004_587d;
    // Without flushing the log.
    let no_log_flush = 2u32;
    let directory = File::open(anywhere)?;
    // SAFETY: the number outlives the call.
    let answer = unsafe {
        libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&directory), SHUTDOWN, &raw const no_log_flush)
    };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
