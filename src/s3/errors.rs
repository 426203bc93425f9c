//! How a call fails: what kind of failure, and a message without a secret in it.
//!
//! A message names operation, object, bucket, endpoint, and the server's code. Nothing else of what a server says is
//! repeated, nor anything of a request: both may hold keys, tokens and signatures.

use std::error::Error as StdError;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::connector::fault::{Fault, FaultKind};
use crate::error::{Error, Status};
use crate::sync::Arc;

/// Characters of a name that a message shows.
const NAME_CHARS_MAX: usize = 200;
/// Characters of a server's code that a message shows.
const CODE_CHARS_MAX: usize = 64;

/// What a call of the client answers.
pub type Answer<T> = std::result::Result<T, Failure>;

/// A failure of the SDK.
pub type SdkFailure<E> = SdkError<E, HttpResponse>;

/// What kind of failure, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// There is no such object (or upload).
    Missing,
    /// A condition did not hold: another version, or one where there should be none.
    Changed,
    /// The server denies access, or does not take the credentials, or there are none.
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
    /// The server's status and code, if it answered.
    answer: Option<(u16, String)>,
    /// The region that the bucket is in, if the server told that it is another one.
    region: Option<String>,
}

impl Failure {
    /// A failure; the message names operation, object and endpoint, and no credential.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), answer: None, region: None }
    }

    /// What kind.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The message for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The server's status, if it answered.
    pub(super) fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|(status, _)| *status)
    }

    /// The server's code; empty where it gave none.
    pub(super) fn code(&self) -> &str {
        self.answer.as_ref().map_or("", |(_, code)| code)
    }

    /// The region that the bucket is in, where the server says that it is another one.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
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

/// What a call is about, for its messages.
#[derive(Clone, Debug)]
pub struct Context {
    operation: &'static str,
    name: String,
    bucket: String,
    endpoint: Arc<str>,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.operation)?;
        if !self.name.is_empty() {
            write!(f, "{} in ", shown(&self.name, NAME_CHARS_MAX))?;
        }
        write!(f, "bucket {} at {}", shown(&self.bucket, NAME_CHARS_MAX), self.endpoint)
    }
}

