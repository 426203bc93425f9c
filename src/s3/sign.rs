//! AWS Signature Version 4 for the few requests that are written here, with what stays the same kept: the time's text for
//! a second, the signing key for a day.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use ring::{digest, hmac};

/// The hash of a body that there is none of, in hexadecimal.
pub const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// In place of the hash of a body that is not signed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Characters of a day in the time's text, `20261129T193001Z`.
const DAY_CHARS: usize = 8;

/// A header, its name in small letters.
pub type Header<'a> = (&'static str, &'a str);

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, encoded as it is sent.
    pub path: &'a str,
    /// The query, its parts encoded and in order.
    pub query: &'a str,
    /// The headers, in the order of their names.
    pub headers: &'a [Header<'a>],
    /// The body's hash, or [`UNSIGNED`].
    pub body_hash: &'a str,
}

/// Signs requests to one service in one region.
#[derive(Debug)]
pub struct Signer {
    region: String,
    service: String,
    /// Second of `time`.
    second: u64,
    time: String,
    key: Option<Key>,
}

/// A signing key and what it was made of.
struct Key {
    secret: String,
    day: String,
    key: hmac::Key,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("day", &self.day).finish_non_exhaustive()
    }
}

impl Signer {
    /// Of this region and service.
    pub fn new(region: &str, service: &str) -> Signer {
        let (region, service) = (region.to_owned(), service.to_owned());
        Signer { region, service, second: 0, time: String::new(), key: None }
    }

    /// A moment as a request says it, `20261129T193001Z`; `None` for one that has no such text.
    pub fn time(&mut self, now: SystemTime) -> Option<String> {
        let second = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        if self.second != second || self.time.is_empty() {
            let text = DateTime::from_secs(i64::try_from(second).ok()?).fmt(Format::DateTime).ok()?;
            self.time = text.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect();
            self.second = second;
        }
        Some(self.time.clone())
    }

    /// The value of the header `authorization` for a request that says `time`.
    pub fn authorization(&mut self, signed: &Signed<'_>, credentials: &Credentials, time: &str) -> String {
        let day = time.get(..DAY_CHARS).unwrap_or(time);
        let mut names = String::with_capacity(80);
        let mut text = String::with_capacity(512);
        for part in [signed.method, "\n", signed.path, "\n", signed.query, "\n"] {
            text.push_str(part);
        }
        for (name, value) in signed.headers {
            for part in [name, ":", value, "\n"] {
                text.push_str(part);
            }
            for part in [if names.is_empty() { "" } else { ";" }, name] {
                names.push_str(part);
            }
        }
        for part in ["\n", &names, "\n", signed.body_hash] {
            text.push_str(part);
        }
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        text.clear();
        for part in [ALGORITHM, "\n", time, "\n", &scope, "\n"] {
            text.push_str(part);
        }
        push_hex(&mut text, hash.as_ref());
        let signature = hmac::sign(self.key(credentials.secret_access_key(), day), text.as_bytes());

        let mut authorization = String::with_capacity(320);
        let id = credentials.access_key_id();
        // Writing to a String cannot fail.
        let _ =
            write!(authorization, "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature=");
        push_hex(&mut authorization, signature.as_ref());
        authorization
    }

    /// The signing key of a day.
    fn key(&mut self, secret: &str, day: &str) -> &hmac::Key {
        let kept = self.key.take().filter(|key| key.secret == secret && key.day == day);
        let kept = kept.unwrap_or_else(|| {
            let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
            for part in [day, &self.region, &self.service, "aws4_request"] {
                key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
            }
            Key { secret: secret.to_owned(), day: day.to_owned(), key }
        });
        &self.key.insert(kept).key
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Appends a name as a part of a path or, without its slashes, of a query: all but letters, digits and `-._~` as `%XX`.
pub fn push_encoded(text: &mut String, name: &str, keeps_slashes: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            b'/' if keeps_slashes => text.push('/'),
            _ => {
                text.push('%');
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of the examples in Amazon's documentation of the S3 API, "Authenticating Requests: Using the Authorization Header".
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const TIME: &str = "20130524T000000Z";

    fn credentials(secret: &str) -> Credentials {
        Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, None, None, "example")
    }

    fn signature(signer: &mut Signer, signed: &Signed<'_>, secret: &str) -> String {
        let authorization = signer.authorization(signed, &credentials(secret), TIME);
        authorization.rsplit_once("Signature=").expect("a signature").1.to_owned()
    }

    /// Amazon's own examples are signed as Amazon says, also by a signer that has signed before, with other keys.
    #[test]
    fn amazons_examples_are_signed_as_amazon_says() {
        let mut signer = Signer::new("us-east-1", "s3");
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let date = ("x-amz-date", TIME);
        let body_hash = ("x-amz-content-sha256", HASH_OF_NOTHING);
        let of_get = Signed {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &[host, ("range", "bytes=0-9"), body_hash, date],
            body_hash: HASH_OF_NOTHING,
        };
        let of_list =
            Signed { path: "/", query: "max-keys=2&prefix=J", headers: &[host, body_hash, date], ..of_get };
        let get = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        assert_eq!(signature(&mut signer, &of_get, SECRET), get);
        assert_eq!(signature(&mut signer, &of_list, SECRET), list);
        assert_ne!(signature(&mut signer, &of_get, "another"), get);
        assert_eq!(signature(&mut signer, &of_get, SECRET), get);
        let authorization = signer.authorization(&of_get, &credentials(SECRET), TIME);
        let beginning = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=";
        assert_eq!(authorization, format!("{beginning}{get}"));
        let shown = format!("{signer:?}");
        assert!(!shown.contains(SECRET), "{shown}");
    }

    /// The time has no fractions, and follows the clock both ways.
    #[test]
    fn times_are_written_to_the_second() {
        let mut signer = Signer::new("r", "s3");
        let begin = UNIX_EPOCH + Duration::from_millis(1_369_353_600_999);
        assert_eq!(signer.time(begin).as_deref(), Some(TIME));
        assert_eq!(signer.time(begin + Duration::from_secs(86_400)).as_deref(), Some("20130525T000000Z"));
        assert_eq!(signer.time(begin).as_deref(), Some(TIME));
        assert_eq!(signer.time(UNIX_EPOCH).as_deref(), Some("19700101T000000Z"));
        assert_eq!(signer.time(UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    /// Every byte but the unreserved ones of RFC 3986 is encoded.
    #[test]
    fn names_are_encoded_byte_by_byte() {
        let mut text = String::new();
        push_encoded(&mut text, "a/B-._~9 +%?&=#\u{e9}\n", true);
        assert_eq!(text, "a/B-._~9%20%2B%25%3F%26%3D%23%C3%A9%0A");
        text.clear();
        push_encoded(&mut text, "a/b==", false);
        assert_eq!(text, "a%2Fb%3D%3D");
    }
}
