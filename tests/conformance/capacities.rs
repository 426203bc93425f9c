//! Gets into memory that is smaller or larger than the object.

use crate::common::status::{BUFFER_TOO_SMALL, OK, Status};
use crate::common::{Batch, Cut, Pieces, payload};
use crate::{Case, KIB, MIB};

const OBJECTS: &[usize] = &[2, 4096, 5000, 8192, 64 * KIB, 300 * KIB + 5, MIB + 17];
const CUTS: &[Cut] = &[
    Cut::Whole { offset: 0 },
    Cut::Whole { offset: 7 },
    Cut::Even { piece: 4096, gap: 4096, offset: 0 },
    Cut::Ragged { pieces: 9, seed: 7 },
];

/// An engine that guesses a buffer's size too low learns the right one, and the next get with that much succeeds.
pub fn too_small_a_buffer_is_told_the_length(case: &Case) {
    let opened = case.open(8, 2 * MIB);
    let store = &opened.store;
    for &size in OBJECTS {
        let key = format!("object-{size}").into_bytes();
        let object = payload(size as u64, size);
        assert_eq!(store.put(&key, &object), OK);
        let page = size / 4096 * 4096;
        let mut rooms = vec![1, size / 2, size - 1, page, page.saturating_sub(4096), page.saturating_sub(1)];
        rooms.retain(|&room| 0 < room && room < size);
        let targets: Vec<_> =
            rooms.iter().zip(CUTS.iter().cycle()).map(|(&room, &cut)| Pieces::new(room, cut)).collect();
        let mut gets = Batch::new();
        for target in &targets {
            gets.pieces(&key, target);
        }
        let (status, results) = store.get_batch(&gets);
        assert_eq!(status, BUFFER_TOO_SMALL);
        for ((room, target), result) in rooms.iter().zip(&targets).zip(results) {
            let what = format!("{size} bytes into {room}");
            let told = (Status(result.status), result.object_length);
            assert_eq!(told, (BUFFER_TOO_SMALL, size as u64), "{what}");
            target.assert_guards(&what);
        }
        let mut buffer = vec![0; size];
        for &room in &rooms {
            assert_eq!(store.get(&key, &mut buffer[..room]), (BUFFER_TOO_SMALL, Some(size)), "{room}");
        }
        assert_eq!(store.get(&key, &mut buffer), (OK, Some(size)));
        assert!(buffer == object);
    }
    opened.end();
}

/// A buffer with room for the largest object is given for every object; what lies behind a shorter one is the
/// caller's and stays as it was, to the byte.
pub fn room_beyond_the_object_is_left_alone(case: &Case) {
    let opened = case.open(8, 2 * MIB);
    let store = &opened.store;
    for &size in OBJECTS {
        let key = format!("object-{size}").into_bytes();
        let object = payload(size as u64, size);
        assert_eq!(store.put(&key, &object), OK);
        for (index, beyond) in [1, 17, 4095, 4096, 64 * KIB, MIB].into_iter().enumerate() {
            for cut in [CUTS[index % CUTS.len()], CUTS[(index + 1) % CUTS.len()]] {
                let target = Pieces::new(size + beyond, cut);
                let mut gets = Batch::new();
                gets.pieces(&key, &target);
                let (status, results) = store.get_batch(&gets);
                let moved = (status, results[0].bytes, results[0].object_length);
                assert_eq!(moved, (OK, size as u64, size as u64));
                target.assert_holds(&object, &format_args!("{size} bytes and {beyond} beyond, {cut:?}"));
            }
        }
    }
    opened.end();
}
