//! Promise 9 for static pools: the limits that the system sets to this process (memory, the size of files) are met
//! with a status, not with the end of the engine.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use crash_common::Scratch;
use crash_common::api::Options;
use crash_common::config::Settings;
use crash_common::helper;
use crash_common::remote::{self, Remote};
use nixl_store::capi::*;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[remote::ROLE]);
}

/// A number too large in the configuration asks for more memory than there is. The open says so; the engine lives on, and
/// nothing was made.
#[test]
fn a_pool_whose_index_does_not_fit_memory_is_refused() {
    let scratch = Scratch::new("no_memory");
    let root = scratch.join("pool");
    let on_disk = Settings::pool(&root, 1 << 30, 4096);
    let in_memory = Settings { backend: "MEMORY", paths: Vec::new(), ..on_disk.clone() };
    for (name, settings) in [("disk", on_disk), ("memory", in_memory)] {
        let config = settings.write(&scratch.join(&format!("{name}.yaml")));
        let mut remote = Remote::start();
        remote.sandbox("address-space=4294967296");
        let failure = remote.try_open(&config, &Options::default()).unwrap_err();
        assert_eq!(failure.status, NIXL_STORE_ERROR_OUT_OF_MEMORY, "{failure}");
        assert!(failure.message.contains("nixl_pool_size"), "{failure}");
        remote.finish();
    }
    assert!(!root.exists(), "a pool was made for an index that cannot be had");
}

/// A write past the limit on file sizes brings SIGXFSZ, which ends an engine that does not expect it. A pool whose files
/// are longer is refused before anything is written, a new one as well as one that is there.
#[test]
fn a_limit_on_file_sizes_is_met_with_a_message_and_not_with_a_signal() {
    let scratch = Scratch::new("file_size");
    let root = scratch.join("pool");
    let settings = Settings::pool(&root, 16, 1 << 20);
    let config = settings.write(&scratch.join("lmcache.yaml"));
    let in_memory = Settings { backend: "MEMORY", paths: Vec::new(), ..settings };
    let in_memory = in_memory.write(&scratch.join("memory.yaml"));
    for round in 0..2 {
        for config in [&config, &in_memory] {
            let mut remote = Remote::start();
            remote.sandbox("file-size=1048576");
            let failure = remote.try_open(config, &Options::default()).unwrap_err();
            assert_eq!(failure.status, NIXL_STORE_ERROR_CONFIG, "{failure}");
            assert!(failure.message.contains("ulimit -f"), "{failure}");
            remote.finish();
        }
        assert_eq!(root.exists(), round > 0, "something was made");
        let mut remote = Remote::open(&config);
        remote.put("key", 1, 1 << 20).unwrap();
        remote.close().unwrap();
        remote.finish();
    }
}

/// The snapshot of many long keys can be longer than a slot file. Where it may not be written the close says so, and the
/// next open scans.
#[test]
fn a_snapshot_above_the_limit_on_file_sizes_costs_only_time() {
    let scratch = Scratch::new("snapshot_size");
    let root = scratch.join("pool");
    let config = Settings::pool(&root, 64, 4096).write(&scratch.join("lmcache.yaml"));
    let key = |number: u32| format!("{number:01000}");
    let mut remote = Remote::start();
    // Each of the eight files has just as much.
    remote.sandbox("file-size=65536");
    remote.try_open(&config, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
    for number in 0..64 {
        remote.put(&key(number), 1, 4096).unwrap();
    }
    let failure = remote.close().unwrap_err();
    assert!(failure.message.contains("snapshot"), "{failure}");
    remote.finish();
    let mut remote = Remote::open(&config);
    assert_eq!(remote.stats()["keys"], 64);
    assert_eq!(remote.get(&key(63)), Ok(Some(1)));
    remote.finish();
}
