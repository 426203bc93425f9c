//! Capacity of a bucket that a fleet shares: each process now and then lists one shard at random, extrapolates, and above
//! the capacity removes the oldest there. Nobody coordinates; digests spread objects evenly, so all parts give alike.

use std::collections::HashSet;
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

/// The longest and the shortest time between two listings by a process that puts.
const LISTING_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(250));
/// The same in a store without shards, where each lists all of it.
const WHOLE_LISTING_INTERVALS: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(60));
/// Bytes put since the last listing, as a part of the capacity, that ask for another one: while as much is put as there is
/// room for, each shard is listed twice.
pub(super) const LISTING_CAPACITY_PART: u64 = 512;
/// Objects of one shard that are looked at: with as many in each, the store has more than a catalog remembers.
const SHARD_OBJECTS_MAX: usize = OBJECTS_MAX as usize / 64;
/// How long one listing, and one removal, may take: closing waits for it.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

impl Core {
    /// The longest and the shortest time between two listings, if there are any.
    pub(super) fn listing_interval(&self) -> Option<(Duration, Duration)> {
        self.rules.capacity_bytes?;
        Some(match self.names.layout() {
            Layout::Sharded => LISTING_INTERVALS,
            Layout::Lmcache => WHOLE_LISTING_INTERVALS,
        })
    }

    /// Looks for what others put, and removes what is too much; for the keeper's thread. True: there is more to remove.
    pub(super) fn look_at_fleet(self: &Arc<Self>) -> bool {
        let Some(capacity) = self.rules.capacity_bytes else { return false };
        let bytes_put = self.bytes_put.swap(0, Ordering::Relaxed);
        let is_listing_due = self.is_listing_due.load(Ordering::Acquire);
        // A process that puts nothing adds nothing; those that do see to the rest.
        if bytes_put == 0 && !is_listing_due && !self.is_over.load(Ordering::Relaxed) {
            return false;
        }
        if is_listing_due || self.names.layout() == Layout::Lmcache {
            match self.list_all(None) {
                Ok(true) => self.is_listing_due.store(false, Ordering::Release),
                Ok(false) => {}
                Err(error) => self.logger.warn(format_args!("looking for other processes' objects: {error}")),
            }
            return false;
        }
        let shard = random_u128().map_or(0, |random| random as u8);
        let core = Arc::clone(self);
        let done = self.bucket.client.block_on(async move { core.look_at_shard(shard, capacity).await });
        let is_over = done.unwrap_or_else(|error| {
            self.logger.warn(format_args!("looking for other processes' objects: {error}"));
            false
        });
        self.is_over.store(is_over, Ordering::Relaxed);
        is_over
    }

    /// True: there is more in the bucket than there should be.
    async fn look_at_shard(self: &Arc<Self>, shard: u8, capacity: u64) -> Result<bool> {
        let known = self.catalog.unpinned_of(shard);
        let bounds = Bounds {
            objects_max: SHARD_OBJECTS_MAX,
            deadline: Instant::now().checked_add(CALL_TIME_MAX),
            stop: Arc::clone(&self.stopping),
        };
        let prefix = self.names.of_shard(shard);
        let listed = listing::below(&self.bucket.client, &self.names, &prefix, &bounds).await?;
        if !listed.is_whole {
            return Ok(false);
        }
        let mut found = listed.found;
        let bytes = found.iter().fold(0u64, |sum, found| sum.saturating_add(counted(found.bytes)));
        let now = Instant::now();
        let total = {
            let mut census = lock(&self.census);
            census.listed(shard, bytes, now);
            census.total(now).unwrap_or(0)
        };
        self.forget_missing(&known, &found);
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
        Ok(total > capacity)
    }

    /// Forgets what was known of a shard before it was listed, and is not there: others removed it.
    fn forget_missing(&self, known: &[u128], found: &[Found]) {
        let there: HashSet<u128> = found.iter().map(|found| self.names.id_of(&found.name)).collect();
        for &id in known.iter().filter(|id| !there.contains(id)) {
            // Not what is being put again at this moment.
            if let Some(_turn) = self.in_use.try_turn(id) {
                self.forget(id);
            }
        }
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
