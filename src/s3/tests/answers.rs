//! Answers of every kind: what is not as asked for lands nothing, what breaks is repeated from the first byte.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Peer, SECRETS, Server, landing, pattern, runtime, script};
use crate::memory::bytes::checksum_bytes;
use crate::s3::{Failure, FailureKind, Get, Got, Part, Version};

const OBJECT_BYTES: usize = 300_000;
/// What memory holds that nothing landed in.
const UNTOUCHED: u8 = 0xEE;

fn get(part: Part) -> Get {
    Get { name: "k".to_owned(), part, object_bytes: None, version: None, deadline: None }
}

fn whole() -> Get {
    get(Part::Range(0..OBJECT_BYTES as u64))
}

/// What a client sees of a server that treats each connection so: the outcome of `what`, and the memory after it.
fn one(what: Get, treat: impl Fn(&mut Peer) + Clone + Send + 'static) -> (Result<Got, Failure>, Vec<u8>) {
    let server = Server::start((0..3).map(|_| script(treat.clone())).collect());
    let client = server.client();
    let mut memory = vec![UNTOUCHED; OBJECT_BYTES];
    let outcome = runtime().block_on(client.get(what, landing(&mut memory, 70_001)));
    drop(client);
    server.end();
    (outcome, memory)
}

fn is_untouched(memory: &[u8]) -> bool {
    memory.iter().all(|byte| *byte == UNTOUCHED)
}

/// A body that breaks off is fetched anew, from its first byte, with sums of what is there in the end.
#[test]
fn a_short_body_is_fetched_anew() {
    let object = pattern(OBJECT_BYTES);
    let (wrong, right) = (vec![7u8; OBJECT_BYTES], object.clone());
    let server = Server::start(vec![
        script(move |peer| {
            peer.request();
            let lines = "Content-Range: bytes 0-299999/300000\r\nContent-Length: 300000\r\n\r\n";
            peer.say(format!("HTTP/1.1 206 Partial Content\r\n{lines}"));
            peer.say(&wrong[..200_000]);
        }),
        script(move |peer| {
            peer.request();
            peer.part(&right, 0, OBJECT_BYTES);
        }),
    ]);
    let mut memory = vec![UNTOUCHED; OBJECT_BYTES];
    let got = runtime().block_on(server.client().get(whole(), landing(&mut memory, 70_001))).expect("got");
    let Got::Landed { bytes, object_bytes, version, sums } = got else { panic!("{got:?}") };
    assert_eq!((bytes, object_bytes), (OBJECT_BYTES, Some(OBJECT_BYTES as u64)));
    assert_eq!(version, Some(Version::new("\"v1\"")));
    assert!(memory == object);
    assert_eq!(sums, object.chunks(64 << 10).map(checksum_bytes).collect::<Vec<_>>());
    assert_eq!(server.end(), 2);
}

/// A body that breaks off each time is a failure in the end, of a connection that cannot be kept.
#[test]
fn a_body_that_is_always_short_is_a_failure() {
    let short = || {
        script(|peer| {
            peer.request();
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\nabc");
        })
    };
    let server = Server::start(vec![short(), short(), short()]);
    let mut memory = vec![UNTOUCHED; OBJECT_BYTES];
    let outcome = runtime().block_on(server.client().get(whole(), landing(&mut memory, 70_001)));
    let failure = outcome.expect_err("short");
    assert_eq!(failure.kind(), FailureKind::Unreachable, "{failure}");
    assert!(failure.message().contains("299997 bytes before the end"), "{failure}");
    assert_eq!(server.end(), 3);
}

/// More bytes than a head promises do not land, and their connection is not used again.
#[test]
fn bytes_beyond_the_body_do_not_land() {
    let object = pattern(OBJECT_BYTES);
    let (first, second) = (object.clone(), object.clone());
    let server = Server::start(vec![
        script(move |peer| {
            peer.request();
            // In one piece, so that they are there when the body ends.
            let head = "HTTP/1.1 206 Partial Content\r\nContent-Length: 1000\r\nContent-Range: bytes 0-999/300000\r\n\r\n";
            peer.say([head.as_bytes(), &first[..1000], &[9; 5000]].concat());
            assert!(peer.is_closed());
        }),
        script(move |peer| {
            peer.request();
            peer.part(&second, 0, 1000);
        }),
    ]);
    let client = server.client();
    let runtime = runtime();
    for _ in 0..2 {
        let mut memory = vec![UNTOUCHED; 2000];
        let got = runtime.block_on(client.get(get(Part::Range(0..1000)), landing(&mut memory, 300)));
        assert!(matches!(got, Ok(Got::Landed { bytes: 1000, .. })), "{got:?}");
        assert!(memory[..1000] == object[..1000] && is_untouched(&memory[1000..]));
    }
    drop(client);
    assert_eq!(server.end(), 2);
}

