//! Promise: an engine's signals are its own. What is sent to the process reaches the engine, and no thread of the
//! library runs a handler of the engine's; a write beyond the limit on file sizes is an error and not SIGXFSZ.
//!
//! Each case runs in a process of its own, because signals are a process's, and what goes wrong here ends it.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crash_common::api::{Direction, Item, Store, Submit};
use crash_common::config::Settings;
use crash_common::helper::{self, Helper, Peer};
use crash_common::{Scratch, chunk, hf3fs};
use nixl_store::capi::*;

const CHUNK_BYTES: usize = 1 << 20;
const KEYS: usize = 8;
/// Most seconds that a helper takes.
const SECONDS_MAX: libc::c_uint = 300;
/// What the engine waits for in one place.
const WAITED_FOR: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGUSR1, libc::SIGCHLD, libc::SIGINT];
/// What a thread raises by a fault of its own, and what cannot be blocked.
const OPEN: [libc::c_int; 10] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGKILL,
    libc::SIGSTOP,
    // The C library's own.
    32,
    33,
];

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    // SAFETY: takes no memory.
    unsafe { libc::alarm(SECONDS_MAX) };
    helper::play(&[
        ("engine", engine),
        ("masks", masks),
        ("file_size", file_size),
        ("file_size_at_open", file_size_at_open),
        ("file_size_at_close", file_size_at_close),
    ]);
}

/// One store of each kind, by name: where its files lie, how its bytes move.
fn kinds(disk: &Path, memory: &Path) -> Vec<(&'static str, Settings)> {
    let pool = |path: PathBuf| Settings::pool(&path, 4 * KEYS as u32, CHUNK_BYTES as u64);
    vec![
        ("pool", pool(disk.join("pool")).direct()),
        ("pool_threads", pool(disk.join("pool_threads")).param("use_uring", false)),
        ("pool_in_memory", pool(memory.join("pool"))),
        ("files", Settings::dynamic(&disk.join("files"))),
        ("files_threads", Settings::dynamic(&disk.join("files_threads")).param("use_uring", false)),
        ("files_in_memory", Settings::dynamic(&memory.join("files"))),
        ("memory", Settings { backend: "MEMORY", ..pool(disk.join("none")) }),
    ]
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: sigemptyset writes the set before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

fn change_mask(how: libc::c_int, signals: &[libc::c_int]) {
    let set = set_of(signals);
    // SAFETY: the set is valid.
    assert_eq!(unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) }, 0);
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

fn put_and_get(store: &Store, version: u64) {
    let key = |index: usize| format!("key-{index}");
    let items = (0..KEYS).map(|index| Item::new(key(index), chunk::fill(&key(index), version, CHUNK_BYTES)));
    let (_, results) = store.submit(Direction::Put, items.collect(), Submit::default()).unwrap().wait();
    assert!(results.iter().all(|(_, result)| result.status == NIXL_STORE_OK), "{results:?}");
    let items = (0..KEYS).map(|index| Item::new(key(index), vec![0; CHUNK_BYTES])).collect();
    let (_, results) = store.submit(Direction::Get, items, Submit::default()).unwrap().wait();
    for (item, result) in results {
        assert_eq!(result.status, NIXL_STORE_OK);
        assert_eq!(chunk::read(&item.key, &item.memory), Ok(version));
    }
}

/// Opens one store of each kind in the two directories that the parent names.
fn open_all(peer: &mut Peer) -> Vec<(&'static str, Store)> {
    let (disk, memory) = (PathBuf::from(peer.line().unwrap()), PathBuf::from(peer.line().unwrap()));
    let open = |(name, settings): (&'static str, Settings)| {
        (name, Store::open(&settings.write(&disk.join(format!("{name}.yaml")))).unwrap())
    };
    kinds(&disk, &memory).into_iter().map(open).collect()
}

