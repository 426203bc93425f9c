//! Promise 3, EINTR is retried: every system call on files may be interrupted once by a signal, as on network file systems
//! and those in user space, and no operation of a store notices.
//!
//! A filter hands each such call to a supervisor (`seccomp_unotify(2)`), which answers EINTR to the first try of each and
//! lets the second one go on. Each case runs in a process of its own, because a filter stays for life.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use crash_common::api::{Direction, Item, Store, Submit};
use crash_common::config::Settings;
use crash_common::helper::{self, Helper, Peer};
use crash_common::{Scratch, chunk};
use nixl_store::capi::*;

const CHUNK_BYTES: usize = 256 << 10;
const KEYS: usize = 4;

/// The calls that are interrupted. Not `getdents64`: what the C library has read of a directory is lost with the error.
const CALLS: [(&str, libc::c_long); 19] = [
    ("openat", libc::SYS_openat),
    ("openat2", libc::SYS_openat2),
    ("mkdirat", libc::SYS_mkdirat),
    ("renameat", libc::SYS_renameat),
    ("unlinkat", libc::SYS_unlinkat),
    ("newfstatat", libc::SYS_newfstatat),
    ("statx", libc::SYS_statx),
    ("fstatfs", libc::SYS_fstatfs),
    ("fsync", libc::SYS_fsync),
    ("fdatasync", libc::SYS_fdatasync),
    ("syncfs", libc::SYS_syncfs),
    ("ftruncate", libc::SYS_ftruncate),
    ("fallocate", libc::SYS_fallocate),
    ("flock", libc::SYS_flock),
    ("fcntl of a lock", libc::SYS_fcntl),
    ("preadv", libc::SYS_preadv),
    ("pwritev", libc::SYS_pwritev),
    ("pread64", libc::SYS_pread64),
    ("pwrite64", libc::SYS_pwrite64),
];

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[("life", life)]);
}

type Interrupted = Arc<Mutex<HashSet<libc::c_long>>>;

/// Answers EINTR to the first try of each call of each thread.
fn supervise(listener: RawFd, interrupted: &Interrupted) {
    let mut interrupted_now = HashSet::new();
    loop {
        // SAFETY: both are integers only, for which zero is a value; the kernel reads and writes them during the calls.
        unsafe {
            let mut call: libc::seccomp_notif = std::mem::zeroed();
            if libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut call) != 0 {
                continue;
            }
            let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
            answer.id = call.id;
            if interrupted_now.remove(&(call.pid, call.data.nr)) {
                answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
            } else {
                interrupted_now.insert((call.pid, call.data.nr));
                interrupted.lock().unwrap().insert(libc::c_long::from(call.data.nr));
                answer.error = -libc::EINTR;
            }
            libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const answer);
        }
    }
}

/// From here on every call of this thread and of those that it starts is interrupted once.
fn interrupt_calls() -> Interrupted {
    let interrupted = Interrupted::default();
    let (send, receive) = mpsc::channel();
    let noted = Arc::clone(&interrupted);
    // Before the filter, which it does not inherit then.
    std::thread::spawn(move || supervise(receive.recv().unwrap(), &noted));
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let load = |offset: usize| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32);
    let mut filter = vec![load(std::mem::offset_of!(libc::seccomp_data, nr))];
    for (_, number) in CALLS {
        if number == libc::SYS_fcntl {
            continue;
        }
        filter.push(jump(number as u32, 0, 1));
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF));
    }
    filter.push(jump(libc::SYS_fcntl as u32, 0, 3));
    // The second argument, little-endian.
    filter.push(load(std::mem::offset_of!(libc::seccomp_data, args) + 8));
    filter.push(jump(libc::F_OFD_SETLK as u32, 0, 1));
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF));
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter live during the calls, which copy them.
    let listener = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    assert!(listener >= 0, "a filter with a listener: {}", std::io::Error::last_os_error());
    send.send(listener as RawFd).unwrap();
    interrupted
}

/// All that a store does, on the calling thread and on its own. Each line names a configuration.
fn life(peer: &mut Peer) {
    let interrupted = interrupt_calls();
    while let Some(config) = peer.line() {
        let config = PathBuf::from(config);
        let key = |index: usize| format!("key-{index}");
        for round in 0..2 {
            let store = Store::open(&config).unwrap();
            for index in 0..KEYS {
                let found = store.get(&key(index), CHUNK_BYTES).unwrap();
                assert_eq!(
                    found.map(|found| chunk::read(&key(index), &found).unwrap()),
                    (round > 0).then_some(1)
                );
            }
            for index in 0..KEYS {
                store.put(&key(index), &chunk::fill(&key(index), 1, CHUNK_BYTES)).unwrap();
            }
            let items =
                (0..KEYS).map(|index| Item::new(key(index), chunk::fill(&key(index), 1, CHUNK_BYTES)));
            let (_, results) =
                store.submit(Direction::Put, items.collect(), Submit::default()).unwrap().wait();
            assert!(results.iter().all(|(_, result)| result.status == NIXL_STORE_OK), "{results:?}");
            assert!(store.pin("key-0").unwrap() && store.unpin("key-0").unwrap());
            assert!(store.contains("key-1").unwrap());
            store.put("removed", &chunk::fill("removed", 1, CHUNK_BYTES)).unwrap();
            assert_eq!(store.remove("removed").unwrap(), NIXL_STORE_OK);
            store.flush().unwrap();
            let stats = store.stats().unwrap();
            assert_eq!(stats.corruptions, 0);
            store.close().unwrap();
        }
        let store = Store::open(&config).unwrap();
        assert_eq!(store.clear().unwrap(), KEYS as u64);
        store.close().unwrap();
        peer.say("well");
    }
    let interrupted = interrupted.lock().unwrap();
    let never: Vec<_> = CALLS.iter().filter(|(_, number)| !interrupted.contains(number)).collect();
    assert!(never.is_empty(), "never called, so never interrupted: {never:?}");
}

#[test]
fn no_operation_notices_that_its_calls_are_interrupted() {
    let scratch = Scratch::new("interrupted");
    let pool = |name: &str| Settings::pool(&scratch.join(name), 2 * KEYS as u32, CHUNK_BYTES as u64);
    let kinds = [
        ("files", Settings::dynamic(&scratch.join("files"))),
        ("files_direct", Settings::dynamic(&scratch.join("files_direct")).direct()),
        ("files_threads", Settings::dynamic(&scratch.join("files_threads")).param("use_uring", false)),
        ("pool", pool("pool")),
        ("pool_direct", pool("pool_direct").direct()),
        ("pool_threads", pool("pool_threads").param("use_uring", false)),
    ];
    let mut helper = Helper::start("life");
    for (name, settings) in kinds {
        let config = settings.write(&scratch.join(&format!("{name}.yaml")));
        helper.tell(config.to_str().unwrap());
        if helper.line().as_deref() != Some("well") {
            let (status, said) = helper.end();
            panic!("{name}: {status}\n{said}");
        }
    }
    helper.finish();
}
