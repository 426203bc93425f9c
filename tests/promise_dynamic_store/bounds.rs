//! Descriptors, lengths and memory that run out, and lengths that are found on storage.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nixl_store::capi::*;

use crate::crash_common::api::{Direction, Item, Store, Submit};
use crate::crash_common::config::Settings;
use crate::crash_common::helper::{Helper, Peer};
use crate::crash_common::sandbox;
use crate::crash_common::{Scratch, chunk, exhaust_descriptors, hf3fs};
use crate::{is_sharded, layouts, object_files, put, version};

/// Runs a role in a directory of its own; it says how that went.
fn run(role: &str) -> String {
    let scratch = Scratch::new(role);
    let mut helper = Helper::start(role);
    let answer = helper.ask(&scratch.path().display().to_string());
    helper.finish();
    answer
}

fn put_item(key: &str, length: usize) -> Item {
    Item::new(key, chunk::fill(key, 1, length))
}

/// Puts while the process has 0, 1, 2, ... descriptors left.
pub fn one_descriptor(peer: &mut Peer) {
    const FREE_MAX: usize = 6;
    let root = PathBuf::from(peer.line().expect("a directory"));
    sandbox::enter("descriptors=128");
    for settings in layouts(&root) {
        let settings = settings.with("nixl_store_timeout_ms", 5000);
        let store = Store::open(&settings.write(&root.join("lmcache.yaml"))).unwrap();
        let mut least = None;
        for free in 0..=FREE_MAX {
            let taken = exhaust_descriptors(free);
            let key = format!("key-{free}");
            let (status, results) =
                store.submit(Direction::Put, vec![put_item(&key, 70_000)], Submit::default()).unwrap().wait();
            let alone = store.put(&format!("alone-{free}"), &chunk::fill("alone", 1, 5000));
            drop(taken);
            if status == NIXL_STORE_OK {
                least.get_or_insert(free);
                assert_eq!(alone, Ok(()), "{free} descriptors");
                assert_eq!(version(&store, &key), Some(1));
            } else {
                assert_eq!(results[0].1.os_error, libc::EMFILE, "{free} descriptors: {status}");
                assert_eq!(alone.unwrap_err().status, NIXL_STORE_ERROR_IO, "{free} descriptors");
                assert_eq!(version(&store, &key), None);
                assert_eq!(least, None, "more descriptors are not worse");
            }
        }
        // A client of 3FS has a second one for each file.
        let most = if hf3fs::is_once_more() { 3 } else { 2 };
        assert!(least.is_some_and(|least| least <= most), "a put took {least:?} descriptors");
        let areas = std::fs::read_dir(settings.paths[0].join(".nixl_store+tmp")).unwrap();
        let left: Vec<_> = areas
            .flat_map(|area| std::fs::read_dir(area.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "lock")
            .collect();
        assert!(left.is_empty(), "{left:?}");
        store.close().unwrap();
    }
    peer.say("done");
}

/// The last descriptors of a process are gone. A put takes what it needs to publish before it writes, so it succeeds or
/// fails at once, naming the reason, and is not written again and again until its deadline.
#[test]
fn a_put_without_descriptors_fails_at_once() {
    assert_eq!(run("one-descriptor"), "done");
}

/// Puts under a limit on the length of files, in which the first write beyond it ends the process.
pub fn small_files(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().expect("a directory"));
    let open: Vec<_> = layouts(&root)
        .into_iter()
        .flat_map(|settings| [settings.clone().direct(), settings])
        .map(|settings| Store::open(&settings.write(&root.join("lmcache.yaml"))).unwrap())
        .collect();
    sandbox::enter("file-size=1048576");
    let refused = |store: &Store, key: &str| {
        let failure = store.put(key, &chunk::fill(key, 1, 1 << 20)).expect_err("longer with its trailer");
        assert_eq!(failure.status, NIXL_STORE_ERROR_TOO_LARGE, "{failure}");
        assert!(failure.message.contains("RLIMIT_FSIZE") && failure.message.contains("1048576"), "{failure}");
        let items = vec![put_item("a", 2 << 20), put_item("b", 1000)];
        let (_, results) = store.submit(Direction::Put, items, Submit::default()).unwrap().wait();
        let statuses: Vec<_> = results.iter().map(|(_, result)| result.status).collect();
        assert_eq!(statuses, [NIXL_STORE_ERROR_TOO_LARGE, NIXL_STORE_OK]);
        put(store, key, 2, 1_000_000);
        assert_eq!(version(store, key), Some(2));
        store.flush().unwrap();
    };
    open.iter().for_each(|store| refused(store, "key"));
    drop(open);
    // A store that can put nothing is opened all the same, and serves what is there.
    let direct = layouts(&root).map(Settings::direct);
    let configs: Vec<_> =
        (0..).zip(&direct).map(|(at, one)| one.write(&root.join(format!("{at}.yaml")))).collect();
    sandbox::enter("file-size=1000");
    for config in configs {
        let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(version(&store, "key"), Some(2));
        let failure = store.put("key", &chunk::fill("key", 3, 16)).expect_err("nothing fits");
        assert_eq!(failure.status, NIXL_STORE_ERROR_TOO_LARGE, "{failure}");
    }
    peer.say("done");
}

