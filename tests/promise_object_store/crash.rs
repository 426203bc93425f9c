//! kill -9 in the middle of a put in parts.

use std::path::PathBuf;

use crate::crash_common::api::Store;
use crate::crash_common::chunk;
use crate::crash_common::helper::{Helper, Peer, Role};
use crate::place::{LARGE, Place, put, version};
use crate::s3_common::proxy::Gate;
use crate::s3_common::{BUCKET, Fault, Kind, Proxy, Rule, Server, wait};

/// Puts one large object and says so.
pub const ROLE: Role = ("put_large", |peer: &mut Peer| {
    let store = Store::open(&PathBuf::from(peer.line().unwrap())).unwrap();
    store.put("key", &chunk::fill("key", 2, LARGE)).unwrap();
    peer.say("done");
});

/// A process dies while it puts an object: at the first part, among them, or before the last word. Nobody sees any of
/// it, what was there before is still there, and the key can be put again.
#[test]
fn a_put_cut_off_by_a_kill_is_not_seen() {
    let moments: [(Kind, usize); 3] = [(Kind::Part, 1), (Kind::Part, 2), (Kind::CompleteUpload, 1)];
    for (kind, count) in moments {
        let place = Place::new("killed");
        let proxy = Proxy::new();
        let store = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
        put(&store, "key", 1, 100_000);
        let gate = Gate::new();
        proxy.add(Rule::on(kind, gate.fault()));
        // What waits at the gate was sent, and is carried out after its sender's death; all but the one request that makes
        // the object.
        proxy.add(Rule::on(Kind::CompleteUpload, Fault::Reset));
        let mut helper = Helper::start(ROLE.0);
        helper.tell(&place.write(&place.dynamic(&proxy.endpoint())).display().to_string());
        gate.wait_until_held(count);
        assert_eq!(helper.kill(), Vec::<String>::new(), "it had not said that it was done");
        gate.open();
        assert_eq!(version(&store, "key", 100_000), Some(1), "{kind:?}");
        let other = place.open(&place.dynamic(&Server::of_this_process().endpoint()));
        assert_eq!(version(&other, "key", 100_000), Some(1), "{kind:?}");
        assert_eq!(place.objects().len(), 1);
        put(&other, "key", 3, LARGE);
        assert_eq!(version(&store, "key", LARGE), Some(3));
        other.close().unwrap();
        store.close().unwrap();
        // They stay for a day: nobody can tell a dead process from one on another host.
        place.uploads().into_iter().for_each(|(name, upload)| {
            let query = format!("uploadId={upload}");
            place.client.send("DELETE", &format!("{BUCKET}/{name}"), &query, &[], b"").unwrap();
        });
    }
}

/// What a process left of an upload a day ago is aborted by the next one that opens the store; what is younger may be
/// somebody's who is still at it, and what is under other names is not ours.
#[test]
fn an_upload_left_behind_is_aborted_by_a_later_open() {
    let place = Place::new("left");
    let proxy = Proxy::new();
    let endpoint = Server::of_this_process().endpoint();
    // The name of an object of this store, from the store itself.
    let store = place.open(&place.dynamic(&endpoint));
    put(&store, "key", 1, 1000);
    let name = place.objects()[0].name.clone();
    place.end(store);
    let foreign = format!("{}somebody/elses", place.prefix);
    for name in [&name, &foreign] {
        place.client.begin_upload(BUCKET, name);
    }
    // Young: left alone.
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    wait::until("the open looks for uploads", wait::LONG, || {
        proxy.seen_of(Kind::ListUploads).iter().any(|seen| seen.ended.is_some()).then_some(())
    });
    store.close().unwrap();
    drop(store);
    assert_eq!(place.uploads().len(), 2);
    // As old as a day and more, says the server.
    proxy.add(Rule::on(Kind::ListUploads, Fault::rewrite(age)));
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    wait::until("an old upload is aborted", wait::LONG, || (place.uploads().len() < 2).then_some(()));
    let left: Vec<String> = place.uploads().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [foreign.as_str()]);
    assert_eq!(version(&store, "key", 1000), Some(1));
    store.close().unwrap();
    drop(store);
    let (name, upload) = place.uploads().remove(0);
    place
        .client
        .send("DELETE", &format!("{BUCKET}/{name}"), &format!("uploadId={upload}"), &[], b"")
        .unwrap();
    proxy.wait_until_idle();
}

/// Each time in a listing of uploads is one in 2020.
fn age(body: &str) -> String {
    let mut parts = body.split("<Initiated>");
    let mut aged = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (_, rest) = part.split_once("</Initiated>").expect("an end");
        aged += &format!("<Initiated>2020-01-02T03:04:05Z</Initiated>{rest}");
    }
    aged
}
