//! How the files of a store are read and written: data with O_DIRECT alone, since what FUSE keeps behind lands over what rings wrote;
//! and no name before the fsync that tells others the length.

use std::path::Path;

use crate::common::status::OK;
use crate::common::{Alone, Setup, Store};
use crate::faulty_fs::{FaultyFs, Hf3fs};
use crate::user::User;
use crate::world::{
    CACHE_MS, KIB, KINDS, MIB, data, data_there, mounted_with, put, put_ok, version, with_another_host,
};

/// Sizes from nothing much to a whole slot, aligned and not.
const SIZES: [usize; 6] = [16, 4096, 5000, 64 * KIB, 300 * KIB + 7, MIB - 512];

/// Files of a store that are not data: read and written through FUSE, by this library alone.
const META: [&str; 8] = [
    "lock",
    "manifest",
    "manifest.tmp",
    "snapshot",
    "snapshot.tmp",
    "survivors",
    "survivors.tmp",
    ".nixl_store+pins",
];

/// Puts, gets, ranges, removals of a store that is open.
fn use_it(store: &Store, round: u64) {
    for (number, bytes) in SIZES.into_iter().enumerate() {
        put_ok(store, &format!("key{number}"), round, bytes);
        put_ok(store, &format!("gone{number}"), round, bytes);
    }
    for (number, bytes) in SIZES.into_iter().enumerate() {
        let key = format!("key{number}");
        assert_eq!(version(store, &key), Some(round));
        assert_eq!(store.length(key.as_bytes()), (OK, bytes as u64));
        assert_eq!(store.remove(format!("gone{number}").as_bytes()), OK);
    }
    assert_eq!(store.flush(), OK);
}

/// The life of a store: made, used, closed, used again; by a process that is killed; found by a scan, cleared; by two at a time, where
/// it may be.
fn live(fs: &FaultyFs, kind: &str, setup: &Setup) {
    let data = data(fs, kind);
    let store = Store::open_at(setup, &data);
    use_it(&store, 1);
    assert_eq!(store.close(), OK);
    let store = Store::open_at(setup, &data);
    assert_eq!(version(&store, "key1"), Some(1));
    use_it(&store, 2);
    assert_eq!(store.close(), OK);
    drop(store);
    let mut user = User::of(kind, &data);
    user.put(kind, "users", 7, 100 * KIB);
    assert_eq!(user.version(kind, "key2"), Some(2));
    if setup.is_static() {
        user.kill();
        let store = Store::open_at(setup, &data);
        assert_eq!((version(&store, "users"), version(&store, "key3")), (Some(7), Some(2)));
        assert!(store.clear() > 0);
        put_ok(&store, "key1", 3, MIB / 2);
        assert_eq!(store.close(), OK);
        return;
    }
    let store = Store::open_at(setup, &data);
    assert_eq!((version(&store, "users"), version(&store, "key3")), (Some(7), Some(2)));
    put_ok(&store, "users", 8, 90 * KIB);
    assert_eq!(user.version(kind, "users"), Some(8));
    user.kill();
    assert!(store.clear() > 0);
    assert_eq!(store.close(), OK);
    evict(setup, &data);
}

/// More than there is room for.
fn evict(setup: &Setup, data: &Path) {
    let store = Store::open_at(&Setup { capacity_bytes: 4 * MIB as u64, ..setup.clone() }, data);
    for number in 0..12 {
        put_ok(&store, &format!("many{number}"), 1, MIB);
    }
    assert!(store.stats().evictions > 0);
    assert_eq!(version(&store, "many11"), Some(1));
    assert_eq!(store.close(), OK);
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Whatever is done with a store, and whether the mount tells lengths early or late.
#[test]
fn data_is_read_and_written_with_o_direct_alone() {
    let _standin = Alone::new();
    for sync_on_stat in [false, true] {
        let kind = Hf3fs { absent_ms: 5_000, sync_on_stat, ..Hf3fs::default() };
        let Some(fs) = mounted_with("direct", CACHE_MS, kind) else { return };
        for (kind, setup) in &KINDS {
            live(&fs, kind, setup);
            let traffic = fs.traffic(kind);
            assert!(traffic.direct_reads > 0 && traffic.direct_writes > 0, "{kind}: {traffic:?}");
            let buffered = fs.buffered(kind);
            assert_eq!(buffered.count, buffered.lines.len(), "all of them are told");
            let others: Vec<_> = buffered.lines.iter().filter(|path| !META.contains(&name(path))).collect();
            assert!(others.is_empty(), "{kind}: {others:?}");
        }
        for pattern in ["slots-*.bin", "nixl_store_objects"] {
            assert_eq!(fs.buffered(pattern).lines, [""; 0], "{pattern}");
        }
        assert!(fs.traffic("slots-*.bin").direct_writes > 0);
        assert!(fs.traffic("nixl_store_objects").direct_reads > 0);
    }
}

/// Of objects, of a pool's manifest and snapshot, of whatever else is renamed.
#[test]
fn a_file_has_its_name_after_its_fsync() {
    let _standin = Alone::new();
    let Some(fs) = crate::world::mounted("named") else { return };
    for (kind, setup) in &KINDS {
        live(&fs, kind, setup);
        assert_eq!(fs.named_unsynced().lines, [""; 0], "{kind}");
    }
}

/// Another process of this host, and one of the other host, find what was put just now, whole.
#[test]
fn what_was_put_is_whole_for_others() {
    let _standin = Alone::new();
    let Some(fs) = with_another_host("whole", 0) else { return };
    for (kind, setup) in &KINDS[1..] {
        let store = Store::open_at(setup, &data(&fs, kind));
        let mut here = User::of(kind, &data(&fs, kind));
        let mut there = User::of(kind, &data_there(&fs, kind));
        for (number, bytes) in SIZES.into_iter().enumerate() {
            let key = format!("key{number}");
            for round in 1..3 {
                assert_eq!(put(&store, &key, round, bytes), OK);
                for user in [&mut here, &mut there] {
                    assert_eq!(user.version(kind, &key), Some(round), "{kind}: {bytes} bytes");
                    assert_eq!(user.tell(&format!("length {kind} {key}")), bytes.to_string());
                }
            }
        }
        there.put(kind, "theirs", 5, 300 * KIB + 1);
        assert_eq!(version(&store, "theirs"), Some(5));
        assert_eq!(store.close(), OK);
        here.finish();
        there.finish();
    }
}
