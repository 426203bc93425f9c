//! The bucket is looked at before it is used: is it there, may we, and what does its server honour?

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Instant;

use super::objects::SHORT_BODY_BYTES_MAX;
use super::{Client, Context};
use crate::error::{Error, Result, Status};
use crate::s3::connector::order::{Attach, Order, Work};
use crate::s3::errors::{Answer, Failure, FailureKind};
use crate::s3::types::{Condition, Part, Traits, Version};
use crate::sync::Arc;

/// A version that no object has: MD5 of nothing in this world, in the form of an ETag.
const NO_VERSION: &str = "\"00000000000000000000000000000000\"";
/// Bytes of the object that is tried with.
const TRIED_BYTES: usize = 16;

impl Client {
    /// Whether the bucket is there and may be used, and what the server honours. A small object with a random name under
    /// `prefix` is written for it, and removed.
    ///
    /// # Errors
    /// A missing bucket, another region ([`Status::Config`]), no access ([`Status::Permission`]), nobody there
    /// ([`Status::Io`], [`Status::TimedOut`]): each with what to do.
    pub async fn probe(&self, prefix: &str, deadline: Option<Instant>) -> Result<Traits> {
        self.find_bucket(deadline).await?;
        let random = RandomState::new();
        let name = format!("{prefix}nixl-store-probe-{:016x}{:016x}", random.hash_one(1), random.hash_one(2));
        let outcome = self.find_traits(&name, deadline).await;
        // Whatever was found, nothing is left behind.
        let removed = self.delete(&name, None, deadline).await;
        let traits = outcome.map_err(|failure| of_use(failure, "written to and read"))?;
        removed.map_err(|failure| of_use(failure, "removed from"))?;
        Ok(traits)
    }

    /// Whether the bucket answers.
    ///
    /// # Errors
    /// As for [`Client::probe`].
    pub async fn find_bucket(&self, deadline: Option<Instant>) -> Result<()> {
        let context = self.context("HeadBucket", "");
        let (order, _ending) = Order::new(Work::Collect, SHORT_BODY_BYTES_MAX);
        let outcome = self
            .call(&context, deadline, &order, async {
                let request = self.sdk().head_bucket().bucket(self.bucket()).customize();
                let answer = request.interceptor(Attach(Arc::clone(&order))).send().await;
                answer.map(|_| ()).map_err(|error| context.of_sdk(&error))
            })
            .await;
        match outcome {
            Ok(()) => Ok(()),
            // An answer to a HEAD has no body, and so no code: a listing's tells a wrong key from a bucket of others'.
            Err(failure) if failure.code().is_empty() && matches!(failure.status(), Some(400 | 403)) => {
                match self.list("", None, 1, deadline).await {
                    Ok(_) => Ok(()),
                    Err(told) if told.region().is_none() && failure.region().is_some() => {
                        Err(of_bucket(&context, failure))
                    }
                    Err(told) => Err(of_bucket(&context, told)),
                }
            }
            Err(failure) => Err(of_bucket(&context, failure)),
        }
    }

    async fn find_traits(&self, name: &str, deadline: Option<Instant>) -> Answer<Traits> {
        let mut traits = Traits::default();
        let bytes = || vec![b'p'; TRIED_BYTES];
        match self.put_small(name, bytes(), Condition::IfAbsent, deadline).await {
            Ok(_) => {
                let again = self.put_small(name, bytes(), Condition::IfAbsent, deadline).await;
                traits.if_none_match = is_changed(again)?;
            }
            // Some servers refuse a condition that they do not know.
            Err(failure) if is_not_honoured(&failure) => {
                self.put_small(name, bytes(), Condition::None, deadline).await?;
            }
            Err(failure) => return Err(failure),
        }
        let small = self.get_small(name, Part::Whole, TRIED_BYTES, deadline).await?;
        traits.versions = small.version.is_some();
        let other = Version::new(NO_VERSION);
        let got = self.get_small_of(name, Part::Whole, TRIED_BYTES, Some(other.clone()), deadline).await;
        traits.if_match = is_changed(got)?;
        traits.deletes_if_match = is_changed(self.delete(name, Some(&other), deadline).await)?;
        Ok(traits)
    }
}

/// Whether a condition that does not hold was honoured.
fn is_changed<T>(outcome: Answer<T>) -> Answer<bool> {
    match outcome {
        Ok(_) => Ok(false),
        Err(failure) if failure.kind() == FailureKind::Changed => Ok(true),
        Err(failure) if is_not_honoured(&failure) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn is_not_honoured(failure: &Failure) -> bool {
    failure.kind() == FailureKind::Refused && matches!(failure.status(), Some(400 | 501))
}

/// What is wrong with the bucket as a whole, and what to do.
fn of_bucket(context: &Context, failure: Failure) -> Error {
    let hint = match (failure.kind(), failure.region()) {
        (FailureKind::Missing, _) => {
            "there is no such bucket; create it, or correct bucket or endpoint_override"
        }
        (FailureKind::Refused, None) if matches!(failure.status(), Some(400)) => {
            "check region, endpoint_override and use_virtual_addressing"
        }
        (FailureKind::Refused, Some(region)) if !failure.message().contains(region) => {
            let text = format!("{context}: the bucket is in region {region}; set region to it");
            return Error::new(Status::Config, text);
        }
        (FailureKind::Unreachable | FailureKind::TimedOut, _) => {
            "check endpoint_override, scheme and that the server runs"
        }
        _ => "",
    };
    let status = match failure.kind() {
        FailureKind::Missing | FailureKind::Refused => Some(Status::Config),
        _ => None,
    };
    let message = if hint.is_empty() { failure.message().to_owned() } else { format!("{failure}; {hint}") };
    let error = Error::from(failure);
    Error::new(status.unwrap_or(error.status()), message)
}

/// What is wrong with using the bucket.
fn of_use(failure: Failure, how: &str) -> Error {
    let (kind, region) = (failure.kind(), failure.region().is_some());
    let message = format!("{failure}; the store's part of the bucket has to be {how}");
    let status = Error::from(failure).status();
    let status = if kind == FailureKind::Missing || region { Status::Config } else { status };
    Error::new(status, message)
}
