use super::helpers::*;
use super::*;
use crate::catalog::touches::PENDING_MAX;

/// A get reads a slot without a lock. While it does, puts must take other slots, and if there is
/// none they are told to wait rather than given the slot.
#[test]
fn a_slot_being_read_is_never_evicted() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"read");
    put(&catalog, b"idle");
    // A use makes it the newest; older uses of "idle" must not matter.
    let lease = acquire(&catalog, b"read");
    let _ = catalog.release(acquire(&catalog, b"idle"));

    let reservation = reserve(&catalog, b"new");
    assert_ne!(reservation.slot(), lease.slot());
    assert!(matches!(catalog.reserve(digest(b"more"), b"more", false), Reserve::Busy));
    assert!(contains(&catalog, b"read") && !contains(&catalog, b"idle"));

    assert_eq!(catalog.release(lease), Release::Kept);
    let second = reserve(&catalog, b"more");
    assert!(second.evicted() && !contains(&catalog, b"read"));
    let _ = (catalog.publish(reservation, b"new", 1), catalog.publish(second, b"more", 1));
    audit(&catalog);
}

/// With a reader on every slot the pool is busy, not full: the readers will go.
#[test]
fn a_pool_whose_slots_are_all_read_is_busy() {
    let catalog = SlotCatalog::new(1, CachePolicy::Mru.into()).unwrap();
    put(&catalog, b"a");
    let lease = acquire(&catalog, b"a");
    assert!(matches!(catalog.reserve(digest(b"b"), b"b", false), Reserve::Busy));
    assert_eq!(catalog.release(lease), Release::Kept);
    assert_eq!(put(&catalog, b"b"), 0);
}

/// A pin says: this key stays. Neither eviction nor remove nor clear may take it, however often it
/// was pinned and however full the pool; the last unpin ends that and makes it the newest key.
#[test]
fn a_pinned_key_is_never_evicted_or_removed() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    for key in [b"a", b"b"] {
        put(&catalog, key);
        assert!(catalog.pin(digest(key), key));
    }
    assert!(catalog.pin(digest(b"a"), b"a"));
    assert!(matches!(catalog.reserve(digest(b"c"), b"c", false), Reserve::Full));
    assert_eq!(catalog.remove(digest(b"a"), b"a"), Remove::Pinned);
    assert_eq!(catalog.clear().removed, 0);
    assert_eq!(catalog.gauges().keys_pinned, 2);

    assert!(catalog.unpin(digest(b"a"), b"a"));
    assert!(matches!(catalog.reserve(digest(b"c"), b"c", false), Reserve::Full), "one of two pins is left");
    assert!(catalog.unpin(digest(b"b"), b"b"));
    assert!(catalog.unpin(digest(b"a"), b"a"));
    assert!(!catalog.unpin(digest(b"a"), b"a"), "there is no pin to take back");
    audit(&catalog);

    put(&catalog, b"c");
    assert!(contains(&catalog, b"a") && !contains(&catalog, b"b"), "a was unpinned last");
    assert!(!catalog.pin(digest(b"gone"), b"gone") && !catalog.unpin(digest(b"gone"), b"gone"));
    audit(&catalog);
}

