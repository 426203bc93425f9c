//! The other side: which stores of this user are open, and what one of them measures.

use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{directory, http};
use crate::error::{Error, Result, Status};
use crate::sys::event::wait_readable;
use crate::sys::socket::connect_at_once;

/// Longest time of a whole exchange with a store: it may have other clients, or be stopped.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(5);
/// Most bytes of an answer; a store's has some thousands.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// The status socket of a store that is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// The process that has it open, as it calls itself: in a container it may have another number.
    pub pid: u32,
    /// The number of the store in that process.
    pub store: u64,
    /// Where the socket is.
    pub path: PathBuf,
}

/// The sockets of this user's open stores, by process and store. One that was open a moment ago may not answer any more.
pub fn list() -> Vec<Socket> {
    list_in(&directory::looked_in())
}

pub(super) fn list_in(directories: &[PathBuf]) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for directory in directories {
        // One that is not there, or another user's, has none of this user's.
        if directory::check(directory).is_ok() {
            sockets.extend(directory::sockets(directory).unwrap_or_default());
        }
    }
    let mut sockets: Vec<Socket> = sockets
        .into_iter()
        .filter(|(path, ..)| !directory::is_abandoned(path))
        .map(|(path, pid, store)| Socket { pid, store, path })
        .collect();
    sockets.sort();
    sockets
}

/// What the store behind a socket measures now, in the form of OpenMetrics. It takes some seconds at most, also if the process is
/// stopped.
///
/// # Errors
/// What the system answers: the store was closed, or is another user's, or does not answer in time; [`Status::Io`] if what answers
/// is no store.
pub fn read(socket: &Path) -> Result<String> {
    read_within(socket, EXCHANGE_TIME_MAX)
}

pub(super) fn read_within(socket: &Path, most: Duration) -> Result<String> {
    let answer = exchange(socket, Instant::now().checked_add(most))
        .map_err(|error| Error::os(format_args!("asking the store at {}", socket.display()), &error))?;
    match http::body(&answer) {
        Ok(body) if body.ends_with("# EOF\n") => Ok(body.to_owned()),
        Ok(_) => Err(unfit(socket, "an answer that was cut short")),
        Err(line) => Err(unfit(socket, line)),
    }
}

fn exchange(socket: &Path, deadline: Option<Instant>) -> io::Result<String> {
    let mut stream = connect_at_once(socket)?;
    // A socket that nobody has written to yet has room for it.
    stream.write_all(http::REQUEST)?;
    let (mut answer, mut part) = (Vec::new(), vec![0; READ_BYTES]);
    while answer.len() < ANSWER_BYTES_MAX {
        if !wait_readable(&stream, deadline)? {
            return Err(io::Error::from(ErrorKind::TimedOut));
        }
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(answer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

fn unfit(socket: &Path, what: &str) -> Error {
    Error::new(Status::Io, format!("asking the store at {}: it answered {what:?}", socket.display()))
}
