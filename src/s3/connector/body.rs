//! Bodies of answers: by length, in chunks or to the end of the connection, into one of three places.

use std::future::poll_fn;
use std::task::Poll;

use super::fault::{Fault, FaultKind};
use super::head::Framing;
use super::landing::Cursor;
use super::pace::Watch;
use super::pool::Connection;

/// A line with the size of a chunk, extensions included, and a line of a trailer: bytes.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Lines behind the last chunk.
const TRAILER_LINES_MAX: usize = 64;

/// Where a body goes.
#[derive(Debug)]
pub enum Sink {
    /// Into a buffer of ours, of at most so many bytes.
    Collect(Vec<u8>, usize),
    /// Into the caller's memory; what is beyond it nowhere.
    Land(Cursor),
    /// Nowhere.
    Discard,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Sink::Collect(collected, max) => {
                if collected.len() + bytes.len() > *max {
                    return Err(too_long(*max));
                }
                collected.extend_from_slice(bytes);
            }
            Sink::Land(cursor) => cursor.put(bytes),
            Sink::Discard => {}
        }
        Ok(())
    }
}

fn too_long(max: usize) -> Fault {
    Fault::unfit(format!("the answer's body is longer than the {max} bytes that are taken"))
}

/// Reads a body to its end.
///
/// # Errors
/// The connection ended before the body or stalled, the framing is wrong, or more came than is taken.
pub async fn read(
    connection: &mut Connection,
    framing: Framing,
    sink: &mut Sink,
    watch: &mut Watch,
) -> Result<(), Fault> {
    match framing {
        Framing::Nothing => Ok(()),
        Framing::Length(length) => {
            if let Sink::Collect(_, max) = sink
                && length > *max as u64
            {
                return Err(too_long(*max));
            }
            run(connection, length, sink, watch).await
        }
        Framing::Chunked => chunks(connection, sink, watch).await,
        Framing::UntilClose => loop {
            sink.put(connection.unused())?;
            connection.consume(usize::MAX);
            if fill(connection, watch).await? == 0 {
                return Ok(());
            }
        },
    }
}

/// Reads exactly `length` bytes of a body.
async fn run(
    connection: &mut Connection,
    length: u64,
    sink: &mut Sink,
    watch: &mut Watch,
) -> Result<(), Fault> {
    let mut left = length;
    while left > 0 {
        let unused = connection.unused();
        if !unused.is_empty() {
            let count = unused.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink.put(&unused[..count])?;
            connection.consume(count);
            left -= count as u64;
            continue;
        }
        let count = match sink {
            Sink::Land(cursor) if cursor.missing() > 0 && cursor.missing() as u64 <= left => {
                let count = land(connection, cursor, watch).await?;
                left -= count as u64;
                count
            }
            // The rest is beyond the landing, or goes through a buffer anyway.
            _ => fill(connection, watch).await?,
        };
        if count == 0 {
            let text = format!("the server closed the connection {left} bytes before the end of the body");
            return Err(Fault::new(FaultKind::Broken, text));
        }
    }
    Ok(())
}

/// Reads from the socket straight into the caller's memory.
async fn land(connection: &mut Connection, cursor: &mut Cursor, watch: &mut Watch) -> Result<usize, Fault> {
    let (mut buffers, count) = cursor.room();
    let buffers = &mut buffers[..count];
    let read = poll_fn(|cx| match connection.stream.poll_read(cx, buffers) {
        Poll::Ready(outcome) => {
            Poll::Ready(outcome.map_err(|error| Fault::broken("a body was read", &error)))
        }
        Poll::Pending => watch.poll_stalled(cx).map(Err),
    })
    .await?;
    watch.moved();
    cursor.advance(read);
    Ok(read)
}

/// Reads more into the connection's buffer.
async fn fill(connection: &mut Connection, watch: &mut Watch) -> Result<usize, Fault> {
    let count = poll_fn(|cx| match connection.poll_fill(cx) {
        Poll::Ready(outcome) => {
            Poll::Ready(outcome.map_err(|error| Fault::broken("a body was read", &error)))
        }
        Poll::Pending => watch.poll_stalled(cx).map(Err),
    })
    .await?;
    watch.moved();
    Ok(count)
}

async fn chunks(connection: &mut Connection, sink: &mut Sink, watch: &mut Watch) -> Result<(), Fault> {
    loop {
        let size = chunk_bytes(&line(connection, watch).await?)?;
        if size == 0 {
            break;
        }
        if let Sink::Land(cursor) = sink
            && size > cursor.missing() as u64
        {
            return Err(Fault::protocol("the answer's body is longer than its head says"));
        }
        run(connection, size, sink, watch).await?;
        if !line(connection, watch).await?.is_empty() {
            return Err(Fault::protocol("a chunk of the answer's body is longer than it says"));
        }
    }
    for _ in 0..TRAILER_LINES_MAX {
        if line(connection, watch).await?.is_empty() {
            return Ok(());
        }
    }
    Err(Fault::protocol("the answer's body has too long a trailer"))
}

/// The bytes of a chunk by its line, `size [; extensions]`.
fn chunk_bytes(line: &[u8]) -> Result<u64, Fault> {
    let wrong = || Fault::protocol("a chunk of the answer's body has no size");
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
    // A sign is no part of it, though from_str_radix would take one.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    u64::from_str_radix(digits, 16).map_err(|_| wrong())
}

/// The next line, without its end.
async fn line(connection: &mut Connection, watch: &mut Watch) -> Result<Vec<u8>, Fault> {
    loop {
        let unused = connection.unused();
        if let Some(end) = unused.iter().position(|byte| *byte == b'\n') {
            let line = unused[..end].strip_suffix(b"\r").unwrap_or(&unused[..end]).to_vec();
            connection.consume(end + 1);
            return Ok(line);
        }
        if unused.len() > LINE_BYTES_MAX {
            return Err(Fault::protocol("a line in the answer's body is too long"));
        }
        if fill(connection, watch).await? == 0 {
            return Err(Fault::new(
                FaultKind::Broken,
                "the server closed the connection before the end of the body",
            ));
        }
    }
}
