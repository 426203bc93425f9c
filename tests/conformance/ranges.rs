//! Gets of a part of an object.

use crate::common::status::{NOT_FOUND, OK, OUT_OF_RANGE, Status};
use crate::common::{Batch, Cut, Pieces, payload};
use crate::{Case, KIB, MIB};

const OBJECTS: &[usize] = &[1, 5000, 64 * KIB, 128 * KIB + 1, MIB + 4095];
const CUTS: &[Cut] = &[
    Cut::Whole { offset: 0 },
    Cut::Whole { offset: 3 },
    Cut::Even { piece: 4096, gap: 4096, offset: 0 },
    Cut::Ragged { pieces: 5, seed: 6 },
];
/// Ranges of one batch.
const RANGES_PER_BATCH: usize = 200;

/// Around the boundaries of pages and checksum blocks, in the middle, and before the end.
fn offsets(size: usize) -> Vec<usize> {
    let middle = size / 2;
    let mut offsets = vec![0, 1, 4095, 4096, 65535, 65536, 65537, 131_072, middle];
    offsets.extend([1, 2, 17, 4096, 4097, 65536].map(|back| size.wrapping_sub(back)));
    offsets.retain(|&offset| offset < size);
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

/// One layer of a chunk is read without the others: exactly the bytes from the offset on that there is room for,
/// wherever the range begins and ends, with nothing around the target touched.
pub fn a_range_is_that_part_and_no_more(case: &Case) {
    let opened = case.open(8, 2 * MIB);
    let store = &opened.store;
    for &size in OBJECTS {
        let key = format!("object-{size}");
        let object = payload(size as u64, size);
        assert_eq!(store.put(key.as_bytes(), &object), OK);
        let mut wanted = Vec::new();
        for offset in offsets(size) {
            let left = size - offset;
            for length in [1, 2, 4095, 4096, 8192, 65535, 65536, 65537, 200_000, left] {
                if length <= left {
                    wanted.push((offset, length));
                }
            }
        }
        for (index, ranges) in wanted.chunks(RANGES_PER_BATCH).enumerate() {
            let cut = |at: usize| CUTS[(index + at) % CUTS.len()];
            let targets: Vec<_> =
                ranges.iter().enumerate().map(|(at, &(_, length))| Pieces::new(length, cut(at))).collect();
            let mut gets = Batch::new();
            for ((offset, _), target) in ranges.iter().zip(&targets) {
                gets.pieces_range(key.as_bytes(), *offset as u64, target);
            }
            let (status, results) = store.get_batch(&gets);
            assert_eq!(status, OK);
            for ((&(offset, length), target), result) in ranges.iter().zip(&targets).zip(results) {
                let what = format!("{offset}..{} of {size}", offset + length);
                assert_eq!(result.bytes, length as u64, "{what}");
                assert_eq!(result.object_length, size as u64, "{what}");
                target.assert_holds(&object[offset..offset + length], &what);
            }
        }
    }
    opened.end();
}

/// A range that reaches past the end is an error of its own with the object's length, not a short read, however far
/// past it reaches; and a range of what is not there is simply not found.
pub fn a_range_past_the_end_is_refused(case: &Case) {
    let opened = case.open(8, 2 * MIB);
    let store = &opened.store;
    for &size in OBJECTS {
        let key = format!("object-{size}").into_bytes();
        assert_eq!(store.put(&key, &payload(size as u64, size)), OK);
        let length = size as u64;
        let past = [
            (length, 1),
            (length - 1, 2),
            (0, size + 1),
            (length / 2, size + 1),
            (length.next_multiple_of(4096), 1),
            (length + 100_000, 5),
            (1 << 40, 5),
            (u64::MAX - 5, 5),
        ];
        let targets: Vec<_> = past.iter().map(|&(_, room)| Pieces::new(room, CUTS[1])).collect();
        let mut gets = Batch::new();
        for ((offset, _), target) in past.iter().zip(&targets) {
            gets.pieces_range(&key, *offset, target);
        }
        let (status, results) = store.get_batch(&gets);
        assert_eq!(status, OUT_OF_RANGE);
        for (((offset, room), target), result) in past.iter().zip(&targets).zip(results) {
            let what = format!("{room} bytes from {offset} of {size}");
            assert_eq!((Status(result.status), result.object_length), (OUT_OF_RANGE, length), "{what}");
            target.assert_guards(&what);
        }
    }
    let (target, other) = (Pieces::new(10, CUTS[0]), Pieces::new(10, CUTS[0]));
    let mut gets = Batch::new();
    gets.pieces_range(b"absent", 0, &target);
    gets.pieces_range(b"absent", 1 << 40, &other);
    assert_eq!(store.get_batch(&gets).0, NOT_FOUND);
    opened.end();
}
