//! A static pool has one owner among all hosts. Who comes second is told who has it and, where that is another host, how its lock is
//! cleared when its owner is gone; a lock that this host left behind is no obstacle.

use std::ffi::{CStr, CString};
use std::path::Path;

use crate::common::Store;
use crate::common::status::{OK, message};
use crate::common::{Alone, Setup};
use crate::faulty_fs::{FaultyFs, OTHER_HOST, THIS_HOST};
use crate::user::User;
use crate::world::{KIB, POOL, data, data_there, mounted, put_ok, version, with_another_host};

const LOCK: &CStr = c"hf3fs.lock";
/// The directory of the pool that is locked.
const POOL_DIRECTORY: &str = "nixl_store_pool";

fn path_text(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

/// Who holds the lock of a pool, as 3FS tells it; `None`: nobody.
fn holder(data: &Path) -> Option<String> {
    let path = path_text(&data.join(POOL_DIRECTORY));
    let mut room = [0_u8; 512];
    // SAFETY: NUL-terminated strings, and room with its size.
    let got = unsafe { libc::getxattr(path.as_ptr(), LOCK.as_ptr(), room.as_mut_ptr().cast(), room.len()) };
    (got >= 0).then(|| String::from_utf8_lossy(&room[..got as usize]).into_owned())
}

/// What `setfattr -n hf3fs.lock -v clear` does.
fn clear(data: &Path) {
    let path = path_text(&data.join(POOL_DIRECTORY));
    // SAFETY: NUL-terminated strings, and a value with its size.
    let done = unsafe { libc::setxattr(path.as_ptr(), LOCK.as_ptr(), c"clear".as_ptr().cast(), 5, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[track_caller]
fn holds(why: &str, words: &[&str]) {
    for word in words {
        assert!(why.contains(word), "'{word}' is not in: {why}");
    }
}

/// As on any file system, by the lock of a file; and the next owner has what a killed one put.
#[test]
fn a_second_process_of_this_host_is_refused() {
    is_refused(|_| "in use by".to_owned());
}

/// By its number, for who has to find it.
#[test]
fn a_second_process_of_this_host_is_told_the_first() {
    is_refused(|first| format!("process {first}"));
}

#[track_caller]
fn is_refused(words: impl FnOnce(u32) -> String) {
    let Some(fs) = mounted("second") else { return };
    let data = data(&fs, "pool");
    let mut first = User::of("pool", &data);
    first.put("pool", "key", 1, 10 * KIB);
    let words = words(first.0.id());
    let mut second = User::start();
    let why = second.try_open("pool", "pool", &data).expect_err("it has an owner");
    holds(&why, &["LOCKED", &words]);
    // Killed, it has nothing any more, and what it put is there.
    first.kill();
    second.open("pool", "pool", &data);
    assert_eq!(second.version("pool", "key"), Some(1));
    second.tell("close pool");
    second.finish();
}

/// The lock of the directory outlives its owner, and only a person can know that it is gone.
#[test]
fn another_hosts_pool_is_refused_until_its_lock_is_cleared() {
    let _standin = Alone::new();
    let Some(fs) = with_another_host("foreign", 0) else { return };
    let mut there = User::of("pool", &data_there(&fs, "pool"));
    there.put("pool", "key", 1, 10 * KIB);
    let here = data(&fs, "pool");
    for is_alive in [true, false] {
        let (status, why) = Store::try_open_at(&POOL, &here).err().expect("another host has it");
        let directory = here.join(POOL_DIRECTORY);
        let command = format!("setfattr -n hf3fs.lock -v clear '{}'", directory.display());
        holds(&format!("{status:?} {why}"), &["LOCKED", "elsewhere", &command]);
        if is_alive {
            assert_eq!(there.version("pool", "key"), Some(1), "nobody disturbed it");
            there.0.strike_and_wait();
        }
    }
    clear(&here);
    let store = Store::open_at(&POOL, &here);
    assert_eq!(version(&store, "key"), Some(1));
    assert!(holder(&here).is_some_and(|holder| holder.contains(&fs.client(THIS_HOST))));
    assert_eq!(store.close(), OK, "{}", message());
    assert_eq!(holder(&here), None);
}

/// A pool goes from host to host by clean closes, with all that is in it.
#[test]
fn a_close_lets_other_hosts_in() {
    let Some(fs) = with_another_host("released", 0) else { return };
    let mut key = 0;
    for _ in 0..2 {
        for (host, data) in [(THIS_HOST, data(&fs, "pool")), (OTHER_HOST, data_there(&fs, "pool"))] {
            let mut user = User::of("pool", &data);
            assert!(holder(&data).is_some_and(|holder| holder.contains(&fs.client(host))));
            for earlier in 0..key {
                assert_eq!(user.version("pool", &format!("key{earlier}")), Some(earlier + 1));
            }
            user.put("pool", &format!("key{key}"), key + 1, 300 * KIB);
            key += 1;
            user.tell("close pool");
            assert_eq!(holder(&data), None);
            user.finish();
        }
    }
}

fn left_by_a_restart(fs: &FaultyFs, setup: &Setup) {
    let data = data(fs, "pool");
    let mut user = User::of("pool", &data);
    user.put("pool", "key", 1, 10 * KIB);
    let before = fs.client(THIS_HOST);
    user.kill();
    let after = fs.restart_client(THIS_HOST);
    assert!(holder(&data).is_some_and(|holder| holder.contains(&before)));
    let store = Store::open_at(setup, &data);
    assert!(holder(&data).is_some_and(|holder| holder.contains(&after)));
    assert_eq!(store.logged("is taken over"), 1, "{:?}", store.log());
    assert_eq!(version(&store, "key"), Some(1));
    put_ok(&store, "key", 2, 20 * KIB);
    assert_eq!(store.close(), OK);
    assert_eq!(holder(&data), None);
}

/// The daemon has a new identity after each start, and knows nothing of the locks of the one before.
#[test]
fn a_lock_that_this_host_left_is_taken_over() {
    let _standin = Alone::new();
    let Some(fs) = mounted("taken over") else { return };
    left_by_a_restart(&fs, &POOL);
}

/// Killed without a restart in between: the lock is this daemon's already.
#[test]
fn a_lock_of_this_daemon_is_no_obstacle() {
    let _standin = Alone::new();
    let Some(fs) = mounted("kept") else { return };
    let data = data(&fs, "pool");
    let mut user = User::of("pool", &data);
    user.put("pool", "key", 1, 10 * KIB);
    user.kill();
    let store = Store::open_at(&POOL, &data);
    assert_eq!(store.logged("is taken over"), 0);
    assert_eq!(version(&store, "key"), Some(1));
    assert_eq!(store.close(), OK);
    assert_eq!(holder(&data), None);
}
