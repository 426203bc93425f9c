//! What can go wrong between a request and its answer, as the SDK's retries and our messages need to know it.
//!
//! A text here never repeats anything of a request's head, which has the credentials in it.

use std::fmt;
use std::io;

use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::retry::ErrorKind;

/// What kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection could be had.
    Connect,
    /// The connection broke, or an answer ended before its end.
    Broken,
    /// Nothing moved for too long.
    Stalled,
    /// The peer's certificate, or the TLS of it, cannot be taken.
    Tls,
    /// What came is no answer that can be used.
    Protocol,
    /// An answer that cannot be used, and would be the same the next time.
    Unfit,
    /// The request cannot be sent; a bug, or a call that has ended.
    Request,
}

/// A fault of one attempt.
#[derive(Debug)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// For a person.
    pub text: String,
}

impl Fault {
    /// A fault.
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Fault {
        Fault { kind, text: text.into() }
    }

    /// The connection broke while `doing` was done.
    pub fn broken(doing: &str, error: &io::Error) -> Fault {
        Fault::new(FaultKind::Broken, format!("the connection broke while {doing}: {error}"))
    }

    /// An answer that is not HTTP/1.1, or not one that is allowed here.
    pub fn protocol(text: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Protocol, text)
    }

    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        match self.kind {
            FaultKind::Connect | FaultKind::Broken | FaultKind::Stalled | FaultKind::Protocol => true,
            FaultKind::Tls | FaultKind::Unfit | FaultKind::Request => false,
        }
    }

    /// An answer that would be the same the next time.
    pub fn unfit(text: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Unfit, text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for ConnectorError {
    fn from(fault: Fault) -> ConnectorError {
        match fault.kind {
            FaultKind::Connect => ConnectorError::io(fault.into()).never_connected(),
            FaultKind::Broken => ConnectorError::io(fault.into()),
            FaultKind::Stalled => ConnectorError::timeout(fault.into()),
            FaultKind::Protocol => ConnectorError::other(fault.into(), Some(ErrorKind::TransientError)),
            // Trying again would bring the same.
            FaultKind::Tls | FaultKind::Unfit => ConnectorError::other(fault.into(), None),
            FaultKind::Request => ConnectorError::user(fault.into()),
        }
    }
}
