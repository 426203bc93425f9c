//! Dynamic stores: many processes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nixl_store::capi::*;

use crate::crash_common::api::{Options, Store};
use crate::crash_common::config::Settings;
use crate::crash_common::helper::{Helper, Peer, Role};
use crate::crash_common::remote::Remote;
use crate::crash_common::versions::put;
use crate::crash_common::{Scratch, chunk, tree};
use crate::version;

/// A process that replaces one key again and again.
pub const REPLACE_ROLE: Role = ("replace", replace);

fn dynamic_layouts(scratch: &Scratch) -> Vec<Settings> {
    let sharded = Settings::dynamic(&scratch.join("sharded")).direct();
    vec![sharded, Settings::dynamic(&scratch.join("lmcache")).with("nixl_store_layout", "lmcache")]
}

/// One engine computes, another one reads: what is put, replaced or removed in one process is so in the other,
/// without either being opened anew.
#[test]
fn two_processes_share_a_dynamic_store() {
    let scratch = Scratch::new("share");
    for settings in dynamic_layouts(&scratch) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        let mut other = Remote::open(&config);
        for key in ["model@8@0@abc@bf16", "a/b", "plain"] {
            assert_eq!(other.get(key).unwrap(), None);
            put(&store, key, 1, 100_000);
            assert_eq!(other.get(key).unwrap(), Some(1), "{key}");
            other.put(key, 2, 50_000).unwrap();
            assert_eq!(version(&store, key), Some(2), "{key}");
            assert_eq!(store.length(key).unwrap(), Some(50_000));
            assert_eq!(other.remove(key).unwrap(), NIXL_STORE_OK);
            assert_eq!(version(&store, key), None, "{key}");
            assert!(!store.contains(key).unwrap());
        }
        other.close().unwrap();
        other.finish();
        store.close().unwrap();
    }
}

/// Versions that each process puts of the one key.
const REPLACEMENTS: u64 = 150;

/// Replaces a key again and again, in lengths that change, and tells when it is done.
fn replace(peer: &mut Peer) {
    let line = peer.line().expect("what to do");
    let (config, first) = line.split_once(' ').expect("a file and a version");
    let first: u64 = first.parse().unwrap();
    let store = Store::open(Path::new(config)).unwrap_or_else(|failure| panic!("{failure}"));
    for step in 0..REPLACEMENTS {
        put(&store, "shared", first + step, 20 + (step as usize % 5) * 90_000);
    }
    store.close().unwrap();
    peer.say("done");
}

/// Two processes replace one key while this one reads it from several threads. Each read finds the key, and in it
/// one version as a whole.
#[test]
fn a_key_replaced_by_two_processes_is_always_whole() {
    let scratch = Scratch::new("replace");
    for settings in dynamic_layouts(&scratch) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        put(&store, "shared", 1, 1000);
        let mut writers = [Helper::start("replace"), Helper::start("replace")];
        for (number, writer) in writers.iter_mut().enumerate() {
            writer.tell(&format!("{} {}", config.display(), (number as u64 + 1) * 1000));
        }
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        let seen = std::thread::scope(|scope| {
            let read = || {
                let mut seen = HashSet::new();
                while !done.load(Ordering::Relaxed) {
                    seen.insert(version(&store, "shared").expect("a key that is replaced is never gone"));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                seen
            };
            let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
            let said: Vec<_> = writers.iter_mut().map(Helper::line).collect();
            // Before anything can fail, or the readers read for ever.
            done.store(true, Ordering::Relaxed);
            assert!(said.iter().all(|line| line.as_deref() == Some("done")), "{said:?}");
            readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<HashSet<_>>()
        });
        assert!(seen.iter().any(|version| (1000..2000).contains(version)), "{reads:?} reads saw {seen:?}");
        assert!(seen.iter().any(|version| *version >= 2000), "{reads:?} reads saw {seen:?}");
        let last = version(&store, "shared").unwrap();
        assert!(last == 1000 + REPLACEMENTS - 1 || last == 2000 + REPLACEMENTS - 1, "{last}");
        assert_eq!(store.stats().unwrap().corruptions, 0);
        writers.into_iter().for_each(Helper::finish);
        store.close().unwrap();
    }
}