/// Nothing lands of an answer whose length, part, total or version is not what was asked for.
#[test]
fn an_answer_that_does_not_fit_lands_nothing() {
    let refused = |lines: &'static str, word: &str| {
        let (outcome, memory) = one(get(Part::Range(100..200)), move |peer| {
            peer.request();
            peer.say(format!("HTTP/1.1 206 Partial Content\r\n{lines}\r\n"));
            peer.say(vec![1; 500]);
        });
        let failure = outcome.expect_err(lines);
        assert_eq!(failure.kind(), FailureKind::Refused, "{failure}");
        assert!(failure.message().contains(word), "{failure}");
        assert!(is_untouched(&memory), "{lines}");
    };
    refused("Content-Length: 100\r\n", "without saying which");
    refused("Content-Length: 101\r\nContent-Range: bytes 100-199/300000\r\n", "not that of the part");
    refused("Content-Length: 100\r\nContent-Range: bytes 0-99/300000\r\n", "another part");
    refused("Content-Length: 50\r\nContent-Range: bytes 100-149/300000\r\n", "fewer or more");
    refused("Content-Length: 200\r\nContent-Range: bytes 100-299/300000\r\n", "fewer or more");
    refused("Content-Length: 100\r\nContent-Range: bytes 199-100/300000\r\n", "without saying which");
    refused("Content-Length: 100\r\nContent-Length: 99\r\n", "two lengths");
    refused("Content-Length: -1\r\n", "no number");

    let expected = Get { object_bytes: Some(OBJECT_BYTES as u64 + 1), ..whole() };
    let (outcome, memory) = one(expected, |peer| {
        peer.request();
        peer.part(&pattern(OBJECT_BYTES), 0, OBJECT_BYTES);
    });
    let version = Some(Version::new("\"v1\""));
    assert_eq!(outcome.expect("an answer"), Got::Other { object_bytes: OBJECT_BYTES as u64, version });
    assert!(is_untouched(&memory));

    // From a server that ignores If-Match.
    let (outcome, memory) = one(Get { version: Some(Version::new("\"v0\"")), ..whole() }, |peer| {
        let request = peer.request().expect("a request");
        assert_eq!(request.header("if-match"), Some("\"v0\""));
        peer.part(&pattern(OBJECT_BYTES), 0, OBJECT_BYTES);
    });
    assert_eq!(outcome.expect_err("changed").kind(), FailureKind::Changed);
    assert!(is_untouched(&memory));
}

/// A range beyond the end tells how long the object is, from the answer or else by another request.
#[test]
fn a_range_past_the_end_tells_the_length() {
    for told in [true, false] {
        let (outcome, memory) = one(get(Part::Range(400_000..400_100)), move |peer| {
            peer.request();
            let lines = if told { "Content-Range: bytes */300000\r\n" } else { "" };
            peer.answer("416 Range Not Satisfiable", lines, b"<Error><Code>InvalidRange</Code></Error>");
            if !told {
                assert!(peer.request().expect("a HEAD").head.starts_with("HEAD "));
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
            }
        });
        assert_eq!(outcome.expect("an answer"), Got::Other { object_bytes: 300_000, version: None });
        assert!(is_untouched(&memory));
    }
}

/// A server that ignores ranges is understood where what was asked for comes first, and refused where it would not.
#[test]
fn a_whole_object_in_place_of_a_part() {
    let whole = |peer: &mut Peer| {
        peer.request();
        peer.answer("200 OK", "", &pattern(OBJECT_BYTES));
    };
    let (outcome, memory) = one(get(Part::Range(0..1000)), whole);
    assert!(matches!(outcome, Ok(Got::Landed { bytes: 1000, .. })), "{outcome:?}");
    assert!(memory[..1000] == pattern(1000) && is_untouched(&memory[1000..]));
    let (outcome, memory) = one(get(Part::Range(1000..2000)), whole);
    assert_eq!(outcome.expect_err("refused").kind(), FailureKind::Refused);
    assert!(is_untouched(&memory));
}

