//! Questions about keys of a static pool, and their removal and pinning.

use super::Slots;
use super::storage::Index;
use crate::catalog::Remove;
use crate::error::{Result, Status};
use crate::layout::pool::SnapshotEntry;
use crate::placement::{Gauges, Key, Keys};

impl Keys for Slots {
    fn contains(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.catalog.contains(key.digest, key.effective))
    }

    fn expect(&self, digest: u128) {
        self.catalog.prefetch(digest);
    }

    fn length(&self, key: &Key<'_>) -> Result<Option<u64>> {
        Ok(self.catalog.length(key.digest, key.effective))
    }

    fn remove(&self, key: &Key<'_>) -> Result<Status> {
        let _kept = self.keep()?;
        Ok(match self.catalog.remove(key.digest, key.effective) {
            Remove::Absent => Status::NotFound,
            Remove::Pinned => Status::Pinned,
            Remove::Deferred => {
                self.wait_until_clean(key.digest);
                Status::Ok
            }
            Remove::Clean(dirty) => {
                self.clean(dirty);
                Status::Ok
            }
        })
    }

    fn pin(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.catalog.pin(key.digest, key.effective))
    }

    fn unpin(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.catalog.unpin(key.digest, key.effective))
    }

    fn clear(&self) -> Result<u64> {
        let _kept = self.keep()?;
        let cleared = self.catalog.clear();
        cleared.clean.into_iter().for_each(|dirty| self.clean(dirty));
        Ok(cleared.removed)
    }

    fn sync(&self) -> Result<()> {
        self.keep()?.sync()
    }

    fn close(&self) -> Result<()> {
        let storage = self.storage.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(storage) = storage else { return Ok(()) };
        let gauges = self.catalog.gauges();
        if gauges.slots_quarantined > 0 || gauges.slots_leaving > 0 {
            // A snapshot would call these slots free, while a record may still be in them.
            self.logger.info(format_args!(
                "{} slots are out of use; the next open scans the pool",
                gauges.slots_quarantined + gauges.slots_leaving
            ));
            return storage.close(None);
        }
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let mut entries = Vec::new();
        self.catalog.export(&mut |entry| {
            keys.push(entry.key.into());
            entries.push((entry.slot, entry.generation, entry.length, entry.frequency));
        });
        let mut entries = keys.iter().zip(entries).map(|(key, entry)| {
            let (slot, generation, payload_bytes, frequency) = entry;
            SnapshotEntry { slot, generation, payload_bytes, frequency, key }
        });
        let generation_next = self.catalog.generation_next();
        storage.close(Some(Index { generation_next, entries: &mut entries }))
    }

    fn abandon_after_fork(&self) {
        // A parent that was closing the pool at the fork is about to give it up anyway.
        if let Ok(storage) = self.storage.try_read()
            && let Some(storage) = storage.as_ref()
        {
            storage.abandon_after_fork();
        }
    }

    fn gauges(&self) -> Gauges {
        let gauges = self.catalog.gauges();
        Gauges {
            keys: u64::from(gauges.keys),
            bytes: gauges.bytes,
            slots: u64::from(self.geometry.slot_count()),
            slots_free: u64::from(gauges.slots_free),
            slots_quarantined: u64::from(gauges.slots_quarantined),
            evictions: self.evictions.get(),
            files_damaged: 0,
            capacity_bytes: u64::from(self.geometry.slot_count()).saturating_mul(self.geometry.chunk_bytes()),
            keys_pinned: gauges.keys_pinned,
        }
    }
}
