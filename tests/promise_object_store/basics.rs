//! Objects of every size and keys of every kind, as a bucket has them.

use crate::crash_common::api::{Direction, Item, Store, Submit};
use crate::crash_common::chunk;
use crate::place::{KIB, LARGE, MIB, PARTS_FROM, Place, put, version};
use crate::s3_common::proxy::{Gate, peak};
use crate::s3_common::{Kind, Proxy, Rule, Server};
use nixl_store::capi::*;

/// Below `crtMinLimit` a put is one request, above it parts of at least 5 MiB; either comes back whole, to the store
/// that put it and to one that comes later.
#[test]
fn objects_of_every_size_come_back() {
    let place = Place::new("sizes");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    let sizes = [
        16,
        4095,
        4096,
        64 * KIB + 1,
        MIB,
        PARTS_FROM - 64 * KIB,
        PARTS_FROM - 4096,
        PARTS_FROM,
        PARTS_FROM + 1,
        2 * PARTS_FROM,
        8 * MIB,
        16 * MIB + 17,
    ];
    for size in sizes {
        let key = format!("object-{size}");
        proxy.forget();
        put(&store, &key, 1, size);
        let (puts, parts) = (proxy.count(Kind::Put), proxy.seen_of(Kind::Part));
        if size + 64 * KIB <= PARTS_FROM {
            assert_eq!((puts, parts.len()), (1, 0), "{size} bytes");
        } else if size > PARTS_FROM {
            assert_eq!((puts, proxy.count(Kind::CompleteUpload)), (0, 1), "{size} bytes");
            let short = parts.iter().filter(|part| part.body_bytes < (5 << 20)).count();
            assert!(short <= 1, "{size} bytes: only the last part may be short");
        }
        assert_eq!(version(&store, &key, size), Some(1));
        assert_eq!(store.length(&key).unwrap(), Some(size as u64));
    }
    assert_eq!(place.objects().len(), sizes.len());
    place.end_at(store, &proxy);
    let store = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    for size in sizes {
        assert_eq!(version(&store, &format!("object-{size}"), size), Some(1));
    }
    place.end(store);
}

/// The parts of a large put are under way side by side, and so are the ranges of a large get.
#[test]
fn large_objects_go_in_parts_side_by_side() {
    let place = Place::new("parts");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    let gate = Gate::new();
    proxy.add(Rule::on(Kind::Part, gate.fault()));
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| put(&store, "large", 1, LARGE));
        gate.wait_until_held(2);
        gate.open();
        putting.join().unwrap();
    });
    assert!(peak(&proxy.seen_of(Kind::Part)) >= 2);
    proxy.heal();
    proxy.forget();
    let gate = Gate::new();
    // The first may be what the others wait for: where the object ends, and which version it is.
    proxy.add(Rule::on(Kind::Get, gate.fault()).after(1));
    std::thread::scope(|scope| {
        let getting = scope.spawn(|| assert_eq!(version(&store, "large", LARGE), Some(1)));
        gate.wait_until_held(2);
        gate.open();
        getting.join().unwrap();
    });
    let gets = proxy.seen_of(Kind::Get);
    assert!(
        gets.iter().skip(1).all(|get| get.head.get("if-match").is_some()),
        "ranges are pinned to a version"
    );
    place.end_at(store, &proxy);
}

/// A range is that part of the object, of one request and of many; of a large object it moves not much more than itself.
#[test]
fn a_range_is_that_part_and_no_more() {
    let place = Place::new("ranges");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    for (key, size) in [("small", MIB), ("large", LARGE)] {
        put(&store, key, 1, size);
        let whole = chunk::fill(key, 1, size);
        let ranges = [
            (0, 100),
            (1, 64 * KIB),
            (size / 2 - 7, 200 * KIB),
            (size - 1, 1),
            (size - 100 * KIB, 100 * KIB),
        ];
        for (offset, length) in ranges {
            proxy.forget();
            let item = Item { range: Some(offset as u64), ..Item::new(key, vec![0; length]) };
            let (status, items) = store.submit(Direction::Get, vec![item], Submit::default()).unwrap().wait();
            assert_eq!(status, NIXL_STORE_OK, "{key} {offset} {length}");
            let (item, result) = &items[0];
            assert!(item.memory == whole[offset..offset + length], "{key} {offset} {length}");
            assert_eq!((result.bytes, result.object_length), (length as u64, size as u64));
            let asked: u64 = proxy.seen_of(Kind::Get).iter().map(|get| range_bytes(get.range())).sum();
            assert!(asked <= (length + 512 * KIB) as u64, "{asked} bytes were asked for to get {length}");
        }
        let past = Item { range: Some(size as u64 - 1), ..Item::new(key, vec![0; 2]) };
        let (status, _) = store.submit(Direction::Get, vec![past], Submit::default()).unwrap().wait();
        assert_eq!(status, NIXL_STORE_ERROR_OUT_OF_RANGE);
    }
    place.end_at(store, &proxy);
}

