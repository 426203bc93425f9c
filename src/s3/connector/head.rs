//! Heads of HTTP/1.1: writing a request's, reading an answer's within bounds (RFC 9112).

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::http::Headers;

use super::fault::{Fault, FaultKind};

/// Bytes of an answer's head. AWS's have less than 2 KiB; user metadata may add 2 KiB.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Header lines of an answer.
pub const HEADERS_MAX: usize = 128;

/// The endpoint of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Name or address of the host, an IPv6 address without its brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Origin {
    /// The origin that a URI names, and how its host is written in a head: as a signature has it, without a port that goes
    /// without saying.
    ///
    /// # Errors
    /// A URI that is no `http` or `https` one.
    pub fn of(uri: &http::Uri) -> Result<(Origin, String), Fault> {
        let unfit = || Fault::new(FaultKind::Request, "the request's URI names no host of http or https");
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(unfit()),
        };
        let host = uri.host().ok_or_else(unfit)?;
        let usual_port = if tls { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(usual_port);
        let written = if port == usual_port { host.to_owned() } else { format!("{host}:{port}") };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok((Origin { tls, host, port }, written))
    }
}

/// Where a request of the SDK's goes and the head that it begins with; its body has `body_bytes`.
///
/// # Errors
/// A URI that is no `http` or `https` one.
pub fn write(request: &HttpRequest, body_bytes: u64) -> Result<(Origin, Vec<u8>), Fault> {
    let unfit = |_| Fault::new(FaultKind::Request, "the request's URI is none");
    let uri: http::Uri = request.uri().parse().map_err(unfit)?;
    let (origin, host) = Origin::of(&uri)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());

    let mut head = Vec::with_capacity(1 << 10);
    let mut add = |parts: &[&str]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
    add(&[request.method(), " ", path, " HTTP/1.1\r\nhost: ", &host, "\r\n"]);
    let mut has_length = false;
    for (name, value) in request.headers() {
        match name {
            // No answer is waited for before a body: a refusal is seen while it is sent.
            "host" | "expect" | "connection" => continue,
            "content-length" => has_length = true,
            _ => {}
        }
        add(&[name, ": ", value, "\r\n"]);
    }
    if !has_length && (body_bytes > 0 || matches!(request.method(), "PUT" | "POST")) {
        add(&["content-length: ", &body_bytes.to_string(), "\r\n"]);
    }
    add(&["\r\n"]);
    Ok((origin, head))
}

/// How the end of an answer's body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Nothing,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// A stretch of a head's text.
type Span = std::ops::Range<usize>;

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// The status code.
    pub status: u16,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the connection may be used again.
    pub keeps: bool,
    /// All headers whose values are text, one after the other, names in small letters.
    text: String,
    /// Name and value of each in `text`.
    fields: Vec<(Span, Span)>,
}

impl AnswerHead {
    /// Whether something went well with the request.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header whose value is text; `name` in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| &self.text[field.clone()] == name);
        field.map(|(_, value)| &self.text[value.clone()])
    }

    /// Forgets the headers whose names are `unwanted`.
    pub fn drop_headers(&mut self, unwanted: impl Fn(&str) -> bool) {
        let text = &self.text;
        self.fields.retain(|(name, _)| !unwanted(&text[name.clone()]));
    }

    /// The headers as the SDK has them. What is none is left out.
    pub fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in &self.fields {
            let _ =
                headers.try_append(self.text[name.clone()].to_owned(), self.text[value.clone()].to_owned());
        }
        headers
    }
}