/// An engine runs under `ulimit -f`. The signal that the kernel sends for a longer file would end it, on its own thread;
/// it gets a status that names the limit instead.
#[test]
fn a_limit_on_file_sizes_does_not_kill() {
    assert_eq!(run("small-files"), "done");
}

/// Bytes of the trailer behind a payload of whole pages, as docs/FORMAT.md has it.
fn trailer_bytes(padded: u64) -> u64 {
    (1792 + 8 * padded.div_ceil(65536)).next_multiple_of(4096)
}

/// The longest length of a record that the file system takes, made that of a file.
fn stretch(path: &Path) -> u64 {
    let file = File::options().write(true).open(path).unwrap();
    let lengths = (8..16).rev().map(|tebibytes| (tebibytes << 40) - (1 << 20));
    let mut lengths = lengths.map(|padded| padded + trailer_bytes(padded));
    lengths.find(|&length| file.set_len(length).is_ok()).expect("a file system with long files")
}

/// Meets sparse files of terabytes with little memory left.
pub fn long_files(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().expect("a directory"));
    let [sharded, lmcache] = layouts(&root);
    let serving = lmcache.clone().with("nixl_store_serve_unverified", true);
    let capped = sharded.clone().with("nixl_store_capacity_bytes", 100 << 20);
    let direct = sharded.clone().direct();
    for settings in [sharded, direct, capped, lmcache, serving.clone()] {
        let config = settings.write(&root.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        put(&store, "other", 1, 5000);
        let before = object_files(&settings.paths[0]);
        put(&store, "key", 1, 5000);
        let after = object_files(&settings.paths[0]);
        let path = after.iter().find(|path| !before.contains(path)).expect("a new file");
        let length = stretch(path);
        peer.say(&format!("{length} bytes, {}", is_sharded(&settings)));
        let memory = peer.line();
        assert_eq!(memory.as_deref(), Some("go on"));
        let serves = settings.extra == serving.extra;

        let look = |store: &Store| {
            let found = store.length("key").unwrap();
            assert_eq!(found, serves.then_some(length), "another program's file has the length that it has");
            assert!(store.contains("other").unwrap());
            assert_eq!(version(store, "other"), Some(1));
        };
        look(&store);
        store.close().unwrap();
        let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
        look(&store);
        put(&store, "third", 1, 5000);
        assert_eq!(version(&store, "other"), Some(1), "a length that is none evicts nobody");
        let got = store.get("key", 1 << 20);
        if serves {
            assert_eq!(got.unwrap_err().status, NIXL_STORE_ERROR_BUFFER_TOO_SMALL);
        } else {
            assert_eq!(got.unwrap(), None);
        }
        let corruptions = store.stats().unwrap().corruptions;
        assert_eq!((corruptions, path.exists()), if is_sharded(&settings) { (1, false) } else { (0, true) });
        put(&store, "key", 2, 5000);
        assert_eq!(version(&store, "key"), Some(2));
        assert_eq!(store.clear().unwrap(), 3);
        store.close().unwrap();
    }
    peer.say("done");
}

