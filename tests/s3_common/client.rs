//! A client of the tests' own: what is in a bucket, put there, taken away, by one plain request each.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::http::{Body, Head, encode};
use super::sign;

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub bytes: u64,
    pub etag: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    fn expect(self, statuses: &[u16]) -> Answer {
        assert!(statuses.contains(&self.status()), "{}: {}", self.head.first, self.text());
        self
    }
}

/// Where to ask, and as whom.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    access_key: String,
    secret_key: String,
}

impl Client {
    pub fn new(address: SocketAddr, access_key: &str, secret_key: &str) -> Client {
        Client { address, access_key: access_key.to_owned(), secret_key: secret_key.to_owned() }
    }

    /// Sends one request on a connection of its own. `path` begins with the bucket and is not encoded.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let mut head = Head::new(format!("{method} /{}{query} HTTP/1.1", encode(path.as_bytes(), true)));
        head.set("Host", self.address.to_string());
        head.set("Connection", "close");
        head.set("Content-Length", body.len().to_string());
        for (name, value) in headers {
            head.set(name, *value);
        }
        sign::sign(&mut head, &self.access_key, &self.secret_key);
        let mut stream = TcpStream::connect(self.address)?;
        head.write(&mut stream)?;
        stream.write_all(body)?;
        let mut stream = BufReader::new(stream);
        let head = Head::read(&mut stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let framing = head.answer_framing(method);
        Ok(Answer { body: Body::new(&mut stream, framing).all()?, head })
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.send(method, path, query, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} /{path}?{query}: {error}"))
    }

    /// Whether there is a server that knows this client.
    pub fn answers(&self) -> bool {
        self.send("GET", "", "", &[], &[]).is_ok_and(|answer| answer.status() == 200)
    }

    #[track_caller]
    pub fn create_bucket(&self, bucket: &str) {
        self.ask("PUT", bucket, "", &[], &[]).expect(&[200]);
    }

    #[track_caller]
    pub fn put(&self, bucket: &str, name: &str, bytes: &[u8]) {
        self.ask("PUT", &format!("{bucket}/{name}"), "", &[], bytes).expect(&[200]);
    }

    /// `None`: there is no such object.
    #[track_caller]
    pub fn get(&self, bucket: &str, name: &str) -> Option<Vec<u8>> {
        let answer = self.ask("GET", &format!("{bucket}/{name}"), "", &[], &[]).expect(&[200, 404]);
        (answer.status() == 200).then_some(answer.body)
    }

    #[track_caller]
    pub fn delete(&self, bucket: &str, name: &str) {
        self.ask("DELETE", &format!("{bucket}/{name}"), "", &[], &[]).expect(&[200, 204]);
    }

    /// Every object whose name begins so, in the order of their names.
    #[track_caller]
    pub fn list(&self, bucket: &str, prefix: &str) -> Vec<Listed> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = format!("list-type=2&prefix={}", encode(prefix.as_bytes(), false));
            if let Some(token) = &token {
                query += &format!("&continuation-token={}", encode(token.as_bytes(), false));
            }
            let text = self.ask("GET", bucket, &query, &[], &[]).expect(&[200]).text();
            found.extend(elements(&text, "Contents").map(|object| Listed {
                name: unescape(element(object, "Key")),
                bytes: element(object, "Size").parse().expect("a size"),
                etag: unescape(element(object, "ETag")),
            }));
            if element(&text, "IsTruncated") != "true" {
                return found;
            }
            token = Some(unescape(element(&text, "NextContinuationToken")));
        }
    }

    /// The names of uploads that were begun and neither completed nor aborted, with their ids.
    #[track_caller]
    pub fn uploads(&self, bucket: &str, prefix: &str) -> Vec<(String, String)> {
        let query = format!("uploads=&prefix={}", encode(prefix.as_bytes(), false));
        let text = self.ask("GET", bucket, &query, &[], &[]).expect(&[200]).text();
        let of = |upload: &str| (unescape(element(upload, "Key")), unescape(element(upload, "UploadId")));
        // A server may take the prefix for that of a folder.
        elements(&text, "Upload").map(of).filter(|(name, _)| name.starts_with(prefix)).collect()
    }

    /// Begins an upload as a process would that is killed then.
    #[track_caller]
    pub fn begin_upload(&self, bucket: &str, name: &str) -> String {
        let answer = self.ask("POST", &format!("{bucket}/{name}"), "uploads=", &[], &[]).expect(&[200]);
        unescape(element(&answer.text(), "UploadId"))
    }

    #[track_caller]
    pub fn upload_part(&self, bucket: &str, name: &str, upload: &str, number: u32, bytes: &[u8]) {
        let query = format!("partNumber={number}&uploadId={}", encode(upload.as_bytes(), false));
        self.ask("PUT", &format!("{bucket}/{name}"), &query, &[], bytes).expect(&[200]);
    }
}

/// What lies between the tags of the first such element; empty where there is none.
fn element<'t>(text: &'t str, name: &str) -> &'t str {
    elements(text, name).next().unwrap_or("")
}

/// The same for all of them.
fn elements<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> + use<'t> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let from = rest.find(&open)? + open.len();
        let length = rest[from..].find(&close)?;
        let found = &rest[from..from + length];
        rest = &rest[from + length + close.len()..];
        Some(found)
    })
}

fn unescape(text: &str) -> String {
    let mut text = text.to_owned();
    for (escape, of) in
        [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
    {
        text = text.replace(escape, of);
    }
    text
}
