//! The S3 server, client and proxy of the tests, tested themselves: a harness that breaks nothing would prove nothing.

// Helpers may unwrap as tests do.
#![cfg(test)]
#![cfg(feature = "obj")]

mod s3_common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use s3_common::proxy::{Gate, peak};
use s3_common::{
    ACCESS_KEY, BUCKET, Client, EMPTY_BUCKET, Fault, Kind, Proxy, Rule, SECRET_KEY, STRANGER_ACCESS_KEY,
    STRANGER_SECRET_KEY, Server,
};

/// A name that no other test has.
fn name(what: &str) -> String {
    format!("harness-{}/{what}", std::process::id())
}

fn through(proxy: &Proxy) -> Client {
    Client::new(proxy.address(), ACCESS_KEY, SECRET_KEY)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// What is put is there, listed with its size, and gone when it is deleted; names may hold what a URL may not.
#[test]
fn objects_come_back_from_the_server() {
    let client = Server::of_this_process().client();
    let name = name("plain/a b+c%2F&=ü");
    let object = bytes(100_000);
    client.put(BUCKET, &name, &object);
    assert!(client.get(BUCKET, &name) == Some(object));
    let listed = client.list(BUCKET, &name);
    assert_eq!(
        listed.iter().map(|one| (one.name.as_str(), one.bytes)).collect::<Vec<_>>(),
        [(&*name, 100_000)]
    );
    client.delete(BUCKET, &name);
    assert_eq!(client.get(BUCKET, &name), None);
    assert_eq!(client.list(BUCKET, &name), []);
}

/// The server looks at signatures and rights, and at conditions: tests may rely on it.
#[test]
fn the_server_refuses_what_servers_refuse() {
    let address = Server::of_this_process().address;
    let (name, path) = (name("refused"), format!("{BUCKET}/{}", name("refused")));
    Server::of_this_process().client().put(BUCKET, &name, b"first");
    let status = |client: &Client, method: &str, path: &str, headers: &[(&str, &str)]| {
        client.send(method, path, "", headers, b"").unwrap().status()
    };
    let forger = Client::new(address, ACCESS_KEY, STRANGER_SECRET_KEY);
    assert_eq!(status(&forger, "GET", &path, &[]), 403);
    let stranger = Client::new(address, STRANGER_ACCESS_KEY, STRANGER_SECRET_KEY);
    assert_eq!(status(&stranger, "GET", &path, &[]), 403);
    assert_eq!(status(&stranger, "PUT", &path, &[]), 403);
    assert_eq!(status(&stranger, "PUT", &format!("{EMPTY_BUCKET}/{name}"), &[]), 200);
    let owner = Server::of_this_process().client();
    assert_eq!(status(&owner, "GET", &path, &[("If-Match", "\"0123\"")]), 412);
    assert_eq!(status(&owner, "PUT", &path, &[("If-None-Match", "*")]), 412);
    assert_eq!(status(&owner, "PUT", "no-such-bucket/x", &[]), 404);
    assert_eq!(owner.get(BUCKET, &name).unwrap(), b"first");
}

/// An upload that nobody completes is listed as such, and is no object.
#[test]
fn uploads_that_are_left_are_found() {
    let client = Server::of_this_process().client();
    let name = name("upload");
    let upload = client.begin_upload(BUCKET, &name);
    client.upload_part(BUCKET, &name, &upload, 1, &bytes(5 << 20));
    assert_eq!(client.uploads(BUCKET, &name), [(name.clone(), upload)]);
    assert_eq!(client.get(BUCKET, &name), None);
    assert_eq!(client.list(BUCKET, &name), []);
}

/// Without rules the proxy changes nothing, and tells each request's kind, name and body.
#[test]
fn the_proxy_tells_what_passes() {
    let proxy = Proxy::new();
    let client = through(&proxy);
    let name = name("passes");
    let object = bytes(3_000_000);
    client.put(BUCKET, &name, &object);
    assert!(client.get(BUCKET, &name) == Some(object));
    assert_eq!(client.list(BUCKET, &name).len(), 1);
    let upload = client.begin_upload(BUCKET, &name);
    client.upload_part(BUCKET, &name, &upload, 1, &bytes(10));
    assert_eq!(client.uploads(BUCKET, &name).len(), 1);
    client.delete(BUCKET, &name);
    proxy.wait_until_idle();
    let seen = proxy.seen();
    let kinds: Vec<Kind> = seen.iter().map(|one| one.kind).collect();
    let wanted =
        [Kind::Put, Kind::Get, Kind::List, Kind::CreateUpload, Kind::Part, Kind::ListUploads, Kind::Delete];
    assert_eq!(kinds, wanted);
    assert_eq!((seen[0].name.as_str(), seen[0].body_bytes, seen[0].status), (&*name, 3_000_000, Some(200)));
    assert_eq!(seen[2].name, "");
    assert_eq!(peak(&seen), 1);
}

/// Each way to break an answer does what it is called.
#[test]
fn answers_break_as_they_are_told() {
    let proxy = Proxy::new();
    let client = through(&proxy);
    let name = name("answers");
    let object = bytes(300_000);
    client.put(BUCKET, &name, &object);
    let path = format!("{BUCKET}/{name}");
    let get = |fault: Fault| {
        proxy.heal();
        let rule = proxy.add(Rule::on(Kind::Get, fault).named(&name));
        let answer = client.send("GET", &path, "", &[], b"");
        assert_eq!(proxy.struck(rule), 1);
        answer
    };
    let error = |fault: Fault| get(fault).unwrap_err().kind();
    for fault in [Fault::Reset, Fault::LoseAnswer, Fault::ResetInAnswer(100_000)] {
        assert_eq!(error(fault), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(error(Fault::CutAnswer(100_000)), io::ErrorKind::UnexpectedEof);
    let answer = get(Fault::answer(503, "SlowDown")).unwrap();
    assert!(
        answer.status() == 503 && String::from_utf8_lossy(&answer.body).contains("<Code>SlowDown</Code>")
    );
    let moved = get(Fault::redirect("eu-west-1")).unwrap();
    assert_eq!((moved.status(), moved.head.get("x-amz-bucket-region")), (301, Some("eu-west-1")));
    let flipped = get(Fault::FlipAnswer(70_000)).unwrap().body;
    let differing: Vec<usize> = (0..object.len()).filter(|&at| flipped[at] != object[at]).collect();
    assert_eq!((flipped.len(), differing), (object.len(), vec![70_000]));
    assert!(get(Fault::StripAnswer("ETag")).unwrap().head.get("etag").is_none());
    let edited = get(Fault::edit(|head| head.set("ETag", "\"other\""))).unwrap();
    assert_eq!(edited.head.get("etag"), Some("\"other\""));
    let chunked = get(Fault::ChunkAnswer(1000)).unwrap();
    assert!(chunked.head.get("content-length").is_none() && chunked.body == object);
    let start = Instant::now();
    let trickled = get(Fault::Trickle(30_000, Duration::from_millis(10))).unwrap();
    assert!(trickled.body == object && start.elapsed() >= Duration::from_millis(100));
    proxy.heal();
    assert!(client.get(BUCKET, &name) == Some(object));
}

/// Each way to break a request does what it is called; the server has none of a body that broke off, and all of one
/// whose answer was lost.
#[test]
fn requests_break_as_they_are_told() {
    let proxy = Proxy::new();
    let (client, beside) = (through(&proxy), Server::of_this_process().client());
    let name = name("requests");
    let path = format!("{BUCKET}/{name}");
    let object = bytes(3_000_000);
    let put = |fault: Fault, headers: &[(&str, &str)]| {
        proxy.heal();
        proxy.add(Rule::on(Kind::Put, fault).once());
        client.send("PUT", &path, "", headers, &object)
    };
    assert!(put(Fault::ResetInRequest(1_000_000), &[]).is_err());
    assert_eq!(proxy.seen_of(Kind::Put)[0].body_bytes, 1_000_000);
    assert_eq!(beside.get(BUCKET, &name), None);
    assert_eq!(put(Fault::answer(403, "AccessDenied"), &[]).unwrap().status(), 403);
    assert_eq!(beside.get(BUCKET, &name), None);
    assert!(put(Fault::LoseAnswer, &[]).is_err());
    assert!(beside.get(BUCKET, &name).as_ref() == Some(&object));
    // The condition fails unless the server does not get to see it.
    assert_eq!(put(Fault::StripAnswer("x-none"), &[("If-None-Match", "*")]).unwrap().status(), 412);
    assert_eq!(put(Fault::StripRequest("If-None-Match"), &[("If-None-Match", "*")]).unwrap().status(), 200);
    let met = Arc::new(AtomicU32::new(0));
    let (count, of) = (Arc::clone(&met), name.clone());
    let hook = Fault::before(move |seen| {
        assert_eq!(seen.name, of);
        count.fetch_add(1, Ordering::SeqCst);
    });
    put(hook, &[]).unwrap();
    assert_eq!(met.load(Ordering::SeqCst), 1);
}

/// Rules count: which requests pass before, and how many are met.
#[test]
fn rules_pick_the_requests_that_they_name() {
    let proxy = Proxy::new();
    let client = through(&proxy);
    let name = name("picked");
    client.put(BUCKET, &name, b"x");
    proxy.add(Rule::on(Kind::Get, Fault::answer(500, "InternalError")).named("picked").after(1).times(2));
    let statuses: Vec<u16> = (0..4)
        .map(|_| client.send("GET", &format!("{BUCKET}/{name}"), "", &[], b"").unwrap().status())
        .collect();
    assert_eq!(statuses, [200, 500, 500, 200]);
}

/// A stall lasts until the client gives up or the proxy ends, and requests that wait at a gate are under way at once.
#[test]
fn stalls_and_gates_hold_requests() {
    let proxy = Proxy::new();
    let client = through(&proxy);
    let name = name("held");
    let path = format!("{BUCKET}/{name}");
    client.put(BUCKET, &name, b"x");
    let gate = Gate::new();
    proxy.add(Rule::on(Kind::Head, gate.fault()));
    proxy.add(Rule::on(Kind::Get, Fault::StallBeforeAnswer));
    std::thread::scope(|scope| {
        let heads: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| client.send("HEAD", &path, "", &[], b"").unwrap().status()))
            .collect();
        let stalled = scope.spawn(|| client.send("GET", &path, "", &[], b""));
        gate.wait_until_held(3);
        gate.open();
        heads.into_iter().for_each(|head| assert_eq!(head.join().unwrap(), 200));
        assert_eq!(peak(&proxy.seen_of(Kind::Head)), 3);
        assert!(!stalled.is_finished());
        drop(proxy);
        assert!(stalled.join().unwrap().is_err());
    });
}

/// A server that is gone for a while is the same one afterwards.
#[test]
fn a_server_can_be_gone_for_a_while() {
    let mut proxy = Proxy::new();
    let client = through(&proxy);
    client.put(BUCKET, &name("gone"), b"x");
    proxy.refuse();
    let refused = client.send("GET", "", "", &[], b"").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    proxy.accept_again();
    assert_eq!(client.get(BUCKET, &name("gone")).unwrap(), b"x");
}
