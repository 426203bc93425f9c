//! Memory is let go of exactly once, after the last use of it, however a call ends.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Peer, Server, counted_lease, pattern, runtime, script, slices};
use crate::s3::{Answer, Client, Condition, FailureKind, Get, Got, Landing, Part, Payload, Version};

const BYTES: usize = 4 << 20;

fn get(
    client: &Client,
    memory: &mut [u8],
    deadline: Option<Instant>,
) -> (impl Future<Output = Answer<Got>>, Arc<AtomicUsize>) {
    let (lease, dropped) = counted_lease();
    let landing = Landing { slices: slices(memory, 1 << 20), lease, sum_block_bytes: None };
    let part = Part::Range(0..BYTES as u64);
    let what = Get { name: "k".to_owned(), part, object_bytes: None, version: None, deadline };
    let client = client.clone();
    (async move { client.get(what, landing).await }, dropped)
}

fn put(
    client: &Client,
    memory: &mut [u8],
    deadline: Option<Instant>,
) -> (impl Future<Output = Answer<Option<Version>>>, Arc<AtomicUsize>) {
    let (lease, dropped) = counted_lease();
    let payload = Payload { slices: slices(memory, 1 << 20), lease };
    let client = client.clone();
    (async move { client.put("k", payload, Condition::None, deadline).await }, dropped)
}

/// Sends half of a body, and then waits until the client has gone.
fn half_a_body(peer: &mut Peer, half: &mpsc::Sender<()>) {
    peer.request();
    peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
    peer.say(&pattern(BYTES)[..BYTES / 2]);
    let _ = half.send(());
    assert!(peer.is_closed());
}

/// When a get or a put is over, well or not, the lease's owner was dropped, once; after a failed attempt that was repeated
/// it was not dropped before.
#[test]
fn a_lease_ends_once_when_its_call_does() {
    let server = Server::start(vec![
        script(|peer| {
            peer.request();
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\nabc"));
        }),
        script(|peer| {
            peer.request();
            peer.answer("200 OK", "", &pattern(BYTES));
            assert!(peer.request().expect("a put").body == pattern(BYTES));
            peer.answer("200 OK", "ETag: \"e\"\r\n", b"");
            peer.request();
            peer.answer("403 Forbidden", "", b"");
        }),
    ]);
    let client = server.client();
    let runtime = runtime();
    let mut memory = vec![0; BYTES];
    let (call, dropped) = get(&client, &mut memory, None);
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    assert!(matches!(runtime.block_on(call), Ok(Got::Landed { .. })));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    let (call, dropped) = put(&client, &mut memory, None);
    assert!(runtime.block_on(call).is_ok());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    let (call, dropped) = put(&client, &mut memory, None);
    assert_eq!(runtime.block_on(call).expect_err("denied").kind(), FailureKind::Denied);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    drop(client);
}

/// A get that is dropped in the middle of a body lets go of the memory there and then, and closes its connection.
#[test]
fn a_get_that_is_dropped_lets_go_at_once_and_closes_its_connection() {
    let (half, is_half) = mpsc::channel();
    let server = Server::start(vec![
        script(move |peer| half_a_body(peer, &half)),
        script(|peer| {
            peer.request();
            peer.answer("200 OK", "", &pattern(BYTES));
        }),
    ]);
    let client = server.client();
    let runtime = runtime();
    let mut memory = vec![0u8; BYTES];
    let first = memory.as_ptr();
    {
        let (call, dropped) = get(&client, &mut memory, None);
        let mut call = Box::pin(call);
        runtime.block_on(async {
            let mut call = pin!(&mut call);
            // Until the first bytes have landed.
            poll_fn(|cx| {
                assert!(call.as_mut().poll(cx).is_pending());
                // SAFETY: the memory lives; this thread is the one that lands in it, and is not doing so now.
                if unsafe { first.add(5).read_volatile() } == 0 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
        });
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        drop(call);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }
    is_half.recv().expect("half");
    // The half of a body is not taken for the next answer.
    let (call, _) = get(&client, &mut memory, None);
    assert!(matches!(runtime.block_on(call), Ok(Got::Landed { .. })));
    assert!(memory == pattern(BYTES));
    drop(client);
    assert_eq!(server.end(), 2);
}

/// A get or a put whose deadline passes while bytes move has let go of the memory when it answers.
#[test]
fn a_deadline_in_the_middle_lets_go_before_it_answers() {
    let (half, _half) = mpsc::channel();
    let server = Server::start(vec![
        script(move |peer| half_a_body(peer, &half)),
        // Takes a head and no body, until the client has gone.
        script(|peer| {
            peer.head();
            let (stop, stopped) = mpsc::channel::<()>();
            let _ = stopped.recv_timeout(Duration::from_millis(400));
            drop(stop);
        }),
    ]);
    // The deadline is before the bound on stalls.
    let client = server.client();
    let mut memory = vec![0u8; BYTES];
    let soon = || Some(Instant::now() + Duration::from_millis(200));
    let (call, dropped) = get(&client, &mut memory, soon());
    assert_eq!(runtime().block_on(call).expect_err("late").kind(), FailureKind::TimedOut);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    let mut large = vec![0u8; 16 * BYTES];
    let (call, dropped) = put(&client, &mut large, soon());
    assert_eq!(runtime().block_on(call).expect_err("late").kind(), FailureKind::TimedOut);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    drop(client);
}

/// A deadline that has passed already sends nothing, and lets go.
#[test]
fn a_deadline_that_has_passed_sends_nothing() {
    let server = Server::start(vec![]);
    let client = server.client();
    let mut memory = vec![0u8; BYTES];
    let (call, dropped) = put(&client, &mut memory, Some(Instant::now()));
    assert_eq!(runtime().block_on(call).expect_err("late").kind(), FailureKind::TimedOut);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(server.end(), 0);
}

/// The SDK's checksums see the caller's memory through the lease too, and let go of it.
#[test]
fn checksummed_bodies_hold_the_lease_and_let_go() {
    let server = Server::start(vec![script(|peer| {
        let request = peer.request().expect("a put");
        assert!(request.header("content-encoding").is_some_and(|value| value.contains("aws-chunked")));
        let body = &request.body;
        let start = body.iter().position(|byte| *byte == b'\n').expect("a chunk") + 1;
        assert!(body[start..start + 1000] == pattern(BYTES)[..1000]);
        let end = String::from_utf8_lossy(&body[body.len() - 200..]).into_owned();
        assert!(end.contains("x-amz-checksum-crc32:"), "{end:?}");
        peer.answer("200 OK", "", b"");
        peer.request();
        // A checksum that is not that of the body.
        peer.answer("200 OK", "x-amz-checksum-crc32: AAAAAA==\r\n", &pattern(BYTES));
    })]);
    let client = server.client_with(&[("req_checksum", "supported"), ("resp_checksum", "supported")]);
    let (mut memory, runtime) = (pattern(BYTES), runtime());
    let (call, dropped) = put(&client, &mut memory, None);
    runtime.block_on(call).expect("put");
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    let (call, dropped) = get(&client, &mut memory, None);
    let failure = runtime.block_on(call).expect_err("a wrong checksum");
    assert_eq!(failure.kind(), FailureKind::Refused, "{failure}");
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    drop(client);
}
