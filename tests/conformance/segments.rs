//! Scatter and gather over any number of segments.

use crate::common::status::OK;
use crate::common::{Batch, Cut, Pieces, payload};
use crate::{Case, KIB, MIB};

/// Object sizes and how they are cut. The kernel takes at most 1024 stretches of memory in one call; the API takes
/// 65536 segments of an item.
const SCATTERED: &[(usize, Cut)] = &[
    (1023 * 4096, Cut::Even { piece: 4096, gap: 4096, offset: 0 }),
    (1024 * 4096, Cut::Even { piece: 4096, gap: 4096, offset: 0 }),
    (1025 * 4096 + 17, Cut::Even { piece: 4096, gap: 4096, offset: 0 }),
    (64 * KIB, Cut::Even { piece: 512, gap: 512, offset: 0 }),
    (256 * KIB, Cut::Even { piece: 256, gap: 256, offset: 0 }),
    (64 * KIB, Cut::Even { piece: 1, gap: 0, offset: 0 }),
    (64 * KIB, Cut::Even { piece: 1, gap: 1, offset: 3 }),
    (8 * MIB, Cut::Even { piece: 128, gap: 0, offset: 64 }),
    (MIB, Cut::Ragged { pieces: 300, seed: 3 }),
    (5000, Cut::Ragged { pieces: 1000, seed: 4 }),
    (3 * MIB + 17, Cut::Ragged { pieces: 4000, seed: 5 }),
    (2 * MIB + 4095, Cut::Even { piece: 64 * KIB + 4096, gap: 4096, offset: 0 }),
];

/// A paged KV cache has an object's layers all over its memory. However many the pieces and whatever their sizes,
/// the object is their bytes one after the other.
pub fn objects_in_many_segments_come_back(case: &Case) {
    let opened = case.open(4, 8 * MIB);
    let store = &opened.store;
    for (index, &(size, cut)) in SCATTERED.iter().enumerate() {
        let object = payload(index as u64, size);
        let source = Pieces::holding(&object, cut);
        let what = format!("{size} bytes in {} segments, {cut:?}", source.count());
        let mut puts = Batch::new();
        puts.pieces(b"key", &source);
        assert_eq!(store.put_batch(&puts).0, OK, "{what}");
        source.assert_holds(&object, &format_args!("source of {what}"));

        // Once in one piece, so that an error made both ways does not cancel out.
        let (mut whole, target) = (vec![0; size], Pieces::new(size, cut));
        let mut gets = Batch::new();
        gets.get(b"key", &mut whole);
        gets.pieces(b"key", &target);
        let (status, _) = store.get_batch(&gets);
        drop(gets);
        assert_eq!(status, OK, "{what}");
        crate::common::payload::assert_same(&whole, &object, &what);
        target.assert_holds(&object, &what);
    }
    opened.end();
}

/// All of them in one batch, which share lanes, staging buffer and queue, with no time to rest in between.
pub fn a_batch_of_scattered_objects_comes_back(case: &Case) {
    let opened = case.open(16, 4 * MIB + 64 * KIB);
    let store = &opened.store;
    let small = |&&(size, _): &&(usize, Cut)| size <= 3 * MIB + 17;
    let scattered: Vec<_> = SCATTERED.iter().filter(small).collect();
    let objects: Vec<_> = (0u64..).zip(&scattered).map(|(seed, (size, _))| payload(seed, *size)).collect();
    let keys: Vec<_> = (0..objects.len()).map(|index| format!("object-{index}").into_bytes()).collect();
    let pieces = |holding: bool| -> Vec<Pieces> {
        let each = scattered.iter().zip(&objects);
        each.map(
            |(&&(size, cut), object)| {
                if holding { Pieces::holding(object, cut) } else { Pieces::new(size, cut) }
            },
        )
        .collect()
    };
    let (sources, targets) = (pieces(true), pieces(false));
    let (mut puts, mut gets) = (Batch::new(), Batch::new());
    for ((key, source), target) in keys.iter().zip(&sources).zip(&targets) {
        puts.pieces(key, source);
        gets.pieces(key, target);
    }
    assert_eq!(store.put_batch(&puts).0, OK);
    assert_eq!(store.get_batch(&gets).0, OK);
    for ((object, target), (size, cut)) in objects.iter().zip(&targets).zip(&scattered) {
        target.assert_holds(object, &format_args!("{size} bytes, {cut:?}"));
    }
    opened.end();
}
