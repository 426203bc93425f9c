//! What a pool believes of its slots after a crash: holes are slots that were never written, and a write that the daemon carries out
//! after its client was killed, up to a minute later, is never taken for an object.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::common::status::OK;
use crate::common::{Alone, Scratch, Store};
use crate::faulty_fs::{FaultyFs, RING_THREAD};
use crate::user::{PAYLOAD_TRANSFERS, Stage, User};
use crate::world::{KIB, MIB, POOL, data, mounted, put_ok, version};

/// Words of a log in which something is wrong with a slot.
const COMPLAINTS: [&str; 4] = ["hold no record", "could not be read", "cannot be erased", "damage"];

#[track_caller]
fn is_without_complaint(log: &str) {
    for word in COMPLAINTS {
        assert!(!log.contains(word), "'{word}' in: {log}");
    }
}

/// A pool has its size and no bytes at first. What was never written is no damage, wherever the owner was killed.
#[test]
fn slots_that_were_never_written_are_empty() {
    let _standin = Alone::new();
    for puts in [0, 1, 5] {
        let Some(fs) = mounted("sparse") else { return };
        let data = data(&fs, "pool");
        let mut user = User::of("pool", &data);
        for number in 0..puts {
            user.put("pool", &format!("key{number}"), 1, 300 * KIB);
        }
        is_without_complaint(&user.log("pool"));
        user.kill();
        let store = Store::open_at(&POOL, &data);
        is_without_complaint(&store.log().join("; "));
        let stats = store.stats();
        assert_eq!((stats.keys, stats.corruptions, stats.quarantined_slots), (puts, 0, 0));
        for number in 0..puts {
            assert_eq!(version(&store, &format!("key{number}")), Some(1));
        }
        // Every slot is of use.
        for number in 0..u64::from(POOL.slots) {
            put_ok(&store, &format!("key{number}"), 2, MIB - 512);
        }
        assert_eq!(store.stats().keys, u64::from(POOL.slots));
        assert_eq!(store.close(), OK);
    }
}

/// A write that the daemon had and had not carried out when its client was killed.
struct Late {
    file: String,
    offset: u64,
    bytes: Vec<u8>,
}

/// The journal of the stand-in: records of a head of four numbers, the name of the file, the bytes. The last may be cut off.
fn journal(path: &Path) -> Vec<Late> {
    let all = fs::read(path).unwrap();
    let mut rest = &all[..];
    let mut writes = Vec::new();
    while let Some((head, behind)) = rest.split_at_checked(32) {
        let number = |at: usize| u64::from_le_bytes(head[at * 8..][..8].try_into().unwrap());
        let (name_bytes, offset, bytes) = (number(1) as usize, number(2), number(3) as usize);
        let Some((name, behind)) = behind.split_at_checked(name_bytes) else { break };
        let Some((bytes, behind)) = behind.split_at_checked(bytes) else { break };
        let file = String::from_utf8(name.to_vec()).unwrap();
        writes.push(Late { file, offset, bytes: bytes.to_vec() });
        rest = behind;
    }
    writes
}

/// Carries writes out, as a ring does. Names are those below the root of the mount.
fn play(root: &Path, puts: &[Vec<Late>]) {
    let write = |late: &Late| {
        let path = root.join(late.file.trim_start_matches('/'));
        let file = fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path).unwrap();
        file.write_all_at(&late.bytes, late.offset).unwrap();
    };
    std::thread::scope(|scope| {
        let ring = || {
            let name = CString::new(RING_THREAD).unwrap();
            // SAFETY: a NUL-terminated name of at most 15 letters.
            unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
            puts.iter().flatten().for_each(write);
        };
        scope.spawn(ring).join().unwrap();
    });
}

/// When the late writes come.
#[derive(Clone, Copy, Debug)]
enum When {
    /// While the next owner has the pool.
    WhileItIsUsed,
    /// After that was killed too.
    BetweenOwners,
    /// After that closed in good order.
    AfterAClose,
}

/// The first owner's version of each key, and the next one's.
const FIRST: u64 = 1;
const LATE: u64 = 2;
const NEXT: u64 = 3;
const KEYS: usize = 6;
/// Of new and of old keys each: as many as the staging buffer lets begin.
const UNDER_WAY: usize = 3;
const BYTES: usize = 200_000;

