//! The bucket is looked at when a store is opened: what is wrong with it is told there, and clearly.

use std::time::{Duration, Instant};

use crate::crash_common::api::{Failure, Options, Store};
use crate::place::{LARGE, Place, SMALL, put, version, with_param, without_param};
use crate::s3_common::{
    ACCESS_KEY, EMPTY_BUCKET, Fault, Proxy, Rule, STRANGER_ACCESS_KEY, STRANGER_SECRET_KEY, Server, tls,
};
use nixl_store::capi::*;

#[track_caller]
fn refused(place: &Place, settings: &crate::crash_common::config::Settings, words: &[&str]) -> Failure {
    let failure = place.try_open(settings).err().expect("it was to be refused");
    for word in words {
        assert!(failure.message.contains(word), "{word:?} is missing in: {failure}");
    }
    failure
}

/// A bucket that is not there, one of others, a wrong key, another region: each is an error of its own that says what
/// to do.
#[test]
fn a_bucket_that_cannot_be_used_is_refused() {
    let place = Place::new("refused");
    let good = place.dynamic(&Server::of_this_process().endpoint());
    let missing = refused(&place, &with_param(good.clone(), "bucket", "no-such-bucket"), &["no-such-bucket"]);
    assert_eq!(missing.status, NIXL_STORE_ERROR_CONFIG);

    let stranger = with_param(good.clone(), "access_key", STRANGER_ACCESS_KEY);
    let stranger = with_param(stranger, "secret_key", STRANGER_SECRET_KEY);
    let denied = refused(&place, &stranger, &["chunks"]);
    assert_eq!(denied.status, NIXL_STORE_ERROR_PERMISSION);
    let elsewhere = place.open(&with_param(stranger, "bucket", EMPTY_BUCKET));
    place.end(elsewhere);

    let forged = with_param(good.clone(), "secret_key", STRANGER_SECRET_KEY);
    assert_eq!(refused(&place, &forged, &[]).status, NIXL_STORE_ERROR_PERMISSION);
    let unknown = with_param(good.clone(), "access_key", "NobodyKnowsThisOne");
    assert_eq!(refused(&place, &unknown, &[]).status, NIXL_STORE_ERROR_PERMISSION);

    let proxy = Proxy::new();
    proxy.add(Rule::any(Fault::redirect("eu-central-1")));
    let moved = refused(&place, &place.dynamic(&proxy.endpoint()), &["eu-central-1"]);
    assert_eq!(moved.status, NIXL_STORE_ERROR_CONFIG);

    let without = without_param(good, "bucket");
    assert_eq!(refused(&place, &without, &["bucket"]).status, NIXL_STORE_ERROR_CONFIG);
    assert_eq!(place.objects(), []);
}

/// Nobody there, or somebody who does not answer: the open ends in time and names the endpoint.
#[test]
fn a_server_that_does_not_answer_is_named() {
    let place = Place::new("nobody");
    let mut proxy = Proxy::new();
    let settings = place.dynamic(&proxy.endpoint()).with("nixl_store_timeout_ms", 2000);
    let address = proxy.address().to_string();
    let start = Instant::now();
    proxy.add(Rule::any(Fault::StallBeforeAnswer));
    refused(&place, &settings, &[&address]);
    proxy.refuse();
    refused(&place, &settings, &[&address]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // A host without a name.
    refused(
        &place,
        &with_param(settings, "endpoint_override", "http://no-such-host.invalid:9000"),
        &["no-such-host"],
    );
}

/// A probe leaves nothing in the bucket.
#[test]
fn opening_leaves_nothing_behind() {
    let place = Place::new("probe");
    let store = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    assert_eq!(place.objects(), []);
    place.end(store);
    assert_eq!(place.objects(), []);
}

/// Over TLS with an authority of one's own; without it, or with a file that is none, the server is not trusted.
#[test]
fn a_server_is_trusted_by_its_certificate() {
    let place = Place::new("tls");
    let proxy = Proxy::over_tls();
    let bundle = tls::authority();
    let settings = place.dynamic(&proxy.endpoint());
    let trusting = with_param(settings.clone(), "ca_bundle", bundle.display());
    let store = place.open(&trusting);
    for (key, length) in [("small", SMALL), ("large", LARGE)] {
        put(&store, key, 1, length);
        assert_eq!(version(&store, key, length), Some(1));
    }
    place.end_at(store, &proxy);
    // By host name too, and with the scheme apart.
    let address = format!("localhost:{}", proxy.address().port());
    let named = with_param(with_param(trusting.clone(), "endpoint_override", address), "scheme", "https");
    place.end_at(place.open(&named), &proxy);

    refused(&place, &settings, &["certificate"]);
    refused(
        &place,
        &with_param(settings.clone(), "ca_bundle", "/no/such/bundle.pem"),
        &["/no/such/bundle.pem"],
    );
    let empty = place.file("empty.pem", "no certificate\n");
    refused(&place, &with_param(settings, "ca_bundle", empty.display()), &["empty.pem"]);
    // Plain HTTP to a server that speaks TLS.
    let plain = with_param(trusting, "endpoint_override", format!("http://{}", proxy.address()));
    refused(&place, &plain.with("nixl_store_timeout_ms", 3000), &["127.0.0.1"]);
}

/// Each worker asks at its own endpoint, in turn.
#[test]
fn a_worker_has_its_endpoint() {
    let place = Place::new("endpoints");
    let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::new()).collect();
    let list: Vec<String> = proxies.iter().map(Proxy::endpoint).collect();
    let settings =
        place.dynamic("http://127.0.0.1:1").with("nixl_endpoint_list", format!("[{}]", list.join(", ")));
    let config = place.write(&settings);
    for worker_id in 0..4 {
        proxies.iter().for_each(Proxy::forget);
        let options = Options { worker_id, world_size: 4, ..Options::default() };
        let store = Store::open_with(&config, &options).unwrap_or_else(|failure| panic!("{failure}"));
        put(&store, "key", 1, SMALL);
        assert_eq!(version(&store, "key", SMALL), Some(1));
        store.close().unwrap();
        let asked: Vec<bool> = proxies.iter().map(|proxy| !proxy.seen().is_empty()).collect();
        let wanted: Vec<bool> = (0..3).map(|at| at == worker_id as usize % 3).collect();
        assert_eq!(asked, wanted, "worker {worker_id}");
    }
    place.assert_no_uploads();
}

/// Whoever has temporary credentials sends their token along.
#[test]
fn a_session_token_is_sent() {
    let place = Place::new("token");
    let proxy = Proxy::new();
    // The server knows no such token; what matters is that it was sent.
    let settings =
        with_param(place.dynamic(&proxy.endpoint()), "session_token", crate::s3_common::SESSION_TOKEN);
    drop(place.try_open(&settings));
    let seen = proxy.seen();
    assert!(!seen.is_empty());
    for request in seen {
        assert_eq!(request.head.get("x-amz-security-token"), Some(crate::s3_common::SESSION_TOKEN));
        assert!(request.head.get("authorization").unwrap().contains(ACCESS_KEY));
    }
}
