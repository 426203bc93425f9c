//! Connections: at most so many at a time, made when there is none to use again.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::fault::{Fault, FaultKind};
use super::head::{HEAD_BYTES_MAX, Origin};
use super::pace::Times;
use super::stream::{Stream, TlsStream};
use super::tls::Tls;
use crate::sync::{Mutex, lock};

/// Bytes that are read ahead of a head's end; the part of a body among them is copied.
const READ_AHEAD_BYTES: usize = 8 << 10;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A connection with what was read and not yet used.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    origin: Origin,
    buffer: Vec<u8>,
    /// What of `buffer` is unused.
    start: usize,
    end: usize,
}

impl Connection {
    /// What was read and not used.
    pub fn unused(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// `count` bytes of it are used now.
    pub fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads more; 0 is the end. What is unused must be less than the largest head.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() < self.end + READ_AHEAD_BYTES && self.buffer.len() < HEAD_BYTES_MAX {
            self.buffer.resize((self.end + READ_AHEAD_BYTES).min(HEAD_BYTES_MAX), 0);
        }
        let room = &mut self.buffer[self.end..];
        if room.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let count = ready!(self.stream.poll_read(cx, &mut [IoSliceMut::new(room)]))?;
        self.end += count;
        Poll::Ready(Ok(count))
    }
}

/// The connections of one client on one runtime.
#[derive(Debug)]
pub struct Pool {
    permits: Arc<Semaphore>,
    connections_max: usize,
    idle: Mutex<VecDeque<(Connection, Instant)>>,
    tls: Arc<Tls>,
    times: Times,
}

impl Pool {
    /// A pool of at most `connections_max` connections.
    pub fn new(connections_max: usize, tls: Arc<Tls>, times: Times) -> Pool {
        let connections_max = connections_max.max(1);
        let permits = Arc::new(Semaphore::new(connections_max));
        Pool { permits, connections_max, idle: Mutex::default(), tls, times }
    }

    /// The bounds on time.
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// Waits for the right to one connection.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// A connection that can be used again, if there is one.
    pub fn take(&self, origin: &Origin) -> Option<Connection> {
        loop {
            let mut idle = lock(&self.idle);
            // The one that was used last is the likeliest to live.
            let at = idle.iter().rposition(|(connection, _)| connection.origin == *origin)?;
            let (mut connection, since) = idle.remove(at)?;
            drop(idle);
            if since.elapsed() < self.times.idle && connection.stream.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub fn keep(&self, connection: Connection) {
        if connection.start != connection.end {
            // Bytes that nobody asked for.
            return;
        }
        let mut idle = lock(&self.idle);
        let dropped = (idle.len() >= self.connections_max).then(|| idle.pop_front());
        idle.push_back((connection, Instant::now()));
        drop(idle);
        drop(dropped);
    }

    /// Makes a connection. The caller has a permit.
    ///
    /// # Errors
    /// There is none to be had in time.
    pub async fn connect(&self, origin: &Origin) -> Result<Connection, Fault> {
        self.make_room();
        match timeout(self.times.connect, self.open(origin)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let limit = self.times.connect.as_secs_f64();
                Err(Fault::new(FaultKind::Connect, format!("no connection within {limit} s")))
            }
        }
    }

    /// Closes what is idle and would be too many beside those that have a permit.
    fn make_room(&self) {
        let taken = self.connections_max.saturating_sub(self.permits.available_permits());
        let mut closed = Vec::new();
        let mut idle = lock(&self.idle);
        while idle.len() + taken > self.connections_max {
            closed.extend(idle.pop_front());
        }
        drop(idle);
    }

    async fn open(&self, origin: &Origin) -> Result<Connection, Fault> {
        let socket = dial(origin, self.times.connect).await?;
        // A request's head must not wait for the answer to a body's last segment.
        socket.set_nodelay(true).map_err(|error| Fault::broken("setting it up", &error))?;
        let stream = if origin.tls {
            let config = self.tls.config().map_err(|error| Fault::new(FaultKind::Tls, error.message()))?;
            let name = ServerName::try_from(origin.host.clone()).map_err(|_| {
                Fault::new(FaultKind::Request, "the endpoint's host is no name that TLS can check")
            })?;
            let stream = TlsStream::connect(socket, config, name).await.map_err(|error| {
                if error.kind() == io::ErrorKind::InvalidData {
                    let hint = "is the endpoint https, and does ca_bundle name the certificate that it is signed with?";
                    Fault::new(FaultKind::Tls, format!("TLS with the endpoint failed: {error}; {hint}"))
                } else {
                    Fault::new(FaultKind::Connect, format!("the connection broke in the TLS handshake: {error}"))
                }
            })?;
            Stream::Tls(Box::new(stream))
        } else {
            Stream::Plain(socket)
        };
        Ok(Connection { stream, origin: origin.clone(), buffer: Vec::new(), start: 0, end: 0 })
    }
}

/// A socket to the first address of the host that takes one. None of several gets all the time.
async fn dial(origin: &Origin, time: Duration) -> Result<TcpStream, Fault> {
    let unreachable =
        |what: &str, error: &io::Error| Fault::new(FaultKind::Connect, format!("{what}: {error}"));
    if let Ok(address) = origin.host.parse::<IpAddr>() {
        let outcome = TcpStream::connect(SocketAddr::new(address, origin.port)).await;
        return outcome.map_err(|error| unreachable("no connection", &error));
    }
    let addresses = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await;
    let addresses = addresses.map_err(|error| unreachable("the endpoint's name is not known", &error))?;
    let addresses: Vec<SocketAddr> = addresses.take(ADDRESSES_MAX).collect();
    let share = time / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(unreachable("no connection", &last))
}
