//! Objects that say in every line whose and which version they are, so that a mixture of two shows.

use crate::common::Random;

/// Bytes of a line.
pub const LINE: usize = 64;

/// What an object says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub key: u64,
    pub version: u64,
    pub length: usize,
}

impl Version {
    /// The bytes of this version; lengths are whole lines and differ from one version to the next.
    pub fn bytes(self) -> Vec<u8> {
        assert!(self.length >= LINE && self.length.is_multiple_of(LINE));
        let mut bytes = vec![0; self.length];
        for (number, line) in bytes.chunks_exact_mut(LINE).enumerate() {
            self.write_line(number as u64, line);
        }
        bytes
    }

    fn write_line(self, number: u64, line: &mut [u8]) {
        let fields = [self.key, self.version, self.length as u64, number];
        for (place, field) in line.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        Random::new(self.version << 20 ^ self.key << 50 ^ number).fill(&mut line[32..]);
    }

    /// The version that these bytes are a part of, from `offset` on; a whole number of lines.
    #[track_caller]
    pub fn of_part(bytes: &[u8], offset: usize, what: &dyn std::fmt::Display) -> Version {
        assert!(bytes.len() >= LINE && bytes.len().is_multiple_of(LINE), "{what}: {} bytes", bytes.len());
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let said = Version { key: field(0), version: field(8), length: field(16) as usize };
        let mut line = [0; LINE];
        for (number, found) in bytes.chunks_exact(LINE).enumerate() {
            let number = offset / LINE + number;
            said.write_line(number as u64, &mut line);
            assert!(found == line, "{what}: line {number} is none of {said:?}");
        }
        said
    }

    /// The version that these bytes are, all of it and nothing else.
    #[track_caller]
    pub fn of(bytes: &[u8], what: &dyn std::fmt::Display) -> Version {
        let version = Version::of_part(bytes, 0, what);
        assert_eq!(version.length, bytes.len(), "{what}: a part of {version:?}");
        version
    }
}
