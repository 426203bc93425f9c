//! What the calls of the client take and answer. Plain data.

use std::ops::Range;
use std::time::{Instant, SystemTime};

/// The version of an object's bytes: its ETag, as the server gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    /// The version with this ETag, quotes included.
    pub fn new(etag: impl Into<String>) -> Version {
        Version(etag.into())
    }

    /// The ETag, quotes included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The server's name of a multipart upload under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// The upload with this id.
    pub fn new(id: impl Into<String>) -> UploadId {
        UploadId(id.into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedUpload {
    /// Its id.
    pub upload: UploadId,
    /// An attempt before failed, and may have begun an upload all the same, of which nobody knows the id.
    pub is_repeated: bool,
}

/// A part that the server has: what completing the upload has to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTag {
    /// Its number, from 1.
    pub number: u32,
    /// Its ETag.
    pub version: Version,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the object.
    pub bytes: u64,
    /// Its version, if the server tells one.
    pub version: Option<Version>,
    /// When it was last written, by the server's clock.
    pub modified: Option<SystemTime>,
}

/// Which bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes. A range that ends beyond the object's end brings what there is.
    Range(Range<u64>),
    /// The last so many; a shorter object brings all it has.
    Tail(u64),
    /// All.
    Whole,
}

/// What a get asks for.
#[derive(Clone, Debug)]
pub struct Get {
    /// Name of the object.
    pub name: String,
    /// Which of its bytes.
    pub part: Part,
    /// Bytes that the whole object must have; nothing lands from an object of another size.
    pub object_bytes: Option<u64>,
    /// The version that it must have.
    pub version: Option<Version>,
    /// When the call must have ended.
    pub deadline: Option<Instant>,
}

/// What a get brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The bytes are in place.
    Landed {
        /// Bytes that landed.
        bytes: usize,
        /// Bytes of the whole object, if the server told.
        object_bytes: Option<u64>,
        /// Its version, if the server told.
        version: Option<Version>,
        /// A sum for each block of the bytes that landed, if the landing asked for them.
        sums: Vec<u64>,
    },
    /// The object is not of the expected size, or ends before the range: nothing landed.
    Other {
        /// Bytes that it has.
        object_bytes: u64,
        /// Its version, if the server told.
        version: Option<Version>,
    },
}

/// A small body in memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Small {
    /// The bytes that were asked for, or the fewer that there are.
    pub bytes: Vec<u8>,
    /// Bytes of the whole object.
    pub object_bytes: u64,
    /// Its version, if the server told.
    pub version: Option<Version>,
}

/// Under which condition a put may take place. A server may ignore it: see [`Traits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None.
    None,
    /// Only where there is no such object.
    IfAbsent,
    /// Only over this version.
    IfVersion(Version),
}

/// What the server honours, found out by trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// If-Match on GET.
    pub if_match: bool,
    /// If-None-Match on PUT.
    pub if_none_match: bool,
    /// An ETag comes with a GET.
    pub versions: bool,
    /// If-Match on DELETE.
    pub deletes_if_match: bool,
}

/// A stretch of a listing, in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Listed>,
    /// Where to go on, if there is more: the `after` of the next call.
    pub next: Option<String>,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// When it was last written, by the server's clock.
    pub modified: SystemTime,
    /// Its version, if the server tells one.
    pub version: Option<Version>,
}

/// A multipart upload that was neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUpload {
    /// Name of the object that it would become.
    pub name: String,
    /// Its id.
    pub upload: UploadId,
    /// When it was begun, by the server's clock.
    pub initiated: Option<SystemTime>,
}
