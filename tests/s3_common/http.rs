//! Just enough HTTP/1.1 for the tests' client and proxy: heads, and bodies by length, in chunks, or up to the end.

use std::io::{self, BufRead, Read, Write};

/// Longest line of a head; what is longer is no HTTP that these tests speak.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The first line of a message and its headers.
#[derive(Clone, Debug)]
pub struct Head {
    pub first: String,
    pub headers: Vec<(String, String)>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClosed,
}

impl Head {
    pub fn new(first: impl Into<String>) -> Head {
        Head { first: first.into(), headers: Vec::new() }
    }

    /// The next head, `None` where the other side has ended.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Head>> {
        let first = line(from)?;
        if first.is_empty() {
            return Ok(None);
        }
        let mut head = Head::new(first.trim_end());
        loop {
            let line = line(from)?;
            let text = line.trim_end();
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if text.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) =
                text.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {text:?}")))?;
            head.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        to.write_all(text.as_bytes())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.headers.len();
        self.headers.retain(|(of, _)| !of.eq_ignore_ascii_case(name));
        self.headers.len() < before
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Method and target of a request.
    pub fn request(&self) -> (&str, &str) {
        let mut words = self.first.split(' ');
        (words.next().unwrap_or(""), words.next().unwrap_or(""))
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length").and_then(|value| value.parse().ok())
    }

    pub fn request_framing(&self) -> Framing {
        if self.is_chunked() { Framing::Chunked } else { Framing::Length(self.length().unwrap_or(0)) }
    }

    /// `to` is the method of the request that is answered.
    pub fn answer_framing(&self, to: &str) -> Framing {
        if to == "HEAD" || matches!(self.status(), 204 | 304) {
            return Framing::Length(0);
        }
        match self.length() {
            _ if self.is_chunked() => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClosed,
        }
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    String::from_utf8(line).map_err(io::Error::other)
}

/// The bytes of a body, without its framing.
pub struct Body<'r, R> {
    from: &'r mut R,
    framing: Framing,
    /// Bytes left, of the body or of the chunk.
    left: u64,
    ended: bool,
}

impl<'r, R: BufRead> Body<'r, R> {
    pub fn new(from: &'r mut R, framing: Framing) -> Body<'r, R> {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Body { from, framing, left, ended: framing == Framing::Length(0) }
    }

    /// The next bytes, 0 at the end. A body that breaks off is an error.
    pub fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            let size = line(self.from)?;
            let size = size.trim_end().split(';').next().unwrap_or("").to_owned();
            self.left = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
            if self.left == 0 {
                // Trailers, of which nobody here wants any.
                while !line(self.from)?.trim_end().is_empty() {}
                self.ended = true;
                return Ok(0);
            }
        }
        let bounded = self.framing != Framing::UntilClosed;
        let room = if bounded { buffer.len().min(self.left as usize) } else { buffer.len() };
        let read = self.from.read(&mut buffer[..room])?;
        if !bounded {
            self.ended = read == 0;
            return Ok(read);
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        if self.left == 0 {
            match self.framing {
                Framing::Chunked => drop(line(self.from)?),
                _ => self.ended = true,
            }
        }
        Ok(read)
    }

    pub fn all(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.next(&mut buffer)? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }
}

/// Percent-encodes what an S3 name may hold.
pub fn encode(text: &[u8], keep_slash: bool) -> String {
    let mut encoded = String::new();
    for &byte in text {
        let kept = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keep_slash && byte == b'/');
        if kept { encoded.push(byte.into()) } else { encoded += &format!("%{byte:02X}") }
    }
    encoded
}

/// The other way round; what is no escape stays.
pub fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        decoded.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    decoded
}
