//! A dynamic store is shared by any number of processes through its bucket.

use crate::crash_common::chunk;
use crate::crash_common::helper::{Helper, Peer, Role};
use crate::crash_common::remote::Remote;
use crate::place::{MIB, Place, put, version};
use crate::s3_common::{Kind, Proxy, Server};

/// A key that is replaced while another process reads it: large enough for parts.
const SHARED_BYTES: usize = 6 * MIB;
/// Replacements, half of them in parts.
const REPLACEMENTS: u64 = 30;

/// What one process puts another one gets; what it replaces, removes and pins is seen there.
#[test]
fn processes_find_each_others_objects() {
    let place = Place::new("shared");
    let config = place.write(&place.dynamic(&Server::of_this_process().endpoint()));
    let (mut first, mut second) = (Remote::open(&config), Remote::open(&config));
    first.put("key", 1, 100_000).unwrap();
    assert_eq!(second.get("key").unwrap(), Some(1));
    assert!(second.contains("key").unwrap());
    second.put("key", 2, 3000).unwrap();
    // The first one knows another length, and asks again.
    assert_eq!(first.get("key").unwrap(), Some(2));
    second.put("key", 3, SHARED_BYTES).unwrap();
    assert_eq!(first.get("key").unwrap(), Some(3));
    assert_eq!(first.remove("key").unwrap(), 0);
    assert_eq!(second.get("key").unwrap(), None);
    assert!(!second.contains("key").unwrap());
    for remote in [&mut first, &mut second] {
        remote.close().unwrap();
    }
    first.finish();
    second.finish();
    assert_eq!(place.objects(), []);
    place.assert_no_uploads();
}

/// Replaces a key over and over.
pub const ROLE: Role = ("replace_in_bucket", |peer: &mut Peer| {
    let config = std::path::PathBuf::from(peer.line().unwrap());
    let store = crate::crash_common::api::Store::open(&config).unwrap();
    for version in 2..=REPLACEMENTS {
        let length = if version % 2 == 0 { SHARED_BYTES } else { 2 * MIB };
        put(&store, "key", version, length);
    }
    store.close().unwrap();
    peer.say("done");
});

/// Whoever reads a key while another process replaces it gets one version as a whole, never an older one than before.
#[test]
fn a_reader_sees_whole_versions_while_another_process_replaces_them() {
    let place = Place::new("replacing");
    let settings = place.dynamic(&Server::of_this_process().endpoint());
    let store = place.open(&settings);
    put(&store, "key", 1, SHARED_BYTES);
    let mut helper = Helper::start(ROLE.0);
    helper.tell(&place.write(&settings).display().to_string());
    let waiter = std::thread::spawn(move || {
        assert_eq!(helper.line().as_deref(), Some("done"));
        helper.finish();
    });
    let (mut last, mut hits) = (0, 0);
    while !waiter.is_finished() {
        // A miss is an answer too where it is replaced faster than it is read.
        if let Some(found) = store.get("key", SHARED_BYTES).unwrap_or_else(|failure| panic!("{failure}")) {
            let version = chunk::read("key", &found).unwrap_or_else(|wrong| panic!("{wrong}"));
            assert!(version >= last, "version {version} after {last}");
            (last, hits) = (version, hits + 1);
        }
    }
    waiter.join().unwrap();
    assert!(hits > 0);
    assert_eq!(
        store.get("key", SHARED_BYTES).unwrap().map(|found| chunk::read("key", &found)),
        Some(Ok(REPLACEMENTS))
    );
    place.end(store);
}

/// Many callers of one process at once get their own bytes, over a bounded number of connections.
#[test]
fn callers_at_once_get_their_own_bytes() {
    let place = Place::new("callers");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    proxy.forget();
    std::thread::scope(|scope| {
        for caller in 0..24 {
            let store = &store;
            scope.spawn(move || {
                for round in 1..=3 {
                    let (key, length) = (format!("caller-{caller}"), 10_000 * (caller + 1));
                    put(store, &key, round, length);
                    assert_eq!(version(store, &key, length), Some(round));
                }
            });
        }
    });
    assert_eq!(proxy.count(Kind::Put), 24 * 3);
    let connections: std::collections::HashSet<u64> =
        proxy.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.len() <= 24 * 3, "{} connections for 24 callers", connections.len());
    place.end_at(store, &proxy);
}
