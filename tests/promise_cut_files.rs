//! Promise 1, the right bytes or a miss, where slot files lie in memory and are read through a mapping: a file that
//! somebody cuts is a miss and ends no process, and SIGBUS stays everybody else's.
//!
//! Each case runs in a process of its own, because what goes wrong here ends it.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crash_common::api::{Direction, Item, Store, Submit};
use crash_common::config::Settings;
use crash_common::helper::{self, Helper, Peer};
use crash_common::{Scratch, chunk};
use nixl_store::capi::*;

const KEYS: u32 = 12;
const CHUNK_BYTES: usize = 300_000;
/// Most seconds that a helper takes.
const SECONDS_MAX: libc::c_uint = 120;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    // Two defects would have a process touch the same byte for ever.
    // SAFETY: takes no memory.
    unsafe { libc::alarm(SECONDS_MAX) };
    helper::play(&[
        ("blocking", |peer| reads_of_cut_files_miss(peer, Read::Blocking)),
        ("batch", |peer| reads_of_cut_files_miss(peer, Read::Batch)),
        ("blocking_masked", |peer| reads_with_signals_blocked_miss(peer, Read::Blocking)),
        ("batch_masked", |peer| reads_with_signals_blocked_miss(peer, Read::Batch)),
        ("race", files_are_cut_while_they_are_read),
        ("own_handler", own_handler_is_called),
        ("simple_handler", simple_handler_is_called),
        ("no_handler", nobody_handles_it),
        ("sent", one_that_is_sent_arrives),
        ("disposition", disposition),
        ("many", more_files_than_are_mapped),
    ]);
}

fn key(index: u32) -> String {
    format!("key-{index}")
}

/// The slot files below a directory.
fn slot_files(root: &Path) -> Vec<PathBuf> {
    let files: Vec<PathBuf> = crash_common::tree(root)
        .into_iter()
        .map(|(path, ..)| path)
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("slots-")))
        .collect();
    assert!(!files.is_empty());
    files
}

fn cut(root: &Path, bytes: u64) {
    for path in slot_files(root) {
        OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
    }
}

/// Where slot files are mapped in this process.
fn mappings() -> Vec<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().filter(|line| line.contains("/slots-"));
    lines.map(|line| usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()).collect()
}

/// The helper's first line: its directory. A store with all keys in it, read once.
fn full_store(root: &Path) -> Store {
    let settings = Settings::pool(&root.join("pool"), 2 * KEYS, CHUNK_BYTES as u64);
    let store = Store::open(&settings.write(&root.join("lmcache.yaml"))).unwrap();
    fill(&store, 1);
    for index in 0..KEYS {
        assert_eq!(get(&store, index), Some(1));
    }
    assert!(!mappings().is_empty(), "this test is about mappings, and there are none");
    store
}

fn fill(store: &Store, version: u64) {
    for index in 0..KEYS {
        store.put(&key(index), &chunk::fill(&key(index), version, CHUNK_BYTES)).unwrap();
    }
}

/// The version found, every byte of it checked.
fn get(store: &Store, index: u32) -> Option<u64> {
    let found = store.get(&key(index), CHUNK_BYTES).unwrap();
    found.map(|payload| chunk::read(&key(index), &payload).unwrap())
}

enum Read {
    /// On the calling thread.
    Blocking,
    /// On the I/O threads.
    Batch,
}

fn block_all_signals() {
    // SAFETY: sigfillset writes the set before it is used.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()), 0);
    }
}

fn is_blocked(signal: libc::c_int) -> bool {
    // SAFETY: pthread_sigmask writes the set before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set);
        libc::sigismember(&raw const set, signal) == 1
    }
}

