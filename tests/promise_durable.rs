//! Promise 10, durable means durable: a flush that answers OK covers every put completed before it, also after one
//! that failed.
//!
//! The device is real: a loop device whose writes fail for a while. The kernel reports such a failure once, to the
//! sync that meets it; the pages count as clean from then on, and their bytes are gone when the page cache lets go of
//! them. So each test has the page cache let go, and looks.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::path::{Path, PathBuf};
use std::sync::Barrier;

use crash_common::api::Store;
use crash_common::config::Settings;
use crash_common::disk::Disk;
use crash_common::helper;
use crash_common::remote::{self, Remote};
use crash_common::{Scratch, chunk};
use nixl_store::capi::*;

const SLOTS: u32 = 12;
const KEYS: u64 = 8;
const LENGTH: usize = 200_000;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[remote::ROLE]);
}

/// A pool on a device that may refuse, each of its slots written once, so that no later write needs new metadata.
struct Pool {
    config: PathBuf,
    directory: PathBuf,
    // Below what uses them.
    disk: Disk,
    _scratch: Scratch,
}

impl Pool {
    fn new(name: &str) -> Option<Pool> {
        let disk = Disk::ext4_that_may_refuse(name, 32 << 20)?;
        let scratch = Scratch::new(name);
        let root = disk.path().join("store");
        let config = Settings::pool(&root, SLOTS, LENGTH as u64).write(&scratch.join("lmcache.yaml"));
        let mut remote = Remote::open(&config);
        for key in 0..u64::from(SLOTS) {
            remote.put(&format!("filler-{key}"), 1, LENGTH).unwrap();
        }
        for key in 0..u64::from(SLOTS) {
            remote.remove(&format!("filler-{key}")).unwrap();
        }
        remote.flush().unwrap();
        remote.close().unwrap();
        remote.finish();
        Some(Pool { config, directory: root.join("nixl_store_pool"), disk, _scratch: scratch })
    }

    fn open(&self) -> Store {
        Store::open(&self.config).unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn drop_cached(&self) {
        Disk::drop_cached(&self.directory);
    }
}

fn name(key: u64) -> String {
    format!("key-{key}")
}

fn put_all(store: &Store, version: u64) {
    for key in 0..KEYS {
        let name = name(key);
        store.put(&name, &chunk::fill(&name, version, LENGTH)).unwrap();
    }
}

fn version(store: &Store, key: u64) -> Option<u64> {
    let found = store.get(&name(key), LENGTH).unwrap()?;
    Some(chunk::read(&name(key), &found).unwrap_or_else(|wrong| panic!("{wrong}")))
}

fn versions(store: &Store) -> Vec<Option<u64>> {
    (0..KEYS).map(|key| version(store, key)).collect()
}

fn all(version: u64) -> Vec<Option<u64>> {
    vec![Some(version); KEYS as usize]
}

/// Flushes until that answers OK, now that the device takes writes again. The kernel may have tried a page or two while
/// it did not, and tells of that once more.
fn flush_again(mut flush: impl FnMut() -> bool) {
    assert!((0..3).any(|_| flush()), "a flush must answer OK in the end");
}

fn snapshot_of(pool: &Path) -> bool {
    pool.join("snapshot").exists()
}

/// Puts whose flush failed are there after the next one that answers OK, whatever became of the page cache.
#[test]
fn a_flush_that_answers_ok_covers_what_a_failed_one_lost() {
    let Some(pool) = Pool::new("durable_restored") else { return };
    let store = pool.open();
    put_all(&store, 1);
    store.flush().unwrap();
    let refusing = pool.disk.refuse_writes();
    put_all(&store, 2);
    assert!(store.flush().is_err(), "the device refuses");
    assert!(store.flush().is_err(), "it still does, and nothing was written since");
    drop(refusing);
    flush_again(|| store.flush().is_ok());
    pool.drop_cached();
    assert_eq!(versions(&store), all(2));
    let stats = store.stats().unwrap();
    assert_eq!((stats.corruptions, stats.quarantined_slots), (0, 0));

    // And what comes later is as durable as ever.
    put_all(&store, 3);
    store.flush().unwrap();
    pool.drop_cached();
    assert_eq!(versions(&store), all(3));
    store.close().unwrap();
}

/// Where the page cache let go before anything could be written anew, the keys are gone: from the index before a flush
/// answers OK, counted, and for good.
#[test]
fn what_cannot_be_written_anew_leaves_the_index_before_a_flush_answers_ok() {
    let Some(pool) = Pool::new("durable_dropped") else { return };
    let mut remote = Remote::open(&pool.config);
    for key in 0..KEYS {
        remote.put(&name(key), 1, LENGTH).unwrap();
    }
    remote.flush().unwrap();
    let refusing = pool.disk.refuse_writes();
    for key in 0..4 {
        remote.put(&name(key), 2, LENGTH).unwrap();
    }
    remote.flush().unwrap_err();
    pool.drop_cached();
    drop(refusing);
    flush_again(|| remote.flush().is_ok());
    let stats = remote.stats();
    assert_eq!((stats["keys"], stats["corruptions"]), (4, 4), "{stats:?}");
    let log = remote.log().join("\n");
    assert!(log.contains("was lost by a flush that failed"), "{log}");
    pool.drop_cached();
    for key in 0..KEYS {
        assert_eq!(remote.get(&name(key)).unwrap(), (key >= 4).then_some(1), "{}", name(key));
    }
    remote.kill();
    pool.drop_cached();
    let store = pool.open();
    let expected: Vec<Option<u64>> = (0..KEYS).map(|key| (key >= 4).then_some(1)).collect();
    assert_eq!(versions(&store), expected, "no crash brings back what was replaced");
    // Every slot can be used.
    for key in 0..u64::from(SLOTS) {
        store.put(&format!("later-{key}"), &[7; 1000]).unwrap();
    }
    assert_eq!(store.stats().unwrap().keys, u64::from(SLOTS));
    store.close().unwrap();
}

/// A removal is made durable by a flush as a put is. Its tombstone may be what the failed flush lost.
#[test]
fn a_removed_key_does_not_come_back_after_a_flush_that_answers_ok() {
    for cache_is_dropped_early in [false, true] {
        let Some(pool) = Pool::new("durable_removed") else { return };
        let mut remote = Remote::open(&pool.config);
        for key in 0..KEYS {
            remote.put(&name(key), 1, LENGTH).unwrap();
        }
        remote.flush().unwrap();
        let refusing = pool.disk.refuse_writes();
        for key in 0..4 {
            assert_eq!(remote.remove(&name(key)), Ok(NIXL_STORE_OK));
        }
        remote.flush().unwrap_err();
        if cache_is_dropped_early {
            pool.drop_cached();
        }
        drop(refusing);
        flush_again(|| remote.flush().is_ok());
        remote.kill();
        pool.drop_cached();
        let store = pool.open();
        let expected: Vec<Option<u64>> = (0..KEYS).map(|key| (key >= 4).then_some(1)).collect();
        assert_eq!(versions(&store), expected);
        store.close().unwrap();
    }
}

/// Of two flushes at once the kernel tells one of the failure. Neither may answer OK.
#[test]
fn of_two_flushes_at_once_none_hides_the_failure_from_the_other() {
    let Some(pool) = Pool::new("durable_two") else { return };
    let store = pool.open();
    for round in 1..=10 {
        let refusing = pool.disk.refuse_writes();
        put_all(&store, round);
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    assert!(store.flush().is_err(), "round {round}");
                });
            }
        });
        drop(refusing);
        flush_again(|| store.flush().is_ok());
        pool.drop_cached();
        assert_eq!(versions(&store), all(round));
    }
    store.close().unwrap();
}

