//! The same over TLS: bodies both ways, a certificate that is not trusted, a bundle that cannot be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Server, landing, pattern, payload, runtime, script};
use crate::config::SecretMap;
use crate::error::Status;
use crate::log::Logger;
use crate::s3::{Client, Condition, FailureKind, Get, Got, Part, Settings};

const BYTES: usize = 3_000_001;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/s3/tests/tls").join(name)
}

/// A server that speaks TLS with a certificate of the tests' own authority.
fn start(scripts: Vec<super::Script>) -> Server {
    let chain = CertificateDer::pem_file_iter(file("server.pem")).expect("file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("pair");
    let config = Arc::new(config);
    let mut server = Server::start_over(scripts, move |socket| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("session");
        Box::new(StreamOwned::new(session, socket))
    });
    server.endpoint = server.endpoint.replace("http://", "https://");
    server
}

fn bundle() -> String {
    file("ca.pem").to_str().expect("text").to_owned()
}

/// Bodies of several megabytes go both ways, one after the other over one connection.
#[test]
fn bodies_go_both_ways_over_tls() {
    let server = start(vec![script(|peer| {
        for _ in 0..2 {
            assert!(peer.request().expect("a put").body == pattern(BYTES));
            peer.answer("200 OK", "", b"");
            peer.request();
            peer.part(&pattern(BYTES), 0, BYTES);
        }
    })]);
    let client = server.client_with(&[("ca_bundle", &bundle())]);
    runtime().block_on(async {
        for _ in 0..2 {
            let mut memory = pattern(BYTES);
            client.put("k", payload(&mut memory, 99_991), Condition::None, None).await.expect("put");
            let mut memory = vec![0; BYTES];
            let part = Part::Range(0..BYTES as u64);
            let what = Get { name: "k".to_owned(), part, object_bytes: None, version: None, deadline: None };
            let got = client.get(what, landing(&mut memory, 99_991)).await.expect("got");
            assert!(matches!(got, Got::Landed { bytes: BYTES, .. }));
            assert!(memory == pattern(BYTES));
        }
    });
    drop(client);
    assert_eq!(server.end(), 1);
}

/// With another bundle the certificate is not trusted, which one attempt tells, with what to do.
#[test]
fn a_certificate_that_is_not_trusted_is_told() {
    let server = start(vec![script(|peer| assert!(peer.request().is_none()))]);
    let other = file("other.pem");
    let client = server.client_with(&[("ca_bundle", other.to_str().expect("text"))]);
    let failure = runtime().block_on(client.head("k", None)).expect_err("not trusted");
    assert_eq!(failure.kind(), FailureKind::Refused, "{failure}");
    assert!(failure.message().contains("does ca_bundle name"), "{failure}");
    drop(client);
    assert_eq!(server.end(), 1);
}

/// An answer that ends without TLS's goodbye was cut off, however whole it looks.
#[test]
fn an_answer_without_a_length_that_is_cut_off_is_no_answer() {
    let cut = || {
        script(|peer| {
            peer.request();
            peer.say("HTTP/1.1 200 OK\r\n\r\n<ListBucketResult></ListBucketResult>");
        })
    };
    let server = start(vec![cut(), cut(), cut()]);
    let client = server.client_with(&[("ca_bundle", &bundle())]);
    let failure = runtime().block_on(client.list("", None, 1, None)).expect_err("cut off");
    assert_eq!(failure.kind(), FailureKind::Unreachable, "{failure}");
}

/// A bundle that is missing, empty, or no PEM is refused at open, by its name.
#[test]
fn a_bundle_that_cannot_be_used_is_refused_at_open() {
    let not_pem = file("../mod.rs");
    for (path, word) in
        [("/nowhere/ca.pem", "No such file"), (not_pem.to_str().expect("text"), "no certificate")]
    {
        let params = [("bucket", "b"), ("region", "r"), ("ca_bundle", path)];
        let params = params.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let settings = Settings::new(&SecretMap(params), None, super::CALL_TIME_MAX).expect("settings");
        let error = Client::open(settings, &Logger::silent()).expect_err("refused");
        assert_eq!(error.status(), Status::Config);
        assert!(error.message().contains(path) && error.message().contains(word), "{error}");
    }
}
