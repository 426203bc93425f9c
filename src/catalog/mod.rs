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
