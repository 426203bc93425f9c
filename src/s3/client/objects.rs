//! Calls on one object: head, get, put, delete.

use std::time::{Instant, SystemTime};

use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, DateTime};

use super::direct::{Ask, First, RANGE_PAST_END};
use super::{Client, Context};
use crate::s3::connector::exchange::{Answer as Answered, Rest};
use crate::s3::connector::order::{Attach, Order, Seen, Wanted, Work};
use crate::s3::connector::verdict;
use crate::s3::errors::{Answer, Failure, FailureKind, SdkFailure};
use crate::s3::payload::{Landing, Payload, PayloadBody};
use crate::s3::types::{Condition, Get, Got, Head, Part, Small, Version};
use crate::sync::Arc;

/// Bytes of a good answer's body where none, or a short one, is due.
pub(super) const SHORT_BODY_BYTES_MAX: usize = 256 << 10;

/// The version in an answer.
pub(super) fn version(etag: Option<&str>) -> Option<Version> {
    etag.filter(|etag| !etag.is_empty()).map(Version::new)
}

/// A time in an answer.
pub(super) fn time(time: Option<&DateTime>) -> Option<SystemTime> {
    time.and_then(|time| SystemTime::try_from(*time).ok())
}

/// A count in an answer, which no sane one has below 0.
pub(super) fn count(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok())
}

/// The `Range` header for a part; `None` for the whole.
fn range(part: &Part, context: &Context) -> Answer<Option<String>> {
    match part {
        Part::Range(range) if range.start < range.end => {
            Ok(Some(format!("bytes={}-{}", range.start, range.end - 1)))
        }
        Part::Tail(bytes) if *bytes > 0 => Ok(Some(format!("bytes=-{bytes}"))),
        Part::Whole => Ok(None),
        Part::Range(_) | Part::Tail(_) => {
            Err(context.failure(FailureKind::Refused, "an empty range was asked for"))
        }
    }
}

/// The answer to a get, but for what landed.
struct Fetched {
    version: Option<Version>,
    /// Its Content-Range.
    range: Option<String>,
    body: ByteStream,
}

impl Fetched {
    fn of_sdk(answer: GetObjectOutput) -> Fetched {
        Fetched { version: version(answer.e_tag()), range: answer.content_range, body: answer.body }
    }

    fn of_answer(answer: Answered) -> Fetched {
        let body = match answer.rest {
            Rest::Bytes(bytes) => ByteStream::from(bytes),
            Rest::Nothing | Rest::Landed(_) => ByteStream::default(),
        };
        let range = answer.head.header("content-range").map(str::to_owned);
        Fetched { version: version(answer.head.header("etag")), range, body }
    }
}

/// What the head of an answer tells of an object that ends before the range.
fn past_end<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Ungot {
    let total = header("content-range").and_then(verdict::total_of_unsatisfied);
    Ungot::PastEnd(total, version(header("etag")))
}

/// A failed get; of one past the object's end what is known of the object's length.
enum Ungot {
    PastEnd(Option<u64>, Option<Version>),
    Failed(Failure),
}

impl Client {
    /// Length, version and age of an object.
    ///
    /// # Errors
    /// [`FailureKind::Missing`] if there is none, and all others.
    pub async fn head(&self, name: &str, deadline: Option<Instant>) -> Answer<Head> {
        let context = self.context("HEAD", name);
        let (order, _ending) = Order::new(Work::Collect, SHORT_BODY_BYTES_MAX);
        self.call(&context, deadline, &order, async {
            let request = self.sdk().head_object().bucket(self.bucket()).key(name);
            let answer = request.customize().interceptor(Attach(Arc::clone(&order))).send().await;
            let answer = answer.map_err(|error| context.of_sdk(&error))?;
            let bytes = count(answer.content_length());
            Ok(Head {
                bytes: bytes
                    .ok_or_else(|| context.failure(FailureKind::Refused, "the server tells no length"))?,
                version: version(answer.e_tag()),
                modified: time(answer.last_modified()),
            })
        })
        .await
    }

