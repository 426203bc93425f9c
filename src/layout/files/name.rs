//! What an object's file is called, in both layouts.
//!
//! A name is either 32 hexadecimal digits below a directory of their first two, or the one flat
//! component that LMCache's dynamic NIXL backend makes of a key. Neither can hold a `/`, be `.` or
//! `..`, or collide with the store's own entries, so no key leads out of the store's directory.

use std::ffi::CStr;
use std::fmt;
use std::io::Write;

use crate::error::{Error, Result, Status};
use crate::sys::at::NAME_BYTES_MAX;

/// Directory of the objects in the sharded layout.
pub(in crate::layout) const OBJECTS: &CStr = c"nixl_store_objects";

/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 32;
/// Hexadecimal digits of a digest that name its sub-directory.
const SHARD_DIGITS: usize = 2;
/// Bytes of the longest path of an object below the store's directory, with its NUL: a flat name.
const PATH_BYTES_MAX: usize = NAME_BYTES_MAX + 1;

/// The name of an object's file inside the store, whatever the layout.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectName(Form);

// Boxed, the larger variant would make every lookup allocate.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    Sharded(u128),
    Flat(FlatName),
}

/// One path component, kept with its NUL so that a system call can take it as it is.
#[derive(Clone, PartialEq, Eq, Hash)]
struct FlatName {
    bytes: [u8; PATH_BYTES_MAX],
    length: u8,
}

impl ObjectName {
    /// The sharded name of an object.
    pub fn sharded(digest: u128) -> ObjectName {
        ObjectName(Form::Sharded(digest))
    }

    /// The name that LMCache's dynamic NIXL backend gives to the key whose string is `key`.
    ///
    /// `/` and `@` become `_`; then every byte but letters, digits and `_.-~` becomes `%XX`, which
    /// is Python's `urllib.parse.quote` with nothing declared safe (RFC 3986, unreserved).
    pub(in crate::layout) fn lmcache(key: &[u8]) -> Result<ObjectName> {
        let mut bytes = [0u8; PATH_BYTES_MAX];
        let mut length = 0usize;
        for &byte in key {
            let byte = if byte == b'/' || byte == b'@' { b'_' } else { byte };
            let escaped = [b'%', hex_digit(byte >> 4), hex_digit(byte & 15)];
            let piece: &[u8] = if is_unreserved(byte) { &[byte] } else { &escaped };
            // Counting on past the end gives the message the length that the name would have.
            let end = length.saturating_add(piece.len());
            if end <= NAME_BYTES_MAX
                && let Some(room) = bytes.get_mut(length..end)
            {
                room.copy_from_slice(piece);
            }
            length = end;
        }
        let Some(name) = bytes.get(..length).filter(|name| name.len() <= NAME_BYTES_MAX) else {
            return Err(Error::new(
                Status::InvalidArgument,
                format!(
                    "key of {} bytes needs a file name of {length} bytes in the lmcache layout; \
                     a file name has at most {NAME_BYTES_MAX}",
                    key.len()
                ),
            ));
        };
        if matches!(name, b"" | b"." | b"..") {
            return Err(Error::new(
                Status::InvalidArgument,
                "an empty key, `.` and `..` have no file name in the lmcache layout",
            ));
        }
        Ok(ObjectName(Form::Flat(FlatName { length: name.len() as u8, bytes })))
    }

    /// The object that a file in a shard's directory is, if its name is one that the store gives.
    pub(in crate::layout) fn from_sharded_file(shard: u8, file_name: &[u8]) -> Option<ObjectName> {
        let digest = parse_lower_hex(file_name, DIGEST_DIGITS)?;
        (digest >> 120 == u128::from(shard)).then(|| ObjectName::sharded(digest))
    }

