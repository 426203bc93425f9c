//! Tests of the slot catalog: each promise by a story, then random histories against models, then
//! all interleavings of few threads.

#[cfg(not(feature = "shuttle"))]
mod chains;
#[cfg(not(feature = "shuttle"))]
mod crash;
#[cfg(not(feature = "shuttle"))]
mod flush;
#[cfg(not(feature = "shuttle"))]
mod helpers;
#[cfg(feature = "shuttle")]
mod interleavings;
#[cfg(not(feature = "shuttle"))]
mod outdated;
#[cfg(not(feature = "shuttle"))]
mod promises;
#[cfg(not(feature = "shuttle"))]
mod random;
#[cfg(not(feature = "shuttle"))]
mod restart;

use super::ledger::State;
use super::*;
use crate::config::CachePolicy;

/// A digest for tests: spread like a real one.
pub(super) fn digest(key: &[u8]) -> u128 {
    twox_hash::XxHash3_128::oneshot(key)
}

pub(super) fn contains(catalog: &SlotCatalog, key: &[u8]) -> bool {
    catalog.contains(digest(key), key)
}

/// Checks everything that must hold between calls, whatever happened before.
pub(super) fn audit(catalog: &SlotCatalog) {
    let ledger = catalog.ledger();
    let slots = catalog.leases.len();
    let gauges = ledger.gauges();
    assert_eq!(
        gauges.keys
            + gauges.slots_free
            + gauges.slots_reserved
            + gauges.slots_leaving
            + gauges.slots_quarantined,
        slots,
        "a slot was lost or counted twice: {gauges:?}"
    );
    #[cfg(not(feature = "shuttle"))]
    assert!(ledger.order.audit(), "the eviction order is broken");
    assert_eq!(ledger.audit_free(), (gauges.slots_free, true), "the free list is not the free slots");
    assert_eq!(catalog.index.len(), gauges.keys as usize, "index and slots disagree");

    let (mut bytes, mut pinned, mut live) = (0, 0, 0);
    let haunting: Vec<u32> = ledger.ghosts.slots().collect();
    for slot in 0..slots {
        let state = ledger.state(slot);
        let readers = catalog.leases.readers(slot);
        let (listed, parked) = (ledger.order.is_listed(slot), ledger.order.is_parked(slot));
        match state {
            State::Live => {
                let tag = ledger.tag(slot);
                let table = catalog.index.shard(tag);
                let entry =
                    Entry::unpack(table.get(tag, entry::is_in(slot)).expect("a live slot has its entry"));
                assert_eq!((listed, parked), (entry.pins == 0, entry.pins > 0), "slot {slot}");
                bytes += entry.length;
                pinned += u64::from(entry.pins > 0);
                live += 1;
            }
            State::Removed | State::Replaced => assert!(readers > 0, "slot {slot} waits for no reader"),
            State::Free
            | State::Reserved
            | State::Waiting
            | State::Cleaning
            | State::Unclean
            | State::Blocked
            | State::Quarantined => {
                assert_eq!(readers, 0, "slot {slot} is {state:?} and being read");
            }
        }
        if state != State::Live {
            assert!(!listed && !parked, "slot {slot} is {state:?} and in the order");
        }
        if matches!(state, State::Live | State::Free) {
            assert!(!haunting.contains(&slot), "slot {slot} is {state:?} and a ghost");
        }
        if matches!(state, State::Waiting | State::Blocked) {
            assert!(ledger.ghosts.ahead_of(slot).next().is_some(), "slot {slot} waits for nothing");
        }
        if state == State::Waiting {
            let is_stuck = |other| matches!(ledger.state(other), State::Unclean | State::Blocked);
            assert!(!ledger.ghosts.ahead_of(slot).any(is_stuck), "slot {slot} waits for what is stuck");
        }
    }
    assert_eq!((gauges.bytes, gauges.keys_pinned, gauges.keys), (bytes, pinned, live));
}
