//! Promise 10, durable means durable: a flush that answers OK covers every put that completed before it, on every file
//! system, also after one that failed.
//!
//! A disk loses its power here, does not hear of `syncfs`, or fails the writes to some files.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nixl_store::capi::*;

use crate::crash_common::api::{Failure, Options, Store};
use crate::crash_common::config::Settings;
use crate::crash_common::disk::{Disk, Overlay};
use crate::crash_common::helper::{Helper, Peer};
use crate::crash_common::remote::Remote;
use crate::crash_common::{Scratch, exhaust_descriptors, sandbox};
use crate::{layouts, object_files, put, version};

const OBJECT_BYTES: usize = 300_000;

/// FUSE file systems do not hear of `syncfs`, and whoever calls it is not told. What a flush covers is on the disk all
/// the same when its power fails: new keys, replaced ones, and the directories that name them.
#[test]
fn a_flush_reaches_storage_that_does_not_hear_of_syncfs() {
    let Some(mut disk) = Disk::ext4("idle_syncfs", 64 << 20, "") else { return };
    let scratch = Scratch::new("idle_syncfs_config");
    for round in 0..4 {
        let Some(overlay) = Overlay::on(&disk) else { return };
        let settings = layouts(overlay.path()).into_iter().nth(round / 2).unwrap();
        let settings = if round % 2 == 0 { settings.direct() } else { settings };
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut remote = Remote::start();
        remote.sandbox("idle-syncfs");
        remote.try_open(&config, &Options::default()).unwrap();
        let key = |number: u64| format!("key-{round}-{number}");
        for number in 0..20 {
            remote.put(&key(number), 1, OBJECT_BYTES).unwrap();
        }
        remote.flush().unwrap();
        for number in 10..30 {
            remote.put(&key(number), 2, OBJECT_BYTES).unwrap();
        }
        remote.flush().unwrap();
        sandbox::cut_power(disk.path()).unwrap_or_else(|error| panic!("the power cannot be cut: {error}"));
        remote.kill();
        drop(overlay);
        disk.power_up();

        let Some(_overlay) = Overlay::on(&disk) else { return };
        let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
        for number in 0..30 {
            let wanted = if number < 10 { 1 } else { 2 };
            assert_eq!(
                version(&store, &key(number)),
                Some(wanted),
                "{} of {:?}",
                key(number),
                settings.paths
            );
        }
        assert_eq!(store.stats().unwrap().corruptions, 0);
        store.close().unwrap();
    }
}

/// A disk that fails, seen as it is or through an overlay: where `syncfs` is enough, and where each file is synced.
struct Failing {
    overlay: Option<Overlay>,
    disk: Disk,
}

impl Failing {
    /// Each kind of disk with a store of each layout.
    fn each(name: &str) -> impl Iterator<Item = (Failing, Settings)> {
        (0..4).filter_map(move |number| {
            let disk = Disk::ext4_that_fails(name, 48 << 20)?;
            let overlay = if number % 2 == 1 { Some(Overlay::on(&disk)?) } else { None };
            let failing = Failing { overlay, disk };
            let settings = layouts(failing.path()).into_iter().nth(number / 2)?;
            Some((failing, settings))
        })
    }

    fn path(&self) -> &Path {
        self.overlay.as_ref().map_or(self.disk.path(), |overlay| overlay.path())
    }

    fn cut_power(&self) {
        sandbox::cut_power(self.disk.path())
            .unwrap_or_else(|error| panic!("the power cannot be cut: {error}"));
    }

    /// Once nothing on it is open any more.
    fn power_up(&mut self) {
        let through_overlay = self.overlay.take().is_some();
        self.disk.power_up();
        self.overlay = through_overlay.then(|| Overlay::on(&self.disk).expect("as before"));
    }
}

const OBJECTS: u64 = 8;
const LOST: u64 = 3;

fn key(number: u64) -> String {
    format!("key-{number}")
}

/// Puts eight objects on a disk and finds the files of the first three.
fn put_objects(store: &Store, settings: &Settings) -> Vec<PathBuf> {
    (0..LOST).for_each(|number| put(store, &key(number), 1, OBJECT_BYTES));
    let files = object_files(&settings.paths[0]);
    assert_eq!(files.len() as u64, LOST);
    (LOST..OBJECTS).for_each(|number| put(store, &key(number), 1, OBJECT_BYTES));
    files
}

fn assert_disk_failed(flushed: Result<(), Failure>) {
    let failure = flushed.expect_err("the disk fails");
    let is_disk = matches!(failure.status, NIXL_STORE_ERROR_IO | NIXL_STORE_ERROR_NO_SPACE);
    assert!(is_disk, "{failure}");
}

/// Flushes until that answers OK. The kernel may tell of a failure in parts, the last of them after the flush that met it.
fn flush_until_ok(store: &Store) {
    const FLUSHES_MAX: usize = 5;
    let failed: Vec<_> = (0..FLUSHES_MAX).map_while(|_| store.flush().err()).collect();
    assert!(failed.len() < FLUSHES_MAX, "{failed:?}");
}

