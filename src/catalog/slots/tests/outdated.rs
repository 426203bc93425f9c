//! Records that are out of the index but may still be on storage.

use super::helpers::*;
use super::*;

/// Key k is evicted and put again while the slot of its old bytes is still being overwritten. If the
/// new bytes were evicted now, a crash could bring the old ones back. So k stays until the slot has
/// its new record, even if that means that a put has to wait.
#[test]
fn a_key_whose_old_bytes_may_be_on_storage_is_not_evicted() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    put(&catalog, b"a");
    let overwriting = reserve(&catalog, b"x");
    assert!(!contains(&catalog, b"k"));
    put(&catalog, b"k");
    assert!(!contains(&catalog, b"a"));

    assert!(matches!(catalog.reserve(digest(b"y"), b"y", false), Reserve::Busy));
    let _ = catalog.publish(overwriting, b"x", 1);
    put(&catalog, b"y");
    assert!(!contains(&catalog, b"k"), "nothing old is left, and k was older than x");
    audit(&catalog);
}

/// The same, when the put into the old slot fails: k is held until that slot is tombstoned.
#[test]
fn a_failed_overwrite_keeps_its_ghost_until_cleaned() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    put(&catalog, b"a");
    let overwriting = reserve(&catalog, b"x");
    put(&catalog, b"k");
    let dirty = catalog.abandon(overwriting);
    assert!(matches!(catalog.reserve(digest(b"y"), b"y", false), Reserve::Busy));
    clean(&catalog, [dirty]);
    put(&catalog, b"y");
    put(&catalog, b"z");
    assert!(!contains(&catalog, b"k"));
    audit(&catalog);
}

/// Two puts of one key are under way. Whichever completes first, the one that began later is the
/// newer and stays; the other's slot comes back to be cleaned.
#[test]
fn of_two_puts_of_a_key_the_later_begun_wins() {
    for later_first in [true, false] {
        let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
        let (early, late) = (reserve(&catalog, b"k"), reserve(&catalog, b"k"));
        assert!(late.generation() > early.generation());
        let (early_slot, late_slot) = (early.slot(), late.slot());
        let puts = if later_first { [late, early] } else { [early, late] };
        let [first, second] = puts.map(|put| catalog.publish(put, b"k", 1));

        assert!(!first.superseded);
        assert_eq!(second.superseded, later_first);
        let due: Vec<DirtySlot> = second.clean.into_iter().collect();
        assert_eq!(due.iter().map(DirtySlot::slot).collect::<Vec<_>>(), [early_slot]);
        let lease = acquire(&catalog, b"k");
        assert_eq!(lease.slot(), late_slot);
        assert_eq!(catalog.release(lease), Release::Kept);
        clean(&catalog, due);
        assert_eq!(catalog.gauges().slots_free, 2);
        audit(&catalog);
    }
}

/// A put that began before a newer one may complete after that one was put and removed again. It
/// must not appear while the removed record may still be on storage: after a crash that record
/// would win over the one that the index showed.
#[test]
fn a_put_older_than_a_record_still_on_storage_is_dropped() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    let early = reserve(&catalog, b"k");
    put(&catalog, b"k");
    let Remove::Clean(dirty) = catalog.remove(digest(b"k"), b"k") else { panic!("nobody reads k") };
    let published = catalog.publish(early, b"k", 1);
    assert!(published.superseded && !contains(&catalog, b"k"));
    clean(&catalog, published.clean.into_iter().chain([dirty]));
    assert_eq!(catalog.gauges().slots_free, 3);
    audit(&catalog);
}

/// Two puts of a key are under way, and the one that began later fails. The other must not be taken
/// for superseded: its bytes are the newest there are.
#[test]
fn a_failed_put_supersedes_nothing() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    let (early, late) = (reserve(&catalog, b"k"), reserve(&catalog, b"k"));
    let generation = early.generation();
    let failed = catalog.abandon(late);
    let published = catalog.publish(early, b"k", 1);
    assert!(!published.superseded);
    let lease = acquire(&catalog, b"k");
    assert_eq!(lease.generation(), generation);
    assert_eq!(catalog.release(lease), Release::Kept);
    clean(&catalog, published.clean.into_iter().chain([failed]));
    audit(&catalog);
}

/// Key k is replaced while its first bytes are being read, and then removed. Tombstoning the newer
/// record first would leave the older one to be found after a crash: so it waits its turn.
#[test]
fn records_of_a_removed_key_are_cleaned_oldest_first() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    let old_slot = put(&catalog, b"k");
    let lease = acquire(&catalog, b"k");
    let new_slot = put(&catalog, b"k");
    assert_eq!(catalog.remove(digest(b"k"), b"k"), Remove::Deferred);
    audit(&catalog);

    let Release::Clean(oldest) = catalog.release(lease) else { panic!("the last reader cleans") };
    assert_eq!(oldest.slot(), old_slot);
    let next: Vec<DirtySlot> = catalog.slot_cleaned(oldest).into_iter().collect();
    assert_eq!(next.iter().map(DirtySlot::slot).collect::<Vec<_>>(), [new_slot]);
    clean(&catalog, next);
    assert_eq!(catalog.gauges().slots_free, 3);
    audit(&catalog);
}

