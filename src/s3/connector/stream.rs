//! One socket, plain or under TLS, with reads and writes of several buffers at once.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::SockRef;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Plain text that waits for being encrypted and sent, in bytes.
const TLS_BUFFER_BYTES: usize = 256 << 10;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Reads into the buffers, in their order; 0 is the end.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) => loop {
                ready!(socket.poll_read_ready(cx))?;
                match socket.try_read_vectored(buffers) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return Poll::Ready(other),
                }
            },
            Stream::Tls(stream) => stream.poll_read(cx, buffers),
        }
    }

    /// Writes from the buffers, in their order. Under TLS the bytes may wait in a buffer until [`Stream::poll_flush`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, buffers),
            Stream::Tls(stream) => stream.poll_write(cx, buffers),
        }
    }

    /// Sends what waits in a buffer.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Whether the peer is silent, as it has to be between an answer and the next request: a connection that it closed, or
    /// wrote to, is of no use.
    pub fn is_quiet(&mut self) -> bool {
        match self {
            Stream::Plain(socket) => is_blocked(look(socket)),
            Stream::Tls(stream) => {
                // Session tickets may come at any time and are taken in here.
                let quiet = match look(&stream.socket) {
                    Ok(1..) => is_blocked(stream.take_in()),
                    other => is_blocked(other),
                };
                quiet && is_blocked(stream.session.reader().read(&mut [0; 1]))
            }
        }
    }
}

/// What a read would find, asked of the kernel: the runtime's own notion may be that of its last turn.
fn look(socket: &TcpStream) -> io::Result<usize> {
    SockRef::from(socket).peek(&mut [MaybeUninit::uninit(); 1])
}

fn is_blocked(outcome: io::Result<usize>) -> bool {
    outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// The socket as rustls wants it.
struct Nonblocking<'a>(&'a TcpStream);

impl Read for Nonblocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Nonblocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket and the TLS session on it.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: ClientConnection,
}

impl TlsStream {
    /// Shakes hands over `socket`.
    ///
    /// # Errors
    /// The socket's, or of kind `InvalidData` what the peer's TLS or its certificate is refused for.
    pub async fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<TlsStream> {
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let mut stream = TlsStream { socket, session };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// Takes in the records that have come, and reads what they bring.
    fn take_in(&mut self) -> io::Result<usize> {
        // Not yet known to the runtime; then it is not worth the wait.
        if self.session.read_tls(&mut Nonblocking(&self.socket)).unwrap_or(0) == 0 {
            return Ok(0);
        }
        self.session.process_new_packets().map_err(io::Error::other)?;
        self.session.reader().read(&mut [0; 1])
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            ready!(self.poll_flush(cx))?;
            if self.session.is_handshaking() && ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_flush(cx)
    }

    /// Takes in records; 0 is the end of the socket.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.session.read_tls(&mut Nonblocking(&self.socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    if let Err(error) = self.session.process_new_packets() {
                        // The peer is to learn why, if it still listens.
                        let _ = self.session.write_tls(&mut Nonblocking(&self.socket));
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                    }
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut count = 0;
            for buffer in buffers.iter_mut() {
                // A reader gives one record at a time.
                let mut at = 0;
                while at < buffer.len() {
                    match self.session.reader().read(&mut buffer[at..]) {
                        Ok(0) => return Poll::Ready(Ok(count)),
                        Ok(read) => (at, count) = (at + read, count + read),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(_) if count > 0 => return Poll::Ready(Ok(count)),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                if at < buffer.len() {
                    break;
                }
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            // An end without TLS's own goodbye is told by the reader, as an error.
            ready!(self.poll_receive(cx))?;
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.session.writer().write_vectored(buffers) {
                Ok(0) => ready!(self.poll_flush(cx))?,
                other => {
                    // Whatever the socket takes now; the rest goes with the next write.
                    if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                        return Poll::Ready(Err(error));
                    }
                    return Poll::Ready(other);
                }
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Nonblocking(&self.socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}
