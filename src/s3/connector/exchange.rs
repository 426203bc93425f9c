//! One attempt: a request goes out over a connection, its answer comes in, the connection is kept or closed.
//!
//! Whoever drops this in the middle closes the connection with it: it is kept only after an answer's last byte.

use std::future::poll_fn;
use std::task::Poll;

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::body::{self, Sink};
use super::fault::{Fault, FaultKind};
use super::head::{self, AnswerHead, Framing, Origin};
use super::landing::Cursor;
use super::order::{ERROR_BYTES_MAX, Order, Seen, Wanted, Work};
use super::pace::Watch;
use super::pool::{Connection, Pool};
use super::send::{self, Outgoing, Sent};
use super::verdict::{self, Verdict};
use crate::s3::payload::PayloadBody;
use crate::sync::Arc;

/// Bytes of an unwanted body that are read away so that the connection can be kept.
const DISCARD_BYTES_MAX: u64 = 256 << 10;
/// Interim answers (1xx) before the answer.
const INTERIM_ANSWERS_MAX: usize = 8;
/// Bytes of a body that are taken where no order says how many: credentials and the like.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request that is written already, but for its body, which its order has.
#[derive(Debug)]
pub struct Request {
    /// Where it goes.
    pub origin: Arc<Origin>,
    /// Its method.
    pub method: &'static str,
    /// Its head, which says how long the body is.
    pub head: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: AnswerHead,
    /// What is left of its body.
    pub rest: Rest,
}

/// What is left of an answer's body once it is where it belongs.
#[derive(Debug)]
pub enum Rest {
    /// Nothing of interest.
    Nothing,
    /// All of it.
    Bytes(Vec<u8>),
    /// So many bytes have landed.
    Landed(usize),
}

/// What an attempt knows of its call.
struct Task<'a> {
    origin: Arc<Origin>,
    method: &'a str,
    head: Vec<u8>,
    wanted: Option<Wanted>,
    order: Option<Arc<Order>>,
}

/// Makes one attempt of the SDK's.
///
/// # Errors
/// What the SDK may try again, or not.
pub async fn run(pool: &Pool, mut request: HttpRequest) -> Result<HttpResponse, Fault> {
    let order = request.extension::<Arc<Order>>().cloned();
    let work = match &order {
        Some(order) => order.begin()?,
        None => Work::Collect,
    };
    let body = request.take_body();
    let framed = request.headers().get("content-encoding").is_some_and(|value| value.contains("aws-chunked"));
    let (outgoing, wanted) = match work {
        // The SDK's body of the payload is put aside unread.
        Work::Send(payload) if !framed => (Outgoing::Slices(payload), None),
        Work::Send(_) | Work::Collect => (Outgoing::of_sdk(body)?, None),
        Work::Land(wanted) => (Outgoing::of_sdk(body)?, Some(wanted)),
    };
    let (origin, head) = head::write(&request, outgoing.length())?;
    let task = Task { origin: Arc::new(origin), method: request.method(), head, wanted, order };
    let answer = task.attempt(pool, outgoing).await?;
    let status =
        StatusCode::try_from(answer.head.status).map_err(|_| Fault::protocol("the answer has no status"))?;
    let body = match (answer.rest, &task.wanted) {
        (Rest::Bytes(bytes), _) => SdkBody::from(bytes),
        (Rest::Landed(bytes), Some(wanted)) if wanted.shown => {
            PayloadBody::of_landing(&wanted.landing, bytes)
        }
        _ => SdkBody::empty(),
    };
    let mut response = HttpResponse::new(status, body);
    *response.headers_mut() = answer.head.headers();
    Ok(response)
}

/// Makes one attempt with a request that the SDK has not seen.
///
/// # Errors
/// There is no answer, or none that can be used.
pub async fn run_written(pool: &Pool, request: Request, order: &Arc<Order>) -> Result<Answer, Fault> {
    let (outgoing, wanted) = match order.begin()? {
        Work::Send(payload) => (Outgoing::Slices(payload), None),
        Work::Land(wanted) => (Outgoing::Bytes(Bytes::new()), Some(wanted)),
        Work::Collect => (Outgoing::Bytes(Bytes::new()), None),
    };
    let Request { origin, method, head } = request;
    let task = Task { origin, method, head, wanted, order: Some(Arc::clone(order)) };
    task.attempt(pool, outgoing).await
}

