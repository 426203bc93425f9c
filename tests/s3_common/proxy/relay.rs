//! One connection of the library's: each request read, passed on, answered, with what its faults do to it.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::rule::Fault;
use crate::s3_common::http::{Body, Framing, Head};
use crate::s3_common::{ACCESS_KEY, SECRET_KEY, sign};

/// Bytes that are passed on at a time.
const PIECE_BYTES: usize = 64 << 10;
/// How long a connection to the server is believed to be open without asking.
const REUSE_TIME_MAX: Duration = Duration::from_secs(2);

/// The library's side, with or without TLS.
trait Wire: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// What becomes of the connection.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    Close,
    Reset,
    /// Nothing is read or written until the library gives up.
    Stall,
}

struct Relay<'s> {
    shared: &'s Shared,
    connection: u64,
    client: BufReader<Box<dyn Wire>>,
    server: Option<(BufReader<TcpStream>, Instant)>,
    /// Place of the request that is being answered.
    current: Option<usize>,
}

pub(super) fn serve(shared: &Arc<Shared>, stream: TcpStream, connection: u64) {
    let client: Box<dyn Wire> = match &shared.tls {
        None => Box::new(stream),
        Some(config) => {
            let tls = rustls::ServerConnection::new(Arc::clone(config)).expect("a TLS connection");
            Box::new(rustls::StreamOwned::new(tls, stream))
        }
    };
    let client = BufReader::with_capacity(PIECE_BYTES, client);
    let mut relay = Relay { shared, connection, client, server: None, current: None };
    let then = loop {
        match relay.exchange() {
            Ok(Then::GoOn) => {}
            Ok(then) => break then,
            // One of the two sides is gone; so is the other then.
            Err(error) => {
                if let Some(place) = relay.current {
                    shared.note(place, |seen| seen.broken = Some(error.to_string()));
                }
                break Then::Close;
            }
        }
    };
    let socket = relay.client.get_ref().socket();
    match then {
        Then::GoOn | Then::Close => {}
        Then::Reset => linger_no_time(socket),
        Then::Stall => wait_for_hangup(shared, socket),
    }
    if then != Then::Reset {
        let _ = socket.shutdown(Shutdown::Both);
    }
}

