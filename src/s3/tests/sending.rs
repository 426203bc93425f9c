//! Requests go out: over connections that may have died, to servers that answer before they were heard out, and no more of
//! them at a time than there may be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{Peer, Server, TIMES, open_at, pattern, payload, runtime, script};
use crate::error::Status;
use crate::s3::{Condition, FailureKind, UploadId};

/// A body from many slices arrives as one, unsigned, and with its length.
#[test]
fn a_body_in_many_slices_arrives_as_one() {
    const BYTES: usize = 3_000_001;
    let server = Server::start(vec![script(|peer| {
        let request = peer.request().expect("a put");
        assert!(request.head.starts_with("PUT /chunks/a/b%20c?"), "{}", request.head);
        assert_eq!(request.header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
        assert_eq!(request.header("if-none-match"), Some("*"));
        assert_eq!(request.header("expect"), None);
        assert!(request.body == pattern(BYTES));
        peer.answer("200 OK", "ETag: \"e\"\r\n", b"");
        let request = peer.request().expect("a part");
        assert!(
            request.head.contains("partNumber=7") && request.head.contains("uploadId=u%2F1"),
            "{}",
            request.head
        );
        assert!(request.body == pattern(BYTES));
        peer.answer("200 OK", "ETag: \"p\"\r\n", b"");
    })]);
    let client = server.client();
    let mut memory = pattern(BYTES);
    runtime().block_on(async {
        let version =
            client.put("a/b c", payload(&mut memory, 9973), Condition::IfAbsent, None).await.expect("put");
        assert_eq!(version.expect("an ETag").as_str(), "\"e\"");
        let upload = UploadId::new("u/1");
        let tag =
            client.upload_part("a/b c", &upload, 7, payload(&mut memory, BYTES), None).await.expect("part");
        assert_eq!((tag.number, tag.version.as_str()), (7, "\"p\""));
    });
    drop(client);
    assert_eq!(server.end(), 1);
}

/// A connection that the server closed while it lay idle is no failure, nor an attempt that counts.
#[test]
fn a_stale_connection_is_replaced_unseen() {
    let (closed, is_closed) = mpsc::channel();
    let server = Server::start(vec![
        script(move |peer| {
            peer.request();
            peer.answer("200 OK", "", b"");
            // The next request is read, and met with the end of the connection.
            peer.head();
            let _ = closed.send(());
        }),
        script(|peer| {
            let request = peer.request().expect("again");
            // Still the first attempt, which is not the SDK's.
            assert_eq!(request.header("amz-sdk-request"), None);
            assert!(request.body == pattern(5000));
            peer.answer("200 OK", "", b"");
        }),
    ]);
    let client = server.client();
    let mut memory = pattern(5000);
    runtime().block_on(async {
        client.put("k", payload(&mut memory, 900), Condition::None, None).await.expect("first");
        client.put("k", payload(&mut memory, 900), Condition::None, None).await.expect("second");
    });
    is_closed.recv().expect("closed");
    drop(client);
    assert_eq!(server.end(), 2);
}

/// An answer that nobody asked for, on a connection that lies idle, is not taken for that to the next request.
#[test]
fn a_stray_answer_is_nobodys() {
    let ((idle, is_idle), (strayed, has_strayed)) = (mpsc::channel(), mpsc::channel());
    let server = Server::start(vec![
        script(move |peer| {
            peer.request();
            peer.answer("200 OK", "ETag: \"first\"\r\n", b"");
            let _ = is_idle.recv();
            peer.answer("200 OK", "ETag: \"stray\"\r\n", b"");
            let _ = strayed.send(());
            assert!(peer.is_closed());
        }),
        script(|peer| {
            peer.request();
            peer.answer("200 OK", "ETag: \"second\"\r\n", b"");
        }),
    ]);
    let (client, runtime) = (server.client(), runtime());
    let put = || {
        let outcome = runtime.block_on(client.put_small("k", vec![1], Condition::None, None));
        outcome.expect("put").expect("an ETag").as_str().to_owned()
    };
    assert_eq!(put(), "\"first\"");
    idle.send(()).expect("listens");
    has_strayed.recv().expect("strayed");
    assert_eq!(put(), "\"second\"");
    drop(client);
    assert_eq!(server.end(), 2);
}

/// A server that refuses a body before it has read it is heard, and its connection is not used again.
#[test]
fn an_answer_before_the_end_of_a_body_is_heard() {
    let (heard, is_heard) = std::sync::mpsc::channel::<()>();
    let refusing = move |peer: &mut Peer| {
        peer.head();
        let body = b"<Error><Code>AccessDenied</Code></Error>";
        peer.answer("403 Forbidden", "", body);
        // It takes nothing more until it was heard: the body does not fit into the buffers of two sockets.
        is_heard.recv().expect("heard");
        let mut rest = [0; 4096];
        let mut read = 0;
        while let Ok(count @ 1..) = std::io::Read::read(&mut peer.socket, &mut rest) {
            read += count;
        }
        assert!(read < 64 << 20);
    };
    let server = Server::start(vec![
        script(refusing),
        script(|peer| {
            // At once, not after a wait on the first connection.
            assert_eq!(peer.request().expect("a put").header("amz-sdk-request"), Some("attempt=1; max=3"));
            peer.answer("200 OK", "", b"");
        }),
    ]);
    let client = server.client();
    let mut memory = vec![0; 64 << 20];
    runtime().block_on(async {
        let failure =
            client.put("k", payload(&mut memory, 1 << 20), Condition::None, None).await.expect_err("refused");
        assert_eq!(failure.kind(), FailureKind::Denied, "{failure}");
        heard.send(()).expect("the server waits");
        client.put_small("k", vec![1], Condition::None, None).await.expect("on another connection");
    });
    drop(client);
    assert_eq!(server.end(), 2);
}

/// No more connections are open at a time than may be; calls wait for one another.
#[test]
fn connections_are_bounded() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let serving = || {
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        script(move |peer| {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while peer.request().is_some() {
                peer.answer("200 OK", "", b"");
            }
            open.fetch_sub(1, Ordering::SeqCst);
        })
    };
    let server = Server::start((0..40).map(|_| serving()).collect());
    let client = server.client_with_connections(3);
    runtime().block_on(async {
        let calls: Vec<_> = (0..40)
            .map(|at| {
                let client = client.clone();
                tokio::spawn(async move {
                    client.put_small(&format!("k{at}"), vec![1; 1000], Condition::None, None).await
                })
            })
            .collect();
        for call in calls {
            call.await.expect("runs").expect("put");
        }
    });
    drop(client);
    assert_eq!(server.end(), 3);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

/// Interim answers are passed over, endless ones are not.
#[test]
fn interim_answers_are_passed_over() {
    let server = Server::start(vec![script(|peer| {
        peer.request();
        peer.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n");
        peer.answer("200 OK", "ETag: \"e\"\r\n", b"");
        while peer.request().is_some() {
            peer.say("HTTP/1.1 100 Continue\r\n\r\n".repeat(100));
        }
    })]);
    let client = server.client();
    runtime().block_on(async {
        client.put_small("k", vec![1], Condition::None, None).await.expect("put");
        let failure = client.put_small("k", vec![1], Condition::None, None).await.expect_err("endless");
        assert!(matches!(failure.kind(), FailureKind::Refused | FailureKind::Unreachable), "{failure}");
    });
}

/// A server that cannot be reached is told of with endpoint and cause; after enough such calls they fail at once.
#[test]
fn nobody_there_is_told_and_then_calls_fail_at_once() {
    let (access, secret) = ("AKIDofthetest", "secretofthetest");
    let params = [
        ("endpoint_override", "http://127.0.0.1:1"),
        ("access_key", access),
        ("secret_key", secret),
        ("bucket", "chunks"),
    ];
    let client = open_at(&params, TIMES);
    runtime().block_on(async {
        for _ in 0..crate::s3::breaker::FAILURES_MAX {
            let failure = client.head("k", None).await.expect_err("nobody");
            assert_eq!(failure.kind(), FailureKind::Unreachable);
            assert!(
                failure
                    .message()
                    .starts_with("HEAD k in bucket chunks at http://127.0.0.1:1: no connection: ")
            );
        }
        let own = client.with_own_connections();
        let begun = std::time::Instant::now();
        let failure = own.head("k", None).await.expect_err("nobody");
        assert!(failure.message().contains("nobody could be reached there for"), "{failure}");
        assert!(begun.elapsed() < Duration::from_millis(50));
        let error = client.probe("p/", None).await.expect_err("nobody");
        assert_eq!(error.status(), Status::Io);
    });
}

/// Many calls from the client's own thread and from another at once; the client's clones end in any order.
#[test]
fn calls_come_from_several_runtimes() {
    let serving = |peer: &mut Peer| {
        while peer.request().is_some() {
            peer.answer("200 OK", "ETag: \"e\"\r\n", b"");
        }
    };
    let server = Server::start((0..64).map(|_| script(serving)).collect());
    let client = server.client();
    let other = client.with_own_connections();
    let there = std::thread::spawn(move || {
        runtime().block_on(async {
            for _ in 0..20 {
                other.put_small("k", vec![1], Condition::None, None).await.expect("put");
            }
        });
    });
    let here = client.clone();
    let count = client.block_on(async move {
        for _ in 0..20 {
            here.put_small("k", vec![1], Condition::None, None).await.expect("put");
        }
        20
    });
    there.join().expect("ends");
    assert_eq!(count, 20);
    drop(client);
    assert_eq!(server.end(), 2);
}
