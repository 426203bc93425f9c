//! The catalog of a static pool: which key is in which slot, who may read it, what leaves next.
//!
//! Pure memory: it hands out slots and says what must happen to them on storage; whoever calls it
//! does the I/O and reports back. The rules that it keeps:
//!
//! - A slot that is being read is neither written nor cleaned, whatever happens to its key.
//! - A pinned key stays until it is unpinned or proven wrong.
//! - A slot is handed to one put at a time, and each slot to be cleaned is handed out once.
//! - At any moment, a crash followed by recovery (highest generation of each key wins) brings back
//!   for each key its newest record or none, never one that had been replaced (see `ghosts`).
//!
//! # A slot's life
//! ```text
//! free ──reserve──▶ reserved ──publish──▶ live ──remove, replace──▶ (readers) ──▶ cleaning ──▶ free
//!                      ▲  └──abandon──▶ cleaning    │                              ▲  │ │
//!                      └──────────evict─────────────┘              another chance──┘  │ └──▶ quarantined: wrong bytes
//!                                                                         unclean ◀───┘ it failed
//! ```
//!
//! # Locks
//! The *ledger* mutex orders every change: reserve, publish, remove, pin, and what follows. A *shard*
//! mutex guards a part of the index for lookups. Order: ledger, then one shard. Lookups and leases
//! take a shard alone; with a shard locked nobody waits for anything else. Puts thus share one lock,
//! twice and for well under a microsecond each, next to a write of 64 KiB or more; gets do not.

mod chances;
mod change;
mod durability;
mod entry;
mod flush;
mod foresee;
mod ghosts;
mod lease;
mod ledger;
mod put;
mod recover;
#[cfg(test)]
mod tests;

pub use chances::Haunted;
pub use flush::Suspect;
pub use put::{Published, Reservation, Reserve};
pub use recover::{OutOfUse, StoredEntry, Why};

use std::collections::TryReserveError;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::config::Eviction;
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, lock};

use self::entry::Entry;
use self::lease::Leases;
use self::ledger::Ledger;
use super::chains::{Chains, Sight};
use super::index::{Index, tag_of};
use super::order::{self, ITEMS_MAX};
use super::touches::Touches;

/// Most slots of a pool.
pub const SLOTS_MAX: u32 = ITEMS_MAX;

/// The keys and slots of a static pool. All methods may be called from any thread.
pub struct SlotCatalog {
    index: Index,
    /// SipHash with a random key: unlike the digest, nobody can make two keys that share a check.
    check: RandomState,
    leases: Leases,
    /// Under a policy that knows requests.
    chains: Option<Arc<Chains>>,
    touches: Touches,
    ledger: Mutex<Ledger>,
    /// Whether there may be unclean slots, for those who do not hold the ledger.
    is_any_unclean: AtomicBool,
}

/// The right to read a slot. Give it back with [`SlotCatalog::release`] when the reading is over.
#[derive(Debug)]
#[must_use = "a lease that is not released keeps its slot for ever"]
pub struct Lease {
    slot: u32,
    length: u64,
    generation: u64,
}

impl Lease {
    /// The slot to read.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Length of the stored object in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Generation that the record in the slot must have.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// A slot out of use that may hold a valid record on storage.
///
/// Whoever gets one tombstones it, then calls [`SlotCatalog::slot_cleaned`], or [`SlotCatalog::not_cleaned`] if that
/// failed. No copy can be made of it, so no slot is freed twice.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a slot that is not cleaned is lost to the pool"]
pub struct DirtySlot {
    slot: u32,
    /// See [`durability`].
    began: u32,
}

impl DirtySlot {
    /// The slot to tombstone.
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// Slots that a call made due for cleaning; mostly none.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "slots that are not cleaned are lost to the pool"]
pub struct Cleanups([Option<DirtySlot>; 2]);

impl IntoIterator for Cleanups {
    type Item = DirtySlot;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<DirtySlot>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// What [`SlotCatalog::release`] leaves to be done.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Release {
    /// Nothing.
    Kept,
    /// The key was removed or replaced meanwhile and this was its last reader.
    Clean(DirtySlot),
}

/// How [`SlotCatalog::remove`] ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Remove {
    /// No such key.
    Absent,
    /// The key is pinned and stays.
    Pinned,
    /// The key stays, as an older record of it could not be cleaned: were the newest cleaned first, a crash would
    /// bring the older one back. [`SlotCatalog::reclaim_of`] gives the older one another chance.
    Obstructed,
    /// Removed; its slot is due for cleaning.
    Clean(DirtySlot),
    /// Removed; its slot comes out of a later call: the last reader's release, or the cleaning of an
    /// older record of the key.
    Deferred,
}

/// How [`SlotCatalog::clear`] ended.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Keys removed.
    pub removed: u64,
    /// Keys that stay for the reason of [`Remove::Obstructed`].
    pub obstructed: u64,
    /// Slots due for cleaning; those that are being read follow later.
    pub clean: Vec<DirtySlot>,
}

