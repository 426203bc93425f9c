//! Static pools: one owner.

use std::path::PathBuf;

use nixl_store::capi::*;

use crate::crash_common::Scratch;
use crate::crash_common::api::{Options, Store};
use crate::crash_common::config::Settings;
use crate::crash_common::remote::Remote;
use crate::crash_common::versions::put;
use crate::version;

/// Two engines are started on one pool by mistake. The second one is told which process has it, whether that is
/// another or itself, and gets in as soon as the first one closes, or dies of SIGKILL.
#[test]
fn a_second_owner_is_told_who_holds_the_pool() {
    let scratch = Scratch::new("second_owner");
    let config = Settings::pool(&scratch.join("pool"), 8, 10_000).write(&scratch.join("lmcache.yaml"));
    let refused = |holder: u32| {
        let failure = Store::open(&config).err().expect("the pool has an owner");
        assert_eq!(failure.status, NIXL_STORE_ERROR_LOCKED, "{failure}");
        assert!(failure.message.contains(&format!("process {holder} ")), "{failure}");
    };

    let mut other = Remote::open(&config);
    other.put("key", 1, 10_000).unwrap();
    refused(other.helper.id());
    refused(other.helper.id());
    assert_eq!(other.get("key").unwrap(), Some(1), "the owner is not disturbed");
    other.kill();

    let store = Store::open(&config).expect("the lock died with its owner");
    assert_eq!(version(&store, "key"), Some(1));
    refused(std::process::id());
    let mut other = Remote::start();
    let failure = other.try_open(&config, &Options::default()).expect_err("the pool has an owner");
    assert_eq!(failure.status, NIXL_STORE_ERROR_LOCKED);
    assert!(failure.message.contains(&format!("process {} ", std::process::id())), "{failure}");
    store.close().unwrap();
    other.try_open(&config, &Options::default()).expect("closing gives the lock back");
    other.close().unwrap();
    other.finish();
}

/// The ranks of one model hold different bytes under one key. On one path each has a pool of its own, and all of
/// them are open at once.
#[test]
fn ranks_have_pools_of_their_own() {
    let scratch = Scratch::new("ranks");
    let root = scratch.join("pools");
    for settings in [Settings::pool(&root, 8, 10_000), Settings::dynamic(&scratch.join("objects"))] {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let rank = |worker_id| Options { worker_id, world_size: 2, ..Options::default() };
        let first = Store::open_with(&config, &rank(0)).unwrap();
        let second = Store::open_with(&config, &rank(1)).unwrap();
        put(&first, "key", 10, 5000);
        assert_eq!(version(&second, "key"), None);
        put(&second, "key", 11, 5000);
        assert_eq!((version(&first, "key"), version(&second, "key")), (Some(10), Some(11)));
        assert_eq!(second.remove("key").unwrap(), NIXL_STORE_OK);
        assert_eq!(version(&first, "key"), Some(10));
        if settings.pool_size > 0 {
            let failure = Store::open_with(&config, &rank(1)).err().expect("rank 1 has an owner");
            assert_eq!(failure.status, NIXL_STORE_ERROR_LOCKED, "{failure}");
        }
        first.close().unwrap();
        second.close().unwrap();
    }
    let failure = Store::open_with(
        &scratch.join("lmcache.yaml"),
        &Options { worker_id: 2, world_size: 2, ..Options::default() },
    );
    assert_eq!(failure.err().expect("there is no rank 2 of 2").status, NIXL_STORE_ERROR_INVALID_ARGUMENT);
}

/// With a path for each GPU, a worker uses that of its device; without a device, that of its rank.
#[test]
fn a_worker_uses_the_path_of_its_gpu() {
    let scratch = Scratch::new("by_gpu");
    let paths: Vec<PathBuf> = (0..3).map(|gpu| scratch.join(&format!("disk{gpu}"))).collect();
    let mut settings = Settings::pool(&paths[0], 4, 5000).with("nixl_path_sharding", "by_gpu");
    settings.paths.clone_from(&paths);
    let config = settings.write(&scratch.join("lmcache.yaml"));
    let device = |cuda_device| Options { cuda_device: Some(cuda_device), ..Options::default() };
    let rank = |worker_id| Options { worker_id, world_size: 8, ..Options::default() };
    let cases = [
        (device(0), 0),
        (device(1), 1),
        (device(2), 2),
        (device(4), 1),
        (rank(2), 2),
        (rank(3), 0),
        (rank(7), 1),
    ];
    for (options, used) in cases {
        let store = Store::open_with(&config, &options).unwrap();
        let there: Vec<usize> = (0..3).filter(|&disk| paths[disk].exists()).collect();
        assert_eq!(there, [used], "device {:?}, rank {}", options.cuda_device, options.worker_id);
        store.close().unwrap();
        std::fs::remove_dir_all(&paths[used]).unwrap();
    }
}
