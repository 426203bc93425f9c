use super::helpers::*;
use super::*;
use crate::catalog::testing::{Lcg, POLICIES};

type Owned = (Vec<u8>, u32, u64, u64, u32);

fn export(catalog: &SlotCatalog) -> Vec<Owned> {
    let mut all = Vec::new();
    catalog.export(&mut |entry| {
        all.push((entry.key.to_vec(), entry.slot, entry.length, entry.generation, entry.frequency));
    });
    all
}

fn restore(catalog: &SlotCatalog, (key, slot, length, generation, frequency): &Owned) -> bool {
    let stored =
        StoredEntry { key, slot: *slot, length: *length, generation: *generation, frequency: *frequency };
    catalog.restore(digest(key), stored).unwrap()
}

/// A clean close writes down every key in the order of leaving; the next open must evict in that
/// very order, count uses on from where they were, and never hand out a slot that holds a key.
#[test]
fn a_catalog_survives_export_and_restore() {
    for policy in POLICIES {
        let mut random = Lcg::new(3);
        let catalog = SlotCatalog::new(20, policy.into()).unwrap();
        for n in 0..15u8 {
            put(&catalog, &[n]);
            for _ in 0..random.below(5) {
                let _ = catalog.release(acquire(&catalog, &[random.below(u64::from(n) + 1) as u8]));
            }
        }
        let exported = export(&catalog);
        assert_eq!(exported.len(), 15);

        let reopened = SlotCatalog::new(20, policy.into()).unwrap();
        exported.iter().for_each(|entry| assert!(restore(&reopened, entry)));
        assert_eq!(export(&reopened), exported, "{policy:?}");
        assert_eq!(reopened.gauges(), catalog.gauges());
        audit(&reopened);

        // Both go on alike.
        for n in 100..140u8 {
            let key = [random.below(15) as u8];
            for pool in [&catalog, &reopened] {
                if let Some(lease) = pool.acquire(digest(&key), &key) {
                    let _ = pool.release(lease);
                }
                put(pool, &[n]);
            }
            let keys = |pool: &SlotCatalog| export(pool).into_iter().map(|entry| entry.0).collect::<Vec<_>>();
            assert_eq!(keys(&catalog), keys(&reopened), "{policy:?}");
        }
        audit(&reopened);
    }
}

/// What recovery reads may be anything. What cannot be is refused and leaves no trace.
#[test]
fn impossible_entries_are_refused() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    let entry = |key: &[u8], slot, generation| (key.to_vec(), slot, u64::MAX, generation, 1);
    assert!(restore(&catalog, &entry(b"a", 1, 7)));
    assert!(!restore(&catalog, &entry(b"b", 1, 8)), "the slot is taken");
    assert!(!restore(&catalog, &entry(b"a", 2, 8)), "the key is taken");
    assert!(!restore(&catalog, &entry(b"b", 3, 8)), "there is no such slot");
    assert!(!restore(&catalog, &entry(&[0; 5000], 2, 8)), "no key is that long");
    assert!(restore(&catalog, &entry(b"c", 2, u64::MAX)), "lengths and generations may be anything");
    audit_sums(&catalog);
    let reservation = reserve(&catalog, b"d");
    assert_eq!((reservation.slot(), reservation.generation()), (0, u64::MAX));
    let _ = catalog.publish(reservation, b"d", 1);
    assert!(!restore(&catalog, &entry(b"e", 0, 9)), "the slot is in use");
    assert_eq!(catalog.gauges().keys, 3);
}

fn audit_sums(catalog: &SlotCatalog) {
    let gauges = catalog.gauges();
    assert_eq!((gauges.keys, gauges.bytes, gauges.slots_free), (2, u64::MAX, 1));
}

/// New puts must get higher generations than anything found on storage, or recovery would prefer
/// the older record after the next crash.
#[test]
fn generations_go_on_after_a_restart() {
    let catalog = SlotCatalog::new(4, CachePolicy::Lru.into()).unwrap();
    assert!(restore(&catalog, &(b"a".to_vec(), 0, 1, 41, 1)));
    assert!(restore(&catalog, &(b"b".to_vec(), 1, 1, 7, 1)));
    let first = reserve(&catalog, b"a");
    assert_eq!(first.generation(), 42);
    catalog.raise_generation(1000);
    catalog.raise_generation(5);
    let second = reserve(&catalog, b"a");
    assert_eq!(second.generation(), 1000);
    let _ = (catalog.abandon_unwritten(first), catalog.abandon_unwritten(second));
}

/// A slot whose bytes proved wrong is not handed out, in the next process either.
#[test]
fn withheld_slots_are_not_handed_out() {
    let catalog = SlotCatalog::new(3, CachePolicy::Lru.into()).unwrap();
    let damaged = |slot| OutOfUse { slot, why: Why::Damaged };
    assert!(catalog.withhold(&damaged(0)) && catalog.withhold(&damaged(2)));
    assert!(!catalog.withhold(&damaged(0)) && !catalog.withhold(&damaged(3)));
    assert_eq!(put(&catalog, b"a"), 1);
    assert!(!catalog.withhold(&damaged(1)));
    assert_eq!(catalog.gauges().slots_quarantined, 2);
    assert!(catalog.pin(digest(b"a"), b"a"));
    assert!(matches!(catalog.reserve(digest(b"b"), b"b", false), Reserve::Full));
    audit(&catalog);
}

/// A slot that could not be cleaned holds an older record of a key. The next process must know of which key, or it
/// would evict the newer record and let a crash bring the older one back; and it must not clean a newer record that
/// was removed before the older one.
#[test]
fn slots_that_could_not_be_cleaned_stay_so_across_a_restart() {
    let catalog = SlotCatalog::new(5, CachePolicy::Lru.into()).unwrap();
    let oldest = put(&catalog, b"k");
    let lease = acquire(&catalog, b"k");
    let old = put(&catalog, b"k");
    assert_eq!(catalog.remove(digest(b"k"), b"k"), Remove::Deferred);
    let Release::Clean(dirty) = catalog.release(lease) else { panic!("the last reader cleans") };
    catalog.not_cleaned(dirty);
    let new = put(&catalog, b"k");
    put(&catalog, b"a");
    audit(&catalog);

    let out_of_use = catalog.export_out_of_use();
    assert_eq!(out_of_use.iter().map(|out| out.slot).collect::<Vec<_>>(), [oldest, old]);
    let reopened = SlotCatalog::new(5, CachePolicy::Lru.into()).unwrap();
    out_of_use.iter().for_each(|out| assert!(reopened.withhold(out)));
    export(&catalog).iter().for_each(|entry| assert!(restore(&reopened, entry)));
    audit(&reopened);
    assert_eq!(reopened.export_out_of_use(), out_of_use);

    assert_eq!(reopened.remove(digest(b"k"), b"k"), Remove::Obstructed);
    put(&reopened, b"b");
    let evicting = reserve(&reopened, b"c");
    assert!(contains(&reopened, b"k") && !contains(&reopened, b"a"));
    assert_eq!(reopened.abandon_unwritten(evicting).map(|dirty| clean(&reopened, [dirty])), Some(()));

    let first = reopened.reclaim(0).expect("a slot is unclean");
    assert_eq!((first.slot(), reopened.reclaim(0)), (oldest, None), "the newer one has to wait");
    clean(&reopened, [first]);
    assert_eq!(reopened.gauges().slots_quarantined, 0);
    let Remove::Clean(dirty) = reopened.remove(digest(b"k"), b"k") else { panic!("nothing is in the way") };
    assert_eq!(dirty.slot(), new);
    clean(&reopened, [dirty]);
    audit(&reopened);
}
