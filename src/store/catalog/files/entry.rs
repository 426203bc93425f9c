//! One file of a dynamic store, packed into a single allocation: a fixed head, then its name if it
//! has one. All access goes through this file.

use crate::store::catalog::index::Record;

const ID_AT: usize = 0;
const BYTES_AT: usize = 16;
const NODE_AT: usize = 24;
const PINS_AT: usize = 28;
const NAMED_AT: usize = 32;
const NAME_AT: usize = 33;

/// What is known of a file, beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u128,
    pub(super) bytes: u64,
    /// Its place in the eviction order.
    pub(super) node: u32,
    pub(super) pins: u32,
}

impl Entry {
    /// Packs an entry.
    pub(super) fn pack(&self, name: Option<&str>) -> Record {
        let text = name.unwrap_or_default();
        let mut packed = Vec::with_capacity(NAME_AT + text.len());
        packed.extend_from_slice(&self.id.to_le_bytes());
        packed.extend_from_slice(&self.bytes.to_le_bytes());
        packed.extend_from_slice(&self.node.to_le_bytes());
        packed.extend_from_slice(&self.pins.to_le_bytes());
        packed.push(u8::from(name.is_some()));
        packed.extend_from_slice(text.as_bytes());
        packed.into_boxed_slice()
    }

    /// Reads a packed entry.
    pub(super) fn unpack(packed: &[u8]) -> Entry {
        Entry {
            id: u128::from_le_bytes(field(packed, ID_AT)),
            bytes: u64::from_le_bytes(field(packed, BYTES_AT)),
            node: u32::from_le_bytes(field(packed, NODE_AT)),
            pins: u32::from_le_bytes(field(packed, PINS_AT)),
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

/// Sets the number of pins in place.
pub(super) fn set_pins(packed: &mut [u8], pins: u32) {
    packed[PINS_AT..NAMED_AT].copy_from_slice(&pins.to_le_bytes());
}

/// Sets the file's size in place.
pub(super) fn set_bytes(packed: &mut [u8], bytes: u64) {
    packed[BYTES_AT..NODE_AT].copy_from_slice(&bytes.to_le_bytes());
}

/// Cannot fail: every record of this index came from [`Entry::pack`].
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
        let entry = Entry { id: u128::MAX - 5, bytes: 1 << 50, node: 77, pins: 0x0102_0304 };
        let mut packed = entry.pack(Some("model%40hash"));
        assert_eq!((Entry::unpack(&packed), name(&packed)), (entry, Some("model%40hash")));
        set_pins(&mut packed, 9);
        set_bytes(&mut packed, 8);
        assert_eq!(Entry::unpack(&packed), Entry { pins: 9, bytes: 8, ..entry });
        assert_eq!(name(&packed), Some("model%40hash"));
        assert!(
            is_id(entry.id)(&packed) && !is_id(5)(&packed) && is_node(77)(&packed) && !is_node(9)(&packed)
        );

        assert_eq!(name(&entry.pack(None)), None);
        assert_eq!(name(&entry.pack(Some(""))), Some(""));
    }
}
