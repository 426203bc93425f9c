//! A static pool on a device that may refuse writes for a while.

use std::path::PathBuf;

use super::Scratch;
use super::api::Store;
use super::config::Settings;
use super::disk::Disk;
use super::versions::put;

/// The pool, each of its slots written once, so that no later write needs new metadata.
pub struct Pool {
    pub config: PathBuf,
    pub directory: PathBuf,
    // Below what uses them.
    pub disk: Disk,
    _scratch: Scratch,
}

impl Pool {
    /// One of `slots` slots of `length` bytes, changed from the usual by `set`.
    pub fn on(disk: Disk, slots: u32, length: usize, set: impl FnOnce(Settings) -> Settings) -> Pool {
        let scratch = Scratch::new("refusing");
        let root = disk.path().join("store");
        let config = set(Settings::pool(&root, slots, length as u64)).write(&scratch.join("lmcache.yaml"));
        let pool = Pool { config, directory: root.join("nixl_store_pool"), disk, _scratch: scratch };
        let store = pool.open();
        for slot in 0..slots {
            put(&store, &format!("filler-{slot}"), 1, length);
        }
        assert_eq!(store.clear(), Ok(u64::from(slots)));
        store.flush().unwrap();
        store.close().unwrap();
        pool
    }

    pub fn open(&self) -> Store {
        Store::open(&self.config).unwrap_or_else(|failure| panic!("{failure}"))
    }

    pub fn drop_cached(&self) {
        Disk::drop_cached(&self.directory);
    }
}