/// Bodies in chunks land like others, and no further than the part that their head names.
#[test]
fn bodies_in_chunks_land() {
    let head = "HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 0-299999/300000\r\n\r\n";
    let chunked = move |peer: &mut Peer, beyond: usize| {
        peer.request();
        peer.say(head);
        for chunk in pattern(OBJECT_BYTES).chunks(99_999) {
            peer.say(format!("{:X};note=1\r\n", chunk.len()));
            peer.say(chunk);
            peer.say("\r\n");
        }
        if beyond > 0 {
            peer.say(format!("{beyond:x}\r\n{}\r\n", "x".repeat(beyond)));
        }
        peer.say("0\r\nTrailer: yes\r\n\r\n");
    };
    let (outcome, memory) = one(whole(), move |peer| chunked(peer, 0));
    assert!(matches!(outcome, Ok(Got::Landed { bytes: OBJECT_BYTES, .. })), "{outcome:?}");
    assert!(memory == pattern(OBJECT_BYTES));

    let again = || script(move |peer| chunked(peer, 7));
    let server = Server::start(vec![again(), again(), again()]);
    let mut memory = vec![UNTOUCHED; OBJECT_BYTES + 7];
    let outcome = runtime().block_on(server.client().get(whole(), landing(&mut memory, 70_001)));
    assert_eq!(outcome.expect_err("too long").kind(), FailureKind::Refused);
    assert!(is_untouched(&memory[OBJECT_BYTES..]));
}

/// A listing comes in chunks, on a connection that is used again afterwards.
#[test]
fn a_chunked_listing_leaves_its_connection_usable() {
    let server = Server::start(vec![script(|peer| {
        peer.request();
        let body = "<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>\
             <Contents><Key>a%2Fb+c</Key><Size>5</Size><ETag>&quot;e&quot;</ETag></Contents></ListBucketResult>";
        let (front, back) = body.split_at(40);
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        peer.say(format!("28\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n", back.len()));
        peer.request();
        peer.say("HTTP/1.1 204 No Content\r\n\r\n");
    })]);
    let client = server.client();
    let listing = runtime().block_on(async {
        let listing = client.list("a/", None, 10, None).await;
        client.delete("k", None, None).await.expect("deleted");
        listing.expect("listed")
    });
    assert_eq!(listing.next.as_deref(), Some("a/b c"));
    assert_eq!((listing.objects[0].bytes, &listing.objects[0].version), (5, &Some(Version::new("\"e\""))));
    drop(client);
    assert_eq!(server.end(), 1);
}

