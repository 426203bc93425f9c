//! Promise 10, durable means durable: a flush that answers OK covers every put completed before it, also after one
//! that failed.
//!
//! The device is real: a loop device whose writes fail for a while. The kernel reports such a failure once, to the
//! sync that meets it; the pages count as clean from then on, and their bytes are gone when the page cache lets go of
//! them. So each test has the page cache let go, and looks.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::ops::Range;
use std::path::Path;
use std::sync::Barrier;

use crash_common::api::Store;
use crash_common::chunk;
use crash_common::config::Settings;
use crash_common::disk::Disk;
use crash_common::helper;
use crash_common::refusing::Pool;
use crash_common::remote::{self, Remote};
use crash_common::versions::{self, put};
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

fn pool(name: &str) -> Option<Pool> {
    Some(Pool::on(Disk::ext4_that_may_refuse(name, 32 << 20)?, SLOTS, LENGTH, |settings| settings))
}

fn name(key: u64) -> String {
    format!("key-{key}")
}

fn put_all(store: &Store, version: u64) {
    (0..KEYS).for_each(|key| put(store, &name(key), version, LENGTH));
}

fn payload(key: u64, version: u64) -> Vec<u8> {
    chunk::fill(&name(key), version, LENGTH)
}

fn put_remotely(remote: &mut Remote, keys: Range<u64>, version: u64) {
    keys.for_each(|key| remote.put(&name(key), version, LENGTH).unwrap());
}

/// A process that has version 1 of every key, flushed.
fn with_all_flushed(pool: &Pool) -> Remote {
    let mut remote = Remote::open(&pool.config);
    put_remotely(&mut remote, 0..KEYS, 1);
    remote.flush().unwrap();
    remote
}

fn version(store: &Store, key: u64) -> Option<u64> {
    versions::version(store, &name(key), LENGTH)
}

fn versions(store: &Store) -> Vec<Option<u64>> {
    (0..KEYS).map(|key| version(store, key)).collect()
}

fn all(version: u64) -> Vec<Option<u64>> {
    vec![Some(version); KEYS as usize]
}

/// Version 1 of all but the first four keys.
fn without_the_first() -> Vec<Option<u64>> {
    (0..KEYS).map(|key| (key >= 4).then_some(1)).collect()
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
    let Some(pool) = pool("durable_restored") else { return };
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
    let Some(pool) = pool("durable_dropped") else { return };
    let mut remote = with_all_flushed(&pool);
    let refusing = pool.disk.refuse_writes();
    put_remotely(&mut remote, 0..4, 2);
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
    assert_eq!(versions(&store), without_the_first(), "no crash brings back what was replaced");
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
        let Some(pool) = pool("durable_removed") else { return };
        let mut remote = with_all_flushed(&pool);
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
        assert_eq!(versions(&store), without_the_first());
        store.close().unwrap();
    }
}

/// Of two flushes at once the kernel tells one of the failure. Neither may answer OK.
#[test]
fn of_two_flushes_at_once_none_hides_the_failure_from_the_other() {
    let Some(pool) = pool("durable_two") else { return };
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
    let Some(pool) = pool("durable_close") else { return };
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
    let Some(mut pool) = pool("durable_snapshot") else { return };
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
        let Some(pool) = pool("durable_next") else { return };
        let mut remote = with_all_flushed(&pool);
        let refusing = pool.disk.refuse_writes();
        put_remotely(&mut remote, 0..KEYS, 2);
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

/// XFS shuts down where its log cannot be written, and takes nothing any more until it is mounted anew. Whether it does, or only
/// the data is lost: no flush answers OK for what is not there afterwards, nothing wrong is read, and the store serves again.
#[test]
fn no_flush_answers_ok_for_what_xfs_lost() {
    for kind in ["a pool", "a direct pool", "a dynamic store"] {
        let set = |settings: Settings| match kind {
            "a pool" => settings,
            "a direct pool" => settings.direct(),
            _ => Settings::dynamic(&settings.paths[0]),
        };
        let Some(disk) = Disk::xfs_that_may_refuse("durable_xfs") else { return };
        let mut pool = Pool::on(disk, SLOTS, LENGTH, set);
        let store = pool.open();
        put_all(&store, 1);
        store.flush().unwrap();
        let refusing = pool.disk.refuse_writes();
        // They may fail: direct ones meet the device at once, and the file system takes nothing after its shutdown.
        let done: Vec<bool> = (0..4).map(|key| store.put(&name(key), &payload(key, 2)).is_ok()).collect();
        let refused = store.flush().is_err();
        assert!(refused || !done.contains(&true), "{kind}: the device refuses what was put");
        drop(refusing);
        let is_covered = !refused || (0..3).any(|_| store.flush().is_ok());
        // What it answers is about the index, which a pool keeps and a dynamic store has not.
        let _ = store.close();
        drop(store);
        pool.disk.power_up();
        let store = pool.open();
        for (key, found) in versions(&store).into_iter().enumerate() {
            match done.get(key) {
                None => assert_eq!(found, Some(1), "{kind}, {key}: not touched since its flush"),
                Some(true) if is_covered => assert_eq!(found, Some(2), "{kind}, {key}: a flush answered OK"),
                // What was there may be erased for it, and nobody said that it is there.
                Some(_) => {}
            }
        }
        put_all(&store, 3);
        store.flush().unwrap();
        store.close().unwrap();
        drop(store);
        pool.disk.power_up();
        let store = pool.open();
        assert_eq!(versions(&store), all(3), "{kind}");
        store.close().unwrap();
    }
}
