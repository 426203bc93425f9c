//! Memory of different kinds in one store: what is written from one is read into any other.

use crate::common::batch::Where;
use crate::common::status::OK;
use crate::common::{Batch, Cut, Pieces, payload};
use crate::{Case, KIB, MIB};

const OBJECTS: &[usize] = &[5000, 64 * KIB, 2 * MIB + 300];
const CUTS: &[Cut] = &[
    Cut::Whole { offset: 0 },
    Cut::Even { piece: 64 * KIB, gap: 4096, offset: 0 },
    Cut::Ragged { pieces: 40, seed: 8 },
];
const PLACES: [Where; 3] = [Where::AsTheStore, Where::OnTheHost, Where::InTurns];

/// Objects are written from memory of the store's kind, from host memory, and from both in turns, segment by segment, and read
/// into each: an error that is made on one side and undone on the other shows.
pub fn what_is_written_from_one_kind_is_read_into_another(case: &Case) {
    let opened = case.open(4, 4 * MIB);
    let store = &opened.store;
    for (seed, &size) in OBJECTS.iter().enumerate() {
        let object = payload(seed as u64, size);
        for &cut in CUTS {
            for from in PLACES {
                let source = Pieces::holding(&object, cut);
                let mut puts = Batch::of(from);
                puts.pieces(b"key", &source);
                assert_eq!(store.put_batch(&puts).0, OK);
                for to in PLACES {
                    let target = Pieces::new(size, cut);
                    let mut gets = Batch::of(to);
                    gets.pieces(b"key", &target);
                    let what = format!("{size} bytes, {cut:?}, from {from:?} to {to:?}");
                    assert_eq!(store.get_batch(&gets).0, OK, "{what}");
                    target.assert_holds(&object, &what);
                }
            }
        }
    }
    opened.end();
}