    /// Lands bytes of an object in the caller's memory. A landing that is shorter than what would land is
    /// [`Got::Other`]. Where a version was asked for and the answer tells none, the bytes land, and their version is `None`.
    ///
    /// # Errors
    /// All kinds; the memory may then have been written to.
    pub async fn get(&self, what: Get, landing: Landing) -> Answer<Got> {
        let Get { name, part, object_bytes, version, deadline } = what;
        let context = self.context("GET", &name);
        let range = range(&part, &context)?;
        let shown = self.settings().check_checksums;
        let wanted = Wanted { part, object_bytes, version: version.clone(), landing, shown };
        let (order, _ending) = Order::new(Work::Land(wanted), SHORT_BODY_BYTES_MAX);
        self.call(&context, deadline, &order, async {
            let mut answer = match self.get_object(&context, &name, range, version, &order).await {
                Ok(answer) => answer,
                Err(Ungot::PastEnd(Some(object_bytes), version)) => {
                    return Ok(Got::Other { object_bytes, version });
                }
                Err(Ungot::PastEnd(None, _)) => {
                    let (bytes, version) = self.length(&context, &name).await?;
                    return Ok(Got::Other { object_bytes: bytes, version });
                }
                Err(Ungot::Failed(failure)) => return Err(failure),
            };
            let seen = order.take_seen();
            if shown && matches!(seen, Some(Seen::Landed { .. })) {
                // The SDK compares its checksum with the server's while it is read, and only then.
                while let Some(frame) = answer.body.next().await {
                    frame.map_err(|error| context.unread(&error))?;
                }
            }
            match seen {
                Some(Seen::Landed { bytes, object_bytes, version, sums }) => {
                    Ok(Got::Landed { bytes, object_bytes, version, sums })
                }
                Some(Seen::Other { object_bytes, version }) => Ok(Got::Other { object_bytes, version }),
                Some(Seen::Changed) => {
                    Err(context.failure(FailureKind::Changed, "the object has another version"))
                }
                None => Err(context.failure(FailureKind::Refused, "the answer is none to a get")),
            }
        })
        .await
    }

    /// Reads at most `limit_bytes` of an object into memory of its own. A range past the end brings no bytes.
    ///
    /// # Errors
    /// All kinds; [`FailureKind::Refused`] if there are more bytes.
    pub async fn get_small(
        &self,
        name: &str,
        part: Part,
        limit_bytes: usize,
        deadline: Option<Instant>,
    ) -> Answer<Small> {
        self.get_small_of(name, part, limit_bytes, None, deadline).await
    }

    /// As [`Client::get_small`], of this version; a server that ignores that brings another one.
    pub(super) async fn get_small_of(
        &self,
        name: &str,
        part: Part,
        limit_bytes: usize,
        only: Option<Version>,
        deadline: Option<Instant>,
    ) -> Answer<Small> {
        let context = self.context("GET", name);
        let range = range(&part, &context)?;
        let (order, _ending) = Order::new(Work::Collect, limit_bytes);
        self.call(&context, deadline, &order, async {
            let answer = match self.get_object(&context, name, range, only, &order).await {
                Ok(answer) => answer,
                Err(Ungot::PastEnd(Some(object_bytes), version)) => {
                    return Ok(Small { bytes: Vec::new(), object_bytes, version });
                }
                Err(Ungot::PastEnd(None, _)) => {
                    let (object_bytes, version) = self.length(&context, name).await?;
                    return Ok(Small { bytes: Vec::new(), object_bytes, version });
                }
                Err(Ungot::Failed(failure)) => return Err(failure),
            };
            let version = answer.version;
            let told = answer.range.map(|range| range.rsplit('/').next().unwrap_or_default().parse().ok());
            let body = answer.body.collect().await.map_err(|error| context.unread(&error))?;
            let bytes = body.to_vec();
            let object_bytes = match told {
                Some(total) => total,
                None => Some(bytes.len() as u64),
            };
            let unfit =
                || context.failure(FailureKind::Refused, "the server answers a part without saying which");
            Ok(Small { bytes, object_bytes: object_bytes.ok_or_else(unfit)?, version })
        })
        .await
    }

    async fn get_object(
        &self,
        context: &Context,
        name: &str,
        range: Option<String>,
        version: Option<Version>,
        order: &Arc<Order>,
    ) -> Result<Fetched, Ungot> {
        let only = version.as_ref().map(Version::as_str);
        let ask = Ask { if_match: only, range: range.as_deref(), ..Ask::of(name) };
        let sdk = match self.first_attempt(context, &ask, order).await.map_err(Ungot::Failed)? {
            First::Answered(answer) if answer.head.status == RANGE_PAST_END => {
                return Err(past_end(|name| answer.head.header(name)));
            }
            First::Answered(answer) => return Ok(Fetched::of_answer(answer)),
            First::Open(sdk) => sdk,
        };
        let request = sdk.get_object().bucket(self.bucket()).key(name);
        let only = only.map(str::to_owned);
        let request = request.set_range(range).set_if_match(only);
        let answer = request.customize().interceptor(Attach(Arc::clone(order))).send().await;
        answer.map(Fetched::of_sdk).map_err(|error: SdkFailure<GetObjectError>| {
            let raw = error.raw_response().filter(|raw| raw.status().as_u16() == RANGE_PAST_END);
            let Some(raw) = raw else { return Ungot::Failed(context.of_sdk(&error)) };
            past_end(|name| raw.headers().get(name))
        })
    }

