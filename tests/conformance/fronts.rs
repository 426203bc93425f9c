//! Gets that are told from the front: what is said to be in place is right, while the rest is on its way and afterwards.

use crate::common::batch::Submit;
use crate::common::status::{BUFFER_TOO_SMALL, IN_PROGRESS, NOT_FOUND, OK, OUT_OF_RANGE};
use crate::common::{Batch, Cut, Pieces, payload};
use crate::{Case, KIB, MIB};
use nixl_store::capi::NIXL_STORE_ITEM_FRONT;

const OBJECTS: &[usize] = &[1, 4096, 64 * KIB + 1, MIB, 3 * MIB + 12_345];
const CUTS: &[Cut] = &[
    Cut::Whole { offset: 0 },
    Cut::Whole { offset: 7 },
    Cut::Even { piece: 64 * KIB, gap: 4096, offset: 0 },
    Cut::Ragged { pieces: 9, seed: 4 },
];
/// How long it is waited for one more byte.
const PATIENCE_MS: u64 = 60_000;

/// Whole objects and ranges of them, each into memory of every shape: the number never falls, never runs ahead of the bytes, and is
/// all of them at the end.
pub fn what_is_told_from_the_front_is_right(case: &Case) {
    let opened = case.open(8, 4 * MIB);
    let store = &opened.store;
    for (seed, &size) in OBJECTS.iter().enumerate() {
        let object = payload(seed as u64, size);
        assert_eq!(store.put(b"key", &object), OK);
        for &cut in CUTS {
            for (from, length) in [(None, size), (Some(size / 3), size - size / 3)] {
                let target = Pieces::new(length, cut);
                let mut batch = Batch::new();
                match from {
                    None => batch.pieces(b"key", &target),
                    Some(from) => batch.pieces_range(b"key", from as u64, &target),
                }
                batch.flag(NIXL_STORE_ITEM_FRONT);
                let wanted = &object[from.unwrap_or(0)..][..length];
                let pending = store.submit_gets(&batch, Submit::default()).unwrap();
                let mut last = 0;
                loop {
                    let (status, there) = pending.progress(0, last + 1, PATIENCE_MS);
                    assert!(there >= last && there <= length as u64, "{there} after {last} of {length}");
                    pending.look();
                    target.assert_begins(&wanted[..there as usize]);
                    last = there;
                    if status != IN_PROGRESS {
                        assert_eq!((status, there), (OK, length as u64));
                        break;
                    }
                }
                assert_eq!(pending.wait().0, OK);
                target.assert_holds(wanted, &format_args!("{size} bytes, range {from:?}, {cut:?}"));
            }
        }
    }
    opened.end();
}

/// One that finds nothing, or not what was asked for, tells of no byte.
pub fn a_front_of_nothing_is_nothing(case: &Case) {
    let opened = case.open(4, 2 * MIB);
    let store = &opened.store;
    assert_eq!(store.put(b"key", &payload(1, MIB)), OK);
    let (short, long) = (Pieces::new(MIB - 1, CUTS[0]), Pieces::new(MIB, CUTS[0]));
    let mut batch = Batch::new();
    batch.pieces(b"another", &long);
    batch.flag(NIXL_STORE_ITEM_FRONT);
    batch.pieces(b"key", &short);
    batch.flag(NIXL_STORE_ITEM_FRONT);
    let beyond = Pieces::new(2, CUTS[0]);
    batch.pieces_range(b"key", MIB as u64 - 1, &beyond);
    batch.flag(NIXL_STORE_ITEM_FRONT);
    let pending = store.submit_gets(&batch, Submit::default()).unwrap();
    for (item, status) in [NOT_FOUND, BUFFER_TOO_SMALL, OUT_OF_RANGE].into_iter().enumerate() {
        assert_eq!(pending.progress(item, 1, PATIENCE_MS), (status, 0));
    }
    let _ = pending.wait();
    opened.end();
}
