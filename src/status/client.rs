//! The other side: which stores of this user are open, and what one of them measures.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{directory, http};
use crate::error::{Error, Result, Status};

/// Longest wait for a store that is slow to take or give something: it may have other clients.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Most bytes of an answer; a store's has some thousands.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

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
    list_in(&directory::candidates())
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

/// What the store behind a socket measures now, in the form of OpenMetrics.
///
/// # Errors
/// What the system answers: the store was closed, or is another user's; [`Status::Io`] if what answers is no store.
pub fn read(socket: &Path) -> Result<String> {
    let told = |error| Error::os(format_args!("asking the store at {}", socket.display()), &error);
    let exchange = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(WAIT_MAX))?;
        stream.set_write_timeout(Some(WAIT_MAX))?;
        stream.write_all(http::REQUEST)?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(told)?;
    match http::body(&answer) {
        Ok(body) if body.ends_with("# EOF\n") => Ok(body.to_owned()),
        Ok(_) => Err(unfit(socket, "an answer that was cut short")),
        Err(line) => Err(unfit(socket, line)),
    }
}

fn unfit(socket: &Path, what: &str) -> Error {
    Error::new(Status::Io, format!("asking the store at {}: it answered {what:?}", socket.display()))
}
