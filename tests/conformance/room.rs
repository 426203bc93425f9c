//! Room: what leaves when there is none, and what may not.

use crate::common::status::{NOT_FOUND, OK, PINNED};
use crate::common::{Layout, payload};
use crate::{Case, KIB, MIB, Opened, Setup};

/// Objects that fit into the store of these tests.
const FIT: usize = 8;
/// Bytes of each; with its trailer an eighth of a dynamic store's capacity.
const OBJECT_BYTES: usize = 128 * KIB - 4096;

fn key(index: usize) -> Vec<u8> {
    format!("key-{index}").into_bytes()
}

/// A store with room for [`FIT`] objects, filled.
fn full(case: &Case) -> Opened<'_> {
    let opened = case.open_with(Setup {
        slots: FIT as u32,
        chunk_bytes: OBJECT_BYTES as u64,
        capacity_bytes: MIB as u64,
        ..case.setup.clone()
    });
    for index in 0..FIT {
        assert_eq!(opened.store.put(&key(index), &payload(index as u64, OBJECT_BYTES)), OK);
    }
    let stats = opened.store.stats();
    assert_eq!((stats.keys, stats.evictions, stats.slots_free), (FIT as u64, 0, 0));
    opened
}

/// Puts into a full store succeed and push out what was used longest ago, and nothing else.
pub fn a_full_store_evicts_what_was_used_longest_ago(case: &Case) {
    let opened = full(case);
    let store = &opened.store;
    // Now the third is the one used longest ago, then the fifth.
    for index in [0, 1, 3, 5, 6, 7, 4, 2, 4] {
        if index != 2 && index != 4 {
            assert!(store.fetch(&key(index), OBJECT_BYTES).is_some());
        }
    }
    assert_eq!(store.put(&key(100), &payload(100, OBJECT_BYTES)), OK);
    assert_eq!(store.contains(&key(2)), NOT_FOUND);
    assert_eq!(store.put(&key(101), &payload(101, OBJECT_BYTES)), OK);
    assert_eq!(store.contains(&key(4)), NOT_FOUND);
    for index in [0, 1, 3, 5, 6, 7, 100, 101] {
        assert_eq!(store.fetch(&key(index), OBJECT_BYTES), Some(payload(index as u64, OBJECT_BYTES)));
    }
    let stats = store.stats();
    assert_eq!((stats.keys, stats.evictions), (FIT as u64, 2));
    opened.end();
}

/// A pin holds against eviction, removal and clear until it was taken back as often as it was given; being the one
/// that would leave next makes no difference.
pub fn a_pinned_key_is_neither_evicted_nor_removed(case: &Case) {
    let opened = full(case);
    let store = &opened.store;
    for index in [0, 1] {
        assert_eq!((store.pin(&key(index)), store.pin(&key(index))), (OK, OK));
    }
    assert_eq!(store.stats().keys_pinned, 2);
    for index in 100..100 + 3 * FIT {
        assert_eq!(store.put(&key(index), &payload(index as u64, OBJECT_BYTES)), OK);
    }
    for index in [0, 1] {
        assert_eq!(store.fetch(&key(index), OBJECT_BYTES), Some(payload(index as u64, OBJECT_BYTES)));
        assert_eq!((store.unpin(&key(index)), store.remove(&key(index))), (OK, PINNED), "one pin is left");
    }
    // Replacing a pinned key is allowed and leaves it pinned.
    assert_eq!(store.put(&key(0), &payload(77, OBJECT_BYTES)), OK);
    assert_eq!(store.remove(&key(0)), PINNED);
    assert_eq!(store.fetch(&key(0), OBJECT_BYTES), Some(payload(77, OBJECT_BYTES)));
    assert_eq!((store.unpin(&key(0)), store.unpin(&key(0))), (OK, NOT_FOUND));
    assert_eq!((store.remove(&key(0)), store.contains(&key(0))), (OK, NOT_FOUND));
    assert_eq!(store.stats().keys_pinned, 1);
    opened.end();
}

/// Clear empties the store but for pinned keys, tells how many went, and gives the room back.
pub fn clear_leaves_what_is_pinned(case: &Case) {
    let opened = full(case);
    let store = &opened.store;
    assert_eq!(store.pin(&key(3)), OK);
    assert_eq!(store.clear(), FIT as u64 - 1);
    for index in 0..FIT {
        assert_eq!(store.contains(&key(index)), if index == 3 { OK } else { NOT_FOUND });
    }
    let stats = store.stats();
    assert_eq!((stats.keys, stats.keys_pinned), (1, 1));
    if case.setup.layout == Layout::Static {
        assert_eq!((stats.slots, stats.slots_free), (FIT as u64, FIT as u64 - 1));
    }
    assert_eq!(store.fetch(&key(3), OBJECT_BYTES), Some(payload(3, OBJECT_BYTES)));
    assert_eq!((store.unpin(&key(3)), store.clear(), store.clear()), (OK, 1, 0));
    assert_eq!((store.stats().keys, store.stats().bytes_stored), (0, 0));
    assert_eq!(store.put(&key(3), b"after"), OK);
    opened.end();
}
