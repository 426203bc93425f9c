//! Objects that go: victims of the catalog, what did not prove right, keys that are removed.

use tokio::task::JoinSet;

use super::fleet::LISTING_CAPACITY_PART;
use super::in_use::{Taken, Turn};
use super::{Core, shard_of};
use crate::catalog::{ObjectReservation, RoomRefused, Victim};
use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::bucket::listing::Found;
use crate::layout::files::ObjectName;
use crate::s3::{Answer, FailureKind, Version};
use crate::sync::{Arc, Ordering, lock};

/// Removals of one eviction that are under way at a time.
const SIDE_BY_SIDE: usize = 32;
/// Where a server has no room left, twice what is needed is evicted, so that the next put need not evict again.
const EVICTION_HEADROOM: u64 = 2;

/// What became of victims.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evicted {
    /// So many are gone.
    pub(super) gone: u64,
    /// Some stay only while they are being read or put.
    pub(super) some_in_use: bool,
}

/// What became of one.
enum Fate {
    Gone { counts: bool },
    InUse(Victim),
    Failed(Victim),
}

impl Core {
    /// Counts a put of this object and makes room for it. For a thread that may wait.
    ///
    /// # Errors
    /// Why there is no room.
    pub(super) fn make_room_for(
        self: &Arc<Self>,
        reservation: ObjectReservation,
        mut victims: Vec<Victim>,
    ) -> std::result::Result<ObjectReservation, RoomRefused> {
        loop {
            if victims.is_empty() {
                return Ok(reservation);
            }
            let evicted = self.evict(victims);
            // Those that went back count again; others are named for them until none is left.
            victims = match self.catalog.make_room(&reservation) {
                Ok(victims) => victims,
                Err(refused) => {
                    self.catalog.cancel(reservation);
                    let waits = refused == RoomRefused::Full && evicted.some_in_use;
                    return Err(if waits { RoomRefused::Busy } else { refused });
                }
            };
        }
    }

    /// Makes room on a server that has none. False: nothing can go.
    pub(super) fn evict_at_least(self: &Arc<Self>, bytes: u64) -> bool {
        self.evict(self.catalog.evict_at_least(bytes.saturating_mul(EVICTION_HEADROOM))).gone > 0
    }

    /// Removes victims, many at a time; those that stay go back. For a thread that may wait.
    pub(super) fn evict(self: &Arc<Self>, victims: Vec<Victim>) -> Evicted {
        let core = Arc::clone(self);
        self.bucket.client.block_on(async move { core.evict_all(victims).await })
    }

    async fn evict_all(self: Arc<Self>, victims: Vec<Victim>) -> Evicted {
        let mut evicted = Evicted::default();
        let mut under_way = JoinSet::new();
        let mut victims = victims.into_iter();
        loop {
            while under_way.len() < SIDE_BY_SIDE
                && let Some(victim) = victims.next()
            {
                let core = Arc::clone(&self);
                under_way.spawn(async move { core.evict_one(victim).await });
            }
            match under_way.join_next().await {
                None => return evicted,
                Some(Ok(Fate::Gone { counts })) => {
                    evicted.gone += 1;
                    if counts {
                        self.evictions.increment();
                    }
                }
                Some(Ok(Fate::InUse(victim))) => {
                    evicted.some_in_use = true;
                    self.catalog.put_back(victim);
                }
                Some(Ok(Fate::Failed(victim))) => self.catalog.put_back(victim),
                // Its message went to stderr; the object is only forgotten.
                Some(Err(_)) => {}
            }
        }
    }

    async fn evict_one(self: &Arc<Self>, victim: Victim) -> Fate {
        let Some(name) = self.names.behind(victim.id, victim.name.as_deref()) else {
            return Fate::Gone { counts: false };
        };
        let turn = match self.in_use.try_turn_unread(victim.id) {
            Ok(turn) => turn,
            Err(Taken::ByTransfer) => return Fate::InUse(victim),
            Err(Taken::ForAMoment) => return Fate::Failed(victim),
        };
        // A put of the same key may have completed since the victim was chosen. That one is in the catalog again, and
        // stays.
        if self.catalog.contains(victim.id) {
            return Fate::Gone { counts: false };
        }
        let whole = self.names.whole(&name);
        let deleted = self.bucket.client.delete(&whole, None, None).await;
        drop(turn);
        match deleted {
            Ok(()) => {
                self.gone(victim.id, victim.bytes);
                Fate::Gone { counts: true }
            }
            Err(failure) if failure.kind() == FailureKind::Missing => Fate::Gone { counts: false },
            Err(failure) => {
                self.logger.warn(format_args!("evicting {whole}: {}", failure.message()));
                Fate::Failed(victim)
            }
        }
    }