/// A peer that dribbles an answer, never still for long, has until the deadline and no longer.
#[test]
fn a_dribbled_answer_ends_with_the_deadline() {
    let (stop, stopped) = mpsc::channel::<()>();
    let server = Server::start(vec![script(move |peer| {
        peer.request();
        peer.say("HTTP/1.1 200 OK\r\nX-Long: ");
        while stopped.recv_timeout(Duration::from_millis(10)) == Err(mpsc::RecvTimeoutError::Timeout) {
            peer.say("x");
        }
    })]);
    let client = server.client();
    let begun = Instant::now();
    let deadline = Some(begun + Duration::from_millis(500));
    let failure = runtime().block_on(client.head("k", deadline)).expect_err("too late");
    assert_eq!(failure.kind(), FailureKind::TimedOut, "{failure}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(stop);
}

/// A peer that falls silent in the middle of a body is given up after the bound for that, and told of.
#[test]
fn a_stalled_body_is_given_up() {
    let (stop, stopped) = mpsc::channel::<()>();
    let stopped = std::sync::Arc::new(std::sync::Mutex::new(stopped));
    let silent = || {
        let stopped = std::sync::Arc::clone(&stopped);
        script(move |peer| {
            peer.request();
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\nabc");
            let _ = stopped.lock().expect("lock").recv();
        })
    };
    let server = Server::start(vec![silent(), silent(), silent()]);
    let mut memory = vec![UNTOUCHED; OBJECT_BYTES];
    let outcome = runtime().block_on(server.client().get(whole(), landing(&mut memory, 70_001)));
    let failure = outcome.expect_err("stalled");
    assert_eq!(failure.kind(), FailureKind::TimedOut, "{failure}");
    assert!(failure.message().contains("no byte of the answer for 0.3 s"), "{failure}");
    drop(stop);
}

/// Heads and bodies beyond their bounds are refused; memory is bounded whatever a server sends.
#[test]
fn what_is_beyond_its_bounds_is_refused() {
    let endless = |peer: &mut Peer| {
        peer.request();
        peer.say("HTTP/1.1 200 OK\r\n");
        for _ in 0..2000 {
            peer.say(format!("X-A: {}\r\n", "a".repeat(100)));
        }
    };
    let garbage = |peer: &mut Peer| {
        peer.request();
        peer.say("SSH-2.0-OpenSSH\r\n\r\n");
    };
    let error = |peer: &mut Peer| {
        peer.request();
        peer.answer("400 Bad Request", "", &vec![b'x'; 1 << 20]);
    };
    for treat in [endless, garbage, error] {
        let server = Server::start((0..3).map(|_| script(treat)).collect());
        let failure = runtime().block_on(server.client().head("k", None));
        let kind = failure.as_ref().expect_err("refused").kind();
        // A HEAD's error has no body, whatever its length says.
        assert_eq!(kind, FailureKind::Refused, "{failure:?}");
    }
    let (outcome, memory) = one(whole(), error);
    assert_eq!(outcome.expect_err("refused").kind(), FailureKind::Refused);
    assert!(is_untouched(&memory));
}

/// Each refusal of a server is of its kind, names the code, and shows no secret, though the server repeats them all.
#[test]
fn refusals_have_their_kind_and_no_secret() {
    for (status, code, kind) in [
        ("404 Not Found", "NoSuchKey", FailureKind::Missing),
        ("404 Not Found", "NoSuchBucket", FailureKind::Refused),
        ("412 Precondition Failed", "PreconditionFailed", FailureKind::Changed),
        ("409 Conflict", "ConditionalRequestConflict", FailureKind::Changed),
        ("403 Forbidden", "AccessDenied", FailureKind::Denied),
        ("403 Forbidden", "SignatureDoesNotMatch", FailureKind::Denied),
        ("403 Forbidden", "InvalidAccessKeyId", FailureKind::Denied),
        ("400 Bad Request", "ExpiredToken", FailureKind::Denied),
        ("301 Moved Permanently", "PermanentRedirect", FailureKind::Refused),
        ("307 Temporary Redirect", "TemporaryRedirect", FailureKind::Refused),
        ("400 Bad Request", "AuthorizationHeaderMalformed", FailureKind::Refused),
        ("503 Service Unavailable", "SlowDown", FailureKind::Throttled),
        ("429 Too Many Requests", "TooManyRequests", FailureKind::Throttled),
        ("500 Internal Server Error", "InternalError", FailureKind::Refused),
    ] {
        let treat = move |peer: &mut Peer| {
            while let Some(request) = peer.request() {
                let token = SECRETS.join(" ");
                let echo =
                    format!("<Error><Code>{code}</Code><Message>{token} {}</Message></Error>", request.head);
                peer.answer(status, "x-amz-bucket-region: eu-west-9\r\n", echo.as_bytes());
            }
        };
        let server = Server::start((0..3).map(|_| script(treat)).collect());
        let mut memory = vec![UNTOUCHED; 100];
        let client = server.client();
        let what = get(Part::Range(0..100));
        let failure = runtime().block_on(client.get(what, landing(&mut memory, 100))).expect_err(code);
        assert_eq!(failure.kind(), kind, "{failure}");
        assert!(failure.message().contains(code), "{failure}");
        assert!(
            failure.message().contains(&format!("GET k in bucket chunks at {}", server.endpoint)),
            "{failure}"
        );
        assert_eq!(
            failure.message().contains("eu-west-9"),
            kind == FailureKind::Refused && !matches!(code, "NoSuchBucket" | "InternalError"),
            "{failure}"
        );
        for secret in SECRETS {
            assert!(
                !failure.message().contains(secret) && !format!("{client:?}").contains(secret),
                "{failure}"
            );
        }
        assert!(!failure.message().contains("AWS4-HMAC"), "{failure}");
        drop(client);
    }
}
