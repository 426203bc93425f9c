//! Questions about keys of a static pool, and their removal and pinning.

use std::time::Instant;

use super::Slots;
use super::cleaning::REMOVAL_WAIT_MAX;
use crate::batch::Question;
use crate::catalog::{Chains, Remove};
use crate::error::{Error, Result, Status};
use crate::placement::{Gauges, Key, Keys};
use crate::sync::Arc;

impl Keys for Slots {
    fn contains(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.catalog.contains(key.digest, key.effective))
    }

    fn chains(&self) -> Option<Arc<Chains>> {
        self.catalog.chains().cloned()
    }

    fn plan(&self, ids: &[u128], _length: u64) -> usize {
        self.catalog.plan(ids)
    }

    fn expect(&self, digest: u128) {
        self.catalog.prefetch(digest);
    }

    fn length(&self, key: &Key<'_>) -> Result<Option<u64>> {
        Ok(self.catalog.length(key.digest, key.effective))
    }

    fn remove(&self, key: &Key<'_>) -> Result<Status> {
        let _kept = self.keep()?;
        let deadline = Instant::now() + REMOVAL_WAIT_MAX;
        loop {
            return match self.catalog.remove(key.digest, key.effective) {
                // Removed before, perhaps, and not erased.
                Remove::Absent => match self.catalog.reclaim_of(key.digest) {
                    None => Ok(Status::NotFound),
                    Some(dirty) => {
                        self.erase(key, dirty).and_then(|()| self.see_off(key, deadline)).map(|()| Status::Ok)
                    }
                },
                Remove::Pinned => Ok(Status::Pinned),
                Remove::Obstructed => {
                    self.erase_older(key, deadline)?;
                    continue;
                }
                Remove::Deferred => self.see_off(key, deadline).map(|()| Status::Ok),
                Remove::Clean(dirty) => self.erase(key, dirty).map(|()| Status::Ok),
            };
        }
    }

    fn pin(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.catalog.pin(key.digest, key.effective))
    }

    fn unpin(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.catalog.unpin(key.digest, key.effective))
    }

    fn answers_at_once(&self, question: Question) -> bool {
        // A removal erases the record.
        question != Question::Remove
    }

    fn clear(&self) -> Result<u64> {
        let _kept = self.keep()?;
        // First the older records that keep their keys from being removed.
        let mut outcome = self.clean_leftovers();
        let cleared = self.catalog.clear();
        for dirty in cleared.clean {
            outcome = outcome.and(self.clean(dirty));
        }
        match outcome {
            Ok(()) => Ok(cleared.removed),
            Err(error) => Err(Error::os(
                format_args!(
                    "clearing {}: {} keys were removed, and {} stay as an older record of theirs cannot be erased. Some \
                     records could not be erased, so some of the removed keys may be back after the pool is opened again; \
                     clearing it again tries once more",
                    self.place, cleared.removed, cleared.obstructed
                ),
                &error,
            )),
        }
    }

    fn sync(&self) -> Result<()> {
        self.flush()
    }

    fn close(&self) -> Result<()> {
        self.end()
    }

    fn give_up(&self) {
        let storage = self.storage.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(storage) = storage {
            // Without an index there is nothing that can fail.
            drop(storage.close(None));
        }
    }

    fn abandon_after_fork(&self) {
        // A parent that was closing the pool at the fork is about to give it up anyway.
        if let Ok(storage) = self.storage.try_read()
            && let Some(storage) = storage.as_ref()
        {
            storage.abandon_after_fork();
            self.files.iter().for_each(|file| file.target.let_go_in_child());
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
            files_damaged: self.lost.get(),
            capacity_bytes: u64::from(self.geometry.slot_count()).saturating_mul(self.geometry.chunk_bytes()),
            keys_pinned: gauges.keys_pinned,
        }
    }
}