fn reads_of_cut_files_miss(peer: &mut Peer, read: Read) {
    let root = PathBuf::from(peer.line().unwrap());
    let store = full_store(&root);
    let was_blocked = is_blocked(libc::SIGBUS);
    cut(&root, 4096);
    match read {
        Read::Blocking => (0..KEYS).for_each(|index| assert_eq!(get(&store, index), None)),
        Read::Batch => {
            let items = (0..KEYS).map(|index| Item::new(key(index), vec![0; CHUNK_BYTES])).collect();
            let (_, results) = store.submit(Direction::Get, items, Submit::default()).unwrap().wait();
            for (item, result) in results {
                assert_eq!(result.status, NIXL_STORE_NOT_FOUND, "{item:?}");
            }
        }
    }
    assert_eq!(is_blocked(libc::SIGBUS), was_blocked, "the caller's mask is as it was");
    // What was found damaged is out of use; in the other slots life goes on.
    store.put("after", &chunk::fill("after", 3, CHUNK_BYTES)).unwrap();
    let found = store.get("after", CHUNK_BYTES).unwrap().unwrap();
    assert_eq!(chunk::read("after", &found), Ok(3));
    store.close().unwrap();
    assert!(mappings().is_empty());
    // The next open makes the files whole, and they are mapped again.
    let store = Store::open(&root.join("lmcache.yaml")).unwrap();
    fill(&store, 4);
    (0..KEYS).for_each(|index| assert_eq!(get(&store, index), Some(4)));
    store.close().unwrap();
}

fn reads_with_signals_blocked_miss(peer: &mut Peer, read: Read) {
    // Before the open, so that the I/O threads inherit it.
    block_all_signals();
    assert!(is_blocked(libc::SIGBUS));
    reads_of_cut_files_miss(peer, read);
}

fn files_are_cut_while_they_are_read(peer: &mut Peer) {
    const ROUNDS: u32 = 20;
    let root = PathBuf::from(peer.line().unwrap());
    let misses = AtomicU32::new(0);
    for _ in 0..ROUNDS {
        let store = full_store(&root);
        let is_cut = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for first in [0, KEYS / 2] {
                let (store, is_cut, misses) = (&store, &is_cut, &misses);
                scope.spawn(move || {
                    // Until each key was read once more after the cut.
                    let mut after = 0;
                    while after < 2 {
                        after += u32::from(is_cut.load(Ordering::SeqCst));
                        for index in first..first + KEYS / 2 {
                            match get(store, index) {
                                Some(version) => assert_eq!(version, 1),
                                None => drop(misses.fetch_add(1, Ordering::Relaxed)),
                            }
                        }
                    }
                });
            }
            cut(&root, 0);
            is_cut.store(true, Ordering::SeqCst);
        });
        store.close().unwrap();
    }
    assert!(misses.into_inner() >= ROUNDS * KEYS, "the cuts were seen");
}

/// Touches a mapping of the test's own whose file is gone: SIGBUS at that address, which is `at` unless that is 0.
fn touch_what_is_gone(root: &Path, at: usize) -> u8 {
    let path = root.join("gone");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(4096).unwrap();
    // SAFETY: a fresh mapping of a page; reading it volatile is what is tested.
    unsafe {
        let place = if at == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
        let (at, flags) = (std::ptr::without_provenance_mut(at), libc::MAP_SHARED | place);
        let page = libc::mmap(at, 4096, libc::PROT_READ, flags, file.as_raw_fd(), 0);
        assert_ne!(page, libc::MAP_FAILED);
        file.set_len(0).unwrap();
        page.cast::<u8>().read_volatile()
    }
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn fill_page(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    assert_eq!(signal, libc::SIGBUS);
    HANDLED.fetch_add(1, Ordering::SeqCst);
    let (protection, flags) = (libc::PROT_READ, libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the address is that of the test's own page.
    unsafe { libc::mmap((*info).si_addr(), 4096, protection, flags, -1, 0) };
}

extern "C" fn leave(signal: libc::c_int) {
    assert_eq!(signal, libc::SIGBUS);
    helper::say("handled");
    // SAFETY: takes no memory.
    unsafe { libc::_exit(0) };
}

fn install(handler: usize, flags: libc::c_int) {
    // SAFETY: all zeros is a valid sigaction, and the handlers have the types that the flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (action.sa_sigaction, action.sa_flags) = (handler, flags);
        assert_eq!(libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()), 0);
    }
}

