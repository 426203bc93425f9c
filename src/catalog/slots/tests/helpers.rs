//! Steps of the stories.

use super::*;

/// Reserves a slot that must be there.
pub(super) fn reserve(catalog: &SlotCatalog, key: &[u8]) -> Reservation {
    match catalog.reserve(digest(key), key, false) {
        Reserve::Slot(reservation) => reservation,
        other => panic!("no slot for {key:?}: {other:?}"),
    }
}

/// Cleans slots and those that waited for them.
pub(super) fn clean(catalog: &SlotCatalog, dirty: impl IntoIterator<Item = DirtySlot>) {
    let mut due: Vec<DirtySlot> = dirty.into_iter().collect();
    while let Some(dirty) = due.pop() {
        due.extend(catalog.slot_cleaned(dirty));
    }
}

/// A whole put; returns its slot.
pub(super) fn put(catalog: &SlotCatalog, key: &[u8]) -> u32 {
    let reservation = reserve(catalog, key);
    let slot = reservation.slot();
    let published = catalog.publish(reservation, key, 100);
    assert!(!published.superseded);
    clean(catalog, published.clean);
    slot
}

pub(super) fn acquire(catalog: &SlotCatalog, key: &[u8]) -> Lease {
    catalog.acquire(digest(key), key).unwrap_or_else(|| panic!("{key:?} is not stored"))
}