    /// Takes out what did not prove right, unless another object has been put there since. `bytes` and `version` are
    /// those of what was read.
    pub(super) async fn remove_damaged(
        self: Arc<Self>,
        name: ObjectName,
        bytes: u64,
        version: Option<Version>,
    ) {
        let id = self.names.id_of(&name);
        // A put of the key that is under way replaces it anyhow.
        let Some(turn) = self.in_use.try_turn(id) else { return };
        if let Err(failure) = self.remove_version(&name, bytes, version.as_ref(), &turn).await {
            let (whole, why) = (self.names.whole(&name), failure.message());
            self.logger.error(format_args!("removing damaged object {whole}: {why}"));
        }
    }

    /// Removes an object if it is still the one that was seen: by a condition where the server honours that, else after a
    /// look.
    pub(super) async fn remove_version(
        &self,
        name: &ObjectName,
        bytes: u64,
        version: Option<&Version>,
        _turn: &Turn,
    ) -> Answer<()> {
        let whole = self.names.whole(name);
        let client = &self.bucket.client;
        let only = version.filter(|_| self.bucket.traits.deletes_if_match);
        if only.is_none() {
            match client.head(&whole, None).await {
                Ok(head)
                    if head.bytes == bytes && (version.is_none() || head.version.as_ref() == version) => {}
                Ok(_) => return Ok(()),
                Err(failure) if failure.kind() == FailureKind::Missing => {}
                Err(failure) => return Err(failure),
            }
        }
        match client.delete(&whole, only, None).await {
            Ok(()) => {}
            Err(failure) if failure.kind() == FailureKind::Missing => {}
            Err(failure) if failure.kind() == FailureKind::Changed => return Ok(()),
            Err(failure) => return Err(failure),
        }
        // Whoever pinned it pinned bytes that are gone.
        let id = self.names.id_of(name);
        self.forget(id);
        self.gone(id, bytes);
        Ok(())
    }

    /// Removes an object whoever put it.
    ///
    /// # Errors
    /// What the server answers.
    pub(super) async fn remove(&self, name: &ObjectName, _turn: &Turn) -> Result<()> {
        let whole = self.names.whole(name);
        match self.bucket.client.delete(&whole, None, None).await {
            Err(failure) if failure.kind() != FailureKind::Missing => return Err(Error::from(failure)),
            _ => {}
        }
        let id = self.names.id_of(name);
        let bytes = self.catalog.length(id);
        self.forget(id);
        self.gone(id, bytes.unwrap_or(0));
        Ok(())
    }

    /// Removes those of a listing that are this store's and nobody here pins; returns how many.
    ///
    /// # Errors
    /// The first that the server answers; some may be removed.
    pub(super) async fn clear_found(self: &Arc<Self>, found: Vec<Found>) -> Result<u64> {
        let mut removed = 0;
        let mut failure = None;
        let mut under_way = JoinSet::new();
        let mut found = found.into_iter();
        loop {
            while under_way.len() < SIDE_BY_SIDE
                && failure.is_none()
                && let Some(found) = found.next()
            {
                let core = Arc::clone(self);
                under_way.spawn(async move { core.clear_one(&found).await });
            }
            match under_way.join_next().await {
                None => return failure.map_or(Ok(removed), Err),
                Some(Ok(Ok(was_removed))) => removed += u64::from(was_removed),
                Some(Ok(Err(error))) => failure = Some(error),
                // Its message went to stderr.
                Some(Err(_)) => failure = Some(Error::new(Status::Internal, "removing an object panicked")),
            }
        }
    }

    async fn clear_one(self: &Arc<Self>, found: &Found) -> Result<bool> {
        let id = self.names.id_of(&found.name);
        // What is put at this moment may survive.
        let Some(turn) = self.in_use.try_turn(id) else { return Ok(false) };
        if self.catalog.is_pinned(id) {
            return Ok(false);
        }
        // In the flat layout LMCache and others keep objects too; only the trailer says that one is this store's.
        if self.names.layout() == Layout::Lmcache {
            let seen = self.look(&found.name, None).await?;
            if seen.and_then(|seen| seen.ours).is_none() {
                return Ok(false);
            }
        }
        self.remove(&found.name, &turn).await?;
        Ok(true)
    }

    /// Notes that this process removed an object.
    pub(super) fn gone(&self, id: u128, bytes: u64) {
        self.removals.fetch_add(1, Ordering::AcqRel);
        self.count_change(id, -i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes that this process changed what lies in a shard.
    pub(super) fn count_change(&self, id: u128, bytes: i64) {
        if self.rules.capacity_bytes.is_some() && self.names.layout() == Layout::Sharded {
            lock(&self.census).change(shard_of(id), bytes);
        }
        let Some(capacity) = self.rules.capacity_bytes.filter(|_| bytes > 0) else { return };
        let step = (capacity / LISTING_CAPACITY_PART).max(1);
        let before = self.bytes_put.fetch_add(bytes.unsigned_abs(), Ordering::Relaxed);
        if before / step != before.saturating_add(bytes.unsigned_abs()) / step {
            self.bell.call();
        }
    }
}