/// Readers hold the old bytes while new ones are published: they keep their slot, untouched, until
/// the last of them is done, and new readers get the new bytes at once.
#[test]
fn replacing_never_harms_a_reader() {
    let catalog = SlotCatalog::new(4, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    let (first, second) = (acquire(&catalog, b"k"), acquire(&catalog, b"k"));

    let published = catalog.publish(reserve(&catalog, b"k"), b"k", 7);
    assert_eq!(published, Published::default(), "the old slot is not due while it is read");
    let new = acquire(&catalog, b"k");
    assert_eq!((new.length(), first.length()), (7, 100));
    assert!(new.slot() != first.slot() && new.generation() > first.generation());
    audit(&catalog);

    let old_slot = first.slot();
    assert_eq!(catalog.release(first), Release::Kept);
    let Release::Clean(dirty) = catalog.release(second) else { panic!("the last reader cleans") };
    assert_eq!(dirty.slot(), old_slot);
    clean(&catalog, [dirty]);
    assert_eq!(catalog.release(new), Release::Kept);
    assert_eq!(catalog.gauges().slots_free, 3);
    audit(&catalog);
}

/// The same for removal: the key is gone at once, its bytes when the last reader is done.
#[test]
fn removing_never_harms_a_reader() {
    let catalog = SlotCatalog::new(1, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    let lease = acquire(&catalog, b"k");
    assert_eq!(catalog.remove(digest(b"k"), b"k"), Remove::Deferred);
    assert_eq!(catalog.remove(digest(b"k"), b"k"), Remove::Absent);
    assert!(!contains(&catalog, b"k"));
    assert!(matches!(catalog.reserve(digest(b"x"), b"x", false), Reserve::Busy));
    audit(&catalog);

    let Release::Clean(dirty) = catalog.release(lease) else { panic!("the last reader cleans") };
    assert!(matches!(catalog.reserve(digest(b"x"), b"x", false), Reserve::Busy), "not before it is clean");
    clean(&catalog, [dirty]);
    assert_eq!(put(&catalog, b"x"), 0);
    audit(&catalog);
}

/// A read found wrong bytes. The key is gone at once even if pinned; the slot never serves again, and
/// is tombstoned by its last reader so that recovery does not find the bytes either.
#[test]
fn a_slot_with_wrong_bytes_leaves_service() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    let slot = put(&catalog, b"k");
    assert!(catalog.pin(digest(b"k"), b"k"));
    let (finder, other) = (acquire(&catalog, b"k"), acquire(&catalog, b"k"));
    assert!(catalog.quarantine(digest(b"k"), b"k", &finder));
    assert!(!catalog.quarantine(digest(b"k"), b"k", &other), "it is counted once");
    assert!(!contains(&catalog, b"k") && !catalog.unpin(digest(b"k"), b"k"));
    audit(&catalog);

    assert_eq!(catalog.release(finder), Release::Kept);
    let Release::Clean(dirty) = catalog.release(other) else { panic!("the last reader cleans") };
    assert_eq!(dirty.slot(), slot);
    clean(&catalog, [dirty]);
    let gauges = catalog.gauges();
    assert_eq!((gauges.slots_quarantined, gauges.slots_free, gauges.keys_pinned), (1, 1, 0));

    assert_ne!(put(&catalog, b"k"), slot);
    assert!(catalog.pin(digest(b"k"), b"k"));
    assert!(matches!(catalog.reserve(digest(b"x"), b"x", false), Reserve::Full));
    audit(&catalog);
}

/// The wrong bytes were those of a record that was replaced during the read: the new record is
/// right and stays, the slot is wrong and leaves.
#[test]
fn a_wrong_read_of_replaced_bytes_spares_the_new_ones() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    let lease = acquire(&catalog, b"k");
    put(&catalog, b"k");
    assert!(!catalog.quarantine(digest(b"k"), b"k", &lease));
    assert!(contains(&catalog, b"k"));
    let Release::Clean(dirty) = catalog.release(lease) else { panic!("the last reader cleans") };
    clean(&catalog, [dirty]);
    assert_eq!(catalog.gauges().slots_quarantined, 1);
    audit(&catalog);
}

/// A put that ends before anything was written gives a free slot straight back; a slot taken from
/// another key still has that key's record and must be cleaned.
#[test]
fn an_unwritten_put_gives_its_slot_back() {
    let catalog = SlotCatalog::new(1, CachePolicy::Lru.into()).unwrap();
    assert_eq!(catalog.abandon_unwritten(reserve(&catalog, b"a")), None);
    assert_eq!(catalog.gauges().slots_free, 1);
    put(&catalog, b"a");
    let reservation = reserve(&catalog, b"b");
    assert!(reservation.evicted());
    let Some(dirty) = catalog.abandon_unwritten(reservation) else { panic!("a's record is there") };
    clean(&catalog, [dirty]);
    assert_eq!((catalog.gauges().slots_free, contains(&catalog, b"a")), (1, false));
    audit(&catalog);
}

/// XXH3 is no cryptographic hash: two keys with one digest can be made. They must stay two keys.
#[test]
fn keys_with_one_digest_are_not_mixed_up() {
    let catalog = SlotCatalog::new(4, CachePolicy::Lru.into()).unwrap();
    for (key, length) in [(b"one", 1), (b"two", 2)] {
        let Reserve::Slot(reservation) = catalog.reserve(42, key, false) else { panic!("the pool is empty") };
        assert_eq!(catalog.publish(reservation, key, length), Published::default());
    }
    assert_eq!((catalog.length(42, b"one"), catalog.length(42, b"two")), (Some(1), Some(2)));
    assert!(!catalog.contains(42, b"three") && catalog.acquire(42, b"three").is_none());
    let Remove::Clean(dirty) = catalog.remove(42, b"one") else { panic!("nobody reads it") };
    clean(&catalog, [dirty]);
    assert_eq!((catalog.length(42, b"one"), catalog.length(42, b"two")), (None, Some(2)));
    audit(&catalog);
}

