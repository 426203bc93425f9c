//! The layout of LMCache 0.5.6: it finds our objects, we find its, and its settings mean here what they mean there.

use nixl_store::capi::{NIXL_STORE_NOT_FOUND, NIXL_STORE_OK};

use crate::crash_common::chunk;
use crate::place::{Place, SMALL, object_requests, put, version, with_param};
use crate::s3_common::{BUCKET, Kind, Proxy, Server};

/// A key as LMCache writes it, and the name that its NIXL backend gives its object: `/` and `@` become `_`, then what a
/// URL may not have is percent-encoded, and that text is the name.
const KEY: &str = "meta-llama/Llama 3.1@2@0@3f9a1c@bfloat16";
const NAME: &str = "meta-llama_Llama%203.1_2_0_3f9a1c_bfloat16";

/// An object lies under LMCache's name, its payload in front.
#[test]
fn lmcache_finds_our_objects() {
    let place = Place::new("ours");
    let endpoint = Server::of_this_process().endpoint();
    let store = place.open(&place.dynamic(&endpoint).with("nixl_store_layout", "lmcache"));
    put(&store, KEY, 1, SMALL);
    let objects = place.objects();
    assert_eq!(
        objects.iter().map(|object| object.name.clone()).collect::<Vec<_>>(),
        [format!("{}{NAME}", place.prefix)]
    );
    let raw = place.client.get(BUCKET, &objects[0].name).unwrap();
    assert!(
        raw.len() > SMALL && raw[..SMALL] == chunk::fill(KEY, 1, SMALL),
        "LMCache reads by offset and length"
    );
    place.end(store);
}

/// An object as LMCache writes it has no checksum: it is served if the configuration says so, counted apart, and
/// otherwise not found.
#[test]
fn we_find_lmcaches_objects_if_we_are_told_to() {
    let place = Place::new("theirs");
    let endpoint = Server::of_this_process().endpoint();
    let theirs = chunk::fill(KEY, 1, SMALL);
    place.client.put(BUCKET, &format!("{}{NAME}", place.prefix), &theirs);
    let settings = place.dynamic(&endpoint).with("nixl_store_layout", "lmcache");
    let store = place.open(&settings);
    assert_eq!(version(&store, KEY, SMALL), None);
    assert_eq!(
        place.client.get(BUCKET, &format!("{}{NAME}", place.prefix)).unwrap(),
        theirs,
        "it stays theirs"
    );
    place.end(store);
    let store = place.open(&settings.with("nixl_store_serve_unverified", true));
    assert!(store.contains(KEY).unwrap());
    assert_eq!(version(&store, KEY, SMALL), Some(1));
    assert_eq!(store.length(KEY).unwrap(), Some(SMALL as u64));
    assert_eq!(store.stats().unwrap().gets_unverified, 1);
    // Ours among them is verified.
    put(&store, "ours", 1, SMALL);
    assert_eq!(version(&store, "ours", SMALL), Some(1));
    assert_eq!(store.stats().unwrap().gets_unverified, 1);
    place.end(store);
}

/// With the presence cache a key that this process put or found is known without asking; without it each question is
/// asked.
#[test]
fn the_presence_cache_saves_requests() {
    let place = Place::new("presence");
    let proxy = Proxy::new();
    for (cached, asked) in [(true, 0), (false, 3)] {
        let settings = place.dynamic(&proxy.endpoint()).with("nixl_presence_cache", cached);
        let store = place.open(&settings);
        put(&store, "key", 1, SMALL);
        proxy.forget();
        (0..3).for_each(|_| assert!(store.contains("key").unwrap()));
        assert_eq!(object_requests(&proxy), asked, "cache: {cached}");
        // A get asks in any case: what it gives it has to have.
        place.client.delete(BUCKET, &place.objects()[0].name);
        assert_eq!(version(&store, "key", SMALL), None);
        assert!(proxy.count(Kind::Get) > 0);
        assert!(!store.contains("key").unwrap(), "cache: {cached}: a get has found that it is gone");
        place.end_at(store, &proxy);
    }
}

/// Two keys that LMCache tells apart by what stands around the chunk's hash are two keys here.
#[test]
fn the_presence_cache_knows_whole_keys() {
    let place = Place::new("whole_keys");
    let endpoint = Server::of_this_process().endpoint();
    let store = place.open(&place.dynamic(&endpoint).with("nixl_presence_cache", true));
    put(&store, "model@2@0@3f9a1c@bfloat16", 1, SMALL);
    assert!(!store.contains("model@2@1@3f9a1c@bfloat16").unwrap());
    assert!(store.contains("model@2@0@3f9a1c@bfloat16").unwrap());
    place.end(store);
}

/// With checksums of S3's own asked for in either direction, objects come back all the same.
#[test]
fn checksums_of_the_server_can_be_asked_for() {
    let place = Place::new("checksums");
    let proxy = Proxy::new();
    let settings = with_param(place.dynamic(&proxy.endpoint()), "req_checksum", "supported");
    let store = place.open(&with_param(settings, "resp_checksum", "supported"));
    for length in [SMALL, crate::place::LARGE] {
        put(&store, "key", 1, length);
        assert_eq!(version(&store, "key", length), Some(1));
    }
    let puts = proxy.seen_of(Kind::Put);
    let sums = |head: &crate::s3_common::http::Head| {
        head.headers.iter().any(|(name, value)| {
            name.to_ascii_lowercase().starts_with("x-amz-checksum-")
                || value.to_ascii_lowercase().contains("x-amz-checksum-")
        })
    };
    assert!(puts.iter().any(|put| sums(&put.head)), "{:?}", puts[0].head);
    place.end_at(store, &proxy);
}

/// A removal takes only the key's own record, in a batch as alone: that of another key under the same name stays.
#[test]
fn a_removal_takes_no_namesake() {
    let place = Place::new("namesake");
    let endpoint = Server::of_this_process().endpoint();
    let store = place.open(&place.dynamic(&endpoint).with("nixl_store_layout", "lmcache"));
    put(&store, "a_b", 1, SMALL);
    assert_eq!(store.remove("a/b").unwrap(), NIXL_STORE_NOT_FOUND);
    assert_eq!(version(&store, "a_b", SMALL), Some(1));
    assert_eq!(store.remove("a_b").unwrap(), NIXL_STORE_OK);
    assert_eq!(version(&store, "a_b", SMALL), None);
    place.end(store);
}