    /// The object that a file of the flat layout is, if [`ObjectName::lmcache`] can give its name.
    pub fn from_flat_file(file_name: &[u8]) -> Option<ObjectName> {
        if file_name.len() > NAME_BYTES_MAX || matches!(file_name, b"" | b"." | b"..") {
            return None;
        }
        let mut rest = file_name;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = match (byte, tail) {
                (b'%', &[high, low, ref tail @ ..]) => {
                    let byte = upper_hex_value(high)? << 4 | upper_hex_value(low)?;
                    // What is never escaped, or is replaced before, cannot come out escaped.
                    if is_unreserved(byte) || byte == b'/' || byte == b'@' {
                        return None;
                    }
                    tail
                }
                (byte, tail) if is_unreserved(byte) => tail,
                _ => return None,
            };
        }
        let mut bytes = [0u8; PATH_BYTES_MAX];
        bytes.get_mut(..file_name.len())?.copy_from_slice(file_name);
        Some(ObjectName(Form::Flat(FlatName { length: file_name.len() as u8, bytes })))
    }

    /// The file's own name, without directories.
    pub fn file_name(&self) -> String {
        match &self.0 {
            Form::Sharded(digest) => format!("{digest:032x}"),
            Form::Flat(name) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
        }
    }

    /// The digest in a sharded name.
    pub(in crate::layout) fn digest(&self) -> Option<u128> {
        match self.0 {
            Form::Sharded(digest) => Some(digest),
            Form::Flat(_) => None,
        }
    }

    /// The bytes of a flat name.
    pub(in crate::layout) fn flat(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Sharded(_) => None,
            Form::Flat(name) => Some(name.as_bytes()),
        }
    }

    /// Where the object is below the store's directory.
    pub(super) fn path(&self) -> ObjectPath {
        let mut path = ObjectPath { whole: [0; PATH_BYTES_MAX], leaf_at: 0, shard: None };
        match &self.0 {
            Form::Flat(name) => path.whole = name.bytes,
            Form::Sharded(digest) => {
                let shard = (digest >> 120) as u8;
                let mut parent = [0; SHARD_PATH_BYTES];
                // Neither write can fail: both buffers are larger than what is written.
                let objects = OBJECTS.to_str().unwrap_or_default();
                let _ = write!(&mut parent[..], "{objects}/{shard:02x}");
                let _ = write!(&mut path.whole[..], "{objects}/{shard:02x}/{digest:032x}");
                path.leaf_at = SHARD_PATH_BYTES;
                path.shard = Some(parent);
            }
        }
        path
    }
}

/// Bytes of the path of a shard's directory, with its NUL.
const SHARD_PATH_BYTES: usize = OBJECTS.to_bytes().len() + 1 + SHARD_DIGITS + 1;

/// An object's path in the forms that system calls take, built without allocating.
pub(super) struct ObjectPath {
    whole: [u8; PATH_BYTES_MAX],
    leaf_at: usize,
    shard: Option<[u8; SHARD_PATH_BYTES]>,
}

impl ObjectPath {
    /// From the store's directory to the file.
    pub(super) fn whole(&self) -> &CStr {
        c_str(&self.whole)
    }

    /// From the store's directory to the directory that the file is in, if that is another one.
    pub(super) fn parent(&self) -> Option<&CStr> {
        self.shard.as_ref().map(|shard| c_str(shard))
    }

    /// The name of that directory in [`OBJECTS`].
    pub(super) fn parent_leaf(&self) -> &CStr {
        let leaf = self.shard.as_ref().and_then(|shard| shard.get(OBJECTS.to_bytes().len() + 1..));
        c_str(leaf.unwrap_or_default())
    }

    /// The file's own name.
    pub(super) fn leaf(&self) -> &CStr {
        c_str(self.whole.get(self.leaf_at..).unwrap_or_default())
    }
}

// An empty string names nothing, so a missing NUL could only ever make a call fail.
fn c_str(bytes: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(bytes).unwrap_or_default()
}

impl FlatName {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path().whole().to_string_lossy())
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectName({self})")
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'~')
}

fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}

fn upper_hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A number from exactly `digits` lower-case hexadecimal digits.
pub(super) fn parse_lower_hex(text: &[u8], digits: usize) -> Option<u128> {
    let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.iter().all(lower) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// Whether a flat name has the shape `<model>_<world size>_<worker>_<hash>_<dtype>…` of
/// LMCache's keys, which tells its files from a stranger's in the same directory.
pub(in crate::layout) fn has_lmcache_shape(name: &[u8]) -> bool {
    let digits = |field: &[u8]| !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    let hash = |field: &[u8]| {
        // Python prints a negative hash with its sign.
        let field = field.strip_prefix(b"-").unwrap_or(field);
        !field.is_empty() && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let dtype = |rest: &[u8]| {
        LMCACHE_DTYPES.iter().any(|dtype| {
            rest.strip_prefix(dtype.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'_')))
        })
    };
    // Each `_` may end the model's name, which holds any number of them itself.
    name.iter().enumerate().filter(|&(_, &byte)| byte == b'_').any(|(at, _)| {
        let mut fields = name.get(at + 1..).unwrap_or_default().splitn(4, |&byte| byte == b'_');
        let mut next = || fields.next().unwrap_or_default();
        digits(next()) && digits(next()) && hash(next()) && dtype(next())
    })
}

/// The data types in LMCache's keys, in its spelling.
const LMCACHE_DTYPES: [&str; 14] = [
    "half",
    "bfloat16",
    "float",
    "double",
    "int8",
    "uint8",
    "int16",
    "int32",
    "int64",
    "bool",
    "fp8_e4m3fn",
    "fp8_e4m3fnuz",
    "fp8_e5m2",
    "fp8_e5m2fnuz",
];
