//! Nothing is left of a process that is killed, whatever it had open and under way: no link below `3fs-virt/iovs`, which the daemon
//! would keep for ever, and no memory in `/dev/shm`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::faulty_fs::FaultyFs;
use crate::user::User;
use crate::world::{MIB, data, mounted, wait_until};

/// Links of the daemon's own.
const SEMAPHORES: usize = 3;

/// The links below `3fs-virt/iovs`, and where they lead. A listing's end takes the links of its thread along, so no new thread does
/// this, which may have the number of one that is gone.
fn links(fs: &FaultyFs) -> Vec<(String, PathBuf)> {
    let iovs = fs.path().join("3fs-virt/iovs");
    let names = fs::read_dir(&iovs).unwrap().map(|entry| entry.unwrap().file_name());
    // Some may be gone by now.
    let read = |name: std::ffi::OsString| {
        let target = fs::read_link(iovs.join(&name)).ok()?;
        Some((name.to_string_lossy().into_owned(), target))
    };
    names.filter_map(read).collect()
}

fn is_of_a_client(target: &Path) -> bool {
    target.to_str().is_some_and(|target| target.starts_with("/dev/shm/hf3fs-iov-"))
}

/// What a process shares with the daemon.
fn shared(fs: &FaultyFs) -> BTreeSet<PathBuf> {
    links(fs).into_iter().map(|(_, target)| target).filter(|target| is_of_a_client(target)).collect()
}

/// A process does something, is killed, and nothing is left of it.
#[track_caller]
fn is_killed(name: &str, live: impl FnOnce(&mut User, &FaultyFs)) {
    let Some(fs) = mounted(name) else { return };
    let mut user = User::start();
    live(&mut user, &fs);
    let shared = shared(&fs);
    assert!(!shared.is_empty());
    user.0.strike_and_wait();
    wait_until("the end of its links", || links(&fs).len() == SEMAPHORES);
    for memory in shared {
        assert!(!memory.exists(), "{} is left", memory.display());
    }
    // Its children have their input from here.
    drop(user);
}

/// With transfers under way.
#[test]
fn nothing_is_left_of_a_process_that_is_killed() {
    for kind in ["pool", "sharded"] {
        is_killed("killed", |user, fs| {
            user.open("store", kind, &data(fs, kind));
            user.put("store", "key", 1, MIB);
            user.tell("hold true");
            user.begin_puts("store", "late", 8, 1, MIB);
        });
    }
}

/// Each store has a thread that makes its links, and goes with what that holds open.
#[test]
fn nothing_is_left_of_several_stores() {
    is_killed("several", |user, fs| {
        for kind in ["pool", "sharded", "lmcache"] {
            user.open(kind, kind, &data(fs, kind));
            user.put(kind, "key", 1, MIB);
        }
        user.tell("hold true");
        user.begin_puts("sharded", "late", 8, 1, MIB);
    });
}

/// 3FS's library goes by the thread that first made something, which is not there any more.
#[test]
fn nothing_is_left_of_a_store_after_the_first_was_closed() {
    is_killed("closed", |user, fs| {
        user.open("first", "pool", &data(fs, "pool"));
        user.put("first", "key", 1, MIB);
        user.tell("close first");
        assert_eq!(links(fs).len(), SEMAPHORES, "after a close");
        user.open("second", "sharded", &data(fs, "sharded"));
        user.open("third", "pool", &data(fs, "pool"));
        assert_eq!(user.version("third", "key"), Some(1));
        user.tell("hold true");
        user.begin_puts("third", "late", 8, 1, MIB);
    });
}

/// What a process executes may outlive it, and has nothing of a store's in its hands. (3FS's library does hand something on.)
#[test]
fn a_child_that_lives_on_keeps_nothing() {
    is_killed("child", |user, fs| {
        user.open("first", "sharded", &data(fs, "sharded"));
        user.open("second", "pool", &data(fs, "pool"));
        user.put("second", "key", 1, MIB);
        user.tell("hold true");
        user.begin_puts("second", "late", 8, 1, MIB);
        user.tell("child");
    });
}

/// A process that goes on shares no more than it did, however many stores it had.
#[test]
fn a_close_takes_all_links_back() {
    let Some(fs) = mounted("closes") else { return };
    let mut user = User::start();
    for kind in ["pool", "sharded", "pool", "lmcache"] {
        user.open(kind, kind, &data(&fs, kind));
        user.put(kind, "key", 1, MIB);
        assert!(links(&fs).len() > SEMAPHORES);
        user.tell(&format!("close {kind}"));
        assert_eq!(links(&fs).len(), SEMAPHORES, "{kind}");
    }
    user.finish();
}
