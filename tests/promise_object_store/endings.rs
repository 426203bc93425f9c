//! A put that ends before it is done, by a cancel or a close, leaves nothing: no upload, no object, no connection.

use std::time::Duration;

use crate::crash_common::api::{Direction, Item, Submit};
use crate::crash_common::chunk;
use crate::place::{LARGE, Place, SMALL, put, version};
use crate::s3_common::proxy::Gate;
use crate::s3_common::{Fault, Kind, Proxy, Rule, Server, wait};
use nixl_store::capi::*;

/// Puts in parts that are cancelled at each step end soon, as done or as cancelled, and leave no upload.
#[test]
fn a_cancelled_put_leaves_no_upload() {
    for kind in [Kind::CreateUpload, Kind::Part, Kind::CompleteUpload] {
        let place = Place::new("cancel");
        let proxy = Proxy::new();
        let store = place.open(&place.dynamic(&proxy.endpoint()));
        let gate = Gate::new();
        proxy.add(Rule::on(kind, gate.fault()));
        let items = (0..4)
            .map(|at| Item::new(format!("key-{at}"), chunk::fill(&format!("key-{at}"), 1, LARGE)))
            .collect();
        let pending = store.submit(Direction::Put, items, Submit::default()).unwrap();
        gate.wait_until_held(1);
        store.cancel(pending.number).unwrap();
        gate.open();
        let (_, items) = pending.wait();
        for (item, result) in &items {
            let found = version(&store, &item.key, LARGE);
            match result.status {
                NIXL_STORE_OK => assert_eq!(found, Some(1), "{kind:?}"),
                NIXL_STORE_ERROR_CANCELLED => assert_eq!(found, None, "{kind:?}"),
                other => panic!("{kind:?}: {other}"),
            }
        }
        place.end_at(store, &proxy);
    }
}

/// An upload that was begun twice, because the answer to the first attempt was lost, leaves neither behind: nobody knows
/// the first one's name.
#[test]
fn an_upload_of_which_no_answer_told_is_not_left_behind() {
    let place = Place::new("begun_twice");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    let lost = proxy.add(Rule::on(Kind::CreateUpload, Fault::LoseAnswer).once());
    put(&store, "key", 1, LARGE);
    assert_eq!(proxy.struck(lost), 1);
    assert_eq!(version(&store, "key", LARGE), Some(1));
    place.end_at(store, &proxy);
}

/// A close while puts and gets are under way lets each of them end, and leaves no upload.
#[test]
fn a_close_leaves_no_upload() {
    let place = Place::new("close");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    put(&store, "old", 1, LARGE);
    let gate = Gate::new();
    proxy.add(Rule::on(Kind::Part, gate.fault()));
    let puts = (0..3)
        .map(|at| Item::new(format!("new-{at}"), chunk::fill(&format!("new-{at}"), 1, LARGE)))
        .collect();
    let puts = store.submit(Direction::Put, puts, Submit::default()).unwrap();
    let gets =
        store.submit(Direction::Get, vec![Item::new("old", vec![0; LARGE])], Submit::default()).unwrap();
    gate.wait_until_held(1);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| store.close());
        gate.open();
        closing.join().unwrap().unwrap_or_else(|failure| panic!("{failure}"));
    });
    // Their handles are gone with the store; what they did is in the bucket, as wholes.
    drop((puts, gets));
    proxy.wait_until_idle();
    place.assert_no_uploads();
    let store = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
    for at in 0..3 {
        let found = version(&store, &format!("new-{at}"), LARGE);
        assert!(found.is_none_or(|found| found == 1));
    }
    place.end(store);
}

/// A close while the server stands still ends all the same, soon after the deadline of what was under way.
#[test]
fn a_close_ends_while_the_server_stalls() {
    let place = Place::new("stalled_close");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    put(&store, "key", 1, SMALL);
    // Only of what meets the stall: the open and the put before it are to be done, on a machine that may be busy.
    let how = || Submit { timeout_ms: 2000, ..Submit::default() };
    proxy.add(Rule::any(Fault::StallBeforeAnswer));
    let items = vec![Item::new("key", vec![0; SMALL]), Item::new("key", vec![0; SMALL])];
    let gets = store.submit(Direction::Get, items, how()).unwrap();
    let puts = vec![Item::new("large", chunk::fill("large", 1, LARGE))];
    let puts = store.submit(Direction::Put, puts, how()).unwrap();
    wait::until("requests stall", wait::LONG, || (proxy.count(Kind::Get) > 0).then_some(()));
    let start = std::time::Instant::now();
    // What it could not clean up it may say, by its status or in the log.
    let _ = store.close();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    drop((gets, puts));
    drop(store);
    proxy.wait_until_idle();
}

/// A put that fails in its middle gives its upload up, and the error is the put's.
#[test]
fn a_failed_put_leaves_no_upload() {
    for kind in [Kind::Part, Kind::CompleteUpload] {
        let place = Place::new("failed");
        let proxy = Proxy::new();
        let store = place.open(&place.dynamic(&proxy.endpoint()));
        put(&store, "key", 1, SMALL);
        proxy.add(Rule::on(kind, Fault::answer(403, "AccessDenied")));
        let failure = store.put("key", &chunk::fill("key", 2, LARGE)).unwrap_err();
        assert_eq!(failure.status, NIXL_STORE_ERROR_PERMISSION, "{failure}");
        wait::until("the upload is given up", wait::LONG, || place.uploads().is_empty().then_some(()));
        assert_eq!(version(&store, "key", SMALL), Some(1), "{kind:?}: the old object is still there");
        place.end_at(store, &proxy);
    }
}
