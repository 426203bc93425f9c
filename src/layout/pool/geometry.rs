//! Where slots lie: pure arithmetic, checked once when a pool is opened and cheap afterwards.

use crate::layout::record;

/// Files that the slots of a new pool are spread over, fewer where there are fewer slots. A handful
/// lets the file system work on several at a time without touching the limit on open files.
pub const FILE_COUNT: u32 = 8;
/// Most files that a pool can have: their numbers have three digits.
pub const FILE_COUNT_MAX: u32 = 999;
/// Bytes of the largest pool file. ext4 ends at 16 TiB; half of that leaves room for other limits.
pub const FILE_BYTES_MAX: u64 = 8 << 40;

/// Where a slot starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into the pool's files.
    pub file_index: u32,
    /// Offset of the slot's first byte in that file.
    pub slot_offset: u64,
}

/// The lengths that a pool is made of. Slot `i` lies in file `i % file_count` at position `i / file_count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slot_count: u32,
    file_count: u32,
    chunk_bytes: u64,
    padded_chunk_bytes: u64,
    trailer_bytes: u64,
    slot_bytes: u64,
}

impl Geometry {
    /// `None` if there are no slots, no chunk bytes, more files than slots, or a file would be too large.
    pub fn new(slot_count: u32, chunk_bytes: u64, file_count: u32) -> Option<Geometry> {
        if file_count == 0 || file_count > slot_count.min(FILE_COUNT_MAX) {
            return None;
        }
        let padded_chunk_bytes = record::padded(chunk_bytes)?;
        let trailer_bytes = record::trailer_bytes(padded_chunk_bytes)?;
        let slot_bytes = padded_chunk_bytes.checked_add(trailer_bytes)?;
        let largest_file = slot_bytes.checked_mul(u64::from(slot_count.div_ceil(file_count)))?;
        (largest_file <= FILE_BYTES_MAX).then_some(Geometry {
            slot_count,
            file_count,
            chunk_bytes,
            padded_chunk_bytes,
            trailer_bytes,
            slot_bytes,
        })
    }

    /// Slots of the pool.
    pub fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// Files of the pool.
    pub fn file_count(&self) -> u32 {
        self.file_count
    }

    /// Bytes of the largest payload.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Bytes of a slot before its trailer.
    pub fn padded_chunk_bytes(&self) -> u64 {
        self.padded_chunk_bytes
    }

    /// Bytes of every trailer of the pool, whatever the payload's length.
    pub fn trailer_bytes(&self) -> u64 {
        self.trailer_bytes
    }

    /// Bytes of a slot, trailer included.
    pub fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    /// Bytes of file `file_index`; 0 past the last.
    pub fn file_bytes(&self, file_index: u32) -> u64 {
        if file_index >= self.file_count {
            return 0;
        }
        let slots = self.slot_count.saturating_sub(file_index).div_ceil(self.file_count);
        u64::from(slots).saturating_mul(self.slot_bytes)
    }

    /// Bytes of all files. Cannot overflow: both factors of the product are bounded.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.slot_count).saturating_mul(self.slot_bytes)
    }

    /// Where `slot` starts. A slot that the pool does not have gets a place past the end of a file.
    pub fn place(&self, slot: u32) -> Place {
        let position = u64::from(slot / self.file_count);
        Place { file_index: slot % self.file_count, slot_offset: position.saturating_mul(self.slot_bytes) }
    }

    /// Offset in the place's file where the trailer starts.
    pub fn trailer_offset(&self, place: Place) -> u64 {
        place.slot_offset.saturating_add(self.padded_chunk_bytes)
    }

    /// Offset in the place's file where a payload of `payload_bytes` starts: it ends, padded, where
    /// the trailer begins, so that both go down in one ascending write. `None` if it is empty or too long.
    pub fn payload_offset(&self, place: Place, payload_bytes: u64) -> Option<u64> {
        if payload_bytes > self.chunk_bytes {
            return None;
        }
        self.trailer_offset(place).checked_sub(record::padded(payload_bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two slots that overlapped would destroy each other's chunks; gaps would waste the disk.
    #[test]
    fn slots_tile_the_files_without_gap_or_overlap() {
        for (slots, files) in [(1, 1), (7, 7), (8, 8), (9, 8), (100, 8), (1001, 8)] {
            let geometry = Geometry::new(slots, 100_000, files).unwrap();
            let mut seen = vec![Vec::new(); files as usize];
            for slot in 0..slots {
                let place = geometry.place(slot);
                seen[place.file_index as usize].push(place.slot_offset);
            }
            let mut total = 0;
            for (index, mut offsets) in seen.into_iter().enumerate() {
                offsets.sort_unstable();
                let expected: Vec<u64> =
                    (0..offsets.len() as u64).map(|at| at * geometry.slot_bytes()).collect();
                assert_eq!(offsets, expected);
                assert_eq!(geometry.file_bytes(index as u32), offsets.len() as u64 * geometry.slot_bytes());
                total += geometry.file_bytes(index as u32);
            }
            assert_eq!(total, geometry.total_bytes());
            assert_eq!(geometry.file_bytes(files), 0);
        }
    }

    /// The payload of a shorter object ends right before the trailer, and never reaches out of its slot.
    #[test]
    fn payloads_are_right_aligned_against_the_trailer() {
        let geometry = Geometry::new(10, 100_000, 4).unwrap();
        let place = geometry.place(9);
        assert_eq!(geometry.padded_chunk_bytes(), 102_400);
        assert_eq!(geometry.trailer_offset(place), place.slot_offset + 102_400);
        assert_eq!(geometry.payload_offset(place, 100_000), Some(place.slot_offset));
        assert_eq!(geometry.payload_offset(place, 1), Some(place.slot_offset + 102_400 - 4096));
        assert_eq!(geometry.payload_offset(place, 0), None);
        assert_eq!(geometry.payload_offset(place, 100_001), None);
    }

    /// Sizes come from a configuration file; what cannot be is refused instead of wrapping around.
    #[test]
    fn impossible_sizes_are_refused() {
        assert!(Geometry::new(0, 4096, 1).is_none());
        assert!(Geometry::new(4, 0, 4).is_none());
        assert!(Geometry::new(4, 4096, 5).is_none());
        assert!(Geometry::new(4, 4096, 0).is_none());
        assert!(Geometry::new(u32::MAX, 4096, 1000).is_none());
        assert!(Geometry::new(u32::MAX, u64::MAX, 8).is_none());
        assert!(Geometry::new(u32::MAX, 1 << 40, 8).is_none());
        assert!(Geometry::new(1, FILE_BYTES_MAX, 1).is_none());
        assert!(Geometry::new(1, FILE_BYTES_MAX / 2, 1).is_some());
    }
}