/// The engine opens its stores and blocks its signals after that, as a program may whose parts know nothing of each other.
fn engine(peer: &mut Peer) {
    const ROUNDS: usize = 50;
    // The test runner has a thread of its own.
    helper::start_anew(|| change_mask(libc::SIG_BLOCK, &WAITED_FOR));
    for signal in WAITED_FOR {
        // SAFETY: the handler is a function of that type, which only counts.
        assert_ne!(unsafe { libc::signal(signal, count as *const () as usize) }, libc::SIG_ERR);
    }
    change_mask(libc::SIG_UNBLOCK, &WAITED_FOR);
    let stores = open_all(peer);
    change_mask(libc::SIG_BLOCK, &WAITED_FOR);

    let (arrived, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        let set = set_of(&WAITED_FOR);
        loop {
            let mut signal = 0;
            // SAFETY: the set is valid, the number writable.
            assert_eq!(unsafe { libc::sigwait(&raw const set, &raw mut signal) }, 0);
            if arrived.send(signal).is_err() {
                return;
            }
        }
    });
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (_, store) in &stores {
            scope.spawn(|| {
                let mut version = 0;
                while !ended.load(Ordering::SeqCst) {
                    version += 1;
                    put_and_get(store, version);
                }
            });
        }
        for round in 0..ROUNDS {
            for signal in WAITED_FOR {
                // SAFETY: takes no memory.
                assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
                let got = arrivals.recv_timeout(Duration::from_secs(30));
                if got != Ok(signal) {
                    peer.say(&format!(
                        "lost: signal {signal} of round {round}: {got:?}, {} handled by threads of the library",
                        HANDLED.load(Ordering::SeqCst)
                    ));
                    std::process::exit(1);
                }
            }
        }
        ended.store(true, Ordering::SeqCst);
    });
    assert_eq!(HANDLED.load(Ordering::SeqCst), 0, "handlers of the engine ran on threads of the library");
}

/// Name and blocked signals of each thread of the library's.
fn library_threads() -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = tasks.filter_map(|task| {
        let name = std::fs::read_to_string(task.join("comm")).ok()?.trim().to_owned();
        let status = std::fs::read_to_string(task.join("status")).ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?.trim().to_owned();
        Some((name, u64::from_str_radix(&mask, 16).unwrap()))
    });
    named.filter(|(name, _)| name.starts_with("nixl")).collect()
}

/// Every thread of the library blocks all that can be sent, and no call changes the mask of its caller.
fn masks(peer: &mut Peer) {
    let own = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let own = || own().lines().find(|line| line.starts_with("SigBlk:")).unwrap().to_owned();
    let before = own();
    assert!(before.ends_with("0000000000000000"), "{before}: nothing is blocked here to begin with");
    let stores = open_all(peer);
    let open = OPEN.into_iter().fold(0u64, |mask, signal| mask | 1 << (signal - 1));
    stores.iter().for_each(|(_, store)| put_and_get(store, 1));
    let threads = library_threads();
    for (name, mask) in &threads {
        assert_eq!(*mask, !open, "{name}: {mask:016x}, wanted {:016x}", !open);
    }
    let of = |prefix: &str| threads.iter().filter(|(name, _)| name.starts_with(prefix)).count();
    let other = if hf3fs::is_once_more() { "nixl-hf3fs" } else { "nixl-io-" };
    assert!(of("nixl-lane-") >= stores.len() && of(other) > 0, "{threads:?}");
    drop(stores);
    assert_eq!(own(), before);
}

fn limit_file_size(bytes: libc::rlim_t) {
    // SAFETY: getrlimit writes the struct, setrlimit reads it.
    unsafe {
        let mut limit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit), 0);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