/// Smallest capacity that the configuration takes.
const CAPACITY: u64 = 1 << 20;

/// Bytes of all objects below a dynamic store's directory.
fn object_bytes(root: &Path) -> u64 {
    let is_object = |path: &Path| !path.to_string_lossy().contains(".nixl_store+");
    tree(root).iter().filter(|(path, ..)| is_object(path)).map(|(_, bytes, _)| bytes).sum()
}

/// One engine pins the chunks of a running request; another one needs room. The pinned chunk stays, is neither
/// removed nor cleared, until the engine that pinned it lets go, or is killed.
#[test]
fn a_pin_protects_from_other_processes_and_dies_with_its_own() {
    let scratch = Scratch::new("pins");
    for settings in dynamic_layouts(&scratch) {
        let settings = settings.with("nixl_store_capacity_bytes", CAPACITY);
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut pinner = Remote::open(&config);
        pinner.put("pinned", 1, 200_000).unwrap();
        pinner.put("other", 1, 200_000).unwrap();
        assert!(pinner.pin("pinned").unwrap());

        let store = Store::open(&config).unwrap();
        let press = |store: &Store| (0..12).for_each(|key| put(store, &format!("press-{key}"), 1, 200_000));
        press(&store);
        assert_eq!(version(&store, "other"), None, "capacity holds");
        assert_eq!(version(&store, "pinned"), Some(1), "a pinned key stays");
        assert_eq!(store.remove("pinned").unwrap(), NIXL_STORE_PINNED);
        store.clear().unwrap();
        assert_eq!(version(&store, "pinned"), Some(1));
        assert_eq!(store.stats().unwrap().keys_pinned, 0, "it is the other one's pin");

        // Everything pinned by somebody: a clear status, and nothing is lost.
        for key in ["mine-0", "mine-1", "mine-2"] {
            put(&store, key, 1, 250_000);
            assert!(store.pin(key).unwrap());
        }
        let failure = store.put("one-too-many", &chunk::fill("one-too-many", 1, 250_000)).unwrap_err();
        assert_eq!(failure.status, NIXL_STORE_ERROR_POOL_FULL, "{failure}");
        for key in ["pinned", "mine-0", "mine-1", "mine-2"] {
            assert_eq!(version(&store, key), Some(1), "{key}");
            assert_eq!(store.unpin(key).unwrap(), key != "pinned");
        }

        pinner.kill();
        assert_eq!(store.remove("pinned").unwrap(), NIXL_STORE_OK, "the pin died with its process");
        put(&store, "pinned", 2, 200_000);
        store.close().unwrap();
        let store = Store::open(&config).unwrap();
        press(&store);
        assert_eq!(version(&store, "pinned"), None, "what nobody pins leaves");
        store.close().unwrap();
    }
}

/// A pin that is taken back lets the other process evict again.
#[test]
fn an_unpinned_key_leaves_when_the_other_process_needs_room() {
    let scratch = Scratch::new("unpin");
    for settings in dynamic_layouts(&scratch) {
        let settings = settings.with("nixl_store_capacity_bytes", CAPACITY);
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut pinner = Remote::open(&config);
        pinner.put("pinned", 1, 900_000).unwrap();
        assert!(pinner.pin("pinned").unwrap() && pinner.pin("pinned").unwrap());
        let mut other = Remote::open(&config);
        let full = |other: &mut Remote| other.put("new", 1, 900_000).map_err(|failure| failure.status);
        assert_eq!(full(&mut other), Err(NIXL_STORE_ERROR_POOL_FULL));
        assert!(pinner.unpin("pinned").unwrap());
        assert_eq!(full(&mut other), Err(NIXL_STORE_ERROR_POOL_FULL), "it was pinned twice");
        assert!(pinner.unpin("pinned").unwrap());
        assert!(!pinner.unpin("pinned").unwrap());
        assert_eq!(full(&mut other), Ok(()));
        assert_eq!(pinner.get("pinned").unwrap(), None);
        pinner.finish();
        other.finish();
    }
}