impl Relay<'_> {
    fn exchange(&mut self) -> io::Result<Then> {
        self.current = None;
        let Some(mut head) = Head::read(&mut self.client)? else { return Ok(Then::Close) };
        let (place, seen, faults) = self.shared.arrive(&head, self.connection);
        self.current = Some(place);
        for fault in &faults {
            match fault {
                Fault::Reset => return Ok(Then::Reset),
                Fault::Before(hook) => hook(&seen),
                Fault::Hold(gate) => gate.pass(),
                Fault::StripRequest(name) if head.remove(name) => {
                    sign::sign(&mut head, ACCESS_KEY, SECRET_KEY);
                }
                Fault::AnswerEarly { status, code } => {
                    self.answer(place, *status, code, &[], head.request().0 == "HEAD")?;
                    // Whoever still sends learns of it only now and then.
                    return Ok(Then::Close);
                }
                _ => {}
            }
        }
        let method = head.request().0.to_owned();
        let expects = head.get("expect").is_some();
        let own = faults.iter().find_map(|fault| match fault {
            Fault::Answer { status, code, headers } => Some((*status, *code, headers)),
            _ => None,
        });
        if let Some((status, code, headers)) = own {
            if !expects {
                Body::new(&mut self.client, head.request_framing()).all()?;
            }
            self.answer(place, status, code, headers, method == "HEAD")?;
            return Ok(Then::GoOn);
        }
        if expects {
            self.client.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if let Some(then) = self.pass_request(place, &head, &faults)? {
            return Ok(then);
        }
        self.pass_answer(place, &method, &faults)
    }

    /// Passes the request on; `Some` ends the connection.
    fn pass_request(&mut self, place: usize, head: &Head, faults: &[Fault]) -> io::Result<Option<Then>> {
        let (_, last) =
            self.server.as_ref().map_or((None, None), |(server, last)| (Some(server), Some(*last)));
        if last.is_none_or(|last| last.elapsed() > REUSE_TIME_MAX) {
            let server = TcpStream::connect(self.shared.upstream)?;
            server.set_nodelay(true)?;
            self.server = Some((BufReader::with_capacity(PIECE_BYTES, server), Instant::now()));
        }
        let server = self.server.as_mut().expect("just connected").0.get_mut();
        head.write(server)?;
        let framing = head.request_framing();
        let mut body = Body::new(&mut self.client, framing);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut passed = 0;
        let limit = faults.iter().find_map(|fault| match fault {
            Fault::ResetInRequest(after) => Some((*after, Then::Reset)),
            Fault::StallInRequest(after) => Some((*after, Then::Stall)),
            _ => None,
        });
        if let Some((after, then)) = limit {
            while passed < after {
                let room = buffer.len().min((after - passed) as usize);
                let read = body.next(&mut buffer[..room])?;
                if read == 0 {
                    break;
                }
                write_piece(server, &buffer[..read], framing)?;
                passed += read as u64;
            }
            self.shared.note(place, |seen| seen.body_bytes = passed);
            // The server sees a body that breaks off.
            self.server = None;
            return Ok(Some(then));
        }
        loop {
            let read = body.next(&mut buffer)?;
            // A server may answer before it has read all; then it may not read the rest, and its answer counts.
            if read == 0 || write_piece(server, &buffer[..read], framing).is_err() {
                break;
            }
            passed += read as u64;
        }
        if framing == Framing::Chunked {
            let _ = server.write_all(b"0\r\n\r\n");
        }
        self.shared.note(place, |seen| seen.body_bytes = passed);
        Ok(None)
    }

    fn pass_answer(&mut self, place: usize, method: &str, faults: &[Fault]) -> io::Result<Then> {
        let (server, last) = self.server.as_mut().expect("a request was passed on");
        let mut head = loop {
            let head = Head::read(server)?.ok_or_else(|| io::Error::other("the server hung up"))?;
            if !(100..200).contains(&head.status()) {
                break head;
            }
        };
        let framing = head.answer_framing(method);
        let mut towards = if framing == Framing::Length(0) { Framing::Length(0) } else { framing };
        let (mut limit, mut flip, mut piece, mut pause) = (None, None, PIECE_BYTES, Duration::ZERO);
        for fault in faults {
            match fault {
                Fault::LoseAnswer | Fault::StallBeforeAnswer => {
                    Body::new(server, framing).all()?;
                    let stalls = matches!(fault, Fault::StallBeforeAnswer);
                    return Ok(if stalls { Then::Stall } else { Then::Reset });
                }
                Fault::ResetInAnswer(after) => limit = Some((*after, Then::Reset)),
                Fault::CutAnswer(after) => limit = Some((*after, Then::Close)),
                Fault::StallInAnswer(after) => limit = Some((*after, Then::Stall)),
                Fault::FlipAnswer(at) => flip = Some(*at),
                Fault::StripAnswer(name) => drop(head.remove(name)),
                Fault::EditAnswer(edit) => edit(&mut head),
                Fault::ChunkAnswer(bytes) if method != "HEAD" => {
                    head.remove("content-length");
                    head.set("Transfer-Encoding", "chunked");
                    (towards, piece) = (Framing::Chunked, *bytes);
                }
                Fault::RewriteAnswer(rewrite) => {
                    let body = Body::new(server, framing).all()?;
                    let body = rewrite(&String::from_utf8_lossy(&body));
                    head.remove("transfer-encoding");
                    head.set("Content-Length", body.len().to_string());
                    let sending = self.shared.tick();
                    let client = self.client.get_mut();
                    head.write(client)?;
                    client.write_all(body.as_bytes())?;
                    client.flush()?;
                    self.end(place, head.status(), sending);
                    return Ok(Then::GoOn);
                }
                Fault::Trickle(bytes, time) => (piece, pause) = (*bytes, *time),
                _ => {}
            }
        }
        let status = head.status();
        let mut sending = self.shared.tick();
        let client = self.client.get_mut();
        head.write(client)?;
        client.flush()?;
        let mut body = Body::new(server, framing);
        let mut buffer = vec![0; piece];
        let mut passed = 0;
        loop {
            let room = limit.as_ref().map_or(piece, |(after, _)| piece.min((after - passed) as usize));
            let read = if room == 0 { 0 } else { body.next(&mut buffer[..room])? };
            if read == 0 {
                break;
            }
            if let Some(at) = flip
                && (passed..passed + read as u64).contains(&at)
            {
                buffer[(at - passed) as usize] ^= 1;
            }
            passed += read as u64;
            sending = self.shared.tick();
            write_piece(client, &buffer[..read], towards)?;
            client.flush()?;
            std::thread::sleep(pause);
        }
        if let Some((after, then)) = limit
            && passed == after
        {
            // What the library has not read yet is lost with a reset; it is to have so much.
            wait_until_read(client.socket());
            return Ok(then);
        }
        if towards == Framing::Chunked {
            client.write_all(b"0\r\n\r\n")?;
            client.flush()?;
        }
        *last = Instant::now();
        let closes = framing == Framing::UntilClosed
            || head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.end(place, status, sending);
        Ok(if closes { Then::Close } else { Then::GoOn })
    }

    /// Answers in the server's place.
    fn answer(
        &mut self,
        place: usize,
        status: u16,
        code: &str,
        headers: &[(&str, String)],
        is_head: bool,
    ) -> io::Result<()> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>The proxy of the tests \
             says {code}.</Message><RequestId>1</RequestId></Error>"
        );
        let mut head = Head::new(format!("HTTP/1.1 {status} {code}"));
        head.set("Content-Type", "application/xml");
        head.set("Content-Length", body.len().to_string());
        for (name, value) in headers {
            head.set(name, value.as_str());
        }
        let sending = self.shared.tick();
        let client = self.client.get_mut();
        head.write(client)?;
        if !is_head {
            client.write_all(body.as_bytes())?;
        }
        client.flush()?;
        self.end(place, status, sending);
        Ok(())
    }

    /// `ended`: when the last of its answer began to be sent. What the library does with the answer comes after that, even if
    /// this thread notes the end late.
    fn end(&self, place: usize, status: u16, ended: u64) {
        self.shared.note(place, |seen| (seen.status, seen.ended) = (Some(status), Some(ended)));
    }
}