fn key(kind: &str, number: usize) -> String {
    format!("{kind}{number}")
}

/// A pool whose owner was killed with puts under way, and what the daemon still has of each of those.
fn killed_with_work(fs: &FaultyFs, stage: Stage, path: &Path) -> (PathBuf, Vec<Vec<Late>>) {
    let data = data(fs, "pool");
    let mut first = User::of("pool", &data);
    for number in 0..KEYS {
        for kind in ["old", "kept"] {
            first.put("pool", &key(kind, number), FIRST, BYTES);
        }
    }
    first.tell("hold true");
    first.tell(&format!("journal {}", path.display()));
    for prefix in ["new", "old"] {
        first.begin_puts_up_to(stage, "pool", prefix, UNDER_WAY, (LATE, BYTES));
    }
    first.kill();
    let mut all = journal(path);
    // The payload before an end was carried out.
    let (transfers, done) = match stage {
        Stage::Payload => (PAYLOAD_TRANSFERS, 0),
        Stage::End => (PAYLOAD_TRANSFERS + 1, PAYLOAD_TRANSFERS),
    };
    assert_eq!(all.len(), 2 * UNDER_WAY * transfers);
    let mut late = Vec::new();
    while !all.is_empty() {
        late.push(all.drain(..transfers).skip(done).collect());
    }
    (data, late)
}

/// What a store may tell of a key: a version whose put has ended, or nothing.
#[track_caller]
fn tells(store: &mut User, kind: &str, versions: &[u64], of: &dyn std::fmt::Debug) {
    for number in 0..KEYS {
        let key = key(kind, number);
        let seen = store.version("pool", &key);
        assert!(seen.is_none_or(|seen| versions.contains(&seen)), "{of:?}: {key} is {seen:?}");
    }
}

/// The first `count` of the late writes land, and every owner from then on tells the truth.
fn land(when: When, stage: Stage, count: usize) {
    let Some(fs) = mounted("late") else { return };
    let scratch = Scratch::new("hf3fs-late");
    let (data, late) = killed_with_work(&fs, stage, &scratch.path().join("journal"));
    let writes = &late[..count];
    let of = (when, stage, count);
    let mut next = User::of("pool", &data);
    for kind in ["old", "kept"] {
        for number in 0..KEYS {
            assert_eq!(next.version("pool", &key(kind, number)), Some(FIRST), "{of:?}: {kind}{number}");
        }
    }
    tells(&mut next, "new", &[], &of);
    // Into some of the slots that the first one was writing to, and not into all.
    for number in 0..KEYS / 2 {
        next.put("pool", &key("old", number), NEXT, BYTES);
        next.put("pool", &key("next", number), NEXT, BYTES);
    }
    let versions: [(&str, &[u64]); 4] =
        [("new", &[]), ("old", &[FIRST, NEXT]), ("kept", &[FIRST]), ("next", &[NEXT])];
    match when {
        When::WhileItIsUsed => {
            play(&fs.path(), writes);
            // What is looked at is found out and erased; the rest is left to the scan.
            for (kind, versions) in &versions[..3] {
                tells(&mut next, kind, versions, &of);
            }
            next.kill();
        }
        When::BetweenOwners => {
            next.kill();
            play(&fs.path(), writes);
        }
        When::AfterAClose => {
            next.tell("close pool");
            next.finish();
            play(&fs.path(), writes);
        }
    }
    // By a scan, or what was closed by its snapshot; then by a scan in any case.
    for _ in 0..2 {
        let mut user = User::of("pool", &data);
        for (kind, versions) in versions {
            tells(&mut user, kind, versions, &of);
        }
        user.put("pool", "more", NEXT, BYTES);
        assert_eq!(user.version("pool", "more"), Some(NEXT));
        user.kill();
    }
}

fn lands(when: When) {
    for stage in [Stage::Payload, Stage::End] {
        for count in [1, 2, UNDER_WAY, 2 * UNDER_WAY - 1, 2 * UNDER_WAY] {
            land(when, stage, count);
        }
    }
}

#[test]
fn a_late_write_is_not_believed_by_those_who_use_the_pool() {
    lands(When::WhileItIsUsed);
}

#[test]
fn a_late_write_is_not_believed_by_a_scan() {
    lands(When::BetweenOwners);
}

#[test]
fn a_late_write_after_a_close_is_not_believed() {
    lands(When::AfterAClose);
}