/// The head at the front of `bytes` and the bytes that it takes up, of an answer to a request with this method; `None` if its
/// end is not there yet. Interim answers (1xx) are heads too.
///
/// # Errors
/// It is no head of HTTP/1, beyond the bounds, or says two things of its body.
pub fn parse(bytes: &[u8], method: &str) -> Result<Option<(AnswerHead, usize)>, Fault> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut lines);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => {
            return Err(Fault::protocol(format!("the answer's head is longer than {HEAD_BYTES_MAX} bytes")));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Fault::protocol(format!("the answer is not HTTP/1.1: {error}"))),
    };
    let status = answer.code.unwrap_or_default();
    let mut keeps = answer.version == Some(1);
    let (mut content_length, mut chunked) = (None, false);
    let (mut text, mut fields) = (String::with_capacity(length), Vec::with_capacity(answer.headers.len()));
    for line in answer.headers.iter() {
        let Ok(value) = std::str::from_utf8(line.value) else { continue };
        if line.name.eq_ignore_ascii_case("content-length") {
            let said = length_of(value.trim())
                .ok_or_else(|| Fault::protocol("the answer's Content-Length is no number"))?;
            if content_length.is_some_and(|before| before != said) {
                return Err(Fault::protocol("the answer has two lengths"));
            }
            content_length = Some(said);
        } else if line.name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.trim().eq_ignore_ascii_case("chunked") {
                return Err(Fault::protocol("the answer has a transfer encoding that was not asked for"));
            }
            chunked = true;
        } else if line.name.eq_ignore_ascii_case("connection") {
            for word in value.split(',') {
                keeps |= word.trim().eq_ignore_ascii_case("keep-alive");
            }
            for word in value.split(',') {
                keeps &= !word.trim().eq_ignore_ascii_case("close");
            }
        }
        let name = text.len()..text.len() + line.name.len();
        text.extend(line.name.chars().map(|letter| letter.to_ascii_lowercase()));
        text.push_str(value);
        fields.push((name.clone(), name.end..text.len()));
    }
    let framing = match content_length {
        _ if method == "HEAD" || status < 200 || matches!(status, 204 | 304) => Framing::Nothing,
        _ if chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    };
    // Two framings: what one party takes for a body another may take for the next answer.
    keeps &= !(chunked && content_length.is_some()) && framing != Framing::UntilClose;
    Ok(Some((AnswerHead { status, framing, keeps, text, fields }, length)))
}

/// A number of digits alone; from_str would take a sign too.
fn length_of(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, method: &str) -> Result<Option<(AnswerHead, usize)>, Fault> {
        parse(text.as_bytes(), method)
    }

    /// Where a body ends, and whether the connection may be used again, is what RFC 9112 (6.3, 9.3) says.
    #[test]
    fn bodies_end_where_the_rfc_says() {
        use Framing::{Chunked, Length, Nothing, UntilClose};
        for (method, lines, framing, keeps) in [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Length(5), true),
            ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5\r\n", Length(5), true),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Nothing, true),
            ("PUT", "HTTP/1.1 204 No Content\r\n", Nothing, true),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", Nothing, true),
            ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n", Chunked, true),
            ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", Chunked, false),
            ("GET", "HTTP/1.1 200 OK\r\n", UntilClose, false),
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: foo, Close\r\n", Length(5), false),
            ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", Length(5), false),
            ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n", Length(5), true),
        ] {
            let text = format!("{lines}\r\nrest");
            let (found, length) = head(&text, method).expect(lines).expect("whole");
            assert_eq!((found.framing, found.keeps, length), (framing, keeps, text.len() - 4), "{lines}");
        }
    }

    /// A head that is not whole yet is waited for; what can be none, or says two things, is refused.
    #[test]
    fn heads_are_whole_and_say_one_thing() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        for end in 0..whole.len() {
            assert!(head(&whole[..end], "GET").expect("so far").is_none(), "{end}");
        }
        for lines in [
            "FTP\r\n",
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        ] {
            assert!(head(&format!("{lines}\r\n"), "GET").is_err(), "{lines}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        assert!(head(&many, "GET").is_err());
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        assert!(head(&long, "GET").is_err());
    }

    /// The host is written as the signature has it, and addresses of both families are understood.
    #[test]
    fn hosts_are_written_as_they_are_signed() {
        for (uri, host, origin) in [
            ("http://h:9000/b/k?x=1", "h:9000", (false, "h", 9000)),
            ("http://h:80/", "h", (false, "h", 80)),
            ("https://h/", "h", (true, "h", 443)),
            ("https://[::1]:8443/", "[::1]:8443", (true, "::1", 8443)),
        ] {
            let request = HttpRequest::get(uri).expect("a request");
            let (found, head) = write(&request, 0).expect(uri);
            let head = String::from_utf8(head).expect("text");
            assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
            assert_eq!((found.tls, found.host.as_str(), found.port), origin);
        }
        let request = HttpRequest::get("http://h/b/k%20%2F?x=1").expect("a request");
        let (_, head) = write(&request, 0).expect("written");
        assert_eq!(head, b"GET /b/k%20%2F?x=1 HTTP/1.1\r\nhost: h\r\n\r\n");
    }
}