/// Putting the same keys again into a full pool must not push any of them out: the new bytes take the
/// place of the old ones. A pinned key keeps its old bytes until the new ones are complete.
#[test]
fn a_put_into_a_full_pool_costs_no_other_key_its_place() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    for key in [b"k", b"a", b"k", b"a", b"a", b"k"] {
        put(&catalog, key);
    }
    assert!(contains(&catalog, b"k") && contains(&catalog, b"a"));

    assert!(catalog.pin(digest(b"k"), b"k"));
    let reservation = reserve(&catalog, b"k");
    assert!(contains(&catalog, b"k") && !contains(&catalog, b"a"));
    clean(&catalog, catalog.publish(reservation, b"k", 1).clean);
    audit(&catalog);
}

/// A pin is on the key, not on its bytes: replacing them keeps it, and it counts on from there.
#[test]
fn pins_carry_over_to_replaced_bytes() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    assert!(catalog.pin(digest(b"k"), b"k"));
    put(&catalog, b"k");
    for key in [b"a", b"b", b"c"] {
        put(&catalog, key);
    }
    assert!(contains(&catalog, b"k"));
    assert_eq!(catalog.gauges().keys_pinned, 1);
    assert!(catalog.unpin(digest(b"k"), b"k") && !catalog.unpin(digest(b"k"), b"k"));
    audit(&catalog);
}

/// Clear takes all but pinned keys; what is being read follows when its reader is done.
#[test]
fn clear_spares_pins_and_readers() {
    let catalog = SlotCatalog::new(3000, CachePolicy::Lfu.into()).unwrap();
    let keys: Vec<[u8; 4]> = (0..3000u32).map(u32::to_le_bytes).collect();
    keys.iter().for_each(|key| assert!(put(&catalog, key) < 3000));
    assert!(catalog.pin(digest(&keys[5]), &keys[5]));
    let lease = acquire(&catalog, &keys[2000]);

    let cleared = catalog.clear();
    assert_eq!((cleared.removed, cleared.clean.len()), (2999, 2998));
    clean(&catalog, cleared.clean);
    let Release::Clean(dirty) = catalog.release(lease) else { panic!("the last reader cleans") };
    clean(&catalog, [dirty]);
    let gauges = catalog.gauges();
    assert_eq!((gauges.keys, gauges.slots_free, gauges.bytes), (1, 2999, 100));
    assert!(contains(&catalog, &keys[5]));
    audit(&catalog);
}

/// Gets note their uses in a bounded queue. More uses than it holds, with no put in between, must
/// all count: here the key that is used more is used last, and would be evicted if that were dropped.
#[test]
fn no_use_is_forgotten_however_many_there_are() {
    for uses in [1, PENDING_MAX - 1, PENDING_MAX, PENDING_MAX + 1, 3 * PENDING_MAX + 7] {
        let catalog = SlotCatalog::new(2, CachePolicy::Lfu.into()).unwrap();
        put(&catalog, b"a");
        put(&catalog, b"b");
        for (key, uses) in [(b"b", uses), (b"a", uses + 1)] {
            (0..uses).for_each(|_| assert_eq!(catalog.release(acquire(&catalog, key)), Release::Kept));
        }
        put(&catalog, b"c");
        assert!(contains(&catalog, b"a") && !contains(&catalog, b"b"), "{uses} uses");
    }
}

/// Every put gets a higher generation than those before, as recovery decides by it.
#[test]
fn generations_rise() {
    let catalog = SlotCatalog::new(2, CachePolicy::Fifo.into()).unwrap();
    let mut last = 0;
    for _ in 0..10 {
        let reservation = reserve(&catalog, b"k");
        assert!(reservation.generation() > last);
        last = reservation.generation();
        let dirty = catalog.abandon(reservation);
        clean(&catalog, [dirty]);
    }
}

/// What a key costs beside its own bytes, in a full pool: the promise is 96 bytes. The index is
/// counted at its emptiest, each record at the worst rounding, and LFU's buckets are shared.
#[test]
fn a_key_costs_at_most_96_bytes() {
    use crate::catalog::{arena, index, order};
    let marks = durability::SLOT_BITS.div_ceil(8);
    let per_slot = lease::WORD_BYTES + ledger::SLOT_BYTES + order::NODE_BYTES + marks;
    for key_bytes in 2..=entry::KEY_BYTES_MAX {
        let record = entry::FIELDS_BYTES + key_bytes;
        let beside_key = entry::FIELDS_BYTES + arena::overhead_bytes(record);
        let total = index::CELLS_BYTES_PER_KEY + beside_key + per_slot;
        assert!(total <= 96, "{total} bytes for a key of {key_bytes}");
    }
}
