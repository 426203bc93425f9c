//! First attempts, which are written without the SDK, beside the SDK's second ones.

use std::sync::mpsc;

use super::{Request, SECRETS, Server, landing, pattern, payload, runtime, script};
use crate::s3::{Condition, FailureKind, Get, Part, UploadId, Version};

const NAME: &str = "a/b c+%&=?#\u{e9}/~x";
const BYTES: usize = 70_000;

/// What of a request says what is asked for: all but how the sender calls and counts itself.
fn said(request: &Request) -> Vec<String> {
    let line = request.head.lines().next().expect("a line");
    let line =
        line.replace("?x-id=GetObject", "").replace("?x-id=PutObject", "").replace("x-id=UploadPart&", "");
    let headers =
        ["host", "if-match", "range", "x-amz-content-sha256", "x-amz-security-token", "content-type"];
    let headers = headers.into_iter().chain(["content-length"]);
    let headers = headers.map(|name| format!("{name}: {:?}", request.header(name)));
    let length = format!("{} bytes, as sent: {}", request.body.len(), request.body == pattern(BYTES));
    [line.to_owned(), length].into_iter().chain(headers).collect()
}

/// A first attempt asks for what the SDK asks for in the second one, which follows a failure that may pass.
#[test]
fn a_first_attempt_asks_for_what_the_sdk_asks_for() {
    let (seen, requests) = mpsc::channel();
    let server = Server::start(vec![script(move |peer| {
        for status in ["500 Internal Server Error", "200 OK"].into_iter().cycle() {
            let Some(request) = peer.request() else { return };
            let _ = seen.send(request);
            match status {
                "200 OK" => peer.answer(status, "ETag: \"v1\"\r\n", &pattern(BYTES)[..100]),
                _ => peer.answer(status, "", b""),
            }
        }
    })]);
    let client = server.client();
    let mut memory = pattern(BYTES);
    runtime().block_on(async {
        let get = Get {
            name: NAME.to_owned(),
            part: Part::Range(0..100),
            object_bytes: Some(100),
            version: Some(Version::new("\"v1\"")),
            deadline: None,
        };
        client.get(get, landing(&mut [0; 100], 7)).await.expect("get");
        client.put(NAME, payload(&mut memory, 900), Condition::None, None).await.expect("put");
        let upload = UploadId::new("u/1 +=");
        client.upload_part(NAME, &upload, 7, payload(&mut memory, 900), None).await.expect("part");
    });
    drop(client);
    assert_eq!(server.end(), 1);
    let requests: Vec<Request> = requests.iter().collect();
    assert_eq!(requests.len(), 6);
    for pair in requests.chunks(2) {
        assert_eq!(said(&pair[0]), said(&pair[1]));
        assert_eq!(pair[0].header("amz-sdk-request"), None);
        assert_eq!(pair[1].header("amz-sdk-request"), Some("attempt=1; max=2"));
        // All that changes what is asked for is signed.
        let authorization = pair[0].header("authorization").expect("signed");
        let names =
            authorization.split("SignedHeaders=").nth(1).expect("names").split(',').next().expect("names");
        for name in
            ["host", "if-match", "range", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"]
        {
            assert_eq!(
                names.split(';').any(|signed| signed == name),
                pair[0].header(name).is_some(),
                "{name}"
            );
        }
    }
}

/// What trying again would not change is told after one attempt, with the server's code and what to do, and no secret.
#[test]
fn a_refusal_is_told_after_one_attempt() {
    for (status, lines, code, kind, told) in [
        ("403 Forbidden", "", "AccessDenied", FailureKind::Denied, "these credentials may not do this"),
        ("403 Forbidden", "", "ExpiredToken", FailureKind::Denied, "the credentials have expired"),
        ("404 Not Found", "", "NoSuchBucket", FailureKind::Refused, "there is no such bucket"),
        ("404 Not Found", "", "NoSuchKey", FailureKind::Missing, "404 NoSuchKey"),
        ("412 Precondition Failed", "", "PreconditionFailed", FailureKind::Changed, "412 PreconditionFailed"),
        // Of no range that was asked for: nothing was read, and above all nothing written.
        ("416 Range Not Satisfiable", "", "InvalidRange", FailureKind::Refused, "416 InvalidRange"),
        (
            "301 Moved Permanently",
            "x-amz-bucket-region: eu-west-9\r\n",
            "PermanentRedirect",
            FailureKind::Refused,
            "the bucket is in region eu-west-9",
        ),
    ] {
        let body = format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>{SECRETS:?}</Message></Error>"
        );
        let (seen, requests) = mpsc::channel();
        let server = Server::start(vec![script(move |peer| {
            while let Some(request) = peer.request() {
                let _ = seen.send(request);
                peer.answer(status, lines, body.as_bytes());
            }
        })]);
        let client = server.client();
        let outcome = runtime().block_on(async {
            let small = client.get_small(NAME, Part::Whole, 100, None).await.expect_err(code);
            let mut memory = pattern(BYTES);
            let put =
                client.put(NAME, payload(&mut memory, 900), Condition::None, None).await.expect_err(code);
            [small, put]
        });
        for failure in outcome {
            assert_eq!(failure.kind(), kind, "{failure}");
            assert!(failure.message().contains(told), "{failure}");
            assert!(SECRETS.iter().all(|secret| !failure.message().contains(secret)), "{failure}");
        }
        drop(client);
        assert_eq!(server.end(), 1);
        assert_eq!(requests.iter().count(), 2, "{code}");
    }
}
