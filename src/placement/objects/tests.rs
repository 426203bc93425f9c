//! A dynamic store below the lanes: what it does when the list of what is not flushed overflows, when others' objects are
//! looked for, and when memory is short.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::unflushed::Unflushed;
use super::*;
use crate::backend;
use crate::config::Source;
use crate::layout::record::{self, EffectiveKey, Identity};
use crate::log::Level;
use crate::memory::bytes::checksum_bytes;
use crate::placement::{Keys, PutPlace, Sink};
use crate::sys::habits::Habits;

/// Names the directory of a helper process.
const DIRECTORY: &str = "NIXL_STORE_TEST_DIRECTORY";

struct TestDir(PathBuf);

impl TestDir {
    fn new() -> TestDir {
        let number = crate::sys::random_u128().unwrap();
        let path = std::env::temp_dir().join(format!("nixl_store_objects_{number:032x}"));
        std::fs::create_dir(&path).unwrap();
        TestDir(path)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(path: &Path, extra: &str) -> Config {
    let file = path.join("lmcache.yaml");
    let text = format!(
        "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: POSIX\n  nixl_pool_size: 0\n  nixl_path: {}\n{extra}",
        path.display()
    );
    std::fs::write(&file, text).unwrap();
    Config::load(Source::File(&file), &|_| None).unwrap()
}

fn open_as(path: &Path, config: &Config) -> Result<Objects> {
    let logger = Logger::to_stderr(Some(Level::Warn));
    let backend = Arc::from(backend::open(config, backend::Worker::default(), &logger)?);
    Objects::open(&path.join("data"), config, 0, &backend, &logger)
}

fn open(path: &Path, extra: &str) -> Result<Objects> {
    open_as(path, &config(path, extra))
}

fn put(objects: &Objects, name: &str, payload: &[u8]) {
    let effective = EffectiveKey::new(b"", name.as_bytes()).unwrap();
    let key = Key { effective: effective.bytes(), digest: effective.digest() };
    let Ok(PutPlace::Ready(Sink { extent, generation, claim, .. })) =
        objects.begin_writing(&key, payload.len() as u64, false)
    else {
        panic!("no room for {name}");
    };
    let identity = Identity {
        pool_id: extent.pool_id,
        slot: extent.slot,
        generation,
        payload_bytes: payload.len() as u64,
        key: key.effective,
    };
    let sums: Vec<u64> = payload.chunks(record::CHECKSUM_BLOCK_BYTES).map(checksum_bytes).collect();
    let mut trailer = vec![0; extent.trailer_bytes as usize];
    record::encode(&mut trailer, &identity, &sums).unwrap();
    claim.temporary.file().write_all_at(payload, 0).unwrap();
    claim.temporary.file().write_all_at(&trailer, extent.padded_bytes).unwrap();
    objects.commit(claim).unwrap();
}

fn file_of(path: &Path, name: &str) -> PathBuf {
    let digest = EffectiveKey::new(b"", name.as_bytes()).unwrap().digest();
    path.join(format!("data/nixl_store_objects/{:02x}/{digest:032x}", (digest >> 120) as u8))
}

fn names() -> impl Iterator<Item = String> {
    (0..10).map(|number| format!("key-{number}"))
}

/// More is put than is remembered one by one. A flush goes through all files then; and if the file system said that bytes
/// were lost, and not whose, it copies each of them. Only then is nothing left to do.
#[test]
fn a_flush_of_more_than_is_remembered_covers_every_file() {
    let dir = TestDir::new();
    let mut objects = open(&dir.0, "").unwrap();
    objects.files.sync_each_file();
    objects.unflushed = Unflushed::with_pending_max(4);
    let payload = |name: &str| name.as_bytes().repeat(20_000);
    names().for_each(|name| put(&objects, &name, &payload(&name)));
    let inodes = || names().map(|name| std::fs::metadata(file_of(&dir.0, &name)).unwrap().ino()).collect();
    let before: Vec<u64> = inodes();
    objects.flush().unwrap();
    let work = objects.unflushed.work().unwrap();
    assert!(!work.everything && work.pending.is_empty());
    assert_eq!(before, inodes(), "nothing was suspect");

    names().for_each(|name| put(&objects, &name, &payload(&name)));
    let before: Vec<u64> = inodes();
    // As long as they are open, no copy gets their numbers.
    let _held: Vec<_> = names().map(|name| std::fs::File::open(file_of(&dir.0, &name)).unwrap()).collect();
    objects.unflushed.all_failed();
    objects.flush().unwrap();
    let work = objects.unflushed.work().unwrap();
    assert!(!work.everything && !work.everything_suspect && work.pending.is_empty());
    let after: Vec<u64> = inodes();
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    for name in names() {
        let bytes = std::fs::read(file_of(&dir.0, &name)).unwrap();
        assert_eq!(bytes[..payload(&name).len()], payload(&name));
    }
    assert_eq!((objects.gauges().files_damaged, objects.gauges().keys), (0, 10));
}

/// A suspect object is put anew by somebody while its copy is being made, or is removed: the copy must not hide the newer
/// one, nor bring back the removed one.
#[test]
fn a_copy_does_not_take_the_place_of_a_newer_object() {
    let dir = TestDir::new();
    let objects = open(&dir.0, "").unwrap();
    put(&objects, "key", &[1; 5000]);
    let name = ObjectName::sharded(EffectiveKey::new(b"", b"key").unwrap().digest());
    let copy = |bytes: &[u8]| {
        let copy = objects.files.create_temporary(&name, bytes.len() as u64).unwrap();
        copy.file().write_all_at(bytes, 0).unwrap();
        copy
    };
    let read = || std::fs::read(file_of(&dir.0, "key")).ok();
    let (old, _) = objects.files.open_read(&name).unwrap().unwrap();
    objects.files.replace(copy(b"the same"), &old).unwrap();
    assert_eq!(read().unwrap(), b"the same");
    // Not the file that was looked at.
    objects.files.replace(copy(b"older"), &old).unwrap();
    assert_eq!(read().unwrap(), b"the same");
    let (old, _) = objects.files.open_read(&name).unwrap().unwrap();
    put(&objects, "key", &[2; 5000]);
    objects.files.replace(copy(b"older"), &old).unwrap();
    assert_eq!(read().unwrap()[..5000], [2; 5000]);
    objects.files.remove(&name).unwrap();
    objects.files.replace(copy(b"older"), &old).unwrap();
    assert_eq!(read(), None);
    let areas: Vec<_> = std::fs::read_dir(dir.0.join("data/.nixl_store+tmp")).unwrap().collect();
    let left = std::fs::read_dir(areas[0].as_ref().unwrap().path()).unwrap().count();
    assert_eq!(left, 1, "nothing but the lock");
}

/// A put whose file cannot be synced, where others learn its length by that, fails as a whole: nothing is stored, nothing is
/// counted, and what was there before is.
#[test]
fn a_put_that_cannot_be_synced_leaves_nothing_behind() {
    let dir = TestDir::new();
    let mut objects = open(&dir.0, "  nixl_store_capacity_bytes: 1MiB\n").unwrap();
    objects.files.set_habits(Habits { length_needs_sync: true, ..Habits::default() });
    put(&objects, "old", &[1; 5000]);
    let (before, stored) = (objects.gauges(), std::fs::read(file_of(&dir.0, "old")).unwrap());
    for name in ["old", "new"] {
        let effective = EffectiveKey::new(b"", name.as_bytes()).unwrap();
        let key = Key { effective: effective.bytes(), digest: effective.digest() };
        let Ok(PutPlace::Ready(Sink { mut claim, .. })) = objects.begin_writing(&key, 5000, false) else {
            panic!("no room")
        };
        // A pipe, which cannot be synced, in its place.
        let (pipe, _) = std::io::pipe().unwrap();
        claim.temporary.set_file(File::from(std::os::fd::OwnedFd::from(pipe)));
        let error = objects.commit(claim).unwrap_err();
        assert!(error.os_error() == libc::EINVAL && error.message().contains("publishing"), "{error}");
        assert_eq!((objects.gauges().keys, objects.gauges().bytes), (before.keys, before.bytes));
    }
    assert_eq!(std::fs::read(file_of(&dir.0, "old")).unwrap(), stored);
    assert!(!file_of(&dir.0, "new").exists());
    // Nor is anything left that would fail a flush.
    objects.files.set_habits(Habits::default());
    objects.flush().unwrap();
}

/// A put that finds a scan due is told so, and only one: the next is due when that has ended and some time went by. The
/// scan finds what another process put.
#[test]
fn one_scan_is_due_at_a_time() {
    let dir = TestDir::new();
    let objects = open(&dir.0, "  nixl_store_capacity_bytes: 1MiB\n").unwrap();
    let other = open(&dir.0, "  nixl_store_capacity_bytes: 1MiB\n").unwrap();
    let long_ago = || {
        let Some(past) = std::time::Instant::now().checked_sub(Duration::from_secs(3600)) else {
            return false;
        };
        objects.rescan.set_last(past);
        true
    };
    objects.rescan.set_last(std::time::Instant::now());
    objects.note_put(1 << 20);
    assert!(!objects.rescan_is_due(), "the last one was a moment ago");
    if !long_ago() {
        return;
    }
    put(&other, "key", &[1; 5000]);
    assert!(objects.rescan_is_due(), "the bytes put before count");
    objects.note_put(1 << 20);
    assert!(!objects.rescan_is_due(), "it is somebody's already");
    assert_eq!(objects.gauges().keys, 0);
    objects.rescan();
    assert_eq!(objects.gauges().keys, 1);
    objects.note_put(1);
    assert!(long_ago() && !objects.rescan_is_due(), "not enough was put since");
    objects.note_put(1 << 20);
    assert!(objects.rescan_is_due());
}

/// Whether a put of the key would be declined now.
fn is_declined(objects: &Objects, name: &str) -> bool {
    let effective = EffectiveKey::new(b"", name.as_bytes()).unwrap();
    let key = Key { effective: effective.bytes(), digest: effective.digest() };
    matches!(objects.begin_writing(&key, 100_000, false).unwrap(), PutPlace::Declined)
}

/// A put of a key that another process has put is no new key's, so the old bytes do not stay. What is declined does not count as
/// put, and has nobody look for others' objects.
#[test]
fn what_another_process_put_is_replaced_and_not_declined() {
    let dir = TestDir::new();
    let mut config = config(&dir.0, "  nixl_store_capacity_bytes: 1MiB\n");
    config.cache_policy = crate::config::CachePolicy::Reuse;
    let (objects, other) = (open_as(&dir.0, &config).unwrap(), open_as(&dir.0, &config).unwrap());
    // Nine records of 104 KiB fill it, and what is new finds nothing that has been idle for 16 blocks.
    (0..9).for_each(|number| put(&objects, &format!("wanted {number}"), &[1; 100_000]));
    let before = objects.rescan.bytes_since.load(Ordering::Relaxed);
    assert!(is_declined(&objects, "new") && is_declined(&objects, "another"));
    assert_eq!(objects.rescan.bytes_since.load(Ordering::Relaxed), before);
    put(&other, "theirs", &[2; 100_000]);
    assert!(!is_declined(&objects, "theirs"));
}

/// Begins each line that the helper says, since the test harness prints there as well.
const MARK: &str = "helper:";

/// Not a test of its own: opens a store with many objects, with ever more memory. Its parent sets the limits.
#[test]
fn helper_process() {
    let Some(path) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let mut lines = std::io::stdin().lines();
    let mut limit = |bytes: &str| {
        println!("\n{MARK}{bytes}");
        lines.next().unwrap().unwrap();
    };
    let mapped = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
    };
    let config = config(&path, "");
    let mut refused = 0;
    for step in 1..28 {
        limit(&(mapped() + step * (256 << 10)).to_string());
        let opened = open_as(&path, &config);
        limit("unlimited");
        match opened {
            Ok(objects) => assert_eq!(objects.gauges().keys, OBJECTS as u64),
            Err(error) => {
                assert_eq!(error.status(), Status::OutOfMemory, "{error}");
                refused += 1;
            }
        }
    }
    assert!(open_as(&path, &config).is_ok() && refused > 0, "{refused} opens had too little memory");
}

/// Objects in the directory of that helper.
const OBJECTS: usize = 8000;

/// A store with many objects is opened by a process that has hardly any memory left. It is told so, and lives.
#[test]
fn too_little_memory_for_the_objects_of_a_store_is_an_error() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        return;
    }
    let dir = TestDir::new();
    drop(open(&dir.0, "").unwrap());
    for number in 0..OBJECTS {
        let shard = dir.0.join(format!("data/nixl_store_objects/{:02x}", number % 256));
        if number < 256 {
            std::fs::create_dir(&shard).unwrap();
        }
        std::fs::File::create(shard.join(format!("{:02x}{number:030x}", number % 256))).unwrap();
    }
    let mut helper = Command::new("/proc/self/exe")
        .args(["--exact", "placement::objects::tests::helper_process", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, &dir.0)
        // Another arena of malloc has 64 MiB of address space in advance.
        .env("MALLOC_ARENA_MAX", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = helper.stdin.take().unwrap();
    for line in BufReader::new(helper.stdout.take().unwrap()).lines().map_while(std::result::Result::ok) {
        let Some(bytes) = line.strip_prefix(MARK) else { continue };
        let process = helper.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &process, &format!("--as={bytes}:")]).status();
        assert!(limited.unwrap().success());
        writeln!(to, "go on").unwrap();
    }
    let ended = helper.wait().unwrap();
    assert!(ended.success(), "{ended}");
}
