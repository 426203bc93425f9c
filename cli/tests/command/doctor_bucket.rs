//! `doctor` and `bench` on a bucket of a real S3 server.

use std::path::PathBuf;

use nixl_store::store::Direction;

use crate::run::{
    CHUNK_BYTES, answer, command, doctor, doctor_json, finding, findings, object, open, transfer,
};
use crate::s3_common::{
    ACCESS_KEY, BUCKET, Fault, Kind, Proxy, READER_ACCESS_KEY, READER_SECRET_KEY, Rule, SECRET_KEY,
    STRANGER_ACCESS_KEY, STRANGER_SECRET_KEY, Server, assert_no_secret,
};
use crate::support::Scratch;

/// A configuration of this bucket, for this identity, and the prefix of the store in it.
fn config(scratch: &Scratch, bucket: &str, access: &str, secret: &str) -> (PathBuf, String) {
    let name = scratch.path().file_name().unwrap().to_string_lossy().into_owned();
    let endpoint = Server::of_this_process().endpoint();
    let parameters = format!(
        "nixl_backend_params: {{bucket: {bucket}, endpoint_override: '{endpoint}', region: us-east-1, access_key: {access}, \
         secret_key: {secret}}}"
    );
    let prefix = format!("{name}/");
    let lines =
        ["nixl_backend: OBJ", "nixl_pool_size: 0", &parameters, &format!("nixl_store_prefix: {prefix}")];
    (scratch.engine(&lines), prefix)
}

fn is_empty(prefix: &str) -> bool {
    Server::of_this_process().client().list(BUCKET, prefix).is_empty()
}

/// Who may do all is told so, and nothing is left in the bucket.
#[test]
fn a_bucket_with_all_rights_is_usable_and_left_clean() {
    let scratch = Scratch::new("doctor-bucket");
    let (config, prefix) = config(&scratch, BUCKET, ACCESS_KEY, SECRET_KEY);
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 0, "{report:#}");
    for check in ["endpoint", "credentials", "bucket", "rights", "clock", "conditions"] {
        assert_eq!(finding(&report, check).0, "ok", "{report:#}");
    }
    assert!(is_empty(&prefix));
    let told = doctor(&config, &["--all"]);
    assert_no_secret(&(told.out + &told.err), &"doctor");
}

/// Each way in which a bucket may be closed is told apart, and no credential is shown.
#[test]
fn what_is_wrong_with_a_bucket_is_told_apart() {
    let scratch = Scratch::new("doctor-closed");
    for (bucket, access, secret, check, said) in [
        (BUCKET, ACCESS_KEY, STRANGER_SECRET_KEY, "bucket", "secret_key does not belong to access_key"),
        (BUCKET, "NobodyKnowsThisKey", SECRET_KEY, "bucket", "the server does not know access_key"),
        (BUCKET, STRANGER_ACCESS_KEY, STRANGER_SECRET_KEY, "bucket", "may not do this"),
        ("no-such-bucket", ACCESS_KEY, SECRET_KEY, "bucket", "there is no such bucket"),
    ] {
        let (config, _) = config(&scratch, bucket, access, secret);
        let (status, report) = doctor_json(&config);
        assert_eq!(status, 1, "{report:#}");
        let (state, text) = finding(&report, check);
        assert!(state == "broken" && text.contains(said), "{said}: {text}");
        assert_no_secret(&report.to_string(), &"doctor");
    }
}

/// An object may be stored although the answer was lost: it is removed, or told where that fails.
#[test]
fn what_a_lost_answer_left_is_removed_or_told() {
    let scratch = Scratch::new("doctor-lost");
    let (config, prefix) = config(&scratch, BUCKET, ACCESS_KEY, SECRET_KEY);
    let proxy = Proxy::new();
    let server = Server::of_this_process();
    let text = std::fs::read_to_string(&config).unwrap().replace(&server.endpoint(), &proxy.endpoint());
    std::fs::write(&config, text).unwrap();
    proxy.add(Rule::on(Kind::Put, Fault::LoseAnswer));
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 1, "{report:#}");
    assert!(proxy.count(Kind::Put) > 0 && is_empty(&prefix), "{report:#}");
    assert!(findings(&report, "left behind").is_empty(), "{report:#}");
    proxy.add(Rule::on(Kind::Delete, Fault::answer(403, "AccessDenied")));
    let (_, report) = doctor_json(&config);
    let left = server.client().list(BUCKET, &prefix);
    let [object] = left.as_slice() else { panic!("{left:?}") };
    assert!(finding(&report, "left behind").1.contains(&object.name), "{report:#}");
    server.client().delete(BUCKET, &object.name);
}

