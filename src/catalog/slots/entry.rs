//! One key of a static pool, packed into a single record: the key, then fixed fields.
//!
//! Packed because a get needs both; the key first because most lookups only compare it, and so
//! mostly touch a cache line less. All access goes through this file.

use crate::catalog::arena::RECORD_BYTES_MAX;

const GENERATION_AT: usize = 0;
const LENGTH_AT: usize = 8;
const SLOT_AT: usize = 16;
const PINS_AT: usize = 20;
const END: usize = 24;

/// Memory of a packed entry beside its key.
pub(super) const FIELDS_BYTES: usize = END;
/// Longest key that fits.
pub(super) const KEY_BYTES_MAX: usize = RECORD_BYTES_MAX - FIELDS_BYTES;

/// What is known of a key, beside the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) generation: u64,
    pub(super) length: u64,
    pub(super) slot: u32,
    pub(super) pins: u32,
}

impl Entry {
    /// The fields of the packed entry, which follow the key.
    pub(super) fn fields(&self) -> [u8; FIELDS_BYTES] {
        let mut fields = [0; FIELDS_BYTES];
        fields[GENERATION_AT..LENGTH_AT].copy_from_slice(&self.generation.to_le_bytes());
        fields[LENGTH_AT..SLOT_AT].copy_from_slice(&self.length.to_le_bytes());
        fields[SLOT_AT..PINS_AT].copy_from_slice(&self.slot.to_le_bytes());
        fields[PINS_AT..END].copy_from_slice(&self.pins.to_le_bytes());
        fields
    }

    /// Reads a packed entry.
    #[inline]
    pub(super) fn unpack(packed: &[u8]) -> Entry {
        Entry {
            generation: u64::from_le_bytes(field(packed, GENERATION_AT)),
            length: u64::from_le_bytes(field(packed, LENGTH_AT)),
            slot: u32::from_le_bytes(field(packed, SLOT_AT)),
            pins: u32::from_le_bytes(field(packed, PINS_AT)),
        }
    }
}

/// The key of a packed entry.
#[inline]
pub(super) fn key(packed: &[u8]) -> &[u8] {
    &packed[..fields_at(packed)]
}

/// Whether a packed entry is that of `wanted`.
#[inline]
pub(super) fn is_key(wanted: &[u8]) -> impl Fn(&[u8]) -> bool {
    move |packed| key(packed) == wanted
}

/// Whether a packed entry is the one in `slot`.
pub(super) fn is_in(slot: u32) -> impl Fn(&[u8]) -> bool {
    move |packed| u32::from_le_bytes(field(packed, SLOT_AT)) == slot
}

/// Writes other fields over those of a packed entry.
pub(super) fn rewrite(packed: &mut [u8], entry: &Entry) {
    let at = fields_at(packed);
    packed[at..].copy_from_slice(&entry.fields());
}

/// Cannot fail: every record of this index ends with an [`Entry::fields`].
#[inline]
fn field<const N: usize>(packed: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    let at = fields_at(packed) + at;
    bytes.copy_from_slice(&packed[at..at + N]);
    bytes
}

#[inline]
fn fields_at(packed: &[u8]) -> usize {
    packed.len() - FIELDS_BYTES
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// Each field must survive packing and no change of one may spill into another or the key.
    #[test]
    fn packing_keeps_every_field_apart() {
        let entry =
            Entry { generation: u64::MAX - 1, length: 1 << 40, slot: u32::MAX - 7, pins: 0x0102_0304 };
        let mut packed = [b"a key", &entry.fields()[..]].concat();
        assert_eq!((Entry::unpack(&packed), key(&packed)), (entry, &b"a key"[..]));

        let other = Entry { generation: 3, length: 2, slot: u32::MAX - 8, pins: 1 };
        rewrite(&mut packed, &other);
        assert_eq!((Entry::unpack(&packed), key(&packed)), (other, &b"a key"[..]));
        assert!(is_in(other.slot)(&packed) && !is_in(9)(&packed));
        assert!(is_key(b"a key")(&packed) && !is_key(b"a ke")(&packed) && !is_key(b"a key2")(&packed));
    }
}
