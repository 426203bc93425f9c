//! The client against a server that does as a test says, byte by byte.

mod answers;
mod direct;
mod encrypted;
mod identity;
mod leases;
mod sending;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::connector::pace::Times;
use super::{Client, Landing, Lease, Payload, Settings};
use crate::config::SecretMap;
use crate::log::Logger;
use crate::memory::HostSlice;
use crate::memory::stretch::testing::pointer_to;

/// Beyond any call of these tests that goes as it should.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);
/// What no message may show.
const SECRETS: [&str; 3] = ["AKIDofthetest", "secretofthetest", "tokenofthetest"];
/// Bounds on time that let a test see them; far above what a step takes.
const TIMES: Times = Times {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_secs(2),
    stall: Duration::from_millis(300),
    idle: Duration::from_secs(10),
};

/// A runtime like a lane's.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
}

/// A client with these parameters.
fn open_at(params: &[(&str, &str)], times: Times) -> Client {
    open_bounded(params, times, super::settings::CONNECTIONS_MAX_DEFAULT)
}

fn open_bounded(params: &[(&str, &str)], times: Times, connections_max: usize) -> Client {
    let params: BTreeMap<String, String> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut settings = Settings::new(&SecretMap(params), None, CALL_TIME_MAX).expect("settings");
    settings.connections_max = connections_max;
    let logger = Logger::silent();
    Client::open_with(settings, &logger, times).expect("opens")
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 4099) as u8).collect()
}

fn slices(memory: &mut [u8], cut: usize) -> Vec<HostSlice> {
    let part = |part: &mut [u8]| HostSlice { pointer: pointer_to(part), length: part.len() };
    memory.chunks_mut(cut).map(part).collect()
}

/// The memory in slices of `cut` bytes, to send.
fn payload(memory: &mut [u8], cut: usize) -> Payload {
    Payload { slices: slices(memory, cut), lease: Lease::new(()) }
}

/// The memory in slices of `cut` bytes, to land in.
fn landing(memory: &mut [u8], cut: usize) -> Landing {
    Landing { slices: slices(memory, cut), lease: Lease::new(()), sum_block_bytes: Some(64 << 10) }
}

/// Says when it is dropped, and how often.
struct Owner(Arc<AtomicUsize>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A lease and the count of the drops of its owner.
fn counted_lease() -> (Lease, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    (Lease::new(Owner(Arc::clone(&count))), count)
}

/// What a script reads and writes.
trait Socket: Read + Write + Send {}

impl<T: Read + Write + Send> Socket for T {}

/// One connection of the server's side.
struct Peer {
    socket: Box<dyn Socket>,
}

/// A request as the server saw it.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Peer {
    /// The next request's head; `None` at the end of the connection.
    fn head(&mut self) -> Option<Request> {
        let (mut head, mut byte) = (Vec::new(), [0; 1]);
        while !head.ends_with(b"\r\n\r\n") {
            if self.socket.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        Some(Request { head: String::from_utf8(head).expect("text"), body: Vec::new() })
    }

    /// The next request with its body.
    fn request(&mut self) -> Option<Request> {
        let mut request = self.head()?;
        let length = request.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        request.body.resize(length, 0);
        self.socket.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    /// Writes; a client that has gone is its own affair.
    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref());
    }

    /// Answers with a head of these lines and a body.
    fn answer(&mut self, status: &str, lines: &str, body: &[u8]) {
        let length = body.len();
        self.say(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{lines}\r\n"));
        self.say(body);
    }

    /// Answers a range of `object`.
    fn part(&mut self, object: &[u8], from: usize, to: usize) {
        let (last, total) = (to - 1, object.len());
        let lines = format!("Content-Range: bytes {from}-{last}/{total}\r\nETag: \"v1\"\r\n");
        self.answer("206 Partial Content", &lines, &object[from..to]);
    }

    /// Whether the client closes the connection, without a byte more.
    fn is_closed(&mut self) -> bool {
        !matches!(self.socket.read(&mut [0; 1]), Ok(1))
    }
}

/// A server that treats its connections as it is told, each in a thread of its own, in their order.
struct Server {
    endpoint: String,
    thread: Option<JoinHandle<usize>>,
    stop: mpsc::Sender<()>,
    address: std::net::SocketAddr,
}

type Script = Box<dyn FnOnce(&mut Peer) + Send>;

fn script(script: impl FnOnce(&mut Peer) + Send + 'static) -> Script {
    Box::new(script)
}

impl Server {
    /// The first connection is treated by the first script, and so on; more are refused by closing them.
    fn start(scripts: Vec<Script>) -> Server {
        Server::start_over(scripts, |socket| Box::new(socket))
    }

    /// As [`Server::start`], over what `wrap` makes of the sockets.
    fn start_over(
        scripts: Vec<Script>,
        wrap: impl Fn(TcpStream) -> Box<dyn Socket> + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (mut scripts, mut accepted, mut peers) = (scripts.into_iter(), 0, Vec::new());
            while let Ok((socket, _)) = listener.accept() {
                if stopped.try_recv() != Err(mpsc::TryRecvError::Empty) {
                    break;
                }
                accepted += 1;
                let Some(script) = scripts.next() else { continue };
                let mut peer = Peer { socket: wrap(socket) };
                peers.push(std::thread::spawn(move || script(&mut peer)));
            }
            peers.into_iter().for_each(|peer| peer.join().expect("a script went on"));
            accepted
        });
        Server { endpoint: format!("http://{address}"), thread: Some(thread), stop, address }
    }

    /// A client of it.
    fn client(&self) -> Client {
        self.client_with(&[])
    }

    fn client_with(&self, change: &[(&str, &str)]) -> Client {
        open_at(&self.params(change), TIMES)
    }

    fn client_with_connections(&self, connections_max: usize) -> Client {
        open_bounded(&self.params(&[]), TIMES, connections_max)
    }

    fn params<'a>(&'a self, change: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let [access_key, secret_key, session_token] = SECRETS;
        let mut params = vec![
            ("endpoint_override", self.endpoint.as_str()),
            ("access_key", access_key),
            ("secret_key", secret_key),
            ("session_token", session_token),
            ("bucket", "chunks"),
        ];
        params.extend_from_slice(change);
        params
    }

    /// Ends it; the connections that it took.
    fn end(mut self) -> usize {
        self.finish()
    }

    fn finish(&mut self) -> usize {
        let Some(thread) = self.thread.take() else { return 0 };
        let _ = self.stop.send(());
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        thread.join().expect("the scripts went on")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.finish();
        }
    }
}
