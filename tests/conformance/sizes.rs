//! Objects of every size, from memory of every shape.

use crate::common::status::OK;
use crate::common::{Batch, Cut, Pieces, payload};
use crate::{Case, KIB, MIB};

/// Around every boundary that the layout knows: bytes, sectors, pages, checksum blocks, slices of the staging
/// buffer, requests; and the largest that fits.
const SIZES: &[usize] = &[
    1,
    2,
    511,
    512,
    4095,
    4096,
    4097,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    256 * KIB + 4096,
    MIB - 1,
    MIB,
    MIB + 1,
    3 * MIB + 17,
    8 * MIB,
];

/// Shapes of memory: aligned for direct transfers, a little off, in pieces that go direct, in pieces that cannot.
const CUTS: &[Cut] = &[
    Cut::Whole { offset: 0 },
    Cut::Whole { offset: 1 },
    Cut::Even { piece: 4096, gap: 4096, offset: 0 },
    Cut::Ragged { pieces: 7, seed: 1 },
    Cut::Whole { offset: 512 },
    Cut::Even { piece: 64 * KIB, gap: 0, offset: 4096 },
    Cut::Whole { offset: 4095 },
    Cut::Ragged { pieces: 300, seed: 2 },
    Cut::Even { piece: 12288, gap: 8192, offset: 0 },
    Cut::Even { piece: 1000, gap: 3, offset: 5 },
];

/// Pairs of source and target memory for each size; over all sizes they come to most combinations.
const PAIRS_PER_SIZE: usize = 4;

/// An engine puts from wherever its tensors are and gets into wherever there is room: whatever the size and the
/// alignment of the two, the same bytes come back, the source is as it was, and no byte around the target changes.
pub fn objects_of_every_size_come_back(case: &Case) {
    let opened = case.open(4, 8 * MIB);
    let store = &opened.store;
    for (index, &size) in SIZES.iter().enumerate() {
        let object = payload(index as u64, size);
        for pair in 0..PAIRS_PER_SIZE {
            let nth = index * PAIRS_PER_SIZE + pair;
            let (from, to) = (CUTS[nth % CUTS.len()], CUTS[(nth * 3 + nth / CUTS.len()) % CUTS.len()]);
            let what = format!("{size} bytes from {from:?} to {to:?}");
            let source = Pieces::holding(&object, from);
            let mut puts = Batch::new();
            puts.pieces(b"key", &source);
            let (status, results) = store.put_batch(&puts);
            assert_eq!((status, results[0].bytes), (OK, size as u64), "{what}");
            source.assert_holds(&object, &format_args!("source of {what}"));
            assert_eq!(store.length(b"key"), (OK, size as u64), "{what}");

            let target = Pieces::new(size, to);
            let mut gets = Batch::new();
            gets.pieces(b"key", &target);
            let (status, results) = store.get_batch(&gets);
            let result = results[0];
            assert_eq!(
                (status, result.bytes, result.object_length),
                (OK, size as u64, size as u64),
                "{what}"
            );
            assert_eq!((result.os_error, result.reserved), (0, [0; 3]));
            target.assert_holds(&object, &what);
        }
    }
    let stats = store.stats();
    let pairs = (SIZES.len() * PAIRS_PER_SIZE) as u64;
    assert_eq!((stats.puts_ok, stats.gets_hit, stats.keys), (pairs, pairs, 1));
    opened.assert_faults_were_met();
    opened.end();
}
