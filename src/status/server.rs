//! The thread that answers. It sleeps until somebody connects or the store closes, and waits for a client no longer than
//! [`CLIENT_TIME_MAX`], nor than until the store closes.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{directory, http};
use crate::error::{Error, Result, Status};
use crate::sync::Arc;
use crate::sys::event::{Event, Interest, Woken};
use crate::sys::lock::let_go_in_child;
use crate::sys::thread;

/// Longest time that one client has from connecting to having read all of its answer. Others wait meanwhile.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(1);
/// Pause where no client can be taken, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Permissions of the socket: its user's alone.
const SOCKET_MODE: u32 = 0o600;

/// The socket of one store. Dropping it ends the thread and removes the socket.
///
/// A forked child must leak it, as it has the name of the parent's socket and not the parent's thread. Only that thread ever
/// removes the socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    listener: Arc<UnixListener>,
    stop: Arc<Event>,
    thread: Option<JoinHandle<()>>,
}

/// A socket that has a name, until it is dropped.
#[derive(Debug)]
struct Bound {
    listener: Arc<UnixListener>,
    path: PathBuf,
}

impl Server {
    /// Starts answering with `text`, for the store of that number in this process.
    ///
    /// # Errors
    /// Why there can be no socket in any of the directories; no thread.
    pub fn start(store: u64, text: impl Fn() -> String + Send + 'static) -> Result<Server> {
        Server::start_in(&directory::candidates(), store, text)
    }

    pub(super) fn start_in(
        directories: &[PathBuf],
        store: u64,
        text: impl Fn() -> String + Send + 'static,
    ) -> Result<Server> {
        let bound = bind_in_one_of(directories, store)?;
        let stop = Event::new().map_err(|error| Error::os("making the status socket's wake-up", &error))?;
        let (stop, path, listener) = (Arc::new(stop), bound.path.clone(), Arc::clone(&bound.listener));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn("nixl-status", move || serve(&bound, &stopped, &text));
        let thread =
            thread.map_err(|error| Error::no_thread("starting the status socket's thread", &error))?;
        Ok(Server { path, listener, stop, thread: Some(thread) })
    }

    /// In a forked child: gives up its copy of the socket, which else would seem to be answered for as long as the child lives,
    /// also when the parent is gone.
    pub fn let_go_in_child(&self) {
        let_go_in_child(&*self.listener);
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.signal();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told by then, and is of no consequence here.
            drop(thread.join());
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // While the listener is still there, so that nobody else takes it for a dead process's.
        let _ = fs::remove_file(&self.path);
    }
}

fn bind_in_one_of(directories: &[PathBuf], store: u64) -> Result<Bound> {
    let mut failures = Vec::new();
    for directory in directories {
        match bind(directory, store) {
            Ok(bound) => return Ok(bound),
            Err(error) => failures.push(error),
        }
    }
    let why = failures.iter().map(Error::message).collect::<Vec<_>>().join("; ");
    let status = failures.first().map_or(Status::Io, Error::status);
    Err(Error::new(status, why))
}

fn bind(directory: &Path, store: u64) -> Result<Bound> {
    directory::prepare(directory)?;
    let name = directory::name(std::process::id(), store);
    directory::sweep(directory, &name);
    let path = directory.join(name);
    let told = |error| Error::os(format_args!("making the socket {}", path.display()), &error);
    let listener = UnixListener::bind(&path).map_err(told)?;
    let bound = Bound { listener: Arc::new(listener), path: path.clone() };
    fs::set_permissions(&path, Permissions::from_mode(SOCKET_MODE)).map_err(told)?;
    bound.listener.set_nonblocking(true).map_err(told)?;
    Ok(bound)
}

fn serve(bound: &Bound, stop: &Event, text: &dyn Fn() -> String) {
    loop {
        if !matches!(stop.wait_beside(&*bound.listener, Interest::Read, None), Ok(Woken::Ready)) {
            return;
        }
        match bound.listener.accept() {
            // What goes wrong with a client is the client's business.
            Ok((client, _)) => {
                let _ = answer(client, stop, text);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => {
                let is_stopped = stop.wait_until(Instant::now().checked_add(ACCEPT_PAUSE));
                if is_stopped.unwrap_or(true) {
                    return;
                }
            }
        }
    }
}

fn answer(mut client: UnixStream, stop: &Event, text: &dyn Fn() -> String) -> std::io::Result<()> {
    client.set_nonblocking(true)?;
    let deadline = Instant::now().checked_add(CLIENT_TIME_MAX);
    let wait = |client: &UnixStream, interest| match stop.wait_beside(client, interest, deadline)? {
        Woken::Ready => Ok(()),
        Woken::Signalled | Woken::Late => Err(std::io::Error::from(ErrorKind::TimedOut)),
    };
    let (mut request, mut length) = ([0; http::REQUEST_BYTES_MAX], 0);
    while !http::is_whole(&request[..length]) && length < request.len() {
        wait(&client, Interest::Read)?;
        match client.read(&mut request[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    if length == 0 {
        return Ok(());
    }
    let whole = http::answer(&request[..length], text);
    let mut left = whole.as_slice();
    while !left.is_empty() {
        wait(&client, Interest::Write)?;
        match client.write(left) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    client.shutdown(Shutdown::Both)
}
