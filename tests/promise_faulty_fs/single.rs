//! Single promises, each with the one fault that it takes.

use std::fs;
use std::ops::Range;
use std::path::Path;

use nixl_store::capi::NIXL_STORE_ERROR_IO;

use crate::cases::{KINDS, Kind};
use crate::crash_common::api::Store;
use crate::crash_common::{Scratch, chunk};
use crate::faulty_fs::{Fault, FaultyFs, Op, Options, Rule};

fn open(kind: &Kind, data: &Path, scratch: &Scratch) -> Store {
    Store::open(&kind.settings(data).write(&scratch.join("lmcache.yaml"))).unwrap()
}

/// The version of what is under the key, every byte of which has been looked at.
fn version(store: &Store) -> Option<u64> {
    let found = store.get("key", 100_000).unwrap();
    found.map(|bytes| chunk::read("key", &bytes).unwrap())
}

/// What was flushed is there after a loss of power, also if the store had to make its own directory, and that one's.
#[test]
fn a_flush_covers_the_directories_that_open_made() {
    for kind in &KINDS {
        let Some(fs) = FaultyFs::start(kind.name, Options::default()) else { return };
        let scratch = Scratch::new("own_directory");
        let data = fs.path().join("cache/of/mine");
        let store = open(kind, &data, &scratch);
        store.put("key", &chunk::fill("key", 1, 70_001)).unwrap();
        store.flush().unwrap();
        fs.power_off(None);
        let _ = store.close();
        fs.power_on();
        let store = open(kind, &data, &scratch);
        assert_eq!(version(&store), Some(1), "{}", kind.name);
    }
}

/// Storage that cannot be asked is an error; "not stored" would be a lie.
#[test]
fn what_cannot_be_read_is_not_called_missing() {
    for kind in &KINDS {
        let Some(fs) = FaultyFs::start(kind.name, Options::default()) else { return };
        let scratch = Scratch::new("cannot_be_read");
        let data = fs.path().join("data");
        fs::create_dir(&data).unwrap();
        let store = open(kind, &data, &scratch);
        store.put("key", &chunk::fill("key", 1, 70_001)).unwrap();
        fs.drop_caches();
        fs.arm(&Rule::every(&[Op::Read], Fault::Errno(libc::EIO)));
        // A static pool knows both without asking.
        let asked = [store.contains("key"), store.length("key").map(|length| length == Some(70_001))];
        for (what, answer) in ["contains", "length"].iter().zip(asked) {
            let is_right = match &answer {
                Ok(is_stored) => *is_stored,
                Err(failure) => failure.status == NIXL_STORE_ERROR_IO,
            };
            assert!(is_right, "{}: {what}: {answer:?}", kind.name);
        }
    }
}

/// A part of a dynamic store that cannot be listed is neither called durable nor called empty. The rest is.
#[test]
fn what_cannot_be_listed_is_neither_flushed_nor_cleared() {
    for kind in KINDS.iter().filter(|kind| !kind.is_static) {
        let Some(fs) = FaultyFs::start(kind.name, Options::default()) else { return };
        let scratch = Scratch::new("cannot_be_listed");
        let data = fs.path().join("data");
        fs::create_dir(&data).unwrap();
        let objects = data.join("nixl_store_objects");
        let store = open(kind, &data, &scratch);
        store.put("key", &chunk::fill("key", 1, 70_001)).unwrap();
        let shard = fs::read_dir(&objects).map(|mut shards| shards.next().unwrap().unwrap().path());
        let hidden = shard.unwrap_or(data.clone());
        store.put("another", &chunk::fill("another", 1, 70_001)).unwrap();
        store.close().unwrap();
        // On this file system nobody knows what the process before has made durable, so that the first flush goes through all.
        let store = open(kind, &data, &scratch);
        fs.drop_caches();
        let path = format!("/{}", hidden.strip_prefix(fs.path()).unwrap().display());
        fs.arm(&Rule::every(&[Op::ReadDir], Fault::Errno(libc::EIO)).path(&path));
        for (what, answer) in [("flush", store.flush()), ("clear", store.clear().map(drop))] {
            let failure = answer.expect_err(what);
            assert_eq!(failure.status, NIXL_STORE_ERROR_IO, "{}: {what}: {failure:?}", kind.name);
        }
        assert!(fs.struck() >= 2, "{}", kind.name);
        fs.disarm();
        store.flush().unwrap();
        assert_eq!(
            (version(&store), store.contains("another")),
            (Some(1), Ok(hidden == data)),
            "{}",
            kind.name
        );
        assert_eq!(store.clear().unwrap(), if hidden == data { 2 } else { 1 }, "{}", kind.name);
    }
}

/// Where the one record of a pool lies: its file's name and the bytes there.
fn only_record(data: &Path) -> (String, Range<u64>) {
    for entry in fs::read_dir(data.join("nixl_store_pool")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = fs::read(data.join("nixl_store_pool").join(&name)).unwrap();
        if name.starts_with("slots-")
            && let Some(first) = bytes.iter().position(|&byte| byte != 0)
        {
            let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
            return (name, first as u64..last as u64 + 1);
        }
    }
    panic!("no record in {}", data.display());
}

/// A pool with one flushed key, opened after a loss of power while so many reads of its record fail.
fn opened_with_an_unreadable_slot(fs: &FaultyFs, scratch: &Scratch, errno: i32, times: u64) -> Store {
    let data = fs.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::File::open(fs.path()).unwrap().sync_all().unwrap();
    let store = open(&KINDS[0], &data, scratch);
    store.put("key", &chunk::fill("key", 1, 70_001)).unwrap();
    store.flush().unwrap();
    fs.power_off(None);
    let _ = store.close();
    fs.power_on();
    let (name, bytes) = only_record(&data);
    fs.arm(&Rule::every(&[Op::Read], Fault::Errno(errno)).path(&name).bytes(bytes).times(times));
    let store = open(&KINDS[0], &data, scratch);
    assert!(fs.struck() > 0);
    fs.disarm();
    store
}

/// One read that fails while a pool is recovered does not cost what was flushed.
#[test]
fn a_read_that_fails_once_at_open_costs_no_object() {
    for errno in [libc::EAGAIN, libc::EIO] {
        let Some(fs) = FaultyFs::start("unreadable", Options::default()) else { return };
        let scratch = Scratch::new("unreadable");
        let store = opened_with_an_unreadable_slot(&fs, &scratch, errno, 1);
        store.close().unwrap();
        let store = open(&KINDS[0], &fs.path().join("data"), &scratch);
        assert_eq!(version(&store), Some(1), "after errno {errno}");
    }
}

/// A record that could not be read at an open does not come back where its key was put anew and removed meanwhile.
#[test]
fn a_slot_that_could_not_be_read_does_not_outlive_its_key() {
    let Some(fs) = FaultyFs::start("outlived", Options::default()) else { return };
    let scratch = Scratch::new("outlived");
    let data = fs.path().join("data");
    let store = opened_with_an_unreadable_slot(&fs, &scratch, libc::EIO, u64::MAX);
    store.put("key", &chunk::fill("key", 2, 5000)).unwrap();
    store.remove("key").unwrap();
    store.flush().unwrap();
    store.close().unwrap();
    let store = open(&KINDS[0], &data, &scratch);
    assert_eq!(version(&store), None, "after a close");
    fs.power_off(None);
    let _ = store.close();
    fs.power_on();
    let store = open(&KINDS[0], &data, &scratch);
    assert_eq!(version(&store), None, "after a loss of power");
}
