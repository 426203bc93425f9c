//! The catalog across restarts: what recovery puts in and what the snapshot takes out.

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
    /// How often it was put or used, as LFU counts; 1 under the other policies.
    pub frequency: u32,
}

impl SlotCatalog {
    /// Takes in a key found on storage, before the first reservation. Give keys in the order in
    /// which they should leave, oldest first: a scan by rising generation, a snapshot as
    /// [`SlotCatalog::export`] gave it.
    ///
    /// False: refused, as there is no such slot, slot or key is taken already, or the key is too long.
    pub fn restore(&self, digest: u128, stored: StoredEntry<'_>) -> bool {
        let StoredEntry { key, slot, length, generation, frequency } = stored;
        let tag = tag_of(digest);
        let mut ledger = self.ledger();
        let mut table = self.index.shard(tag);
        let fits = key.len() <= entry::KEY_BYTES_MAX && table.find(tag, entry::is_key(key)).is_none();
        if !fits || !ledger.claim_fresh(slot, State::Live) {
            return false;
        }
        let fields = Entry { generation, length, slot, pins: 0 }.fields();
        table.insert(tag, self.check_of(key), key, &fields);
        ledger.set_tag(slot, tag);
        ledger.order.insert_known(slot, frequency);
        ledger.bytes += u128::from(length);
        ledger.next_generation = ledger.next_generation.max(generation.saturating_add(1));
        true
    }

    /// Keeps a slot out of service that recovery could neither read nor tombstone, before the first
    /// reservation. False: there is no such slot, or it is taken already.
    pub fn withhold(&self, slot: u32) -> bool {
        self.ledger().claim_fresh(slot, State::Quarantined)
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