/// Bytes that a range names; a get without one asks for all there is.
fn range_bytes(range: Option<&str>) -> u64 {
    let Some((from, to)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return u64::MAX >> 8;
    };
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) => to + 1 - from,
        (Err(_), Ok(tail)) => tail,
        _ => u64::MAX >> 8,
    }
}

/// Keys that look like paths, patterns, escapes, or nothing at all.
fn odd_keys() -> Vec<String> {
    let odd = [
        ".",
        "..",
        "/",
        "//",
        "/etc/passwd",
        "../../escape",
        "a/../../b",
        "a//b",
        "a/./b",
        "trailing/",
        " ",
        "\0",
        "\u{1}\n\r\t",
        "?uploads",
        "#",
        "%2e%2e%2f",
        "%",
        "a+b c",
        "&<>\"'",
        "ü\u{1F600}",
        "*",
        "key=value",
        "\\",
    ];
    let mut keys: Vec<String> = odd.map(str::to_owned).into();
    keys.push("x".repeat(1024));
    keys.push("/".repeat(1024));
    keys
}

/// Any key comes back with its own bytes, and none is stored outside of the prefix.
#[test]
fn no_key_escapes_the_prefix() {
    let place = Place::new("keys");
    let server = Server::of_this_process().endpoint();
    let proxy = Proxy::new();
    for layout in ["sharded", "lmcache"] {
        let settings = place.dynamic(&proxy.endpoint()).with("nixl_store_layout", layout);
        let store = place.open(&settings);
        let mut stored = Vec::new();
        for key in odd_keys() {
            match store.put(&key, &chunk::fill(&key, 1, 1000)) {
                Ok(()) => stored.push(key),
                // LMCache's names are the keys, and not every one of them can be an object's.
                Err(failure) => {
                    assert_eq!(
                        (layout, failure.status),
                        ("lmcache", NIXL_STORE_ERROR_INVALID_ARGUMENT),
                        "{key:?}"
                    );
                }
            }
        }
        assert!(stored.len() >= if layout == "sharded" { odd_keys().len() } else { 8 });
        check_all(&store, &stored);
        for seen in proxy.seen() {
            let within = seen.name.is_empty() || seen.name.starts_with(&place.prefix);
            assert!(within, "{:?} {} is outside of {}", seen.kind, seen.name, place.prefix);
        }
        place.end_at(store, &proxy);
        let again = place.open(&place.dynamic(&server).with("nixl_store_layout", layout));
        check_all(&again, &stored);
        for key in &stored {
            assert_eq!(again.remove(key).unwrap(), NIXL_STORE_OK, "{key:?}");
            assert!(!again.contains(key).unwrap());
        }
        place.end(again);
    }
    assert_eq!(place.objects(), []);
}

#[track_caller]
fn check_all(store: &Store, keys: &[String]) {
    for key in keys {
        assert_eq!(version(store, key, 1000), Some(1), "{key:?}");
        assert!(store.contains(key).unwrap(), "{key:?}");
    }
}

/// Gets, replacements, removals and clear agree about what is stored.
#[test]
fn questions_agree_with_gets() {
    let place = Place::new("questions");
    let store = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    assert_eq!(version(&store, "key", 1000), None);
    assert!(!store.contains("key").unwrap());
    assert_eq!(store.remove("key").unwrap(), NIXL_STORE_NOT_FOUND);
    put(&store, "key", 1, 1000);
    put(&store, "key", 2, 2000);
    assert_eq!((version(&store, "key", 2000), store.length("key").unwrap()), (Some(2), Some(2000)));
    assert_eq!(place.objects().len(), 1);
    let small = store.get("key", 100).unwrap_err();
    assert_eq!(small.status, NIXL_STORE_ERROR_BUFFER_TOO_SMALL);
    store.flush().unwrap();
    assert_eq!(store.remove("key").unwrap(), NIXL_STORE_OK);
    assert_eq!((version(&store, "key", 2000), place.objects()), (None, vec![]));
    for number in 0..5 {
        put(&store, &format!("key-{number}"), 1, 1000);
    }
    assert!(store.pin("key-3").unwrap());
    assert_eq!(store.remove("key-3").unwrap(), NIXL_STORE_PINNED);
    assert_eq!(store.clear().unwrap(), 4);
    assert_eq!(version(&store, "key-3", 1000), Some(1));
    assert!(store.unpin("key-3").unwrap());
    assert_eq!(store.clear().unwrap(), 1);
    assert_eq!(place.objects(), []);
    place.end(store);
}
