//! A mount that is full, or fails what is asked of it beside transfers: the error lands on its item, nothing of that item is seen by
//! anybody, and what comes afterwards is served.

use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::common::exchange::statuses;
use crate::common::status::{IO, NO_SPACE, OK, Status};
use crate::common::{Alone, Batch, Setup, Store};
use crate::crash_common::chunk;
use crate::faulty_fs::{Fault, FaultyFs, Op, Options, Personality, Rule};
use crate::user::User;
use crate::world::{KINDS, MIB, data, mounted, put, put_ok, version, wait_until};

const ITEMS: usize = 8;
const BYTES: usize = 200_000;

fn key(number: usize) -> String {
    format!("key{number}")
}

/// The statuses of a batch of puts.
fn put_all(store: &Store, version: u64) -> Vec<Status> {
    let objects: Vec<_> = (0..ITEMS).map(|number| chunk::fill(&key(number), version, BYTES)).collect();
    let mut batch = Batch::new();
    objects.iter().enumerate().for_each(|(number, object)| batch.put(key(number).as_bytes(), object));
    statuses(&store.put_batch(&batch).1)
}

/// One request fails, of those that a put of an object makes besides its transfers.
#[track_caller]
fn fails_once(fs: &FaultyFs, kind: &str, setup: &Setup, (op, errno, status): (Op, i32, Status)) {
    let place = format!("{kind}-{op:?}");
    let data = data(fs, &place);
    let store = Store::open_at(setup, &data);
    put_ok(&store, "other", 1, BYTES);
    fs.arm(&Rule::once(op, 3, Fault::Errno(errno)).path(&place));
    let answers = put_all(&store, 1);
    assert_eq!(fs.struck(), 1, "{kind}, {op:?}");
    fs.disarm();
    let failed: Vec<_> = answers.iter().filter(|answer| **answer != OK).collect();
    assert_eq!(failed, [&status], "{kind}, {op:?}: one item and no other");
    let mut user = User::of(kind, &data);
    for (number, answer) in answers.iter().enumerate() {
        let wanted = (*answer == OK).then_some(1);
        assert_eq!(version(&store, &key(number)), wanted, "{kind}, {op:?}");
        assert_eq!(user.version(kind, &key(number)), wanted, "{kind}, {op:?}: in another process");
    }
    assert_eq!(put_all(&store, 2), [OK; ITEMS]);
    for number in 0..ITEMS {
        assert_eq!(version(&store, &key(number)), Some(2));
    }
    assert_eq!(version(&store, "other"), Some(1));
    assert_eq!(store.close(), OK);
    user.finish();
}

/// Before an object has its name: its file cannot be made, synced, renamed.
#[test]
fn an_object_that_cannot_be_published_is_not_there() {
    let _standin = Alone::new();
    let Some(fs) = mounted("published") else { return };
    for (kind, setup) in &KINDS[1..] {
        for failure in [(Op::Create, libc::EIO, IO), (Op::FSync, libc::EIO, IO), (Op::Rename, libc::EIO, IO)]
        {
            fails_once(&fs, kind, setup, failure);
        }
    }
}

/// A flush that fails says so, of a pool as of objects, and the next one that succeeds counts.
#[test]
fn a_flush_that_fails_says_so() {
    let _standin = Alone::new();
    let Some(fs) = mounted("flush") else { return };
    let store = Store::open_at(&KINDS[0].1, &data(&fs, "pool"));
    put_ok(&store, "key", 1, BYTES);
    fs.arm(&Rule::once(Op::FSync, 1, Fault::Errno(libc::EIO)).path("slots-"));
    assert_eq!(store.flush(), IO);
    assert_eq!(fs.struck(), 1);
    fs.disarm();
    put_ok(&store, "key", 2, BYTES);
    assert_eq!(store.flush(), OK);
    assert_eq!(version(&store, "key"), Some(2));
    assert_eq!(store.close(), OK);
}

/// A file that takes so many bytes of a mount.
fn fill(fs: &FaultyFs, bytes: usize) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).custom_flags(libc::O_DIRECT).open(fs.path().join("filler"));
    file.unwrap().write_all_at(&vec![1; bytes], 0).unwrap();
}

/// Space ends in the middle of a ring's writes, and comes back.
#[test]
fn a_full_file_system_is_told_and_overcome() {
    let _standin = Alone::new();
    for (kind, setup) in &KINDS {
        let personality = Personality::Hf3fs(Default::default());
        let options =
            Options { capacity_bytes: 64 << 20, cache_ms: 30_000, personality, ..Options::default() };
        let Some(fs) = FaultyFs::start("full", options) else { return };
        let data = data(&fs, kind);
        let store = Store::open_at(setup, &data);
        put_ok(&store, "before", 1, BYTES);
        fill(&fs, 58 << 20);
        let answers: Vec<_> = (0..12).map(|number| put(&store, &key(number), 1, MIB - 4096)).collect();
        let full = answers.iter().filter(|answer| **answer == NO_SPACE).count();
        assert!(full > 0, "{kind}: {answers:?}");
        assert!(answers.iter().all(|answer| [OK, NO_SPACE].contains(answer)), "{kind}: {answers:?}");
        assert!(answers.contains(&OK), "{kind}: {answers:?}");
        // Objects make room for new ones where space ends, as far as they are seen: here it comes back too late.
        let may_be_gone = !setup.is_static();
        let is_right = |key: &str, wanted: Option<u64>| {
            let seen = version(&store, key);
            assert!(seen == wanted || may_be_gone && seen.is_none(), "{kind}: {key} is {seen:?}");
        };
        for (number, answer) in answers.iter().enumerate() {
            is_right(&key(number), (*answer == OK).then_some(1));
        }
        is_right("before", Some(1));
        fs::remove_file(fs.path().join("filler")).unwrap();
        // The kernel forgets a file a little after it is gone, and then it is collected.
        let put_in_time = |key: &str, version: u64| {
            wait_until("space", || {
                fs.collect_garbage();
                put(&store, key, version, MIB - 4096) == OK
            });
        };
        put_in_time("after", 1);
        (0..12).for_each(|number| put_in_time(&key(number), 2));
        for number in 0..12 {
            is_right(&key(number), Some(2));
        }
        assert_eq!(store.close(), OK);
        let store = Store::open_at(setup, &data);
        assert_eq!(version(&store, &key(11)), Some(2), "{kind}: the one that was put last");
        assert_eq!(store.close(), OK);
    }
}
