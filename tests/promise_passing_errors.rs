//! Promises 2 and 6 on a device whose writes fail for a while: what a removal answers is true, and slots that an error
//! took out of use come back.
//!
//! Transfers are direct, so that a tombstone which the device refuses is refused to whoever writes it.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::path::Path;
use std::time::{Duration, Instant};

use crash_common::api::{Failure, Store};
use crash_common::config::Settings;
use crash_common::disk::Disk;
use crash_common::helper;
use crash_common::refusing::Pool;
use crash_common::remote::{self, Remote};
use crash_common::{Scratch, chunk, versions};
use nixl_store::capi::*;

const SLOTS: u32 = 4;
const LENGTH: usize = 100_000;
/// Far less than a removal may wait for a reader.
const AT_ONCE_MAX: Duration = Duration::from_secs(5);

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[remote::ROLE]);
}

fn pool(name: &str) -> Option<Pool> {
    Some(Pool::on(Disk::ext4_that_may_refuse(name, 32 << 20)?, SLOTS, LENGTH, Settings::direct))
}

fn put(store: &Store, key: &str, version: u64) -> Result<(), Failure> {
    store.put(key, &chunk::fill(key, version, LENGTH))
}

fn version(store: &Store, key: &str) -> Option<u64> {
    versions::version(store, key, LENGTH)
}

fn out_of_use(store: &Store) -> u64 {
    store.stats().unwrap().quarantined_slots
}

/// Has the key removed, at once, with this outcome.
fn remove(store: &Store, key: &str) -> Result<nixl_store_status_t, Failure> {
    let began = Instant::now();
    let outcome = store.remove(key);
    assert!(began.elapsed() < AT_ONCE_MAX, "it waits for what nobody does");
    outcome
}

/// A removal whose record cannot be erased says so, and what that means. Each later one tries again at once, takes no
/// further slot, and answers by its own outcome.
#[test]
fn a_removal_that_cannot_erase_the_record_says_so_and_is_tried_again() {
    let Some(pool) = pool("passing_remove") else { return };
    let store = pool.open();
    put(&store, "k", 1).unwrap();
    let refusing = pool.disk.refuse_writes();
    for _ in 0..3 {
        let failure = remove(&store, "k").unwrap_err();
        assert_eq!(failure.status, NIXL_STORE_ERROR_IO);
        assert!(failure.message.contains("may be back after the pool is opened again"), "{failure}");
        assert_eq!(store.contains("k"), Ok(false));
        assert_eq!(out_of_use(&store), 1);
    }
    assert_eq!(remove(&store, "never put"), Ok(NIXL_STORE_NOT_FOUND));
    drop(refusing);
    assert_eq!(remove(&store, "k"), Ok(NIXL_STORE_OK));
    assert_eq!(remove(&store, "k"), Ok(NIXL_STORE_NOT_FOUND));
    let stats = store.stats().unwrap();
    assert_eq!((stats.quarantined_slots, stats.slots_free), (0, u64::from(SLOTS)));
    store.close().unwrap();
}

/// What the error says is true: the record is there, and so is the key after a crash.
#[test]
fn a_removal_that_failed_may_be_undone_by_a_crash() {
    let Some(pool) = pool("passing_undone") else { return };
    let mut remote = Remote::open(&pool.config);
    remote.put("k", 1, LENGTH).unwrap();
    remote.put("other", 1, LENGTH).unwrap();
    let refusing = pool.disk.refuse_writes();
    remote.remove("k").unwrap_err();
    drop(refusing);
    assert_eq!(remote.remove("other"), Ok(NIXL_STORE_OK));
    remote.kill();
    let store = pool.open();
    assert_eq!((version(&store, "k"), version(&store, "other")), (Some(1), None));
    store.close().unwrap();
}

/// The key is put again while its old record cannot be erased. Were the new record erased first, a crash would bring the
/// old bytes back: so the key stays, the error says that it does, and no slot is lost however often this is tried.
#[test]
fn a_key_whose_older_record_cannot_be_erased_stays_until_it_can() {
    let Some(pool) = pool("passing_older") else { return };
    let mut remote = Remote::open(&pool.config);
    remote.put("k", 1, LENGTH).unwrap();
    let refusing = pool.disk.refuse_writes();
    remote.remove("k").unwrap_err();
    drop(refusing);
    remote.put("k", 2, LENGTH).unwrap();
    let refusing = pool.disk.refuse_writes();
    for _ in 0..3 {
        let failure = remote.remove("k").unwrap_err();
        assert!(failure.message.contains("stays stored"), "{failure}");
        assert_eq!(remote.get("k"), Ok(Some(2)));
        assert_eq!(remote.stats()["quarantined"], 1);
    }
    drop(refusing);
    assert_eq!(remote.remove("k"), Ok(NIXL_STORE_OK));
    assert_eq!(remote.stats()["slots_free"], u64::from(SLOTS));
    remote.kill();
    let store = pool.open();
    assert_eq!(version(&store, "k"), None);
    store.close().unwrap();
}

