//! An object of a bucket as the target of requests: how it is read or written, and what was learnt about it meanwhile.

use std::fmt;

use crate::s3::{PartTag, UploadId, Version};
use crate::sync::{Mutex, lock};

/// An object that is being read or written. Its requests may run side by side.
pub struct Object {
    name: String,
    bytes: u64,
    role: Role,
    seen: Mutex<Seen>,
}

/// What requests do with the object.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Ranges are read, of this version if one is known.
    Read { version: Option<Version> },
    /// One request writes it as a whole.
    Put,
    /// Each request writes one part of an upload.
    Upload { upload: UploadId, part_bytes: u64 },
}

#[derive(Default)]
struct Seen {
    learnt: Option<Learnt>,
    version: Option<Version>,
    parts: Vec<PartTag>,
    /// Bytes of all parts.
    part_bytes: u64,
}

/// What a read found in place of the object that was to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// Nothing.
    Missing,
    /// An object of this size.
    Other {
        /// Bytes of it.
        bytes: u64,
        /// Its version, if the server told.
        version: Option<Version>,
    },
    /// Another version; of what size is not known.
    Changed,
}

impl Object {
    /// An object of `bytes` bytes to read ranges of; of that version, if one is given. A read that finds another object
    /// ends with `ESTALE` and leaves word in [`Object::learnt`].
    pub fn to_read(name: String, bytes: u64, version: Option<Version>) -> Object {
        Object::new(name, bytes, Role::Read { version })
    }

    /// An object of `bytes` bytes to write with one request.
    pub fn to_put(name: String, bytes: u64) -> Object {
        Object::new(name, bytes, Role::Put)
    }

    /// An object of `bytes` bytes to write in parts of `part_bytes`, the last one longer or shorter: the write at `n`
    /// times `part_bytes` is part `n + 1`.
    pub fn to_upload(name: String, bytes: u64, upload: UploadId, part_bytes: u64) -> Object {
        Object::new(name, bytes, Role::Upload { upload, part_bytes: part_bytes.max(1) })
    }

    fn new(name: String, bytes: u64, role: Role) -> Object {
        Object { name, bytes, role, seen: Mutex::new(Seen::default()) }
    }

    /// Its name in the bucket.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that it has, or will have.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What a read found that was not the object to read.
    pub fn learnt(&self) -> Option<Learnt> {
        lock(&self.seen).learnt.clone()
    }

    /// The version that was read or, by one request, written, if the server told.
    pub fn version(&self) -> Option<Version> {
        lock(&self.seen).version.clone()
    }

    /// All parts in order, if they are down and make up the whole object.
    pub fn parts(&self) -> Option<Vec<PartTag>> {
        let (mut parts, bytes) = {
            let seen = lock(&self.seen);
            (seen.parts.clone(), seen.part_bytes)
        };
        parts.sort_by_key(|part| part.number);
        let is_whole = bytes == self.bytes && (1..).zip(&parts).all(|(number, part)| part.number == number);
        is_whole.then_some(parts)
    }

    pub(super) fn role(&self) -> &Role {
        &self.role
    }

    /// A read landed bytes of that version. False: another read landed bytes of another one.
    pub(super) fn has_read(&self, version: Option<Version>) -> bool {
        let mut seen = lock(&self.seen);
        match (&seen.version, version) {
            (Some(before), Some(now)) if *before != now => {
                seen.learnt = Some(Learnt::Changed);
                false
            }
            (None, Some(now)) => {
                seen.version = Some(now);
                true
            }
            _ => true,
        }
    }

    pub(super) fn has_learnt(&self, learnt: Learnt) {
        lock(&self.seen).learnt = Some(learnt);
    }

    pub(super) fn is_put(&self, version: Option<Version>) {
        lock(&self.seen).version = version;
    }

    pub(super) fn has_part(&self, part: PartTag, bytes: u64) {
        let mut seen = lock(&self.seen);
        seen.parts.push(part);
        seen.part_bytes += bytes;
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({}, {} bytes, {:?})", self.name, self.bytes, self.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32) -> PartTag {
        PartTag { number, version: Version::new(format!("\"{number}\"")) }
    }

    /// An upload can be completed when its parts, in whatever order they came, make up the whole object.
    #[test]
    fn parts_are_whole_and_in_order() {
        let object = Object::to_upload(String::from("o"), 25, UploadId::new("u"), 10);
        assert_eq!(object.parts(), None);
        object.has_part(part(3), 5);
        object.has_part(part(1), 10);
        assert_eq!(object.parts(), None, "one is missing");
        object.has_part(part(2), 10);
        assert_eq!(object.parts(), Some(vec![part(1), part(2), part(3)]));
    }

    /// Ranges of one object that come from two versions of it are none: that is found out also where the server does not
    /// care for If-Match.
    #[test]
    fn ranges_of_two_versions_are_told() {
        let object = Object::to_read(String::from("o"), 25, None);
        assert!(object.has_read(Some(Version::new("a"))) && object.has_read(Some(Version::new("a"))));
        assert!(object.has_read(None), "a server without versions");
        assert!(!object.has_read(Some(Version::new("b"))));
        assert_eq!(object.learnt(), Some(Learnt::Changed));
    }
}
