//! How many requests a call takes: on the network each is a round trip.

use crate::place::{LARGE, MIB, Place, SMALL, object_requests, put, version};
use crate::s3_common::{Kind, Proxy, Server};

/// A put below `crtMinLimit` is one request; a get of what the store knows, or of what is as long as the memory that
/// is given for it, is one too. A guess that is wrong costs one more.
#[test]
fn a_small_object_takes_one_request() {
    let place = Place::new("one_request");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    for size in [16, 4096, SMALL, MIB] {
        proxy.forget();
        put(&store, "key", size as u64, size);
        assert_eq!((proxy.count(Kind::Put), object_requests(&proxy)), (1, 1), "{size} bytes");
        proxy.forget();
        assert_eq!(version(&store, "key", size), Some(size as u64));
        assert_eq!((proxy.count(Kind::Get), object_requests(&proxy)), (1, 1), "{size} bytes");
    }
    place.end_at(store, &proxy);

    let other = place.open(&place.dynamic(&proxy.endpoint()));
    proxy.forget();
    assert_eq!(version(&other, "key", MIB), Some(MIB as u64));
    assert_eq!(
        (proxy.count(Kind::Get), object_requests(&proxy)),
        (1, 1),
        "the memory is as long as the object"
    );
    place.end_at(other, &proxy);

    let third = place.open(&place.dynamic(&proxy.endpoint()));
    proxy.forget();
    assert_eq!(third.get("key", 3 * MIB).unwrap().map(|found| found.len()), Some(MIB));
    assert!(object_requests(&proxy) <= 2, "{} requests for a wrong guess", object_requests(&proxy));
    proxy.forget();
    assert_eq!(third.get("no-such-key", MIB).unwrap(), None);
    assert_eq!(object_requests(&proxy), 1, "a miss is one answer");
    place.end_at(third, &proxy);
}

/// A large object takes its parts and two requests around them; to get it, one that tells where it ends, and its ranges.
#[test]
fn a_large_object_takes_as_many_requests_as_it_has_parts() {
    let place = Place::new("few_requests");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    proxy.forget();
    put(&store, "key", 1, LARGE);
    let parts = proxy.count(Kind::Part);
    assert!((2..=3).contains(&parts), "{parts} parts");
    assert_eq!(object_requests(&proxy), parts + 2);
    proxy.forget();
    assert_eq!(version(&store, "key", LARGE), Some(1));
    let gets = proxy.count(Kind::Get);
    assert!(gets == object_requests(&proxy) && gets <= 1 + LARGE.div_ceil(MIB), "{gets} gets");
    place.end_at(store, &proxy);
}

/// Contains and length are one request each, a removal one or two; none of them moves an object.
#[test]
fn a_question_takes_one_request() {
    let place = Place::new("question");
    let direct = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    put(&direct, "key", 1, MIB);
    place.end(direct);
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    proxy.forget();
    assert!(store.contains("key").unwrap());
    assert_eq!((object_requests(&proxy), proxy.count(Kind::Get)), (1, 0));
    proxy.forget();
    assert!(!store.contains("other").unwrap());
    assert_eq!(object_requests(&proxy), 1);
    proxy.forget();
    assert_eq!(store.length("key").unwrap(), Some(MIB as u64));
    assert!(object_requests(&proxy) <= 2);
    proxy.forget();
    store.remove("key").unwrap();
    assert!(object_requests(&proxy) <= 2 && proxy.count(Kind::Delete) == 1);
    place.end_at(store, &proxy);
}
