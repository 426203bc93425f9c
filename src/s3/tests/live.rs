//! All calls against a real server. Run by hand, with `NIXL_STORE_TEST_S3` set to `endpoint,access_key,secret_key,bucket`:
//! `cargo test --lib s3::live -- --ignored`.

use std::time::{Duration, Instant};

use super::{landing, open_at, pattern, payload, runtime};
use crate::error::Status;
use crate::memory::bytes::checksum_bytes;
use crate::s3::connector::pace::Times;
use crate::s3::{Client, Condition, FailureKind, Get, Got, Part, Version};

fn open(change: &[(&str, &str)]) -> Client {
    let text = std::env::var("NIXL_STORE_TEST_S3").expect("NIXL_STORE_TEST_S3");
    let names = ["endpoint_override", "access_key", "secret_key", "bucket"];
    let mut params: Vec<(&str, &str)> = names.into_iter().zip(text.split(',')).collect();
    params.extend_from_slice(change);
    open_at(&params, Times::default())
}

fn get(name: &str, part: Part) -> Get {
    Get { name: name.to_owned(), part, object_bytes: None, version: None, deadline: None }
}

async fn round(client: &Client, prefix: &str) {
    let name = format!("{prefix}a");
    let mut sent = pattern(1_000_003);
    let version = client.put(&name, payload(&mut sent, 70_001), Condition::None, None).await.expect("put");
    let head = client.head(&name, None).await.expect("head");
    assert_eq!((head.bytes, &head.version), (1_000_003, &version));
    assert!(head.modified.is_some());

    let mut back = vec![0u8; sent.len()];
    let what = Get { object_bytes: Some(1_000_003), version: version.clone(), ..get(&name, Part::Whole) };
    let got = client.get(what, landing(&mut back, 99_991)).await.expect("get");
    let Got::Landed { bytes, object_bytes, sums, version: seen } = got else { panic!("{got:?}") };
    assert_eq!((bytes, object_bytes, seen), (1_000_003, Some(1_000_003), version.clone()));
    assert_eq!(back, sent);
    let expected: Vec<u64> = sent.chunks(64 << 10).map(checksum_bytes).collect();
    assert_eq!(sums, expected);

    let mut back = vec![0u8; 1000];
    let got = client.get(get(&name, Part::Range(500..1500)), landing(&mut back, 999)).await.expect("get");
    assert!(matches!(got, Got::Landed { bytes: 1000, object_bytes: Some(1_000_003), .. }));
    assert_eq!(back, sent[500..1500]);
    let got = client.get(get(&name, Part::Tail(900)), landing(&mut back, 999)).await.expect("get");
    assert!(matches!(got, Got::Landed { bytes: 900, .. }), "{got:?}");
    assert_eq!(back[..900], sent[1_000_003 - 900..]);
    let got = client.get(get(&name, Part::Range(1_000_000..2_000_000)), landing(&mut back, 999)).await;
    assert!(matches!(got, Ok(Got::Landed { bytes: 3, .. })), "{got:?}");

    // Another size, too small a landing, past the end.
    let what = Get { object_bytes: Some(1000), ..get(&name, Part::Range(0..1000)) };
    let got = client.get(what, landing(&mut back, 999)).await.expect("get");
    assert!(matches!(got, Got::Other { object_bytes: 1_000_003, .. }), "{got:?}");
    let got = client.get(get(&name, Part::Whole), landing(&mut back, 999)).await.expect("get");
    assert!(matches!(got, Got::Other { object_bytes: 1_000_003, .. }), "{got:?}");
    let past = get(&name, Part::Range(2_000_000..2_000_010));
    let got = client.get(past, landing(&mut back, 999)).await.expect("get");
    assert!(matches!(got, Got::Other { object_bytes: 1_000_003, .. }), "{got:?}");
    let other = Some(Version::new("\"00000000000000000000000000000000\""));
    let what = Get { version: other, ..get(&name, Part::Range(0..1000)) };
    let failure = client.get(what, landing(&mut back, 999)).await.expect_err("another version");
    assert_eq!(failure.kind(), FailureKind::Changed, "{failure}");

    let small = client.get_small(&name, Part::Tail(10), 10, None).await.expect("small");
    assert_eq!((small.bytes.as_slice(), small.object_bytes), (&sent[999_993..], 1_000_003));
    let failure = client.get_small(&name, Part::Whole, 10, None).await.expect_err("too long");
    assert_eq!(failure.kind(), FailureKind::Refused, "{failure}");

    let changed = client.put_small(&name, vec![1], Condition::IfAbsent, None).await.expect_err("there");
    assert_eq!(changed.kind(), FailureKind::Changed, "{changed}");
    let missing = client.get(get("nope", Part::Whole), landing(&mut back, 999)).await.expect_err("missing");
    assert_eq!(missing.kind(), FailureKind::Missing, "{missing}");
    assert_eq!(client.head("nope", None).await.expect_err("missing").kind(), FailureKind::Missing);

    for name in ["b", "c/d e", "c/+%41&x", "e"] {
        client.put_small(&format!("{prefix}{name}"), Vec::new(), Condition::None, None).await.expect("put");
    }
    let (mut after, mut names) = (None, vec![]);
    loop {
        let listing = client.list(prefix, after.as_deref(), 2, None).await.expect("list");
        names.extend(listing.objects.iter().map(|object| object.name.clone()));
        after = listing.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<String> =
        ["a", "b", "c/+%41&x", "c/d e", "e"].iter().map(|name| format!("{prefix}{name}")).collect();
    assert_eq!(names, expected);
    client.delete(&name, None, None).await.expect("delete");
    client.delete(&name, None, None).await.expect("again");

    // Multipart.
    let mut sent = pattern((5 << 20) + 77);
    let upload = client.create_upload(&name, None).await.expect("create").upload;
    let listed = client.list_uploads(prefix, None).await.expect("uploads");
    assert!(listed.iter().any(|listed| listed.name == name), "{listed:?}");
    let (first, second) = sent.split_at_mut(5 << 20);
    let first = client.upload_part(&name, &upload, 1, payload(first, 1 << 20), None).await.expect("part");
    let second = client.upload_part(&name, &upload, 2, payload(second, 7), None).await.expect("part");
    client.complete_upload(&name, &upload, &[first, second], None).await.expect("complete");
    let mut back = vec![0u8; sent.len()];
    let got = client.get(get(&name, Part::Range(0..sent.len() as u64)), landing(&mut back, 1 << 20)).await;
    assert!(matches!(got, Ok(Got::Landed { .. })), "{got:?}");
    assert!(back == sent);
    let upload = client.create_upload(&name, None).await.expect("create").upload;
    client.abort_upload(&name, &upload, None).await.expect("abort");
    client.abort_upload(&name, &upload, None).await.expect("again");
    let part = client.upload_part(&name, &upload, 1, payload(&mut sent, 1 << 20), None).await;
    assert_eq!(part.expect_err("gone").kind(), FailureKind::Missing);
    for name in expected {
        client.delete(&name, None, None).await.expect("delete");
    }
}

/// Every call does what it says.
#[test]
#[ignore = "needs a server"]
fn every_call_does_what_it_says() {
    let client = open(&[]);
    runtime().block_on(round(&client, "live-1/"));
    let own = client.with_own_connections();
    client.block_on(async move { round(&own, "live-2/").await });
}

/// With the SDK's checksums both ways.
#[test]
#[ignore = "needs a server"]
fn checksums_go_along_both_ways() {
    let client = open(&[("req_checksum", "supported"), ("resp_checksum", "supported")]);
    runtime().block_on(round(&client, "live-3/"));
}

/// What the probe finds; and that what is wrong is told.
#[test]
#[ignore = "needs a server"]
fn the_probe_tells_what_is_there_and_what_is_wrong() {
    let client = open(&[]);
    let traits = runtime().block_on(client.probe("live-4/", None)).expect("probe");
    println!("{traits:?}");
    assert!(runtime().block_on(client.list("live-4/", None, 10, None)).expect("list").objects.is_empty());
    for (change, status, word) in [
        (vec![("bucket", "no-such-bucket")], Status::Config, "no such bucket"),
        (vec![("secret_key", "wrongwrong")], Status::Permission, "SignatureDoesNotMatch"),
        (vec![("access_key", "AKIAUNKNOWN")], Status::Permission, "InvalidAccessKeyId"),
        (
            vec![("access_key", "AKIAREAD"), ("secret_key", "readonlyonly")],
            Status::Permission,
            "AccessDenied",
        ),
        (vec![("endpoint_override", "http://127.0.0.1:1")], Status::Io, "check endpoint_override"),
        (vec![("endpoint_override", "http://nowhere.invalid")], Status::Io, "is not known"),
    ] {
        let client = open(&change);
        let error = runtime().block_on(client.probe("live-4/", None)).expect_err(word);
        println!("{error}");
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains(word), "{error}");
        for secret in ["wrongwrong", "AKIA", "readonlyonly"] {
            assert!(!error.message().contains(secret), "{error}");
        }
    }
}

