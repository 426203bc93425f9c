//! The little of HTTP/1.0 that it takes: the first line of a request, and an answer after which the connection ends.

use crate::metrics::openmetrics::CONTENT_TYPE;

/// Most bytes of a request; what scrapers send has a few hundred.
pub(super) const REQUEST_BYTES_MAX: usize = 8 << 10;
/// What is served.
pub(super) const PATH: &str = "/metrics";
/// The request of [`super::read`].
pub(super) const REQUEST: &[u8] = b"GET /metrics HTTP/1.0\r\n\r\n";

/// Whether the request has come as far as matters: to the empty line behind its head.
pub(super) fn is_whole(request: &[u8]) -> bool {
    let ends = |end: &[u8]| request.windows(end.len()).any(|bytes| bytes == end);
    ends(b"\r\n\r\n") || ends(b"\n\n")
}

/// The answer to a request; `text` is asked for if it is what was wanted.
pub(super) fn answer(request: &[u8], text: impl FnOnce() -> String) -> Vec<u8> {
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match target(request) {
        None => ("400 Bad Request", plain, "This is no request of HTTP.\n".to_owned()),
        Some(("GET", PATH)) => ("200 OK", CONTENT_TYPE, text()),
        Some(("GET", _)) => ("404 Not Found", plain, format!("What there is to get is {PATH}.\n")),
        Some(_) => ("405 Method Not Allowed", plain, "What is served is only read, with GET.\n".to_owned()),
    };
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Method and path of a request.
fn target(request: &[u8]) -> Option<(&str, &str)> {
    let line = request.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.trim_end_matches('\r').split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/1.") || words.next().is_some() {
        return None;
    }
    Some((method, target.split('?').next()?))
}

/// The body of an answer that is a success; else its first line.
pub(super) fn body(answer: &str) -> Result<&str, &str> {
    let first = answer.lines().next().unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    let is_ok = first.starts_with("HTTP/1.") && first.split(' ').nth(1) == Some("200");
    body.filter(|_| is_ok).ok_or(first)
}
