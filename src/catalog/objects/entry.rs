//! One object of a dynamic store, packed into a single record: a fixed head, then its name if it has
//! one. All access goes through this file.

use crate::catalog::arena::RECORD_BYTES_MAX;

const ID_AT: usize = 0;
const BYTES_AT: usize = 16;
const NODE_AT: usize = 24;
const PINS_AT: usize = 28;
const NAMED_AT: usize = 32;
const NOTE_AT: usize = 33;
const NAME_AT: usize = 35;

/// Bytes of a packed entry before the name.
const HEAD_BYTES: usize = NAME_AT;
/// Longest name that fits; far above what file systems allow.
pub(super) const NAME_BYTES_MAX: usize = RECORD_BYTES_MAX - HEAD_BYTES;

/// What is known of an object, beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u128,
    pub(super) bytes: u64,
    /// Its place in the eviction order.
    pub(super) node: u32,
    pub(super) pins: u32,
    /// Whether a name follows.
    pub(super) named: bool,
    /// What the placement wrote down beside it; 0 is nothing.
    pub(super) note: u16,
}

impl Entry {
    /// The head of the packed entry; the name follows it.
    pub(super) fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[ID_AT..BYTES_AT].copy_from_slice(&self.id.to_le_bytes());
        head[BYTES_AT..NODE_AT].copy_from_slice(&self.bytes.to_le_bytes());
        head[NODE_AT..PINS_AT].copy_from_slice(&self.node.to_le_bytes());
        head[PINS_AT..NAMED_AT].copy_from_slice(&self.pins.to_le_bytes());
        head[NAMED_AT] = u8::from(self.named);
        head[NOTE_AT..NAME_AT].copy_from_slice(&self.note.to_le_bytes());
        head
    }

    /// Reads a packed entry.
    pub(super) fn unpack(packed: &[u8]) -> Entry {
        Entry {
            id: u128::from_le_bytes(field(packed, ID_AT)),
            bytes: u64::from_le_bytes(field(packed, BYTES_AT)),
            node: u32::from_le_bytes(field(packed, NODE_AT)),
            pins: u32::from_le_bytes(field(packed, PINS_AT)),
            named: packed[NAMED_AT] != 0,
            note: u16::from_le_bytes(field(packed, NOTE_AT)),
        }
    }
}

/// The name in a packed entry.
pub(super) fn name(packed: &[u8]) -> Option<&str> {
    if packed[NAMED_AT] == 0 { None } else { std::str::from_utf8(&packed[NAME_AT..]).ok() }
}

/// Whether a packed entry is that of `id`.
pub(super) fn is_id(id: u128) -> impl Fn(&[u8]) -> bool {
    move |packed| u128::from_le_bytes(field(packed, ID_AT)) == id
}

/// Whether a packed entry has this place in the eviction order.
pub(super) fn is_node(node: u32) -> impl Fn(&[u8]) -> bool {
    move |packed| u32::from_le_bytes(field(packed, NODE_AT)) == node
}

/// Writes another head over that of a packed entry.
pub(super) fn rewrite(packed: &mut [u8], entry: &Entry) {
    packed[..HEAD_BYTES].copy_from_slice(&entry.head());
}

/// Cannot fail: every record of this index begins with an [`Entry::head`].
fn field<const N: usize>(packed: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&packed[at..at + N]);
    bytes
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// Each field must survive packing, no change of one may spill into another, and an empty name
    /// is not the same as none.
    #[test]
    fn packing_keeps_every_field_apart() {
        let entry = Entry {
            id: u128::MAX - 5,
            bytes: 1 << 50,
            node: 77,
            pins: 0x0102_0304,
            named: true,
            note: 0x0506,
        };
        let mut packed = [&entry.head()[..], b"model%40hash"].concat();
        assert_eq!((Entry::unpack(&packed), name(&packed)), (entry, Some("model%40hash")));
        let other = Entry { id: 1, bytes: 2, node: 78, pins: 3, named: true, note: 9 };
        rewrite(&mut packed, &other);
        assert_eq!((Entry::unpack(&packed), name(&packed)), (other, Some("model%40hash")));
        assert!(is_id(1)(&packed) && !is_id(2)(&packed) && is_node(78)(&packed) && !is_node(77)(&packed));

        assert_eq!(name(&entry.head()), Some(""));
        assert_eq!(name(&Entry { named: false, ..entry }.head()), None);
    }
}
