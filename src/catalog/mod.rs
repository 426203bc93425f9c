//! What is stored, and what leaves when room is needed. Pure memory; no I/O is done here.
//!
//! Two catalogs share the eviction order, the record of uses and the sharded index:
//! [`SlotCatalog`] is the truth about a static pool that this process owns; [`ObjectCatalog`] is what
//! this process knows of the objects of a dynamic store, whose files others share.

mod arena;
mod chains;
mod index;
mod objects;
mod order;
mod slots;
#[cfg(all(test, not(feature = "shuttle")))]
mod testing;
#[cfg(all(test, not(feature = "shuttle")))]
mod testing_chains;
mod touches;

use std::collections::TryReserveError;

use crate::sync::Arc;

pub use chains::{Asked, Chain, Chains};
pub use objects::{OBJECTS_MAX, ObjectCatalog, ObjectGauges, ObjectReservation, RoomRefused, Victim};
pub use slots::{
    Cleanups, Cleared, DirtySlot, Gauges, Haunted, Lease, OutOfUse, Published, Release, Remove, Reservation,
    Reserve, SLOTS_MAX, SlotCatalog, StoredEntry, Suspect, Why,
};

/// Keys whose puts are foreseen at a time: puts wait for whoever looks ahead, some 100 ns for each key.
pub const FORESEEN_MAX: usize = 4096;

/// A table of `count` times `value`.
///
/// # Errors
/// If there is no memory for it: sizes come from the configuration, and a number too large there must not end the
/// process.
fn filled<T: Clone>(value: T, count: usize) -> Result<Box<[T]>, TryReserveError> {
    let mut table = Vec::new();
    table.try_reserve_exact(count)?;
    table.resize(count, value);
    Ok(table.into_boxed_slice())
}

/// Of what is taken up after a restart, at most so many are turned around at a time, and at most one part in so many of all.
const TURNED_MAX: usize = 256;
const TURNED_PART: usize = 64;

/// Brings what is taken up after a restart, and is in the order in which it was put, into the order in which it is to leave. Which
/// puts were one prompt is not known any more, but that its first key was put first is: taken up as they were put, prompts
/// would leave from their beginning. So short runs are turned around, which moves a key by 1.6 % of the store's length at most.
///
/// ```text
/// put, the oldest first:     a0 a1 a2 b0 | b1 b2 c0 c1
/// taken up, oldest first:    b0 a2 a1 a0 | c1 c0 b2 b1
/// ```
pub fn turn_around<T>(oldest_first: &mut [T], chains: Option<&Arc<Chains>>) {
    let run = (oldest_first.len() / TURNED_PART).min(TURNED_MAX);
    if chains.is_some() && run > 1 {
        oldest_first.chunks_mut(run).for_each(<[T]>::reverse);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::config::{CachePolicy, Eviction};

    /// Runs are turned around under the policies that know chains, none that is much of a store, and nothing gets lost.
    #[test]
    fn runs_of_what_was_put_are_turned_around() {
        let turned = |policy, count: u32| {
            let catalog = SlotCatalog::new(1, Eviction::from(policy)).unwrap();
            let mut puts: Vec<u32> = (0..count).collect();
            turn_around(&mut puts, catalog.chains());
            puts
        };
        assert_eq!(turned(CachePolicy::Lru, 127), (0..127).collect::<Vec<_>>());
        assert_eq!(turned(CachePolicy::Fifo, 1000), (0..1000).collect::<Vec<_>>());
        assert_eq!(turned(CachePolicy::Reuse, 200)[..7], [2, 1, 0, 5, 4, 3, 8]);
        let mut many = turned(CachePolicy::Lru, 100_000);
        assert_eq!((many[0], many[255], many[256]), (255, 0, 511));
        many.sort_unstable();
        assert!(many.into_iter().eq(0..100_000));
    }
}
