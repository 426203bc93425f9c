//! An object that is replaced while it is read, and servers that do not say which version they send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::crash_common::api::{Capabilities, Store};
use crate::crash_common::chunk;
use crate::place::{LARGE, Place, put, version};
use crate::s3_common::{Fault, Kind, Proxy, Rule, Server};

/// Replaces the key with the next version, past the proxy, each time a request is about to go on.
fn replacing(place: &Place) -> (Fault, Arc<AtomicU64>) {
    let other = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    let last = Arc::new(AtomicU64::new(1));
    let told = Arc::clone(&last);
    let fault = Fault::before(move |_| {
        let version = last.load(Ordering::SeqCst) + 1;
        put(&other, "key", version, LARGE);
        last.store(version, Ordering::SeqCst);
    });
    (fault, told)
}

/// The version read, if any: whole, and one that there was.
#[track_caller]
fn whole(store: &Store, last: u64) -> Option<u64> {
    let found = store.get("key", LARGE).unwrap_or_else(|failure| panic!("{failure}"))?;
    let version = chunk::read("key", &found).unwrap_or_else(|wrong| panic!("two versions in one: {wrong}"));
    assert!((1..=last).contains(&version), "version {version} of {last}");
    Some(version)
}

/// An object is replaced between two ranges of a get. The get delivers the new one as a whole.
#[test]
fn an_object_replaced_between_two_ranges_is_read_anew() {
    let place = Place::new("replaced");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    put(&store, "key", 1, LARGE);
    let (fault, last) = replacing(&place);
    proxy.add(Rule::on(Kind::Get, fault).after(1).once());
    assert_eq!(whole(&store, 2), Some(2));
    assert_eq!(last.load(Ordering::SeqCst), 2);
    place.end_at(store, &proxy);
}

/// One that is replaced over and over is a miss in the end, and not a get that never ends.
#[test]
fn an_object_that_never_stands_still_is_a_miss() {
    let place = Place::new("restless");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    put(&store, "key", 1, LARGE);
    let (fault, last) = replacing(&place);
    proxy.add(Rule::on(Kind::Get, fault));
    whole(&store, u64::MAX);
    assert!(last.load(Ordering::SeqCst) < 100, "a get asked {} times", last.load(Ordering::SeqCst));
    proxy.heal();
    assert_eq!(whole(&store, u64::MAX), Some(last.load(Ordering::SeqCst)));
    place.end_at(store, &proxy);
}

/// Servers that do not honour conditions, or do not tell versions, are found out at open: it is told, and what is read
/// there is right all the same, or a miss.
#[test]
fn servers_that_ignore_conditions_are_found_out() {
    let no_version = Rule::on(Kind::Get, Fault::StripAnswer("ETag")).or_on(Kind::Head);
    let cases = [
        ("If-Match", vec![Rule::any(Fault::StripRequest("If-Match"))]),
        ("If-None-Match", vec![Rule::any(Fault::StripRequest("If-None-Match"))]),
        ("ETag", vec![no_version, Rule::any(Fault::StripRequest("If-Match"))]),
    ];
    for (what, rules) in cases {
        let place = Place::new("ignoring");
        let proxy = Proxy::new();
        for rule in rules {
            proxy.add(rule);
        }
        let store = place.open(&place.dynamic(&proxy.endpoint()));
        let Capabilities { reason, .. } = store.capabilities().unwrap();
        let lines: Vec<String> = store.log.lines().into_iter().map(|(_, line)| line).collect();
        let told = reason.contains(what) || lines.iter().any(|line| line.contains(what));
        assert!(told, "{what} is not honoured, and nobody is told: {reason:?} {lines:?}");
        put(&store, "key", 1, LARGE);
        assert_eq!(version(&store, "key", LARGE), Some(1));
        let (fault, _) = replacing(&place);
        proxy.add(Rule::on(Kind::Get, fault).after(1).times(3));
        whole(&store, u64::MAX);
        whole(&store, u64::MAX);
        assert!(whole(&store, u64::MAX).is_some(), "{what}: it stands still now");
        place.end_at(store, &proxy);
    }
}

/// An honest server is not slandered.
#[test]
fn a_server_that_honours_all_is_believed() {
    let place = Place::new("honest");
    let store = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    let warned = store.log.matching(nixl_store::capi::NIXL_STORE_LOG_WARN, "");
    assert!(warned.is_empty(), "{warned:?}");
    place.end(store);
}