fn own_handler_is_called(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().unwrap());
    install(fill_page as *const () as usize, libc::SA_SIGINFO);
    let store = full_store(&root);
    assert_eq!(touch_what_is_gone(&root, 0), 0);
    assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
    cut(&root, 0);
    assert_eq!(get(&store, 0), None);
    assert_eq!(HANDLED.load(Ordering::SeqCst), 1, "the store's own are not passed on");
    let places = mappings();
    store.close().unwrap();
    for (before, place) in (1..).zip(places) {
        assert_eq!(touch_what_is_gone(&root, place), 0);
        assert_eq!(HANDLED.load(Ordering::SeqCst), before + 1, "its addresses are others' once it is closed");
    }
}

fn simple_handler_is_called(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().unwrap());
    install(leave as *const () as usize, 0);
    let _store = full_store(&root);
    touch_what_is_gone(&root, 0);
}

/// Rust's runtime has a handler for stack overflows; without it.
fn without_a_handler(root: &Path) -> Store {
    install(libc::SIG_DFL, 0);
    full_store(root)
}

fn nobody_handles_it(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().unwrap());
    let _store = without_a_handler(&root);
    touch_what_is_gone(&root, 0);
    peer.say("survived");
}

fn one_that_is_sent_arrives(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().unwrap());
    let _store = without_a_handler(&root);
    // SAFETY: takes no memory.
    unsafe { libc::raise(libc::SIGBUS) };
    peer.say("survived");
}

/// Whether all I/O threads of this process block SIGBUS.
fn io_threads_block_it() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let lanes =
        tasks.filter(|task| std::fs::read_to_string(task.join("comm")).unwrap().starts_with("nixl-lane"));
    let mut masks = lanes.map(|task| {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap()
    });
    masks.all(|mask| mask & 1 << (libc::SIGBUS - 1) != 0)
}

/// Each line names a configuration; the answer says whether using it changed what becomes of SIGBUS.
fn disposition(peer: &mut Peer) {
    let handler = || {
        // SAFETY: sigaction writes the struct before it is used.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut action), 0);
            action.sa_sigaction
        }
    };
    block_all_signals();
    while let Some(config) = peer.line() {
        let before = handler();
        let store = Store::open(Path::new(&config)).unwrap();
        store.put("key", &chunk::fill("key", 1, CHUNK_BYTES)).unwrap();
        let found = store.get("key", CHUNK_BYTES).unwrap().unwrap();
        assert_eq!(chunk::read("key", &found), Ok(1));
        // On an I/O thread too.
        let items = vec![Item::new("key", vec![0; CHUNK_BYTES]), Item::new("none", vec![0; CHUNK_BYTES])];
        let (_, results) = store.submit(Direction::Get, items, Submit::default()).unwrap().wait();
        assert_eq!(results[0].1.status, NIXL_STORE_OK);
        let is_same = handler() == before && io_threads_block_it();
        assert!(is_blocked(libc::SIGBUS));
        store.close().unwrap();
        peer.say(if is_same { "same" } else { "changed" });
    }
}

