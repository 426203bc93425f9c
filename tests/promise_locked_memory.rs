//! Promise 9, everything is bounded: of an engine that locks all of its memory (`mlockall` with MCL_FUTURE) a store locks
//! its buffers and not the pool; and where the engine may lock little, that is a status or goes another way.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::path::{Path, PathBuf};

use crash_common::api::Store;
use crash_common::config::Settings;
use crash_common::helper::{self, Helper, Peer};
use crash_common::{Scratch, chunk, sandbox};
use nixl_store::capi::*;

const CHUNK_BYTES: u64 = 1 << 20;
/// The pool in memory has room for a gigabyte and holds a megabyte.
const SLOTS: u32 = 1024;
/// The pool on tmpfs.
const SLOTS_ON_TMPFS: u32 = 128;
/// More than what is locked of a store with two I/O threads and three others, in KiB: buffers, stacks, lists, and the address
/// space that the allocator sets aside for each thread.
const BUFFERS_KIB: u64 = 320 << 10;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[("all", all_is_locked), ("little", little_may_be_locked)]);
}

fn lock_everything() -> bool {
    // SAFETY: takes no memory.
    unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) == 0 }
}

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn in_memory(root: &Path) -> PathBuf {
    let settings = Settings { backend: "MEMORY", ..Settings::pool(root, SLOTS, CHUNK_BYTES) };
    settings.with("nixl_store_io_threads", 2).write(&root.join("memory.yaml"))
}

fn on_tmpfs(root: &Path) -> PathBuf {
    let settings = Settings::pool(&root.join("pool"), SLOTS_ON_TMPFS, CHUNK_BYTES);
    settings.with("nixl_store_io_threads", 2).write(&root.join("tmpfs.yaml"))
}

fn put_and_get(store: &Store) {
    store.put("key", &chunk::fill("key", 1, CHUNK_BYTES as usize)).unwrap();
    assert_eq!(chunk::read("key", &store.get("key", CHUNK_BYTES as usize).unwrap().unwrap()), Ok(1));
}

fn all_is_locked(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().unwrap());
    if !lock_everything() {
        // Somebody who may not: the other test is about those.
        return;
    }
    for config in [in_memory(&root), on_tmpfs(&root)] {
        let (locked, shared) = (status("VmLck"), status("RssShmem"));
        let store = Store::open(&config).unwrap();
        put_and_get(&store);
        let (locked, shared) = (status("VmLck") - locked, status("RssShmem") - shared);
        assert!(locked < BUFFERS_KIB, "{config:?}: {locked} KiB locked");
        assert!(
            shared < (4 * CHUNK_BYTES) >> 10,
            "{config:?}: {shared} KiB of the pool in this process's memory"
        );
        assert!(store.log.matching(NIXL_STORE_LOG_WARN, "not mapped").is_empty());
        store.close().unwrap();
    }
}

fn little_may_be_locked(peer: &mut Peer) {
    /// What the buffers need, and less than a pool.
    const ENOUGH: u64 = BUFFERS_KIB << 10;
    /// Less than the staging buffer.
    const TOO_LITTLE: u64 = 4 << 20;
    let root = PathBuf::from(peer.line().unwrap());
    let config = in_memory(&root);
    if sandbox::is_root() {
        sandbox::enter("ordinary-user");
    }
    let limit = |bytes: u64| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: ENOUGH };
        // SAFETY: the struct lives during the call.
        unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0 }
    };
    // SAFETY: takes no memory. What the process has already is not locked: the limit is for what comes.
    if !limit(ENOUGH) || unsafe { libc::mlockall(libc::MCL_FUTURE) } != 0 {
        return;
    }
    let store = Store::open(&config).unwrap();
    assert_eq!(
        store.log.matching(NIXL_STORE_LOG_WARN, "not mapped").len(),
        1,
        "a pool's mapping is too large"
    );
    put_and_get(&store);
    store.close().unwrap();
    assert!(limit(TOO_LITTLE));
    let failure = Store::open(&config).err().expect("no room for the staging buffer");
    assert_eq!(failure.status, NIXL_STORE_ERROR_OUT_OF_MEMORY, "{failure}");
}

fn play_well(role: &str) {
    let scratch = Scratch::in_memory(role);
    // An ordinary user reads the configuration.
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut helper = Helper::start(role);
    helper.tell(scratch.path().to_str().unwrap());
    let (status, said) = helper.end();
    assert!(status.success(), "{role}: {status}\n{said}");
}

#[test]
fn an_engine_that_locks_its_memory_does_not_lock_a_pool() {
    play_well("all");
}

#[test]
fn an_engine_that_may_lock_little_reads_the_files_or_gets_a_status() {
    play_well("little");
}