/// A sparse file of terabytes in an object's place costs nothing to make. Its length is no reason to take memory: not
/// at open, not for a question, not for a get. The process may take 256 MiB more than a store with an ordinary file.
#[test]
fn an_impossible_length_takes_no_memory() {
    let scratch = Scratch::new("long_files");
    let mut helper = Helper::start("long-files");
    helper.tell(&scratch.path().display().to_string());
    let mut limited = false;
    loop {
        let line = helper.line().expect("the helper lives");
        if line == "done" {
            break;
        }
        if !limited {
            // From outside, once it has all that a store takes.
            limit_memory(helper.id(), Some(256 << 20));
            limited = true;
        }
        helper.tell("go on");
    }
    helper.finish();
}

/// Address space of another process in bytes.
fn mapped_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Limits another process to so much more address space than it has, or lifts that limit.
fn limit_memory(process: u32, further_bytes: Option<u64>) {
    let bytes = further_bytes.map_or(libc::RLIM_INFINITY, |further| mapped_bytes(process) + further);
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: one struct that lives during the call, and none to be filled.
    let answer =
        unsafe { libc::prlimit(process as i32, libc::RLIMIT_AS, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

/// The same with a trailer's first page where one should be, as somebody would write who wants the memory taken.
#[test]
fn a_forged_length_takes_no_more_memory_than_the_largest_object() {
    let scratch = Scratch::new("forged_length");
    for settings in layouts(scratch.path()) {
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        // The largest object that is believed, and the next record.
        for padded in [16u64 << 30, (16 << 30) + 4096] {
            put(&store, "key", 1, 5000);
            let path = object_files(&settings.paths[0]).pop().unwrap();
            let trailer = trailer_bytes(padded);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(padded + trailer).unwrap();
            let mut head = b"NXLSREC1".to_vec();
            head.extend_from_slice(&[0; 8]);
            head.extend_from_slice(&1u32.to_le_bytes());
            head.extend_from_slice(&(trailer as u32).to_le_bytes());
            file.write_all_at(&head, padded).unwrap();
            assert_eq!(store.length("key").unwrap(), None);
            assert_eq!(store.get("key", 1 << 20).unwrap(), None);
            drop(std::fs::remove_file(&path));
        }
        assert_eq!(store.stats().unwrap().corruptions, if is_sharded(&settings) { 2 } else { 1 });
    }
}

/// LMCache is writing a chunk, or died while it did: its file is there and shorter than a chunk. It is served where the
/// configuration does not say how long a chunk is, and not where it does.
#[test]
fn an_unfinished_file_is_not_served_where_its_length_is_known() {
    const CHUNK_BYTES: usize = 300_000;
    let scratch = Scratch::new("unfinished");
    let [_, lmcache] = layouts(scratch.path());
    let trusting = lmcache.with("nixl_store_serve_unverified", true);
    let knowing = trusting.clone().with("nixl_store_unverified_bytes", CHUNK_BYTES);
    std::fs::create_dir_all(&knowing.paths[0]).unwrap();
    // 69632 is the length of a record.
    let lengths = [1, 4096, 69_632, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1];
    for length in lengths {
        let bytes = vec![length as u8; length];
        std::fs::write(knowing.paths[0].join(format!("key-{length}")), bytes).unwrap();
    }
    for (settings, knows) in [(trusting, false), (knowing, true)] {
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        for length in lengths {
            let (key, served) = (format!("key-{length}"), !knows || length == CHUNK_BYTES);
            let wanted = served.then(|| vec![length as u8; length]);
            assert_eq!(store.get(&key, 1 << 20).unwrap(), wanted, "{key}, {knows}");
            assert_eq!(store.contains(&key).unwrap(), served, "{key}, {knows}");
            assert_eq!(store.length(&key).unwrap(), served.then_some(length as u64), "{key}, {knows}");
        }
        // What the store itself put is proven, whatever its length.
        put(&store, "ours", 1, 5000);
        assert_eq!((version(&store, "ours"), store.contains("ours")), (Some(1), Ok(true)));
        store.close().unwrap();
    }
    let left = std::fs::read_dir(scratch.join("lmcache")).unwrap();
    let kept = left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("key-"));
    assert_eq!(kept.count(), lengths.len(), "another program's files are not the store's to remove");
}
