//! Whether the body of an answer may land: judged from its head alone, before a byte of it is touched.

use super::head::{AnswerHead, Framing};
use super::order::Wanted;
use crate::s3::types::{Part, Version};

/// How the names of headers with checksums begin.
const CHECKSUMS: &str = "x-amz-checksum-";

/// What is to be done with the body of a good answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first `bytes` of it land.
    Land {
        /// So many.
        bytes: usize,
        /// Bytes of the whole object.
        object_bytes: u64,
        /// Its version.
        version: Option<Version>,
    },
    /// The object is of another size than was expected, or than there is room for.
    Other {
        /// Bytes of the whole object.
        object_bytes: u64,
        /// Its version.
        version: Option<Version>,
    },
    /// It is of another version than was asked for.
    Changed,
    /// The answer does not fit the question; why.
    Unfit(&'static str),
}

/// A Content-Range: the first byte, the last byte, the bytes of the whole.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first, last, total))
}

/// The bytes of the whole, of an answer that says that a range is past its end (`bytes */N`).
pub fn total_of_unsatisfied(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes */")?.parse().ok()
}

/// Takes the checksums out of the head of a part, where they are the whole object's on some servers: the SDK would hold the
/// part against them.
pub fn drop_foreign_checksums(head: &mut AnswerHead) {
    let range = head.header("content-range").and_then(content_range);
    if head.status != 206 || range.is_some_and(|(first, last, total)| first == 0 && last + 1 == total) {
        return;
    }
    head.drop_headers(|name| name.starts_with(CHECKSUMS));
}

/// The version that an answer's head tells.
pub fn version_of(head: &AnswerHead) -> Option<Version> {
    head.header("etag").filter(|etag| !etag.is_empty()).map(Version::new)
}

/// Judges an answer of status 200 or 206 to a get.
///
/// A version that was asked for is compared where the answer tells one: servers there are that ignore If-Match.
pub fn judge(head: &AnswerHead, wanted: &Wanted) -> Verdict {
    let version = version_of(head);
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        Framing::Nothing => Some(0),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let (first, available, object_bytes) = if head.status == 206 {
        let Some((first, last, total)) = head.header("content-range").and_then(content_range) else {
            return Verdict::Unfit("the server answers a part without saying which");
        };
        let available = last - first + 1;
        if length.is_some_and(|length| length != available) {
            return Verdict::Unfit("the length of the server's answer is not that of the part that it names");
        }
        (first, available, total)
    } else {
        let Some(length) = length else {
            return Verdict::Unfit("the server does not say how long the object is");
        };
        (0, length, length)
    };
    if let (Some(asked), Some(has)) = (&wanted.version, &version)
        && asked != has
    {
        return Verdict::Changed;
    }
    if wanted.object_bytes.is_some_and(|expected| expected != object_bytes) {
        return Verdict::Other { object_bytes, version };
    }
    let (start, bytes) = match &wanted.part {
        Part::Range(range) if range.start >= object_bytes => return Verdict::Other { object_bytes, version },
        Part::Range(range) => (range.start, range.end.min(object_bytes) - range.start),
        Part::Tail(count) => (object_bytes.saturating_sub(*count), object_bytes.min(*count)),
        Part::Whole => (0, object_bytes),
    };
    if start != first {
        return Verdict::Unfit("the server answers another part than was asked for");
    }
    if available < bytes || (head.status == 206 && available > bytes) {
        return Verdict::Unfit("the server answers fewer or more bytes than were asked for");
    }
    match usize::try_from(bytes) {
        Ok(bytes) if bytes <= wanted.landing.capacity() => Verdict::Land { bytes, object_bytes, version },
        _ => Verdict::Other { object_bytes, version },
    }
}
