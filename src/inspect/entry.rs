//! What is found on storage, and what is to be said of it.

use std::fmt;
use std::time::SystemTime;

use crate::error::Error;
use crate::layout::files::ObjectName;
use crate::layout::record;

/// Where a record is in its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A slot of a static pool.
    Slot(u32),
    /// A file or object that is named by its key's digest.
    Digest(u128),
    /// A file or object with a name of its own.
    Name(Box<str>),
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Not looked at yet.
    Unknown,
    /// A record.
    Record,
    /// A file or object that LMCache wrote: it has no trailer, and nothing vouches for it.
    Unverified,
    /// No record of this store, and why.
    Damaged(String),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// Something that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: EntryKind,
    /// The effective key, where it is known.
    pub key: Option<Box<[u8]>>,
    /// Bytes of the payload; before it is described, those of the file or object.
    pub payload_bytes: u64,
    /// Of its put, in a static pool.
    pub generation: Option<u64>,
    /// When it was written, in a dynamic store and in a bucket.
    pub modified: Option<SystemTime>,
    /// The snapshot that lists it with just this generation.
    pub(super) listed_by: Option<u64>,
}

impl Entry {
    /// Whether nothing is left to find out but whether it proves right.
    pub fn is_described(&self) -> bool {
        self.kind != EntryKind::Unknown
    }

    /// Its namespace and key.
    pub fn names(&self) -> Option<(&[u8], &[u8])> {
        record::parts(self.key.as_deref()?)
    }

    /// A file or object of which no more is known than that it is there, as it cannot be read.
    pub(super) fn unreadable(name: &ObjectName, error: &Error) -> Entry {
        let kind = EntryKind::Unreadable(error.message().to_owned());
        Entry { kind, modified: None, ..Entry::found(name, 0, SystemTime::UNIX_EPOCH) }
    }

    /// A file or object before it is described.
    pub(super) fn found(name: &ObjectName, bytes: u64, modified: SystemTime) -> Entry {
        Entry {
            place: Place::of(name),
            kind: EntryKind::Unknown,
            key: None,
            payload_bytes: bytes,
            generation: None,
            modified: Some(modified),
            listed_by: None,
        }
    }
}

impl Place {
    pub(super) fn of(name: &ObjectName) -> Place {
        let text = name.file_name();
        match (name.to_string() == text, u128::from_str_radix(&text, 16)) {
            // Only a name in a directory of a shard's is a digest.
            (false, Ok(digest)) => Place::Digest(digest),
            _ => Place::Name(text.into_boxed_str()),
        }
    }

    pub(super) fn object_name(&self) -> Option<ObjectName> {
        match self {
            Place::Slot(_) => None,
            Place::Digest(digest) => Some(ObjectName::sharded(*digest)),
            Place::Name(name) => ObjectName::from_flat_file(name.as_bytes()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Slot(slot) => write!(f, "slot {slot}"),
            Place::Digest(digest) => write!(f, "{digest:032x}"),
            Place::Name(name) => f.write_str(name),
        }
    }
}

/// What a survey says besides its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Where the entries come from, in words.
    pub source: &'static str,
    /// What there is to say about the store as a whole; each is something that is not as it should be.
    pub defects: Vec<String>,
    /// Records of keys that have a newer one.
    pub outdated: u64,
    /// Slots whose trailer is no record of theirs, each to be looked at: none is in the index.
    pub damaged: Vec<Entry>,
    /// What could not be read or listed: entries that may be there are not told.
    pub unreadable: Vec<Unreadable>,
}

/// A part of a store that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// A slot, or a path.
    pub what: String,
    /// What the system answers.
    pub why: String,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its effective key.
    pub key: Box<[u8]>,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// Of its put.
    pub generation: u64,
    /// Blocks that have a checksum.
    pub blocks: usize,
    /// File or object that it lies in, and the offset there of its payload.
    pub file: String,
    /// That offset, in bytes.
    pub offset: u64,
}

/// What did not prove right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The entry.
    pub entry: Entry,
    /// What is wrong with it.
    pub damage: String,
    /// Tells the very same bytes from others that were written since.
    pub(super) fingerprint: u64,
}

impl Suspect {
    /// Whether it is a slot of a static pool.
    pub fn is_slot(&self) -> bool {
        matches!(self.entry.place, Place::Slot(_))
    }
}

/// What one look at an entry brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is as it was put.
    Proven(Record),
    /// It is not there any more.
    Gone,
    /// Nothing vouches for it.
    Unverified,
    /// It is not as it was put, or is being written.
    Suspect(Suspect),
    /// It cannot be read, and why.
    Unreadable(String),
}

impl Look {
    /// The same, if it is a suspect, with the key that its trailer names.
    pub(super) fn named(self, key: &[u8]) -> Look {
        match self {
            Look::Suspect(suspect) => {
                let entry = Entry { key: Some(key.into()), ..suspect.entry };
                Look::Suspect(Suspect { entry, ..suspect })
            }
            other => other,
        }
    }
}

/// What is to be said of an entry in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was put.
    Proven(Record),
    /// It is not there any more.
    Gone,
    /// It changed while it was looked at.
    InFlux,
    /// Nothing vouches for it.
    Unverified,
    /// It is not as it was put.
    Damaged(Suspect),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Yes,
    /// Somebody pins it.
    Pinned,
    /// Somebody removed or replaced it before.
    Changed,
}