/// The capacity is that of the directory. Processes that fill it at the same time do not know of each other's
/// newest objects at once, so for a while each may fill it; who looks again brings it back within its bounds.
#[test]
fn capacity_holds_over_two_processes() {
    let scratch = Scratch::new("capacity");
    for settings in dynamic_layouts(&scratch) {
        let settings = settings.with("nixl_store_capacity_bytes", CAPACITY);
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let root = &settings.paths[0];
        let mut processes = [Remote::open(&config), Remote::open(&config)];
        for step in 0..30 {
            for (number, process) in processes.iter_mut().enumerate() {
                process.put(&format!("key-{number}-{step}"), step, 100_000).unwrap();
            }
            assert!(object_bytes(root) <= 2 * CAPACITY, "step {step}: {} bytes", object_bytes(root));
        }
        for process in &mut processes {
            process.close().unwrap();
            process.try_open(&config, &Options::default()).unwrap();
            process.put("last", 1, 100_000).unwrap();
            assert!(object_bytes(root) <= CAPACITY, "{} bytes", object_bytes(root));
        }
        // The newest are the ones that stayed.
        assert_eq!(processes[0].get("key-1-29").unwrap(), Some(29));
        assert_eq!(processes[0].get("key-1-0").unwrap(), None);
        processes.into_iter().for_each(Remote::finish);
    }
}

/// Tenants of one store use the same keys and must never see each other's chunks, nor remove them.
#[test]
fn namespaces_keep_keys_apart() {
    let scratch = Scratch::new("namespaces");
    let tenant = |name: &str| Options { namespace: Some(name.to_owned()), ..Options::default() };
    // Names and keys that run into the same bytes when they are joined without care.
    let tenants = [("a", "bc"), ("ab", "c"), ("", "abc")];

    let config = Settings::dynamic(&scratch.join("objects")).write(&scratch.join("lmcache.yaml"));
    let stores: Vec<Store> =
        tenants.iter().map(|(name, _)| Store::open_with(&config, &tenant(name)).unwrap()).collect();
    for (number, store) in stores.iter().enumerate() {
        put(store, "same", number as u64, 1000);
        put(store, tenants[number].1, number as u64, 1000);
    }
    for (number, store) in stores.iter().enumerate() {
        assert_eq!(version(store, "same"), Some(number as u64));
        for (other, (_, key)) in tenants.iter().enumerate() {
            assert_eq!(version(store, key), (other == number).then_some(number as u64));
        }
    }
    assert_eq!(stores[0].remove("same").unwrap(), NIXL_STORE_OK);
    assert_eq!((version(&stores[0], "same"), version(&stores[1], "same")), (None, Some(1)));
    stores.into_iter().for_each(|store| store.close().unwrap());

    let config = Settings::pool(&scratch.join("pool"), 16, 5000).write(&scratch.join("lmcache.yaml"));
    for (number, (name, key)) in tenants.iter().enumerate() {
        let store = Store::open_with(&config, &tenant(name)).unwrap();
        assert_eq!(version(&store, "same"), None, "{name:?}");
        put(&store, "same", number as u64, 1000);
        put(&store, key, number as u64, 1000);
        store.close().unwrap();
    }
    for (number, (name, _)) in tenants.iter().enumerate() {
        let store = Store::open_with(&config, &tenant(name)).unwrap();
        assert_eq!(version(&store, "same"), Some(number as u64), "{name:?}");
        for (other, (_, key)) in tenants.iter().enumerate() {
            assert_eq!(version(&store, key), (other == number).then_some(number as u64), "{name:?} {key}");
        }
        store.close().unwrap();
    }
}
