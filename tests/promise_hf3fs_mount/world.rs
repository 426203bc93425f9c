//! Mounts, the stores on them, and objects that tell which key and version they are.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::status::{OK, Status, message};
use crate::common::{Layout, Setup, Store};
use crate::crash_common::chunk;
use crate::faulty_fs::{FaultyFs, Hf3fs, Options, Personality};

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;

/// How long 3FS's client lets the kernel believe names and attributes, and that a name is absent.
pub const CACHE_MS: u64 = 30_000;
const ABSENT_MS: u64 = 5_000;

/// How long something may take that takes no time, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A static pool. What 3FS needs is no matter of the configuration, so O_DIRECT is not asked for.
pub const POOL: Setup = Setup { direct_io: false, slots: 32, ..Setup::HF3FS };
pub const SHARDED: Setup = Setup { layout: Layout::Sharded, ..POOL };
pub const LMCACHE: Setup = Setup { layout: Layout::Lmcache, ..POOL };
/// Every kind of store, with its name.
pub const KINDS: [(&str, Setup); 3] = [("pool", POOL), ("sharded", SHARDED), ("lmcache", LMCACHE)];

/// A mount that is as 3FS's is when nothing is set otherwise, and tells lengths late. `None`: this machine has no FUSE.
pub fn mounted(name: &str) -> Option<FaultyFs> {
    mounted_with(name, CACHE_MS, Hf3fs { absent_ms: ABSENT_MS, ..Hf3fs::default() })
}

/// One with a mount of the same files on another host. `cache_ms`: how long either believes what it knows.
pub fn with_another_host(name: &str, cache_ms: u64) -> Option<FaultyFs> {
    let kind =
        Hf3fs { absent_ms: cache_ms.min(ABSENT_MS), other_host: Some("elsewhere"), ..Hf3fs::default() };
    mounted_with(name, cache_ms, kind)
}

pub fn mounted_with(name: &str, cache_ms: u64, kind: Hf3fs) -> Option<FaultyFs> {
    let options = Options { cache_ms, personality: Personality::Hf3fs(kind), ..Options::default() };
    FaultyFs::start(name, options)
}

/// Where a store of a kind is on a mount, with directories of its own to make.
pub fn data(fs: &FaultyFs, kind: &str) -> PathBuf {
    fs.path().join(kind).join("data")
}

/// The same place on the other host.
pub fn data_there(fs: &FaultyFs, kind: &str) -> PathBuf {
    fs.other_path().join(kind).join("data")
}

pub fn put(store: &Store, key: &str, version: u64, bytes: usize) -> Status {
    store.put(key.as_bytes(), &chunk::fill(key, version, bytes))
}

#[track_caller]
pub fn put_ok(store: &Store, key: &str, version: u64, bytes: usize) {
    let status = put(store, key, version, bytes);
    assert_eq!(status, OK, "{key}: {}", message());
}

/// The version that is under a key, every byte of it looked at.
#[track_caller]
pub fn version(store: &Store, key: &str) -> Option<u64> {
    let found = store.fetch(key.as_bytes(), 4 * MIB)?;
    Some(chunk::read(key, &found).unwrap_or_else(|wrong| panic!("{wrong}")))
}

/// Waits for what takes no time.
#[track_caller]
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} does not come");
        std::thread::yield_now();
    }
}
