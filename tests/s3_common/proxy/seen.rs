//! What the proxy saw of each request.

use crate::s3_common::http::{Head, decode};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Get,
    Head,
    Put,
    CreateUpload,
    Part,
    CompleteUpload,
    AbortUpload,
    Delete,
    DeleteMany,
    List,
    ListUploads,
    HeadBucket,
    Other,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Kind,
    /// The object's name, decoded; empty for what is about the bucket.
    pub name: String,
    pub head: Head,
    /// Bytes of its body that were passed on.
    pub body_bytes: u64,
    /// The status that the library got.
    pub status: Option<u16>,
    /// Which connection it came on.
    pub connection: u64,
    /// When it came and when the last of its answer began to be sent, on one clock that counts such events.
    pub arrived: u64,
    pub ended: Option<u64>,
    /// Why it has no answer, where that is not a fault's doing: one of the two sides was gone.
    pub broken: Option<String>,
}

impl Seen {
    pub(super) fn of(head: &Head, bucket: &str, connection: u64, arrived: u64) -> Seen {
        let (method, target) = head.request();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = head.get("host").unwrap_or("");
        let path = path.trim_start_matches('/');
        let name = match path.strip_prefix(bucket) {
            _ if host.starts_with(&format!("{bucket}.")) => path,
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            _ => path.split_once('/').map_or("", |(_, name)| name),
        };
        Seen {
            kind: kind_of(method, name, query),
            name: String::from_utf8_lossy(&decode(name)).into_owned(),
            head: head.clone(),
            body_bytes: 0,
            status: None,
            connection,
            arrived,
            ended: None,
            broken: None,
        }
    }

    pub fn range(&self) -> Option<&str> {
        self.head.get("range")
    }
}

fn kind_of(method: &str, name: &str, query: &str) -> Kind {
    let asks = |wanted: &str| query.split('&').any(|part| part.split('=').next() == Some(wanted));
    match (method, name.is_empty()) {
        ("GET", true) if asks("uploads") => Kind::ListUploads,
        ("GET", true) if asks("list-type") => Kind::List,
        ("GET", false) if !asks("uploadId") => Kind::Get,
        ("HEAD", true) => Kind::HeadBucket,
        ("HEAD", false) => Kind::Head,
        ("PUT", false) if asks("uploadId") => Kind::Part,
        ("PUT", false) => Kind::Put,
        ("POST", true) if asks("delete") => Kind::DeleteMany,
        ("POST", false) if asks("uploads") => Kind::CreateUpload,
        ("POST", false) if asks("uploadId") => Kind::CompleteUpload,
        ("DELETE", false) if asks("uploadId") => Kind::AbortUpload,
        ("DELETE", false) => Kind::Delete,
        _ => Kind::Other,
    }
}

/// The most of these requests that were under way at once.
pub fn peak(seen: &[Seen]) -> usize {
    let under_way = |at: u64| {
        seen.iter().filter(|of| of.arrived <= at && of.ended.is_none_or(|ended| ended > at)).count()
    };
    seen.iter().map(|of| under_way(of.arrived)).max().unwrap_or(0)
}