/// Who may only read is told which right is missing.
#[test]
fn a_missing_right_is_named() {
    let scratch = Scratch::new("doctor-reader");
    let (config, prefix) = config(&scratch, BUCKET, READER_ACCESS_KEY, READER_SECRET_KEY);
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 1, "{report:#}");
    assert_eq!(finding(&report, "bucket").0, "ok", "{report:#}");
    let rights = findings(&report, "rights");
    assert_eq!(rights.len(), 1, "{report:#}");
    assert!(rights[0].0 == "broken" && rights[0].1.contains("s3:PutObject"), "{rights:?}");
    assert!(is_empty(&prefix));
}

/// A static pool in the bucket is looked at: who has it, and whether it fits; its owner does not notice.
#[test]
fn a_pool_in_a_bucket_is_named_with_its_owner() {
    let scratch = Scratch::new("doctor-pool");
    let (config, _) = config(&scratch, BUCKET, ACCESS_KEY, SECRET_KEY);
    let text = std::fs::read_to_string(&config).unwrap();
    let with = |slots: u32| {
        let pool = format!("nixl_pool_size: {slots}\n  nixl_store_chunk_bytes: {CHUNK_BYTES}");
        std::fs::write(&config, text.replace("nixl_pool_size: 0", &pool)).unwrap();
        finding(&doctor_json(&config).1, "pool")
    };
    assert!(with(4).1.contains("is yet to be made"));
    let store = open(&config);
    assert!(transfer(&store, Direction::Put, "key", &object(7)));
    let (state, said) = with(4);
    let owner = format!("in use by process {}", std::process::id());
    assert!(state == "ok" && said.contains(&owner), "{said}");
    let (state, said) = with(5);
    assert!(state == "broken" && said.contains("made with other parameters"), "{said}");
    assert!(transfer(&store, Direction::Get, "key", &object(0)));
    store.close().unwrap();
    let (state, said) = with(4);
    assert!(state == "ok" && said.contains("and is free"), "{said}");
}

/// Nobody at the endpoint is found out at once.
#[test]
fn an_endpoint_without_a_server_is_told() {
    let scratch = Scratch::new("doctor-nobody");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let parameters = format!(
        "nixl_backend_params: {{bucket: b, endpoint_override: 'http://{address}', access_key: a, secret_key: b}}"
    );
    let config = scratch.engine(&["nixl_backend: OBJ", "nixl_pool_size: 0", &parameters]);
    let (status, report) = doctor_json(&config);
    assert_eq!(status, 1);
    assert!(finding(&report, "endpoint").1.contains("Connection refused"), "{report:#}");
}

/// A server that takes connections and never answers is a finding, and not the end of the looking.
#[test]
fn a_server_that_never_answers_is_told() {
    let scratch = Scratch::new("doctor-silent");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let parameters = format!(
        "nixl_backend_params: {{bucket: b, endpoint_override: 'http://{address}', access_key: a, secret_key: b}}"
    );
    let lines = ["nixl_backend: OBJ", "nixl_pool_size: 0", "nixl_store_timeout_ms: 300", &parameters];
    let (status, report) = doctor_json(&scratch.engine(&lines));
    assert_eq!(status, 1);
    assert_eq!(finding(&report, "endpoint").0, "ok", "{report:#}");
    let (state, text) = finding(&report, "bucket");
    assert!(state == "broken" && text.contains("not done after 0.3 s"), "{text}");
}

/// A measurement of a bucket has a prefix of its own, which is gone afterwards; static pools too.
#[test]
fn a_measured_bucket_is_left_clean() {
    let scratch = Scratch::new("bench-bucket");
    let (config, prefix) = config(&scratch, BUCKET, ACCESS_KEY, SECRET_KEY);
    let text = std::fs::read_to_string(&config).unwrap();
    for pool in ["nixl_pool_size: 0", "nixl_pool_size: 8"] {
        std::fs::write(&config, text.replace("nixl_pool_size: 0", pool)).unwrap();
        let arguments =
            ["--sizes", "16K,64K", "--batches", "4", "--bytes", "512K", "--seconds", "5", "--json"];
        let told = answer(command().arg("bench").arg(&config).args(arguments));
        assert_eq!(told.status, 0, "{told:?}");
        let report: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        assert!(report["cells"][0]["get_bytes_per_second"].as_f64().unwrap() > 0.0);
        assert!(report["bare_threads"].is_null());
        assert!(is_empty(&prefix), "{:?}", Server::of_this_process().client().list(BUCKET, &prefix));
    }
}
