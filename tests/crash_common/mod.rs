//! What the tests of restart, sharing, degrading, bounds and stress share: safe wrappers around the C functions,
//! helper processes that can be killed, and file systems that are full, slow to agree, or lose their power.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod api;
pub mod chunk;
pub mod config;
pub mod disk;
pub mod helper;
#[path = "../common/hf3fs.rs"]
pub mod hf3fs;
pub mod questions;
pub mod refusing;
pub mod remote;
pub mod sandbox;
pub mod versions;
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Gets everything that the library says, log and messages, if a test binary wants to look at it.
pub static LISTENER: OnceLock<fn(&str)> = OnceLock::new();

fn overhear(text: &str) {
    if let Some(listener) = LISTENER.get() {
        listener(text);
    }
}

/// A directory of the test's own, gone when it ends.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        Scratch::below(&std::env::temp_dir(), name)
    }

    /// One whose files lie in memory, on the tmpfs that every Linux has.
    pub fn in_memory(name: &str) -> Scratch {
        Scratch::below(Path::new("/dev/shm"), name)
    }

    fn below(parent: &Path, name: &str) -> Scratch {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("nixl_store_{name}_{}_{serial}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        if hf3fs::is_once_more() {
            hf3fs::make_mount(&path);
        }
        Scratch { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Every file and directory below `root`, with the bytes of small files, to compare before and after.
pub fn tree(root: &Path) -> Vec<(PathBuf, u64, u64)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.push((path.clone(), 0, 0));
                left.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path, metadata.len(), chunk::hash(&bytes)));
            }
        }
    }
    found.sort();
    found
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Threads of this process.
pub fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // The kernel's own helpers of a ring show up as tasks of the process, and come and go as the kernel likes; the daemon of the
    // stand-in for 3FS would be another process.
    let is_ours = |task: &std::path::Path| {
        let name = std::fs::read_to_string(task.join("comm"));
        name.is_ok_and(|name| !name.starts_with("iou-") && !name.starts_with("hf3fs-ring"))
    };
    tasks.filter(|task| is_ours(&task.as_ref().unwrap().path())).count()
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Takes all descriptors that the process may have but `free`; they come back when what this gives is dropped.
pub fn exhaust_descriptors(free: usize) -> Vec<std::fs::File> {
    let mut taken = vec![std::fs::File::open("/dev/null").unwrap()];
    while let Ok(file) = taken[0].try_clone() {
        taken.push(file);
    }
    taken.truncate(taken.len() - free);
    taken
}

/// Numbers for a test that must do the same in every run: xorshift64*.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}
