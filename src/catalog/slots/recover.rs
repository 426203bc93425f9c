//! The catalog across restarts: what recovery puts in and what the snapshot takes out.

use std::collections::TryReserveError;

use crate::sync::Ordering;

use super::ghosts::TAGS_PER_SLOT_MAX;
use super::ledger::State;
use super::{Entry, SlotCatalog, entry, tag_of};

/// A key as a snapshot or a scan of the slots knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEntry<'a> {
    /// The effective key.
    pub key: &'a [u8],
    /// Its slot.
    pub slot: u32,
    /// Length of its object in bytes.
    pub length: u64,
    /// Generation of its record.
    pub generation: u64,
    /// How often it was put or used, as LFU counts; under REUSE 2 if it was wanted more than once; else 1.
    pub frequency: u32,
}

/// A slot that is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfUse {
    /// Its number.
    pub slot: u32,
    /// Why.
    pub why: Why,
}

/// Why a slot is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What was put there came back as other bytes.
    Damaged,
    /// It may hold a record that must not be found again, and could not be cleaned. Of each such record that is known
    /// the first 32 bits of its key's digest, and its generation.
    Unclean([Option<(u32, u64)>; TAGS_PER_SLOT_MAX]),
}

impl OutOfUse {
    /// The highest generation of a record that it is known to hold.
    fn generation(&self) -> u64 {
        match self.why {
            Why::Damaged => 0,
            Why::Unclean(records) => {
                records.iter().flatten().map(|&(_, generation)| generation).max().unwrap_or(0)
            }
        }
    }
}

impl SlotCatalog {
    /// Takes in a key found on storage, before the first reservation. Give keys in the order in
    /// which they should leave, oldest first: a scan by rising generation, a snapshot as
    /// [`SlotCatalog::export`] gave it.
    ///
    /// False: refused, as there is no such slot, slot or key is taken already, or the key is too long.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn restore(&self, digest: u128, stored: StoredEntry<'_>) -> Result<bool, TryReserveError> {
        let StoredEntry { key, slot, length, generation, frequency } = stored;
        let tag = tag_of(digest);
        let mut ledger = self.ledger();
        let mut table = self.index.shard(tag);
        let fits = key.len() <= entry::KEY_BYTES_MAX && table.find(tag, entry::is_key(key)).is_none();
        if !fits {
            return Ok(false);
        }
        let fields = Entry { generation, length, slot, pins: 0 }.fields();
        table.make_room(key.len() + fields.len())?;
        if !ledger.claim_fresh(slot, State::Live) {
            return Ok(false);
        }
        table.insert(tag, self.check_of(key), key, &fields);
        ledger.set_tag(slot, tag);
        ledger.order.insert_known(slot, frequency);
        ledger.bytes += u128::from(length);
        ledger.next_generation = ledger.next_generation.max(generation.saturating_add(1));
        Ok(true)
    }

    /// Keeps a slot out of use, before the first reservation. Of slots with records of one key give the older first.
    /// False: there is no such slot, or it is taken already.
    pub fn withhold(&self, out: &OutOfUse) -> bool {
        let mut ledger = self.ledger();
        match out.why {
            Why::Damaged => ledger.claim_fresh(out.slot, State::Quarantined),
            Why::Unclean(records) => {
                if !ledger.claim_fresh(out.slot, State::Unclean) {
                    return false;
                }
                for (tag, generation) in records.into_iter().flatten() {
                    ledger.ghosts.add(out.slot, tag.max(1), generation);
                }
                if ledger.ghosts.ahead_of(out.slot).any(|other| other != out.slot) {
                    ledger.set(out.slot, State::Blocked);
                }
                self.is_any_unclean.store(true, Ordering::Relaxed);
                true
            }
        }
    }

    /// Hands out the slots that are out of use, so that the next process keeps them so. Nothing may be under way.
    pub fn export_out_of_use(&self) -> Vec<OutOfUse> {
        let ledger = self.ledger();
        let mut all = Vec::new();
        for slot in 0..self.leases.len() {
            let why = match ledger.state(slot) {
                State::Quarantined => Why::Damaged,
                State::Unclean | State::Blocked => {
                    let mut records = [None; TAGS_PER_SLOT_MAX];
                    for (place, found) in records.iter_mut().zip(ledger.ghosts.haunted_by(slot)) {
                        *place = Some(found);
                    }
                    Why::Unclean(records)
                }
                _ => continue,
            };
            all.push(OutOfUse { slot, why });
        }
        all.sort_by_key(|out| out.generation());
        all
    }

    /// What was taken in so far is not known to be durable: a process that died put it there.
    pub fn distrust_restored(&self) {
        let mut ledger = self.ledger();
        let now = ledger.durability.now();
        for slot in 0..self.leases.len() {
            if ledger.state(slot) == State::Live {
                ledger.durability.written(slot, now);
            }
        }
    }

    /// Makes every coming generation at least this one, for recovery that saw higher ones in records
    /// that it did not restore.
    pub fn raise_generation(&self, at_least: u64) {
        let mut ledger = self.ledger();
        ledger.next_generation = ledger.next_generation.max(at_least);
    }

    /// The generation that the next put will get, for the snapshot.
    pub fn generation_next(&self) -> u64 {
        self.ledger().next_generation
    }

    /// Hands out all keys, oldest first. `sink` runs without a lock held; keys that come or leave
    /// meanwhile may or may not be among them.
    pub fn export(&self, sink: &mut dyn FnMut(StoredEntry<'_>)) {
        let order = self.ledger().order.oldest_first();
        let mut key = Vec::new();
        for (slot, frequency) in order {
            let found = {
                let ledger = self.ledger();
                if ledger.state(slot) != State::Live {
                    continue;
                }
                let tag = ledger.tag(slot);
                let table = self.index.shard(tag);
                table.get(tag, entry::is_in(slot)).map(|packed| {
                    key.clear();
                    key.extend_from_slice(entry::key(packed));
                    Entry::unpack(packed)
                })
            };
            if let Some(Entry { generation, length, .. }) = found {
                sink(StoredEntry { key: &key, slot, length, generation, frequency });
            }
        }
    }
}