/// Writes beyond `RLIMIT_FSIZE` end with an error each; below it, and when it is raised again, all goes on.
fn file_size(peer: &mut Peer) {
    let stores = open_all(peer);
    for (name, store) in &stores {
        put_and_get(store, 1);
        // Below the first record's end, wherever it lies.
        limit_file_size(CHUNK_BYTES as libc::rlim_t / 2);
        let items = (0..KEYS).map(|index| Item::new(format!("new-{index}"), vec![7; CHUNK_BYTES])).collect();
        let (_, results) = store.submit(Direction::Put, items, Submit::default()).unwrap().wait();
        for (item, result) in results {
            // A file per key is known to be too large before it is written.
            let known = result.status == NIXL_STORE_ERROR_TOO_LARGE;
            assert!(known || result.os_error == libc::EFBIG, "{name}: {item:?} {result:?}");
        }
        // On the calling thread.
        let failure = store.put("new-0", &[7; CHUNK_BYTES * 3 / 4]).unwrap_err();
        let known = failure.status == NIXL_STORE_ERROR_TOO_LARGE;
        assert!(known || failure.message.contains("os error 27"), "{name}: {failure}");
        // What has to be written to remove a key cannot be either; whether it is found then is the store's to say.
        drop(store.remove("key-0"));
        limit_file_size(libc::RLIM_INFINITY);
        put_and_get(store, 2);
        for index in 0..KEYS {
            assert_eq!(store.contains(&format!("new-{index}")), Ok(false), "{name}");
        }
    }
}

/// A pool whose snapshot cannot be written is closed, and recovered from what its slots hold.
fn file_size_at_close(peer: &mut Peer) {
    let (disk, memory) = (PathBuf::from(peer.line().unwrap()), PathBuf::from(peer.line().unwrap()));
    let (_, settings) = kinds(&disk, &memory).into_iter().next().unwrap();
    let config = settings.write(&disk.join("lmcache.yaml"));
    let store = Store::open(&config).unwrap();
    put_and_get(&store, 1);
    limit_file_size(64);
    drop(store.close());
    limit_file_size(libc::RLIM_INFINITY);
    let store = Store::open(&config).unwrap();
    for index in 0..KEYS {
        let key = format!("key-{index}");
        assert_eq!(chunk::read(&key, &store.get(&key, CHUNK_BYTES).unwrap().unwrap()), Ok(1));
    }
}

/// A pool that would need larger files than there may be is refused, and leaves nothing.
fn file_size_at_open(peer: &mut Peer) {
    let (disk, memory) = (PathBuf::from(peer.line().unwrap()), PathBuf::from(peer.line().unwrap()));
    for (name, settings) in kinds(&disk, &memory).into_iter().filter(|(_, settings)| settings.pool_size > 0) {
        let config = settings.write(&disk.join(format!("{name}.yaml")));
        limit_file_size(CHUNK_BYTES as libc::rlim_t / 2);
        let failure = Store::open(&config).err().expect("files of a pool are larger");
        limit_file_size(libc::RLIM_INFINITY);
        assert_eq!(failure.status, NIXL_STORE_ERROR_CONFIG, "{name}: {failure}");
        assert!(failure.message.contains("ulimit -f"), "{name}: {failure}");
        put_and_get(&Store::open(&config).unwrap(), 1);
    }
}

/// Plays a role with a directory on disk and one in memory; it must end well.
fn play_well(role: &str) {
    let (disk, memory) = (Scratch::new(role), Scratch::in_memory(role));
    let mut helper = Helper::start(role);
    helper.tell(disk.path().to_str().unwrap());
    helper.tell(memory.path().to_str().unwrap());
    let (status, said) = helper.end();
    assert!(status.success(), "{role}: {status}\n{said}");
}

#[test]
fn an_engine_that_waits_for_its_signals_gets_each_one() {
    play_well("engine");
}

#[test]
fn threads_of_the_library_block_every_signal_that_can_be_sent() {
    play_well("masks");
}

#[test]
fn a_pool_beyond_the_limit_on_file_sizes_is_refused() {
    play_well("file_size_at_open");
}

#[test]
fn a_snapshot_beyond_the_limit_on_file_sizes_is_done_without() {
    play_well("file_size_at_close");
}

#[test]
fn a_put_beyond_the_limit_on_file_sizes_is_an_error() {
    play_well("file_size");
}

/// But for a pool that a limit on file sizes refuses: memory that is shared with the daemon is a file to that limit.
#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(&["a_pool_beyond_the_limit_on_file_sizes_is_refused"], 5);
}