/// Files beyond the table of mappings are read.
fn more_files_than_are_mapped(peer: &mut Peer) {
    const MAPPINGS_MAX: usize = 1024;
    const FILES_OF_A_POOL: usize = 8;
    const DESCRIPTORS: libc::rlim_t = 4096;
    let root = PathBuf::from(peer.line().unwrap());
    // SAFETY: getrlimit writes the struct, setrlimit reads it.
    unsafe {
        let mut limit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        assert!(limit.rlim_max >= DESCRIPTORS, "this opens many pools: raise ulimit -Hn to {DESCRIPTORS}");
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    let open = |index: usize| {
        let pool = Settings::pool(&root.join(format!("pool-{index}")), FILES_OF_A_POOL as u32, 4096);
        let small = Settings { buffer_bytes: 1 << 20, ..pool.with("nixl_store_io_threads", 1) };
        Store::open(&small.write(&root.join("lmcache.yaml"))).unwrap()
    };
    let mut stores: Vec<Store> = (0..MAPPINGS_MAX / FILES_OF_A_POOL + 2).map(open).collect();
    assert_eq!(mappings().len(), MAPPINGS_MAX);
    for store in &stores {
        store.put("key", &chunk::fill("key", 1, 4096)).unwrap();
        assert_eq!(chunk::read("key", &store.get("key", 4096).unwrap().unwrap()), Ok(1));
    }
    // Whoever gets no mapping, or not all, is told.
    let told = |store: &Store| store.log.matching(NIXL_STORE_LOG_WARN, "not mapped").len();
    let (mapped, read) = stores.split_at(MAPPINGS_MAX / FILES_OF_A_POOL);
    assert!(mapped.iter().all(|store| told(store) == 0) && read.iter().all(|store| told(store) == 1));
    // What one gives up the next may have.
    drop(stores.remove(0));
    assert_eq!(mappings().len(), MAPPINGS_MAX - FILES_OF_A_POOL);
    stores.push(open(stores.len() + 1));
    assert_eq!(mappings().len(), MAPPINGS_MAX);
}

/// Plays a role in a directory in memory, and says how it ended.
fn play(role: &str) -> (std::process::ExitStatus, String) {
    let scratch = Scratch::in_memory(role);
    let mut helper = Helper::start(role);
    helper.tell(scratch.path().to_str().unwrap());
    helper.end()
}

fn play_well(role: &str) {
    let (status, said) = play(role);
    assert!(status.success(), "{role}: {status}\n{said}");
}

#[test]
fn a_cut_file_is_a_miss_on_the_callers_thread() {
    play_well("blocking");
}

#[test]
fn a_cut_file_is_a_miss_where_signals_are_blocked() {
    play_well("blocking_masked");
    play_well("batch_masked");
}

#[test]
fn a_cut_file_is_a_miss_on_the_io_threads() {
    play_well("batch");
}

#[test]
fn a_file_may_be_cut_while_it_is_read() {
    play_well("race");
}

#[test]
fn an_engines_own_handler_gets_what_is_its_own() {
    play_well("own_handler");
    let (status, said) = play("simple_handler");
    assert!(status.success() && said.contains("handled"), "{status}\n{said}");
}

#[test]
fn a_bus_error_of_others_ends_the_process_as_ever() {
    for role in ["no_handler", "sent"] {
        let (status, said) = play(role);
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{role}: {status}\n{said}");
        assert!(!said.contains("survived"), "{said}");
    }
}

#[test]
fn files_beyond_the_most_that_are_mapped_are_read() {
    play_well("many");
}

/// Only who maps files that others can cut needs a handler, and whoever wants none can say so.
#[test]
fn no_handler_is_installed_without_need() {
    let (memory, disk) = (Scratch::in_memory("disposition"), Scratch::new("disposition"));
    let pool = |path: &Path| Settings::pool(path, KEYS, CHUNK_BYTES as u64);
    let mut helper = Helper::start("disposition");
    let mut ask = |name: &str, settings: Settings| {
        let config = settings.write(&disk.join(name));
        helper.ask(config.to_str().unwrap())
    };
    assert_eq!(ask("memory", Settings { backend: "MEMORY", ..pool(memory.path()) }), "same");
    assert_eq!(ask("unmapped", pool(&memory.join("a")).with("nixl_store_map_files", false)), "same");
    assert_eq!(ask("uring", pool(&memory.join("b")).param("use_uring", true)), "same");
    assert_eq!(ask("dynamic", Settings::dynamic(&memory.join("c"))), "same");
    assert_eq!(ask("mapped", pool(&memory.join("d"))), "changed");
    helper.finish();
}
