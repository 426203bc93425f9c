//! The first attempt of a GET, PUT or UploadPart of a chunk: written and signed here, since what the SDK builds around a
//! request takes longer than to send it. All that does not go well is left to the SDK, which tries again and knows why.

use std::time::SystemTime;

use super::{Client, Context};
use crate::s3::connector::exchange::{Answer as Answered, Request, Rest};
use crate::s3::connector::order::Order;
use crate::s3::errors::{Answer, Failure};
use crate::s3::sign::{HASH_OF_NOTHING, Header, Signed, UNSIGNED, push_encoded};
use crate::sync::{Arc, lock};

/// What is said of the sender.
const USER_AGENT: &str = concat!("nixl-store/", env!("CARGO_PKG_VERSION"));
/// How an error's code begins and ends in the body of an answer.
const CODE: [&str; 2] = ["<Code>", "</Code>"];

/// What is asked of the server.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// The method.
    pub method: &'static str,
    /// Name of the object.
    pub name: &'a str,
    /// The query, encoded, its parts in order.
    pub query: String,
    /// The header `if-match`.
    pub if_match: Option<&'a str>,
    /// The header `range`.
    pub range: Option<&'a str>,
    /// Bytes of the body that the order has; `None`: there is no body.
    pub body_bytes: Option<usize>,
}

impl<'a> Ask<'a> {
    /// A GET of an object, whatever its version.
    pub(super) fn of(name: &'a str) -> Ask<'a> {
        Ask { method: "GET", name, query: String::new(), if_match: None, range: None, body_bytes: None }
    }
}

/// What a first attempt came to.
#[derive(Debug)]
pub(super) enum First<'a> {
    /// An answer that is one: of success, or to a range, that it begins past the object's end.
    Answered(Answered),
    /// Nothing that would end the call. This client of the SDK's has the attempts that are left.
    Open(&'a aws_sdk_s3::Client),
}

/// Whether trying again would bring the same.
fn is_final(status: u16) -> bool {
    matches!(status, 301 | 307 | 308 | 401 | 403 | 404 | 412 | RANGE_PAST_END)
}

/// Status of an answer to a range that begins beyond the object's end.
pub(super) const RANGE_PAST_END: u16 = 416;

impl Client {
    /// Makes the first attempt of a call.
    ///
    /// # Errors
    /// What trying again would not change.
    pub(super) async fn first_attempt(
        &self,
        context: &Context,
        ask: &Ask<'_>,
        order: &Arc<Order>,
    ) -> Answer<First<'_>> {
        let Some(request) = self.write(context, ask).await? else { return Ok(First::Open(self.sdk())) };
        match self.connector.send(request, order).await {
            Ok(answered) if answered.head.is_success() => Ok(First::Answered(answered)),
            Ok(answered) if answered.head.status == RANGE_PAST_END && ask.range.is_some() => {
                Ok(First::Answered(answered))
            }
            Ok(answered) if is_final(answered.head.status) => Err(failure(context, &answered)),
            Ok(_) => self.pause().await,
            Err(fault) if fault.may_pass() => self.pause().await,
            Err(fault) => Err(context.of_fault(&fault)),
        }
    }

    /// As the SDK does between two attempts of its own.
    async fn pause(&self) -> Answer<First<'_>> {
        tokio::time::sleep(super::sdk::first_pause()).await;
        Ok(First::Open(&self.sdk.after_first))
    }

    /// The request, signed; `None` if it is none that is written here.
    async fn write(&self, context: &Context, ask: &Ask<'_>) -> Answer<Option<Request>> {
        let Some(place) = self.shared.base.place() else { return Ok(None) };
        let credentials = self.shared.base.identity().credentials().await;
        let credentials = credentials.map_err(|error| context.of_credentials(&error))?;
        let mut signer = lock(&self.signer);
        let Some(signer) = signer.as_mut() else { return Ok(None) };
        let Some(time) = signer.time(SystemTime::now()) else { return Ok(None) };

        let mut path = String::with_capacity(place.path.len() + 2 * ask.name.len());
        path.push_str(&place.path);
        push_encoded(&mut path, ask.name, true);
        let body_hash = if ask.body_bytes.is_some() { UNSIGNED } else { HASH_OF_NOTHING };
        let headers: [Option<Header<'_>>; 6] = [
            Some(("host", &place.host)),
            ask.if_match.map(|version| ("if-match", version)),
            ask.range.map(|range| ("range", range)),
            Some(("x-amz-content-sha256", body_hash)),
            Some(("x-amz-date", &time)),
            credentials.session_token().map(|token| ("x-amz-security-token", token)),
        ];
        let mut said: [Header<'_>; 6] = [("", ""); 6];
        let mut count = 0;
        for header in headers.into_iter().flatten() {
            (said[count], count) = (header, count + 1);
        }
        let said = &said[..count];
        // A value with a line's end in it, or in characters that are sent in more than one way.
        let is_plain =
            |value: &str| value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim() == value;
        if !said.iter().all(|(_, value)| is_plain(value)) {
            return Ok(None);
        }
        let signed = Signed { method: ask.method, path: &path, query: &ask.query, headers: said, body_hash };
        let authorization = signer.authorization(&signed, &credentials, &time);

        let mut head = Vec::with_capacity(1 << 10);
        let mut add = |parts: &[&str]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
        let mark = if ask.query.is_empty() { "" } else { "?" };
        add(&[ask.method, " ", &path, mark, &ask.query, " HTTP/1.1\r\n"]);
        for (name, value) in said {
            add(&[name, ": ", value, "\r\n"]);
        }
        add(&["authorization: ", &authorization, "\r\nuser-agent: ", USER_AGENT, "\r\n"]);
        if let Some(bytes) = ask.body_bytes {
            let bytes = bytes.to_string();
            add(&["content-type: application/octet-stream\r\ncontent-length: ", &bytes, "\r\n"]);
        }
        add(&["\r\n"]);
        Ok(Some(Request { origin: Arc::clone(&place.origin), method: ask.method, head }))
    }
}

/// The failure that an answer is.
fn failure(context: &Context, answered: &Answered) -> Failure {
    let body = match &answered.rest {
        Rest::Bytes(bytes) => String::from_utf8_lossy(bytes),
        Rest::Nothing | Rest::Landed(_) => "".into(),
    };
    let code = body.split_once(CODE[0]).and_then(|(_, rest)| rest.split_once(CODE[1]));
    let code = code.map_or("", |(code, _)| code);
    context.of_answer(answered.head.status, code, answered.head.header("x-amz-bucket-region"))
}
