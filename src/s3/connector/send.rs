//! A request goes out: its head, and behind it a body from where it lies.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::Body;

use super::fault::{Fault, FaultKind};
use super::pace::Watch;
use super::pool::Connection;
use crate::s3::payload::Payload;

/// Buffers of one write.
const BUFFERS_PER_WRITE_MAX: usize = 64;

/// The body of a request.
#[derive(Debug)]
pub enum Outgoing {
    /// The caller's memory.
    Slices(Payload),
    /// The SDK's.
    Bytes(Bytes),
    /// As the SDK frames it (with checksums behind it), from the caller's memory; the frame at hand, and what of it is sent.
    Frames(Box<SdkBody>, Bytes, u64),
}

impl Outgoing {
    /// The body of a request that carries no payload of ours.
    ///
    /// # Errors
    /// A body whose length the SDK does not know.
    pub fn of_sdk(body: SdkBody) -> Result<Outgoing, Fault> {
        if let Some(bytes) = body.bytes() {
            return Ok(Outgoing::Bytes(Bytes::copy_from_slice(bytes)));
        }
        let length = Body::size_hint(&body).exact();
        let length = length.ok_or_else(|| Fault::new(FaultKind::Request, "a body of unknown length"))?;
        Ok(Outgoing::Frames(Box::new(body), Bytes::new(), length))
    }

    /// Bytes of it.
    pub fn length(&self) -> u64 {
        match self {
            Outgoing::Slices(payload) => payload.length() as u64,
            Outgoing::Bytes(bytes) => bytes.len() as u64,
            Outgoing::Frames(_, _, length) => *length,
        }
    }

    /// Whether it can be sent a second time.
    pub fn can_repeat(&self) -> bool {
        !matches!(self, Outgoing::Frames(..))
    }
}

/// How far sending came.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// All is sent.
    All,
    /// An answer began before that.
    Answered,
    /// The peer takes no more; there may be an answer that says why.
    Refused,
}

/// Sends `head` and `body`, until all is sent or an answer comes.
///
/// # Errors
/// The connection stalls, or the SDK cannot give its body.
pub async fn send(
    connection: &mut Connection,
    head: &[u8],
    body: &mut Outgoing,
    watch: &mut Watch,
) -> Result<Sent, Fault> {
    let length = head.len() as u64 + body.length();
    let mut sent = 0;
    while sent < length {
        let step = match body {
            Outgoing::Frames(source, frame, _) => {
                if sent >= head.len() as u64 && frame.is_empty() {
                    *frame = next_frame(source, watch).await?;
                }
                let mut buffers = Vec::with_capacity(2);
                if sent < head.len() as u64 {
                    buffers.push(IoSlice::new(&head[sent as usize..]));
                }
                buffers.push(IoSlice::new(frame));
                let step = write(connection, &buffers, watch).await?;
                if let Step::Wrote(count) = step {
                    let of_head = head.len().saturating_sub(sent as usize).min(count);
                    let _ = frame.split_to(count - of_head);
                }
                step
            }
            Outgoing::Bytes(bytes) => {
                let mut buffers = Vec::with_capacity(2);
                push_from(&mut buffers, [head, &bytes[..]], sent as usize);
                write(connection, &buffers, watch).await?
            }
            Outgoing::Slices(payload) => {
                let mut buffers = Vec::with_capacity(BUFFERS_PER_WRITE_MAX);
                let of_head = (sent as usize).min(head.len());
                if of_head < head.len() {
                    buffers.push(IoSlice::new(&head[of_head..]));
                }
                payload.push_slices(sent as usize - of_head, BUFFERS_PER_WRITE_MAX, &mut buffers);
                write(connection, &buffers, watch).await?
            }
        };
        match step {
            Step::Wrote(count) => sent += count as u64,
            Step::Answered => return Ok(Sent::Answered),
            Step::Refused => return Ok(Sent::Refused),
        }
    }
    flush(connection, watch).await
}

fn push_from<'a>(buffers: &mut Vec<IoSlice<'a>>, parts: [&'a [u8]; 2], mut from: usize) {
    for part in parts {
        let skipped = from.min(part.len());
        from -= skipped;
        if skipped < part.len() {
            buffers.push(IoSlice::new(&part[skipped..]));
        }
    }
}

enum Step {
    Wrote(usize),
    Answered,
    Refused,
}

async fn write(
    connection: &mut Connection,
    buffers: &[IoSlice<'_>],
    watch: &mut Watch,
) -> Result<Step, Fault> {
    let step = poll_fn(|cx| match connection.stream.poll_write(cx, buffers) {
        Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => Poll::Ready(Ok(Step::Refused)),
        Poll::Ready(Ok(count)) => Poll::Ready(Ok(Step::Wrote(count))),
        Poll::Pending => answered_or_stalled(connection, watch, cx),
    })
    .await?;
    watch.moved();
    Ok(step)
}

async fn flush(connection: &mut Connection, watch: &mut Watch) -> Result<Sent, Fault> {
    let step = poll_fn(|cx| match connection.stream.poll_flush(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(Step::Wrote(0))),
        Poll::Ready(Err(_)) => Poll::Ready(Ok(Step::Refused)),
        Poll::Pending => answered_or_stalled(connection, watch, cx),
    })
    .await?;
    watch.moved();
    Ok(match step {
        Step::Wrote(_) => Sent::All,
        Step::Answered => Sent::Answered,
        Step::Refused => Sent::Refused,
    })
}

/// While the peer takes nothing: does it speak, or is nothing to be hoped for?
fn answered_or_stalled(
    connection: &mut Connection,
    watch: &mut Watch,
    cx: &mut Context<'_>,
) -> Poll<Result<Step, Fault>> {
    match connection.poll_fill(cx) {
        Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Ok(Step::Answered)),
        Poll::Ready(_) => Poll::Ready(Ok(Step::Refused)),
        Poll::Pending => watch.poll_stalled(cx).map(Err),
    }
}

/// The SDK's next frame; a body that ends before its length is a fault.
async fn next_frame(body: &mut SdkBody, watch: &mut Watch) -> Result<Bytes, Fault> {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => watch.poll_stalled(cx).map(Err),
        })
        .await?;
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Err(Fault::new(FaultKind::Request, format!("the body: {error}"))),
            None => return Err(Fault::new(FaultKind::Request, "the body is shorter than it says")),
        };
        if !data.is_empty() {
            return Ok(data);
        }
    }
}

/// The error of a connection that takes no more and gives no answer.
pub fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
