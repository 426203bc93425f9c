//! Stores to look at, and the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nixl_store::batch::Wish;
use nixl_store::config::{Config, Source};
use nixl_store::error::Status;
use nixl_store::log::Logger;
use nixl_store::memory::bytes::checksum_bytes;
use nixl_store::memory::{AlignedBuffer, Stretch};
use nixl_store::store::{Direction, OpenOptions, Store, SubmitOptions};
use serde_json::Value;

/// Bytes of the largest object of a static pool here.
pub const CHUNK_BYTES: usize = 200_000;
/// Slots of a static pool here.
pub const SLOTS: u32 = 16;

/// A directory that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// On a disk, below cargo's own directory.
    pub fn new(name: &str) -> Scratch {
        Scratch::below(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    /// In memory.
    pub fn in_memory(name: &str) -> Scratch {
        Scratch::below(Path::new("/dev/shm"), name)
    }

    fn below(parent: &Path, name: &str) -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("nixl-store-cli-{name}-{}-{unique}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// Writes a configuration, with the store in a directory beside it.
    pub fn config(&self, name: &str, extra: &str) -> PathBuf {
        let yaml = format!(
            "chunk_size: 256\nnixl_buffer_device: cpu\nnixl_buffer_size: 4194304\nextra_config:\n  enable_nixl_storage: true\n  \
             nixl_backend: POSIX\n  nixl_path: {}\n{extra}",
            self.0.join(name).display()
        );
        let path = self.0.join(format!("{name}.yaml"));
        fs::write(&path, yaml).unwrap();
        path
    }

    /// The configuration of a static pool.
    pub fn pool(&self, name: &str) -> PathBuf {
        self.config(name, &pool(SLOTS, CHUNK_BYTES))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `nixl_path` of a store of [`Scratch::engine`].
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// A configuration with these lines in `extra_config`, and no other setting.
    pub fn engine(&self, lines: &[&str]) -> PathBuf {
        let path = self.0.join("lmcache.yaml");
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        fs::write(&path, format!("extra_config:\n  enable_nixl_storage: true\n{lines}")).unwrap();
        path
    }

    /// Everything below it: see [`image`].
    pub fn tree(&self) -> Vec<Imaged> {
        image(&self.0)
    }

    /// A file of the pool of that name.
    pub fn file(&self, name: &str, file: &str) -> PathBuf {
        self.0.join(name).join("nixl_store_pool").join(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.0.display());
    }
}

/// The settings of a static pool.
pub fn pool(slots: u32, chunk_bytes: usize) -> String {
    format!("  nixl_pool_size: {slots}\n  nixl_store_chunk_bytes: {chunk_bytes}\n  use_direct_io: true\n")
}

/// Those of a dynamic store.
pub fn dynamic(layout: &str) -> String {
    format!("  nixl_pool_size: 0\n  nixl_store_layout: {layout}\n  use_direct_io: true\n")
}

/// Opens the store as an engine does.
pub fn open(config: &Path, namespace: &[u8]) -> Store {
    let config = Config::load(Source::File(config), &|_| None).unwrap();
    Store::open(&config, &options(namespace)).unwrap()
}

/// The same, with other options.
pub fn open_with(config: &Path, change: impl FnOnce(&mut OpenOptions)) -> Store {
    let mut wanted = options(b"");
    change(&mut wanted);
    Store::open(&Config::load(Source::File(config), &|_| None).unwrap(), &wanted).unwrap()
}

fn options(namespace: &[u8]) -> OpenOptions {
    OpenOptions { namespace: namespace.to_vec(), ..OpenOptions::of_one_worker(Logger::silent()) }
}

/// Bytes that only this key and version have.
pub fn payload(key: &str, version: u64, length: usize) -> Vec<u8> {
    let mut state = version.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ key.bytes().fold(7u64, |sum, byte| u64::wrapping_add(sum.wrapping_mul(31), byte.into()));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn move_one(
    store: &Store,
    direction: Direction,
    key: &str,
    buffer: &AlignedBuffer,
    length: usize,
) -> (Status, u64) {
    let mut batch = store.batch(direction, 1).unwrap();
    batch.item(key.as_bytes(), Wish::default()).unwrap();
    batch.stretch(Stretch::Host(buffer.host_slice(0, length))).unwrap();
    let ticket = batch.submit(SubmitOptions::default()).unwrap();
    let mut answer = (Status::Internal, 0);
    store
        .ticket_wait(ticket, None, &mut |_, result, _| answer = (result.status, result.object_length))
        .unwrap();
    answer
}

pub fn put(store: &Store, key: &str, bytes: &[u8]) {
    let mut buffer = AlignedBuffer::new(bytes.len()).unwrap();
    buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    assert_eq!(move_one(store, Direction::Put, key, &buffer, bytes.len()).0, Status::Ok, "{key}");
}

pub fn get(store: &Store, key: &str) -> Option<Vec<u8>> {
    let buffer = AlignedBuffer::new(4 * CHUNK_BYTES).unwrap();
    match move_one(store, Direction::Get, key, &buffer, 4 * CHUNK_BYTES) {
        (Status::Ok, length) => Some(buffer.as_slice()[..length as usize].to_vec()),
        (Status::NotFound, _) => None,
        other => panic!("{key}: {other:?}"),
    }
}

/// Keys with the lengths of their objects, from one byte to the largest.
pub fn keys() -> Vec<(String, usize)> {
    let lengths = [1, 4095, 4096, 65_536, 65_537, 131_072, 199_999, CHUNK_BYTES];
    lengths
        .iter()
        .enumerate()
        .map(|(index, length)| (format!("model@1@0@{index:02x}@half"), *length))
        .collect()
}

/// Puts them in their order, and closes the store.
pub fn fill(config: &Path) {
    let store = open(config, b"");
    keys().iter().for_each(|(key, length)| put(&store, key, &payload(key, 1, *length)));
    store.close().unwrap();
}

/// What a run of the command left.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    #[track_caller]
    pub fn expect(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        self
    }
}

/// The command, with nothing of the machine's environment that would change its answer.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_nixl-store")));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub fn clean(mut command: Command) -> Command {
    for name in ["LMCACHE_CONFIG_FILE", "NIXL_STORE_LOG", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

pub fn run(arguments: &[&str]) -> Ran {
    ran(command(arguments).output().unwrap())
}

pub fn ran(output: std::process::Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file or directory: its path, when it was modified, its length, and a checksum of its bytes.
pub type Imaged = (PathBuf, Duration, u64, u64);

/// Everything below a directory: what a reader must not change. Of directories only that they are there, as reading may make and
/// remove a file without a name in them.
pub fn image(path: &Path) -> Vec<Imaged> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(image(&path));
            found.push((path, Duration::ZERO, 0, 0));
            continue;
        }
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
        let bytes = fs::read(&path).unwrap();
        found.push((path, modified, bytes.len() as u64, checksum_bytes(&bytes)));
    }
    found.sort();
    found
}
