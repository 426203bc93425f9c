//! A real S3 server for tests (SeaweedFS), a client of the tests' own beside the library's, and a proxy that breaks
//! what passes through it.
//!
//! Nothing here uses the library: what a test believes about a bucket it has from [`client`], which signs, sends and
//! parses by itself, and what it believes about the library's requests it has from [`proxy`], which saw them.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

pub mod client;
pub mod environment;
pub mod http;
pub mod proxy;
pub mod server;
pub mod sign;
pub mod tls;
pub mod wait;

pub use client::{Client, Listed};
pub use proxy::{Fault, Kind, Proxy, Rule, Seen};
pub use server::Server;

/// Whoever may do all.
pub const ACCESS_KEY: &str = "NixlTestAccess7Qm4VtZ1";
/// Its other half; no output may ever hold it.
pub const SECRET_KEY: &str = "NixlTestSecret9xKcW3rB0sJu2LpEyHd5";
/// Whoever may not touch the tests' bucket.
pub const STRANGER_ACCESS_KEY: &str = "NixlTestAccessStranger8";
/// Its other half.
pub const STRANGER_SECRET_KEY: &str = "NixlTestSecretStrangerG6vTq2NzXa";
/// Whoever may list and read, and no more.
pub const READER_ACCESS_KEY: &str = "NixlTestAccessReader5Kd";
/// Its other half.
pub const READER_SECRET_KEY: &str = "NixlTestSecretReaderP8sYw1VnQe";
/// A token of temporary credentials that no server here has given.
pub const SESSION_TOKEN: &str = "NixlTestTokenR4hYwM8kCf3";
/// What may not be seen anywhere. Access keys are among them: they are half of a credential.
pub const SECRETS: &[&str] = &[
    ACCESS_KEY,
    SECRET_KEY,
    STRANGER_ACCESS_KEY,
    STRANGER_SECRET_KEY,
    READER_ACCESS_KEY,
    READER_SECRET_KEY,
    SESSION_TOKEN,
];

/// The bucket of all tests of a process: each of them has a prefix of its own in it. A bucket of SeaweedFS takes
/// volumes of its own, so there are few.
pub const BUCKET: &str = "chunks";
/// A bucket that stays empty.
pub const EMPTY_BUCKET: &str = "nothing";
/// The region that requests are signed for. SeaweedFS takes any.
pub const REGION: &str = "us-east-1";

/// Asserts that a text holds no secret, without showing it if it does.
#[track_caller]
pub fn assert_no_secret(text: &str, whence: &dyn std::fmt::Display) {
    for (number, secret) in SECRETS.iter().enumerate() {
        if let Some(at) = text.find(secret) {
            let shown = text.replace(secret, "<SECRET>");
            panic!("{whence} shows secret {number} at byte {at}: {shown}");
        }
    }
}

/// The parameters of OBJ for the tests' bucket at this endpoint.
pub fn parameters(endpoint: &str) -> Vec<(&'static str, String)> {
    let parameters = [
        ("access_key", ACCESS_KEY),
        ("secret_key", SECRET_KEY),
        ("bucket", BUCKET),
        ("region", REGION),
        ("endpoint_override", endpoint),
    ];
    parameters.map(|(name, value)| (name, value.to_owned())).into()
}

/// The prefix of a store whose directory would be this one.
pub fn prefix_of(path: &std::path::Path) -> String {
    let parts: Vec<_> =
        path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    format!("{}/{}/", parts[1], parts[0])
}

/// Where a store is that is straight on the server of this process.
pub fn on_the_server(path: &std::path::Path) -> (String, Vec<(&'static str, String)>) {
    (prefix_of(path), parameters(&Server::of_this_process().endpoint()))
}