/// A close that cannot make everything durable leaves no snapshot, which the next open would believe.
#[test]
fn a_close_whose_sync_fails_leaves_no_snapshot() {
    let Some(pool) = Pool::new("durable_close") else { return };
    let store = pool.open();
    put_all(&store, 1);
    store.flush().unwrap();
    let refusing = pool.disk.refuse_writes();
    put_all(&store, 2);
    store.close().unwrap_err();
    assert!(!snapshot_of(&pool.directory));
    drop(refusing);
    pool.drop_cached();
    let store = pool.open();
    versions(&store);
    store.close().unwrap();
    assert!(snapshot_of(&pool.directory));
}

/// A close after a flush that failed writes anew what may be lost, as a flush does, before the snapshot lists it.
#[test]
fn a_snapshot_lists_nothing_that_a_failed_flush_lost() {
    let Some(mut pool) = Pool::new("durable_snapshot") else { return };
    let store = pool.open();
    put_all(&store, 1);
    store.flush().unwrap();
    let refusing = pool.disk.refuse_writes();
    put_all(&store, 2);
    store.flush().unwrap_err();
    drop(refusing);
    store.close().unwrap();
    assert!(snapshot_of(&pool.directory));
    drop(store);
    pool.disk.power_up();
    let store = pool.open();
    assert_eq!(versions(&store), all(2));
    assert_eq!(store.stats().unwrap().corruptions, 0);
    store.close().unwrap();
}

/// The process that met the failure ends. The next one finds the chunks in the page cache, and its flush must not
/// answer OK for them on that alone.
#[test]
fn a_failed_flush_is_not_forgotten_with_its_process() {
    for is_killed in [false, true] {
        let Some(pool) = Pool::new("durable_next") else { return };
        let mut remote = Remote::open(&pool.config);
        for key in 0..KEYS {
            remote.put(&name(key), 1, LENGTH).unwrap();
        }
        remote.flush().unwrap();
        let refusing = pool.disk.refuse_writes();
        for key in 0..KEYS {
            remote.put(&name(key), 2, LENGTH).unwrap();
        }
        assert_eq!(remote.remove(&name(7)), Ok(NIXL_STORE_OK));
        remote.flush().unwrap_err();
        if is_killed {
            remote.kill();
        } else {
            remote.close().unwrap_err();
            remote.finish();
        }
        drop(refusing);

        let mut next = Remote::open(&pool.config);
        flush_again(|| next.flush().is_ok());
        let told: Vec<bool> = (0..KEYS).map(|key| next.contains(&name(key)).unwrap()).collect();
        pool.drop_cached();
        for key in 0..KEYS {
            let found = next.get(&name(key)).unwrap();
            assert_eq!(found, told[key as usize].then_some(2), "{}", name(key));
        }
        assert!(told[0] && !told[7]);
        next.kill();
        let store = pool.open();
        assert_eq!(version(&store, 7), None, "a removed key is back");
        store.close().unwrap();
    }
}