/// The same where the older record goes by being overwritten: publishing the put that evicted it
/// hands out the slot that waited.
#[test]
fn a_put_that_overwrites_the_older_record_hands_out_the_newer() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    put(&catalog, b"a");
    let overwriting = reserve(&catalog, b"x");
    let new_slot = put(&catalog, b"k");
    assert_eq!(catalog.remove(digest(b"k"), b"k"), Remove::Deferred);
    let published = catalog.publish(overwriting, b"x", 1);
    let due: Vec<DirtySlot> = published.clean.into_iter().collect();
    assert_eq!(due.iter().map(DirtySlot::slot).collect::<Vec<_>>(), [new_slot]);
    clean(&catalog, due);
    audit(&catalog);
}

/// A slot that cannot be tombstoned may show its old record after every crash. Its key's newer
/// record must therefore stay on storage: not evicted, and if removed, not overwritten.
#[test]
fn a_slot_that_cannot_be_cleaned_keeps_its_key_from_eviction() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    let published = catalog.publish(reserve(&catalog, b"k"), b"k", 1);
    published.clean.into_iter().for_each(|dirty| catalog.not_cleaned(dirty));
    put(&catalog, b"a");
    put(&catalog, b"b");
    put(&catalog, b"c");
    assert!(contains(&catalog, b"k") && contains(&catalog, b"c") && !contains(&catalog, b"b"));

    assert!(catalog.pin(digest(b"c"), b"c"));
    assert!(matches!(catalog.reserve(digest(b"d"), b"d", false), Reserve::Full), "waiting would not help");
    assert_eq!(catalog.remove(digest(b"k"), b"k"), Remove::Obstructed);
    assert_eq!((catalog.clear().obstructed, contains(&catalog, b"k")), (1, true));
    assert_eq!(catalog.gauges().slots_quarantined, 1, "a removal takes no further slot out of use");
    assert!(matches!(catalog.reserve(digest(b"d"), b"d", false), Reserve::Full));
    audit(&catalog);

    // Another chance that succeeds sets everything right.
    let dirty = catalog.reclaim_of(digest(b"k")).expect("a slot is unclean");
    assert_eq!(catalog.haunted(digest(b"k")), Haunted::ForNow);
    clean(&catalog, [dirty]);
    assert_eq!(catalog.haunted(digest(b"k")), Haunted::No);
    assert!(!reserve(&catalog, b"d").evicted(), "the slot is back");
    let Remove::Clean(dirty) = catalog.remove(digest(b"k"), b"k") else { panic!("nothing is in the way") };
    clean(&catalog, [dirty]);
    audit(&catalog);
}

/// An I/O error passes. Slots that it took out of use come back one by one, in turn, each handed out once.
#[test]
fn slots_that_could_not_be_cleaned_get_another_chance() {
    let catalog = SlotCatalog::new(4, CachePolicy::Lru.into()).unwrap();
    for key in [b"a", b"b", b"c", b"d"] {
        put(&catalog, key);
        let Remove::Clean(dirty) = catalog.remove(digest(key), key) else { panic!("nobody reads it") };
        catalog.not_cleaned(dirty);
    }
    assert!(matches!(catalog.reserve(digest(b"x"), b"x", false), Reserve::Full));
    let (first, second) = (catalog.reclaim(0).unwrap(), catalog.reclaim(0).unwrap());
    assert_ne!(first.slot(), second.slot());
    assert!(
        matches!(catalog.reserve(digest(b"x"), b"x", false), Reserve::Busy),
        "what is being cleaned may come back"
    );
    catalog.not_cleaned(first);
    clean(&catalog, [second]);
    assert!(!reserve(&catalog, b"x").evicted());
    while let Some(dirty) = catalog.reclaim(0) {
        clean(&catalog, [dirty]);
    }
    assert!(!catalog.is_any_unclean());
    let gauges = catalog.gauges();
    assert_eq!((gauges.slots_free, gauges.slots_quarantined), (3, 0));
    audit(&catalog);
}

/// Slots that waited for one that turns out not to be cleanable must not wait for ever, or the pool
/// would answer busy for ever.
#[test]
fn nothing_waits_for_a_slot_that_cannot_be_cleaned() {
    let catalog = SlotCatalog::new(2, CachePolicy::Lru.into()).unwrap();
    put(&catalog, b"k");
    let lease = acquire(&catalog, b"k");
    put(&catalog, b"k");
    assert_eq!(catalog.remove(digest(b"k"), b"k"), Remove::Deferred);
    let Release::Clean(oldest) = catalog.release(lease) else { panic!("the last reader cleans") };
    assert!(matches!(catalog.reserve(digest(b"x"), b"x", false), Reserve::Busy));
    catalog.not_cleaned(oldest);
    assert!(matches!(catalog.reserve(digest(b"x"), b"x", false), Reserve::Full));
    assert_eq!(catalog.gauges().slots_quarantined, 2);
    audit(&catalog);
}