fn write_piece(to: &mut (impl Write + ?Sized), piece: &[u8], framing: Framing) -> io::Result<()> {
    if framing != Framing::Chunked {
        return to.write_all(piece);
    }
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    to.write_all(&chunk)
}

/// Closing it resets the connection.
fn linger_no_time(socket: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: a socket that is open, a struct of the stated size.
    let done = unsafe {
        let address = (&raw const linger).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, address, size)
    };
    assert_eq!(done, 0);
}

/// Waits until the library closes the connection, or the proxy ends. The end of a connection comes behind all that was
/// sent on it: once the rules are lifted that is read.
fn wait_for_hangup(shared: &Shared, socket: &TcpStream) {
    const ASK_AGAIN_MS: libc::c_int = 20;
    let healed = shared.healed.load(Ordering::SeqCst);
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one pollfd.
    while unsafe { libc::poll(&raw mut poll, 1, ASK_AGAIN_MS) } <= 0 {
        if shared.healed.load(Ordering::SeqCst) != healed {
            let _ = io::copy(&mut &*socket, &mut io::sink());
            return;
        }
    }
}

/// Waits until the kernel on the other side has all bytes that were sent.
fn wait_until_read(socket: &TcpStream) {
    let start = Instant::now();
    let mut unsent: libc::c_int = 1;
    while unsent > 0 && start.elapsed() < Duration::from_secs(1) {
        // SAFETY: a socket that is open, a place for the number.
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
        std::thread::yield_now();
    }
}
