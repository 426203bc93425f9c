//! Copies and checksums over memory that is known only by address.

use super::segment::{HostSlice, Segment, for_each_slice};
use super::xxh3;

/// XXH3 (64 bit) of one checksum block that lies in `segments` from `from` to `to`.
///
/// A block in one piece is hashed in place; one that straddles segments is gathered into
/// `scratch` first, which must hold the block.
pub fn checksum(segments: &[Segment], from: usize, to: usize, scratch: &mut [u8]) -> u64 {
    let mut whole = None;
    for_each_slice(segments, from, to, |slice| {
        if slice.length == to - from {
            whole = Some(slice);
        }
    });
    if let Some(slice) = whole {
        return checksum_slice(slice);
    }
    let gathered = &mut scratch[..to - from];
    gather(segments, from, gathered);
    xxh3::checksum(gathered)
}

/// XXH3 (64 bit) of one stretch of memory.
pub fn checksum_slice(slice: HostSlice) -> u64 {
    // SAFETY: the maker of the HostPtr vouched for these bytes until the operation completes, and it
    // has not completed yet; nobody writes them meanwhile.
    xxh3::checksum(unsafe { std::slice::from_raw_parts(slice.pointer.as_ptr(), slice.length) })
}

/// XXH3 (64 bit) of bytes of our own.
pub fn checksum_bytes(bytes: &[u8]) -> u64 {
    xxh3::checksum(bytes)
}

/// Copies the stretch `source` into `target`, which is as long.
pub fn gather_slice(source: HostSlice, target: &mut [u8]) {
    let target = &mut target[..source.length];
    // SAFETY: as in `gather`.
    unsafe { std::ptr::copy_nonoverlapping(source.pointer.as_ptr(), target.as_mut_ptr(), target.len()) };
}

/// Copies the stretch `source` into `segments` from offset `from` on.
pub fn scatter_slice(source: HostSlice, segments: &[Segment], from: usize) {
    let mut at = 0;
    for_each_slice(segments, from, from + source.length, |slice| {
        let part = source.pointer.offset(at);
        // SAFETY: as in `scatter`, with a source in the staging buffer.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), slice.pointer.as_ptr(), slice.length) };
        at += slice.length;
    });
}

/// Copies the bytes of `segments` from offset `from` on into the stretch `target`, filling it.
pub fn gather_into(segments: &[Segment], from: usize, target: HostSlice) {
    let mut at = 0;
    for_each_slice(segments, from, from + target.length, |slice| {
        let part = target.pointer.offset(at);
        // SAFETY: as in `gather`, with a target in the staging buffer.
        unsafe { std::ptr::copy_nonoverlapping(slice.pointer.as_ptr(), part.as_ptr(), slice.length) };
        at += slice.length;
    });
}

/// Copies the bytes of `segments` from offset `from` on into `target`, filling it.
pub fn gather(segments: &[Segment], from: usize, target: &mut [u8]) {
    let mut at = 0;
    for_each_slice(segments, from, from + target.len(), |slice| {
        let part = &mut target[at..at + slice.length];
        // SAFETY: the source is valid as HostPtr's maker vouched, the target is ours and as long;
        // store memory and caller memory are different allocations or, for memory that the store
        // lent out, different parts of one.
        unsafe { std::ptr::copy_nonoverlapping(slice.pointer.as_ptr(), part.as_mut_ptr(), part.len()) };
        at += slice.length;
    });
}

/// Copies `source` into `segments` from offset `from` on.
pub fn scatter(source: &[u8], segments: &[Segment], from: usize) {
    let mut at = 0;
    for_each_slice(segments, from, from + source.len(), |slice| {
        let part = &source[at..at + slice.length];
        // SAFETY: as in `gather`, the other way round; a get's memory is writable until it completes.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), slice.pointer.as_ptr(), part.len()) };
        at += slice.length;
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{HostPtr, MemoryKind};

    fn segments(parts: &mut [Vec<u8>]) -> Vec<Segment> {
        parts
            .iter_mut()
            .map(|part| Segment {
                // SAFETY: the vectors outlive the segments in each test.
                pointer: unsafe { HostPtr::new(part.as_mut_ptr()) },
                length: part.len(),
                kind: MemoryKind::Host,
            })
            .collect()
    }

    /// However the bytes are cut into segments, scatter and gather see one string and the checksum is
    /// that of the string.
    #[test]
    fn segments_are_one_string_of_bytes() {
        let text: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut parts = vec![vec![0; 1], vec![0; 499], vec![0; 3], vec![0; 497]];
        let view = segments(&mut parts);
        scatter(&text, &view, 0);
        let mut back = vec![0; 700];
        gather(&view, 150, &mut back);
        assert_eq!(back, text[150..850]);
        let mut scratch = vec![0; 1000];
        for (from, to) in [(0, 1000), (1, 500), (200, 300), (499, 504)] {
            assert_eq!(checksum(&view, from, to, &mut scratch), xxh3::checksum(&text[from..to]));
        }
        assert_eq!(parts.concat(), text);
    }
}
