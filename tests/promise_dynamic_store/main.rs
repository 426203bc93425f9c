//! Promises 7, 9, 10 and 11 where a file per key makes them: what a flush of it covers, whom its pins keep away, what it
//! does with few descriptors, small limits and files of impossible lengths.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../crash_common/mod.rs"]
mod crash_common;

mod bounds;
mod flush;
mod pins;

use std::path::{Path, PathBuf};

use crash_common::Scratch;
use crash_common::api::Store;
use crash_common::config::Settings;
use crash_common::{chunk, helper, remote};
use nixl_store::capi::{NIXL_STORE_NOT_FOUND, NIXL_STORE_OK};

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[
        remote::ROLE,
        ("one-descriptor", bounds::one_descriptor),
        ("small-files", bounds::small_files),
        ("long-files", bounds::long_files),
        ("no-descriptor-to-pin", pins::no_descriptor_to_pin),
        ("no-descriptor-to-flush", flush::no_descriptor_to_flush),
    ]);
}

/// Both layouts of a store below `root`, each in a directory of its own.
fn layouts(root: &Path) -> [Settings; 2] {
    ["sharded", "lmcache"]
        .map(|layout| Settings::dynamic(&root.join(layout)).with("nixl_store_layout", layout))
}

fn is_sharded(settings: &Settings) -> bool {
    settings.extra.iter().any(|(key, value)| key == "nixl_store_layout" && value == "sharded")
}

fn put(store: &Store, key: &str, version: u64, length: usize) {
    store.put(key, &chunk::fill(key, version, length)).unwrap_or_else(|failure| panic!("{key}: {failure}"));
}

/// The version that a key holds, every byte checked.
fn version(store: &Store, key: &str) -> Option<u64> {
    let found = store.get(key, 1 << 20).unwrap_or_else(|failure| panic!("{key}: {failure}"));
    found.map(|payload| chunk::read(key, &payload).unwrap_or_else(|wrong| panic!("{wrong}")))
}

/// Every object's file below a store's directory.
fn object_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(".nixl_store+") {
                continue;
            }
            if path.is_dir() { left.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// But for disks that fail a flush, which is nothing of a ring's; a limit on file sizes, which the shared memory is under; and a length
/// that is forged into a hole, of which a read is short.
#[test]
fn once_more_over_hf3fs() {
    crash_common::hf3fs::once_more(&["flush::", "a_limit_on_file_sizes_does_not_kill", "a_forged_length"], 6);
}

/// Names of the layout lmcache are not one to one, and a removal takes only the key's own record: that of a namesake stays, is served,
/// and is flushed. A file without a trailer is another program's, and goes when it is asked for by name.
#[test]
fn a_removal_takes_no_namesake() {
    let scratch = Scratch::new("namesake");
    let [_, settings] = layouts(scratch.path());
    let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
    put(&store, "a_b", 1, 5000);
    for other in ["a/b", "a@b"] {
        assert_eq!(store.remove(other).unwrap(), NIXL_STORE_NOT_FOUND, "{other}");
    }
    assert_eq!(version(&store, "a_b"), Some(1));
    store.flush().unwrap();
    assert_eq!(store.remove("a_b").unwrap(), NIXL_STORE_OK);
    assert_eq!(version(&store, "a_b"), None);
    let theirs = settings.paths[0].join("model_1_0_abc_half");
    std::fs::write(&theirs, [7; 10_000]).unwrap();
    assert_eq!(store.remove("model@1@0@abc@half").unwrap(), NIXL_STORE_OK);
    assert!(!theirs.exists());
}