/// The pool at one moment. The slot counts and `keys` add up to the pool's slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Keys stored.
    pub keys: u32,
    /// Payload bytes stored.
    pub bytes: u64,
    /// Keys that are pinned.
    pub keys_pinned: u64,
    /// Slots that a put may take without evicting.
    pub slots_free: u32,
    /// Slots that puts are writing.
    pub slots_reserved: u32,
    /// Slots of removed, replaced and failed objects that are not clean yet.
    pub slots_leaving: u32,
    /// Slots out of use: their bytes proved wrong, or they could not be cleaned.
    pub slots_quarantined: u32,
    /// Those of them that [`SlotCatalog::reclaim`] hands out.
    pub slots_unclean: u32,
}

impl SlotCatalog {
    /// The catalog of an empty pool with `slots` slots, at most [`SLOTS_MAX`].
    ///
    /// # Errors
    /// If there is no memory for its tables, about 22 bytes a slot, and under REUSE 8 more for each key that it remembers; what a
    /// key takes beside comes with the key.
    pub fn new(slots: u32, eviction: Eviction) -> Result<SlotCatalog, TryReserveError> {
        let slots = slots.min(SLOTS_MAX);
        let chains = order::chains(eviction.policy)?;
        Ok(SlotCatalog {
            index: Index::new(slots),
            check: RandomState::new(),
            leases: Leases::new(slots)?,
            touches: Touches::new(eviction.policy),
            ledger: Mutex::new(Ledger::new(slots, eviction, chains.as_ref())?),
            chains,
            is_any_unclean: AtomicBool::new(false),
        })
    }

    /// Whether the key is stored. `digest` is that of `key`, here and below.
    ///
    /// Answers by a 64-bit hash with a key that is this catalog's secret, so nobody can make up keys that are mistaken for
    /// one another. It errs with a chance of 2^-64 for each stored key in the run of cells that is looked at; a run has a
    /// few, more only where somebody makes up keys of one digest. A read compares the keys themselves.
    #[inline]
    pub fn contains(&self, digest: u128, key: &[u8]) -> bool {
        let (tag, check) = (tag_of(digest), self.check_of(key));
        self.index.shard(tag).has_check(tag, check)
    }

    /// Has the memory fetched that [`SlotCatalog::contains`] will read.
    #[inline]
    pub fn prefetch(&self, digest: u128) {
        let tag = tag_of(digest);
        self.index.shard(tag).prefetch(tag);
    }

    /// Length of the stored object in bytes.
    pub fn length(&self, digest: u128, key: &[u8]) -> Option<u64> {
        let tag = tag_of(digest);
        self.index.shard(tag).get(tag, entry::is_key(key)).map(|packed| Entry::unpack(packed).length)
    }

    /// Begins to read the key's bytes, which counts as a use.
    pub fn acquire(&self, digest: u128, key: &[u8]) -> Option<Lease> {
        let tag = tag_of(digest);
        let lease = {
            let table = self.index.shard(tag);
            let entry = Entry::unpack(table.get(tag, entry::is_key(key))?);
            self.leases.add_reader(entry.slot);
            Lease { slot: entry.slot, length: entry.length, generation: entry.generation }
        };
        // Noted while the lease is held: the slot gets no other key before someone releases the
        // lease, then locks the ledger and so applies the note to the key that it was meant for.
        let sight = self.sight(tag);
        if !self.touches.note(lease.slot, sight) {
            self.ledger().order.touch(lease.slot, sight);
        }
        Some(lease)
    }

    /// Length of the stored object, for a put that leaves it as it is. Under a policy that knows requests that is a use.
    pub fn keep(&self, digest: u128, key: &[u8]) -> Option<u64> {
        if self.chains.is_none() {
            return self.length(digest, key);
        }
        let tag = tag_of(digest);
        let sight = self.sight(tag);
        let entry = {
            let table = self.index.shard(tag);
            let entry = Entry::unpack(table.get(tag, entry::is_key(key))?);
            // Noted under the shard's lock: whoever takes the key out and gives its slot to another locks the ledger in
            // between, and so applies the note first.
            if self.touches.note(entry.slot, sight) {
                return Some(entry.length);
            }
            entry
        };
        let mut ledger = self.ledger();
        let found = self.index.shard(tag).get(tag, entry::is_key(key)).map(Entry::unpack);
        if let Some(found) = found {
            ledger.order.touch(found.slot, sight);
        }
        Some(entry.length)
    }

    /// Where requests and their keys are written down, if the policy knows them.
    pub fn chains(&self) -> Option<&Arc<Chains>> {
        self.chains.as_ref()
    }

    /// Ends a read.
    pub fn release(&self, lease: Lease) -> Release {
        if !self.leases.drop_reader(lease.slot) {
            return Release::Kept;
        }
        match self.ledger().last_reader_gone(lease.slot) {
            Some(dirty) => Release::Clean(dirty),
            None => Release::Kept,
        }
    }

    /// The pool at this moment.
    pub fn gauges(&self) -> Gauges {
        lock(&self.ledger).gauges()
    }

    /// Where the key with this tag stands in a request.
    #[inline]
    fn sight(&self, tag: u32) -> Sight {
        self.chains.as_ref().map_or(Sight::ALONE, |chains| chains.sight(tag))
    }

    #[inline]
    fn check_of(&self, key: &[u8]) -> u64 {
        let mut hasher = self.check.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// Locks the ledger, with the order up to date.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = lock(&self.ledger);
        self.touches.apply(&mut ledger.order);
        ledger
    }
}