impl Task<'_> {
    async fn attempt(&self, pool: &Pool, mut outgoing: Outgoing) -> Result<Answer, Fault> {
        let outcome = self.over_a_connection(pool, &mut outgoing).await;
        if let (Err(fault), Some(order)) = (&outcome, &self.order) {
            order.note(fault.text.clone());
        }
        outcome
    }

    async fn over_a_connection(&self, pool: &Pool, outgoing: &mut Outgoing) -> Result<Answer, Fault> {
        let permit = pool.permit().await;
        let _permit = permit.ok_or_else(|| Fault::new(FaultKind::Request, "the client is closed"))?;
        if let Some(connection) = pool.take(&self.origin) {
            let mut answered = false;
            match self.over(pool, connection, outgoing, &mut answered).await {
                // Mostly the server had closed it meanwhile, which is no fault of anyone's. But it may have done what was asked
                // and not come to answer, which a call has to know that must not be done twice.
                Err(fault) if fault.kind == FaultKind::Broken && !answered && outgoing.can_repeat() => {
                    if let Some(order) = &self.order {
                        order.note(fault.text);
                    }
                }
                other => return other,
            }
        }
        let connection = pool.connect(&self.origin).await?;
        self.over(pool, connection, outgoing, &mut false).await
    }

    async fn over(
        &self,
        pool: &Pool,
        mut connection: Connection,
        outgoing: &mut Outgoing,
        answered: &mut bool,
    ) -> Result<Answer, Fault> {
        let times = pool.times();
        let mut watch = Watch::new(times.stall, "the server took no byte");
        let sent = send::send(&mut connection, &self.head, outgoing, &mut watch).await?;
        watch.expect(times.first_byte, "no answer");
        let mut head = self.head_of_answer(&mut connection, &mut watch, answered).await?;
        watch.expect(times.stall, "no byte of the answer");
        verdict::drop_foreign_checksums(&mut head);
        // Before all was sent, the next request would be taken for the rest of this one.
        head.keeps &= sent == Sent::All;
        let rest = self.take_body(&mut connection, &mut head, &mut watch).await?;
        if head.keeps {
            pool.keep(connection);
        }
        if head.status >= 400
            && let Some(order) = &self.order
        {
            order.note(format!("the server answered {}", head.status));
        }
        Ok(Answer { head, rest })
    }

    /// The first head that is no interim one.
    async fn head_of_answer(
        &self,
        connection: &mut Connection,
        watch: &mut Watch,
        answered: &mut bool,
    ) -> Result<AnswerHead, Fault> {
        let mut interim = 0;
        let mut parsed = 0;
        loop {
            // Only a line's end can be that of the head.
            let unused = connection.unused();
            *answered |= !unused.is_empty();
            if unused[parsed.min(unused.len())..].contains(&b'\n') {
                match head::parse(unused, self.method)? {
                    Some((head, length)) => {
                        connection.consume(length);
                        parsed = 0;
                        if head.status >= 200 {
                            return Ok(head);
                        }
                        interim += 1;
                        if head.status == 101 || interim > INTERIM_ANSWERS_MAX {
                            return Err(Fault::protocol("the server does not come to an answer"));
                        }
                        continue;
                    }
                    None => parsed = unused.len(),
                }
            } else if unused.len() >= head::HEAD_BYTES_MAX {
                return Err(Fault::protocol("the answer's head has no end"));
            }
            let filled = poll_fn(|cx| match connection.poll_fill(cx) {
                Poll::Ready(outcome) => {
                    Poll::Ready(outcome.map_err(|error| Fault::broken("an answer was awaited", &error)))
                }
                Poll::Pending => watch.poll_stalled(cx).map(Err),
            })
            .await?;
            if filled == 0 {
                return Err(Fault::broken("an answer was awaited", &send::gone()));
            }
            watch.moved();
        }
    }

    /// Brings the body to where it belongs.
    async fn take_body(
        &self,
        connection: &mut Connection,
        head: &mut AnswerHead,
        watch: &mut Watch,
    ) -> Result<Rest, Fault> {
        if let (Some(wanted), Some(order), 200 | 206) = (&self.wanted, &self.order, head.status) {
            return land(connection, head, wanted, order, watch).await;
        }
        let good_bytes_max = self.order.as_ref().map_or(BODY_BYTES_MAX, |order| order.body_bytes_max);
        let max = if head.is_success() { good_bytes_max } else { ERROR_BYTES_MAX };
        let mut sink = Sink::Collect(Vec::new(), max);
        body::read(connection, head.framing, &mut sink, watch).await?;
        let Sink::Collect(bytes, _) = sink else { return Ok(Rest::Nothing) };
        Ok(Rest::Bytes(bytes))
    }
}

async fn land(
    connection: &mut Connection,
    head: &mut AnswerHead,
    wanted: &Wanted,
    order: &Order,
    watch: &mut Watch,
) -> Result<Rest, Fault> {
    match verdict::judge(head, wanted) {
        Verdict::Land { bytes, object_bytes, version } => {
            let mut sink = Sink::Land(Cursor::new(wanted.landing.clone(), bytes));
            let framing = match head.framing {
                // Of a whole object in place of a part: no more than was asked for.
                Framing::Length(length) if length > bytes as u64 => {
                    head.keeps = false;
                    Framing::Length(bytes as u64)
                }
                framing => framing,
            };
            body::read(connection, framing, &mut sink, watch).await?;
            let Sink::Land(cursor) = sink else { return Ok(Rest::Nothing) };
            if cursor.missing() > 0 {
                return Err(Fault::new(FaultKind::Broken, "the answer's body is shorter than its head says"));
            }
            let sums = cursor.finish();
            order.report(Seen::Landed { bytes, object_bytes: Some(object_bytes), version, sums });
            Ok(Rest::Landed(bytes))
        }
        Verdict::Other { object_bytes, version } => {
            order.report(Seen::Other { object_bytes, version });
            discard(connection, head, watch).await
        }
        Verdict::Changed => {
            order.report(Seen::Changed);
            discard(connection, head, watch).await
        }
        Verdict::Unfit(why) => Err(Fault::unfit(why)),
    }
}

/// Reads an unwanted body away, if that is cheaper than another connection.
async fn discard(
    connection: &mut Connection,
    head: &mut AnswerHead,
    watch: &mut Watch,
) -> Result<Rest, Fault> {
    let short = matches!(head.framing, Framing::Length(length) if length <= DISCARD_BYTES_MAX);
    head.keeps &= short || head.framing == Framing::Nothing;
    if head.keeps && body::read(connection, head.framing, &mut Sink::Discard, watch).await.is_err() {
        head.keeps = false;
    }
    Ok(Rest::Nothing)
}