/// Text of others', cut and without control characters.
fn shown(text: &str, chars_max: usize) -> String {
    let mut shown: String = text.chars().take(chars_max).flat_map(char::escape_debug).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

impl Context {
    /// A call of `operation` on an object of this name, which may be empty.
    pub fn new(operation: &'static str, name: &str, bucket: &str, endpoint: &Arc<str>) -> Context {
        let (name, bucket) = (name.to_owned(), bucket.to_owned());
        Context { operation, name, bucket, endpoint: Arc::clone(endpoint) }
    }

    /// A failure of this call.
    pub fn failure(&self, kind: FailureKind, why: impl fmt::Display) -> Failure {
        Failure::new(kind, format!("{self}: {why}"))
    }

    /// The failure of a body that the SDK cannot take: its checksum is not the one that was told.
    pub fn unread(&self, error: &(dyn StdError + 'static)) -> Failure {
        self.failure(FailureKind::Refused, format_args!("the body cannot be used: {}", chain(error)))
    }

    /// The failure behind an error of the SDK.
    pub fn of_sdk<E>(&self, error: &SdkFailure<E>) -> Failure
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        if let Some(raw) = error.raw_response() {
            let status = raw.status().as_u16();
            let region = raw.headers().get("x-amz-bucket-region");
            return self.of_answer(status, error.code().unwrap_or_default(), region);
        }
        self.of_source(error)
    }

    /// The failure that an answer of the server is: its status, the code in its body, the region in its head.
    pub fn of_answer(&self, status: u16, code: &str, region: Option<&str>) -> Failure {
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(CODE_CHARS_MAX).collect();
        let region = region.map(|region| shown(region, CODE_CHARS_MAX));
        let (kind, why) = of_code(status, &code, region.as_deref());
        let said = if code.is_empty() { format!("{status}") } else { format!("{status} {code}") };
        let mut failure = self.failure(kind, format_args!("the server answered {said}{why}"));
        failure.region = region;
        failure.answer = Some((status, code));
        failure
    }

    /// The failure without an answer.
    fn of_source(&self, error: &(dyn StdError + 'static)) -> Failure {
        let mut source = Some(error);
        while let Some(error) = source {
            if let Some(fault) = error.downcast_ref::<Fault>() {
                return self.of_fault(fault);
            }
            if let Some(error) = error.downcast_ref::<CredentialsError>() {
                return self.of_credentials(error);
            }
            source = error.source();
        }
        if error.to_string().contains("timed out") {
            return self.failure(FailureKind::TimedOut, "the SDK's time ran out, for credentials perhaps");
        }
        // Only the errors' own words, which the SDK keeps free of secrets; what requests and answers hold is not among them.
        self.failure(FailureKind::Refused, chain(error))
    }

    /// The failure that a fault of an attempt is.
    pub fn of_fault(&self, fault: &Fault) -> Failure {
        let kind = match fault.kind {
            FaultKind::Connect | FaultKind::Broken => FailureKind::Unreachable,
            FaultKind::Stalled => FailureKind::TimedOut,
            FaultKind::Tls | FaultKind::Protocol | FaultKind::Unfit | FaultKind::Request => {
                FailureKind::Refused
            }
        };
        self.failure(kind, fault)
    }

    /// The failure to have credentials.
    pub fn of_credentials(&self, error: &CredentialsError) -> Failure {
        let (kind, why) = match error {
            CredentialsError::CredentialsNotLoaded(_) => (
                FailureKind::Denied,
                "there are no credentials: set access_key and secret_key, or give the usual AWS identity (environment, \
                 profile, role)"
                    .to_owned(),
            ),
            CredentialsError::ProviderTimedOut(_) => {
                (FailureKind::TimedOut, "fetching credentials took too long".to_owned())
            }
            CredentialsError::InvalidConfiguration(_) => {
                (FailureKind::Denied, format!("the AWS profile cannot be used: {}", chain(error)))
            }
            _ => (FailureKind::Denied, format!("credentials could not be fetched: {}", chain(error))),
        };
        self.failure(kind, why)
    }
}

/// The words of an error and of what is behind it.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    shown(&text, 4 * NAME_CHARS_MAX)
}

/// The kind of an answer, and what to do about it.
fn of_code(status: u16, code: &str, region: Option<&str>) -> (FailureKind, String) {
    let plain = |kind| (kind, String::new());
    let said = |kind, text: &str| (kind, format!(": {text}"));
    match (status, code) {
        (_, "NoSuchBucket") => {
            said(FailureKind::Refused, "there is no such bucket; create it, or correct bucket")
        }
        (404, _) | (_, "NoSuchKey" | "NoSuchUpload" | "NotFound") => plain(FailureKind::Missing),
        (412, _) | (_, "PreconditionFailed" | "ConditionalRequestConflict") => plain(FailureKind::Changed),
        (_, "RequestTimeTooSkewed") => {
            said(FailureKind::Denied, "this machine's clock and the server's differ too much")
        }
        (_, "ExpiredToken" | "TokenRefreshRequired") => {
            said(FailureKind::Denied, "the credentials have expired")
        }
        (_, "InvalidAccessKeyId") => said(FailureKind::Denied, "the server does not know access_key"),
        (_, "SignatureDoesNotMatch") => said(FailureKind::Denied, "secret_key does not belong to access_key"),
        (301 | 307 | 308, _)
        | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            let text = match region {
                Some(region) => format!("the bucket is in region {region}; set region to it"),
                None => "the bucket is in another region; set region, and endpoint_override if there is one"
                    .to_owned(),
            };
            said(FailureKind::Refused, &text)
        }
        (401 | 403, _) | (_, "AccessDenied" | "InvalidToken") => {
            said(FailureKind::Denied, "these credentials may not do this")
        }
        (429 | 503, _) | (_, "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded") => {
            plain(FailureKind::Throttled)
        }
        (_, "RequestTimeout") => plain(FailureKind::TimedOut),
        (501, _) => said(FailureKind::Refused, "the server does not have what was asked for"),
        _ => plain(FailureKind::Refused),
    }
}