/// How fast it is, and what it costs.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let client = open(&[]);
    let rt = runtime();
    for (count, length) in [(128, 1 << 20), (16, 32 << 20)] {
        let mut memory: Vec<Vec<u8>> = (0..8).map(|_| pattern(length)).collect();
        let put = Instant::now();
        rt.block_on(async {
            for base in (0..count).step_by(8) {
                let calls: Vec<_> = memory
                    .iter_mut()
                    .enumerate()
                    .map(|(at, memory)| {
                        let client = client.clone();
                        let payload = payload(memory, length);
                        let name = format!("speed/{}", base + at);
                        tokio::spawn(async move { client.put(&name, payload, Condition::None, None).await })
                    })
                    .collect();
                for call in calls {
                    call.await.expect("runs").expect("put");
                }
            }
        });
        let put = put.elapsed();
        let got = Instant::now();
        rt.block_on(async {
            for base in (0..count).step_by(8) {
                let calls: Vec<_> = memory
                    .iter_mut()
                    .enumerate()
                    .map(|(at, memory)| {
                        let client = client.clone();
                        let landing = landing(memory, length);
                        let what = get(&format!("speed/{}", base + at), Part::Range(0..length as u64));
                        tokio::spawn(async move { client.get(what, landing).await })
                    })
                    .collect();
                for call in calls {
                    call.await.expect("runs").expect("get");
                }
            }
        });
        let rate = |time: Duration| (count * length) as f64 / time.as_secs_f64() / 1e9;
        println!("{count} x {length}: put {:.2} GB/s, get {:.2} GB/s", rate(put), rate(got.elapsed()));
    }
}