/// The disk fails to write some objects back, tells that once, and forgets it: to the next question it would answer that
/// all is well. A flush must not, before the objects were written once more; then they outlive a loss of power.
#[test]
fn after_a_flush_that_failed_the_next_writes_anew_what_was_lost() {
    let scratch = Scratch::new("lost_writes_config");
    for (mut failing, settings) in Failing::each("lost_writes") {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        let files = put_objects(&store, &settings);
        let refusing = failing.disk.refuse_writes_to(&files);
        // Or what is written anew might be given the same bad places.
        let held: Vec<_> = files.iter().map(|file| File::open(file).unwrap()).collect();
        assert_disk_failed(store.flush());
        (0..OBJECTS).for_each(|number| assert_eq!(version(&store, &key(number)), Some(1)));
        flush_until_ok(&store);
        assert!(!store.log.matching(NIXL_STORE_LOG_WARN, "written anew").is_empty());
        failing.cut_power();
        drop((store, held, refusing));
        failing.power_up();

        let store = Store::open(&config).unwrap();
        for number in 0..OBJECTS {
            assert_eq!(version(&store, &key(number)), Some(1), "{} in {:?}", key(number), settings.paths);
        }
        assert_eq!(store.stats().unwrap().corruptions, 0);
        store.close().unwrap();
    }
}

/// The same, and the bytes have left memory before the next flush: nobody has them any more. Those objects are given up,
/// counted and named, and a flush covers what is left.
#[test]
fn what_is_lost_for_good_is_given_up_and_the_rest_is_durable() {
    let scratch = Scratch::new("lost_bytes_config");
    for (mut failing, settings) in Failing::each("lost_bytes") {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        let files = put_objects(&store, &settings);
        let refusing = failing.disk.refuse_writes_to(&files);
        // Or what is written anew might be given the same bad places.
        let held: Vec<_> = files.iter().map(|file| File::open(file).unwrap()).collect();
        assert_disk_failed(store.flush());
        files.iter().for_each(|file| forget_pages(file));
        flush_until_ok(&store);
        assert_eq!(store.stats().unwrap().corruptions, LOST);
        let named = store.log.matching(NIXL_STORE_LOG_WARN, "may not be on storage as it was put");
        assert_eq!(named.len() as u64, LOST, "{named:?}");
        let present = |store: &Store| {
            for number in 0..OBJECTS {
                let wanted = (number >= LOST).then_some(1);
                assert_eq!(version(store, &key(number)), wanted, "{} in {:?}", key(number), settings.paths);
            }
        };
        present(&store);
        failing.cut_power();
        drop((store, held, refusing));
        failing.power_up();

        let store = Store::open(&config).unwrap();
        present(&store);
        assert_eq!(store.stats().unwrap().corruptions, 0);
        store.close().unwrap();
    }
}

/// Has a file's pages that are written back, or were to be, leave memory.
fn forget_pages(path: &Path) {
    let file = File::open(path).unwrap();
    // SAFETY: the descriptor is open; no memory of ours is touched.
    let answer = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(answer, 0);
}

/// Flushes while the process has no descriptor left.
pub fn no_descriptor_to_flush(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().expect("a directory"));
    sandbox::enter("descriptors=128");
    for settings in layouts(&root) {
        let store = Store::open(&settings.write(&root.join("lmcache.yaml"))).unwrap();
        (0..50).for_each(|number| put(&store, &key(number), 1, 5000));
        let taken = exhaust_descriptors(0);
        let failure = store.flush().expect_err("nothing can be opened");
        assert!(failure.message.contains("Too many open files"), "{failure}");
        drop(taken);
        let taken = exhaust_descriptors(2);
        let few = store.flush();
        drop(taken);
        // Whether two suffice depends on who opens when; that nothing is lost by it does not.
        drop(few);
        store.flush().unwrap_or_else(|failure| panic!("{failure}"));
        (0..50).for_each(|number| assert_eq!(version(&store, &key(number)), Some(1)));
        assert_eq!(store.stats().unwrap().corruptions, 0);
        assert!(store.log.matching(NIXL_STORE_LOG_WARN, "anew").is_empty(), "no file was suspect");
    }
    peer.say("done");
}

/// A flush that has to sync each file, in a process whose descriptors are used up, says so; it has lost nothing and
/// succeeds when there are some.
#[test]
fn a_flush_without_descriptors_fails_and_loses_nothing() {
    let Some(disk) = Disk::ext4("flush_descriptors", 64 << 20, "") else { return };
    let Some(overlay) = Overlay::on(&disk) else { return };
    let mut helper = Helper::start("no-descriptor-to-flush");
    assert_eq!(helper.ask(&overlay.path().display().to_string()), "done");
    helper.finish();
}

/// Threads put, replace and remove the same objects, and flush all the while: each flush answers OK, and in the end
/// every object is there.
#[test]
fn puts_removals_and_flushes_at_once_do_not_disturb_each_other() {
    let scratch = Scratch::new("flush_at_once");
    for settings in layouts(scratch.path()) {
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..2u64 {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..100 {
                        put(store, &key(round % 10), round, 5000);
                        if round % 7 == thread {
                            store.remove(&key(round % 10)).unwrap();
                        }
                    }
                });
                scope.spawn(move || {
                    for _ in 0..20 {
                        store.flush().unwrap_or_else(|failure| panic!("{failure}"));
                    }
                });
            }
        });
        (0..10).for_each(|number| put(&store, &key(number), 1000, 5000));
        store.flush().unwrap();
        (0..10).for_each(|number| assert_eq!(version(&store, &key(number)), Some(1000)));
        assert_eq!(store.stats().unwrap().corruptions, 0);
    }
}
