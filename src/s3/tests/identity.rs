//! Credentials of the usual AWS identity. The environment is the process's, so each test runs itself again as a child.

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::{Server, TIMES, open_at, runtime, script};
use crate::s3::{FailureKind, Part};

const ENDPOINT: &str = "NIXL_STORE_TEST_ENDPOINT";

/// A client without keys of its own, in a child whose environment has this alone of AWS's.
fn run_child(test: &str, endpoint: &str, variables: &[(&str, &str)]) {
    let mut child = Command::new(std::env::current_exe().expect("path"));
    child.args(["--exact", &format!("s3::tests::identity::{test}"), "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        child.env_remove(name);
    }
    child.envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")]);
    child.envs([(ENDPOINT, endpoint), ("AWS_EC2_METADATA_DISABLED", "true")]).envs(variables.iter().copied());
    let output = child.output().expect("runs");
    let shown =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    assert!(!shown.contains("SECRETOFROLE"), "{shown}");
}

fn child() -> super::Client {
    let endpoint = std::env::var(ENDPOINT).expect("run by its parent");
    open_at(&[("endpoint_override", &endpoint), ("bucket", "chunks")], TIMES)
}

/// Keys of a role are fetched over our own connector, used from another runtime, and fetched anew before they expire; the
/// region comes from the environment.
#[test]
fn a_roles_credentials_are_fetched_and_refreshed() {
    let roles = Server::start(vec![script(|peer| {
        for number in 1.. {
            if peer.request().is_none() {
                break;
            }
            // The first are about to expire, the second are not.
            let lasts = Duration::from_secs(if number == 1 { 3 } else { 3600 });
            let expires = DateTime::from(SystemTime::now() + lasts).fmt(Format::DateTime).expect("a time");
            let body = format!(
                r#"{{"AccessKeyId":"ASIA{number}","SecretAccessKey":"SECRETOFROLE","Token":"t","Expiration":"{expires}"}}"#
            );
            peer.answer("200 OK", "Content-Type: application/json\r\n", body.as_bytes());
        }
    })]);
    let (seen, requests) = mpsc::channel();
    let store = Server::start(vec![script(move |peer| {
        while let Some(request) = peer.request() {
            let _ = seen.send(request.header("authorization").unwrap_or_default().to_owned());
            let body = if request.head.starts_with("HEAD") { "" } else { "12345" };
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"));
        }
    })]);
    let uri = format!("{}/creds", roles.endpoint);
    let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()), ("AWS_REGION", "mars-1")];
    run_child("child_asks_thrice", &store.endpoint, &variables);
    drop(store);
    let requests: Vec<String> = requests.iter().collect();
    let used: Vec<bool> = requests.iter().map(|seen| seen.contains("Credential=ASIA2/")).collect();
    assert_eq!(used, [false, true, true], "{requests:?}");
    assert!(requests[0].contains("Credential=ASIA1/") && requests[0].contains("/mars-1/s3/"), "{requests:?}");
}

#[test]
#[ignore = "run by its parent"]
fn child_asks_thrice() {
    let client = child();
    runtime().block_on(async {
        client.head("k", None).await.expect("head");
        client.get_small("k", Part::Whole, 5, None).await.expect("get");
        client.head("k", None).await.expect("head");
    });
}

/// Where there is no identity at all, a call says so, and what to do.
#[test]
fn no_identity_is_told() {
    let store = Server::start(vec![]);
    run_child("child_has_no_identity", &store.endpoint, &[]);
    assert_eq!(store.end(), 0);
}

#[test]
#[ignore = "run by its parent"]
fn child_has_no_identity() {
    let failure = runtime().block_on(child().head("k", None)).expect_err("nobody");
    assert_eq!(failure.kind(), FailureKind::Denied, "{failure}");
    assert!(failure.message().contains("there are no credentials: set access_key"), "{failure}");
}