/// Clear alike.
#[test]
fn a_clear_that_cannot_erase_the_records_says_so_and_is_tried_again() {
    let Some(pool) = pool("passing_clear") else { return };
    let store = pool.open();
    for key in ["a", "b", "c"] {
        put(&store, key, 1).unwrap();
    }
    let refusing = pool.disk.refuse_writes();
    for _ in 0..2 {
        let failure = store.clear().unwrap_err();
        assert!(failure.message.contains("may be back after the pool is opened again"), "{failure}");
        let stats = store.stats().unwrap();
        assert_eq!((stats.keys, stats.quarantined_slots), (0, 3));
    }
    drop(refusing);
    store.clear().unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.keys, stats.quarantined_slots, stats.slots_free), (0, 0, u64::from(SLOTS)));
    store.close().unwrap();
    std::fs::remove_file(pool.directory.join("snapshot")).unwrap();
    let store = pool.open();
    assert_eq!(store.stats().unwrap().keys, 0, "a scan finds nothing either");
    store.close().unwrap();
}

/// A whole pool is taken out of use by errors that pass. The first put after that gets a slot, and all come back.
#[test]
fn puts_bring_slots_back_that_errors_took_out_of_use() {
    let Some(pool) = pool("passing_puts") else { return };
    let store = pool.open();
    let keys: Vec<String> = (0..SLOTS).map(|key| format!("key-{key}")).collect();
    for key in &keys {
        put(&store, key, 1).unwrap();
    }
    let refusing = pool.disk.refuse_writes();
    for key in &keys {
        remove(&store, key).unwrap_err();
    }
    assert_eq!(out_of_use(&store), u64::from(SLOTS));
    assert_eq!(put(&store, "k", 1).unwrap_err().status, NIXL_STORE_ERROR_POOL_FULL);
    drop(refusing);
    for (key, left) in keys.iter().zip((0..SLOTS).rev()) {
        put(&store, key, 2).unwrap();
        assert_eq!(out_of_use(&store), u64::from(left));
    }
    for key in &keys {
        assert_eq!(version(&store, key), Some(2));
    }
    store.close().unwrap();
}

/// The same where keys are left that could be evicted: puts do not go on evicting them for ever.
#[test]
fn puts_that_could_evict_bring_slots_back_too() {
    let Some(pool) = pool("passing_evict") else { return };
    let store = pool.open();
    for key in ["a", "b", "c", "d"] {
        put(&store, key, 1).unwrap();
    }
    let refusing = pool.disk.refuse_writes();
    for key in ["a", "b"] {
        remove(&store, key).unwrap_err();
    }
    drop(refusing);
    for key in ["e", "f", "g", "h"] {
        put(&store, key, 1).unwrap();
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.quarantined_slots, stats.keys), (0, u64::from(SLOTS)));
    store.close().unwrap();
}

/// A flush brings them back as well.
#[test]
fn a_flush_brings_slots_back() {
    let Some(pool) = pool("passing_flush") else { return };
    let store = pool.open();
    put(&store, "k", 1).unwrap();
    let refusing = pool.disk.refuse_writes();
    remove(&store, "k").unwrap_err();
    drop(refusing);
    store.flush().unwrap();
    assert_eq!(out_of_use(&store), 0);
    store.close().unwrap();
}

/// A slot whose bytes proved wrong is out of use while the pool is open, for damage is no error that passes. A clean close
/// still writes a snapshot, which lists it; the next open erases what is in it and gives it another chance.
#[test]
fn a_clean_close_remembers_damaged_slots() {
    let scratch = Scratch::new("passing_damaged");
    let root = scratch.join("store");
    let config = Settings::pool(&root, SLOTS, LENGTH as u64).write(&scratch.join("lmcache.yaml"));
    let open = || Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
    let store = open();
    put(&store, "wrong", 1).unwrap();
    put(&store, "right", 1).unwrap();
    spoil(&root.join("nixl_store_pool/slots-000.bin"));
    assert_eq!((version(&store, "wrong"), version(&store, "right")), (None, Some(1)));
    assert_eq!(out_of_use(&store), 1);
    store.flush().unwrap();
    assert_eq!(out_of_use(&store), 1);
    store.close().unwrap();
    for _ in 0..2 {
        assert!(root.join("nixl_store_pool/snapshot").exists(), "no scan is needed");
        let store = open();
        assert_eq!(out_of_use(&store), 0);
        assert_eq!((version(&store, "wrong"), version(&store, "right")), (None, Some(1)));
        store.close().unwrap();
    }
}

/// Changes every page of a slot file a little.
fn spoil(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    for at in (0..file.metadata().unwrap().len()).step_by(4096) {
        file.read_exact_at(&mut byte, at + 20).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at + 20).unwrap();
    }
}

#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(&[], 9);
}
