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

    /// A file of the pool of that name.
    pub fn file(&self, name: &str, file: &str) -> PathBuf {
        self.0.join(name).join("nixl_store_pool").join(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
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

fn options(namespace: &[u8]) -> OpenOptions {
    OpenOptions {
        chunk_bytes: None,
        worker_id: 0,
        world_size: 1,
        cuda_device: None,
        namespace: namespace.to_vec(),
        logger: Logger::silent(),
    }
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

fn move_one(
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
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixl-store"));
    command.args(arguments).stdin(Stdio::null()).env_remove("LMCACHE_CONFIG_FILE").env("NO_COLOR", "1");
    command
}

pub fn run(arguments: &[&str]) -> Ran {
    ran(command(arguments).output().unwrap())
}

pub fn ran(output: std::process::Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Everything below a directory, as bytes, with times of modification: what a reader must not change.
pub fn image(path: &Path) -> Vec<(PathBuf, Duration, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(image(&path));
            continue;
        }
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        found.push((
            path.clone(),
            modified.duration_since(std::time::UNIX_EPOCH).unwrap(),
            fs::read(&path).unwrap(),
        ));
    }
    found.sort();
    found
}
