//! Capacity of a bucket that a fleet shares: each process now and then lists one shard at random, extrapolates, and above
//! the capacity removes the oldest there. Nobody coordinates; digests spread objects evenly, so all parts give alike.

use std::time::{Duration, Instant};

use super::Core;
use super::census::excess_of_shard;
use super::counted;
use crate::catalog::OBJECTS_MAX;
use crate::config::Layout;
use crate::error::Result;
use crate::layout::bucket::listing::{self, Bounds, Found};
use crate::s3::FailureKind;
use crate::sync::{Arc, Ordering, lock};
use crate::sys::random_u128;

/// The least time between two listings by one process.
pub(super) const LISTING_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// The least time between two listings of a store without shards, which list all of it.
const WHOLE_LISTING_INTERVAL_MIN: Duration = Duration::from_secs(300);
/// Objects of one shard that are looked at: with as many in each, the store has more than a catalog remembers.
const SHARD_OBJECTS_MAX: usize = OBJECTS_MAX as usize / 64;
/// How long one listing, and one removal, may take: closing waits for it.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

impl Core {
    /// How long after the last listing another one is due, if any ever is.
    pub(super) fn listing_interval(&self) -> Option<Duration> {
        self.rules.capacity_bytes?;
        Some(match self.names.layout() {
            Layout::Sharded => LISTING_INTERVAL_MIN,
            Layout::Lmcache => WHOLE_LISTING_INTERVAL_MIN,
        })
    }

    /// Looks for what others put, and removes what is too much. For the keeper's thread.
    pub(super) fn look_at_fleet(self: &Arc<Self>) {
        let Some(capacity) = self.rules.capacity_bytes else { return };
        if self.is_listing_due.load(Ordering::Acquire) || self.names.layout() == Layout::Lmcache {
            match self.list_all(None) {
                Ok(true) => self.is_listing_due.store(false, Ordering::Release),
                Ok(false) => {}
                Err(error) => self.logger.warn(format_args!("looking for other processes' objects: {error}")),
            }
            return;
        }
        // A process that puts nothing adds nothing; those that do see to the rest.
        if self.bytes_put.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        let shard = random_u128().map_or(0, |random| random as u8);
        let core = Arc::clone(self);
        let done = self.bucket.client.block_on(async move { core.look_at_shard(shard, capacity).await });
        if let Err(error) = done {
            self.logger.warn(format_args!("looking for other processes' objects: {error}"));
        }
    }

    async fn look_at_shard(self: &Arc<Self>, shard: u8, capacity: u64) -> Result<()> {
        let bounds = Bounds {
            objects_max: SHARD_OBJECTS_MAX,
            deadline: Instant::now().checked_add(CALL_TIME_MAX),
            stop: Arc::clone(&self.stopping),
        };
        let prefix = self.names.of_shard(shard);
        let listed = listing::below(&self.bucket.client, &self.names, &prefix, &bounds).await?;
        if !listed.is_whole {
            return Ok(());
        }
        let mut found = listed.found;
        let bytes = found.iter().fold(0u64, |sum, found| sum.saturating_add(counted(found.bytes)));
        let now = Instant::now();
        let total = {
            let mut census = lock(&self.census);
            census.listed(shard, bytes, now);
            census.total(now).unwrap_or(0)
        };
        found.sort_unstable_by_key(|found| found.modified);
        for found in &found {
            if !self.catalog.contains(self.names.id_of(&found.name)) {
                self.observe(&found.name, found.bytes);
            }
        }
        let excess = excess_of_shard(bytes, total, capacity);
        let mut freed = 0u64;
        for found in found {
            if freed >= excess || self.stopping.load(Ordering::Acquire) {
                break;
            }
            freed = freed.saturating_add(self.remove_old(&found).await);
        }
        Ok(())
    }

    /// Removes an object that this process neither pins nor uses; returns the bytes that are free now.
    async fn remove_old(&self, found: &Found) -> u64 {
        let id = self.names.id_of(&found.name);
        let Ok(_turn) = self.in_use.try_turn_unread(id) else { return 0 };
        if self.catalog.is_pinned(id) {
            return 0;
        }
        let whole = self.names.whole(&found.name);
        // Not one that was put since it was listed.
        let only = found.version.as_ref().filter(|_| self.bucket.traits.deletes_if_match);
        let deadline = Instant::now().checked_add(CALL_TIME_MAX);
        match self.bucket.client.delete(&whole, only, deadline).await {
            Ok(()) => {
                self.forget(id);
                self.gone(id, found.bytes);
                self.evictions.increment();
                counted(found.bytes)
            }
            Err(failure) => {
                if failure.kind() != FailureKind::Changed {
                    self.logger.warn(format_args!("evicting {whole}: {}", failure.message()));
                }
                0
            }
        }
    }
}