    /// Length and version, as part of another call.
    async fn length(&self, context: &Context, name: &str) -> Answer<(u64, Option<Version>)> {
        let answer = self.sdk().head_object().bucket(self.bucket()).key(name).send().await;
        let answer = answer.map_err(|error| context.of_sdk(&error))?;
        let bytes = count(answer.content_length());
        let bytes =
            bytes.ok_or_else(|| context.failure(FailureKind::Refused, "the server tells no length"))?;
        Ok((bytes, version(answer.e_tag())))
    }

    /// Writes an object from the caller's memory.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] if the condition did not hold, which a put that was repeated may have brought about itself;
    /// and all others, after any of which the object may have been written.
    pub async fn put(
        &self,
        name: &str,
        payload: Payload,
        condition: Condition,
        deadline: Option<Instant>,
    ) -> Answer<Option<Version>> {
        let context = self.context("PUT", name);
        let length = payload.length();
        let (order, _ending) = Order::new(Work::Send(payload), SHORT_BODY_BYTES_MAX);
        self.call(&context, deadline, &order, async {
            let sdk = match condition {
                Condition::None => {
                    let ask = Ask { method: "PUT", body_bytes: Some(length), ..Ask::of(name) };
                    match self.first_attempt(&context, &ask, &order).await? {
                        First::Answered(answer) => return Ok(version(answer.head.header("etag"))),
                        First::Open(sdk) => sdk,
                    }
                }
                Condition::IfAbsent | Condition::IfVersion(_) => self.sdk(),
            };
            let body = of_order(length, &order);
            let request = sdk.put_object().bucket(self.bucket()).key(name).body(body);
            let request = on(request, condition).customize().disable_payload_signing();
            let answer = request.interceptor(Attach(Arc::clone(&order))).send().await;
            let answer = answer.map_err(|error| context.of_sdk(&error))?;
            Ok(version(answer.e_tag()))
        })
        .await
    }

    /// Writes an object from memory that is handed over.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn put_small(
        &self,
        name: &str,
        bytes: Vec<u8>,
        condition: Condition,
        deadline: Option<Instant>,
    ) -> Answer<Option<Version>> {
        let context = self.context("PUT", name);
        let (order, _ending) = Order::new(Work::Collect, SHORT_BODY_BYTES_MAX);
        self.call(&context, deadline, &order, async {
            let request =
                self.sdk().put_object().bucket(self.bucket()).key(name).body(ByteStream::from(bytes));
            let request = on(request, condition).customize();
            let answer = request.interceptor(Attach(Arc::clone(&order))).send().await;
            let answer = answer.map_err(|error| context.of_sdk(&error))?;
            Ok(version(answer.e_tag()))
        })
        .await
    }

    /// Removes an object, or only this version of it; one that is not there is no failure.
    ///
    /// # Errors
    /// [`FailureKind::Changed`] if it has another version, and all others.
    pub async fn delete(&self, name: &str, only: Option<&Version>, deadline: Option<Instant>) -> Answer<()> {
        let context = self.context("DELETE", name);
        let (order, _ending) = Order::new(Work::Collect, SHORT_BODY_BYTES_MAX);
        let outcome = self
            .call(&context, deadline, &order, async {
                let request = self.sdk().delete_object().bucket(self.bucket()).key(name);
                let request = request.set_if_match(only.map(|version| version.as_str().to_owned()));
                let answer = request.customize().interceptor(Attach(Arc::clone(&order))).send().await;
                answer.map(|_| ()).map_err(|error| context.of_sdk(&error))
            })
            .await;
        match outcome {
            Err(failure) if failure.kind() == FailureKind::Missing => Ok(()),
            other => other,
        }
    }
}

fn on(request: PutObjectFluentBuilder, condition: Condition) -> PutObjectFluentBuilder {
    match condition {
        Condition::None => request,
        Condition::IfAbsent => request.if_none_match("*"),
        Condition::IfVersion(version) => request.if_match(version.as_str()),
    }
}

/// The body of an order's payload.
pub(super) fn of_order(length: usize, order: &Arc<Order>) -> ByteStream {
    let order = Arc::clone(order);
    ByteStream::new(PayloadBody::of(length, move || order.payload()))
}
