//! How a call fails: what kind of failure, and a message without a secret in it.

use std::fmt;

use crate::error::{Error, Status};

/// What a call of the client answers.
pub type Answer<T> = std::result::Result<T, Failure>;

/// What kind of failure, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// There is no such object (or upload).
    Missing,
    /// A condition did not hold: another version, or one where there should be none.
    Changed,
    /// The server denies access, or does not take the credentials.
    Denied,
    /// The server asks for fewer requests, and went on doing so.
    Throttled,
    /// The deadline passed, or the server did not answer in time.
    TimedOut,
    /// No connection could be had or kept, or calls are not tried for a while because none could be had before.
    Unreachable,
    /// The server refuses the request, or answers what cannot be used.
    Refused,
}

/// A failed call.
#[derive(Clone, Debug)]
pub struct Failure {
    kind: FailureKind,
    message: String,
}

impl Failure {
    /// A failure; the message names operation, object and endpoint, and no credential.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }

    /// What kind.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The message for a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let status = match failure.kind {
            FailureKind::Missing => Status::NotFound,
            FailureKind::Denied => Status::Permission,
            FailureKind::Throttled => Status::Busy,
            FailureKind::TimedOut => Status::TimedOut,
            FailureKind::Changed | FailureKind::Unreachable | FailureKind::Refused => Status::Io,
        };
        Error::new(status, failure.message)
    }
}
