//! Learning at open what is there: all of a static pool, and of a dynamic store what counts against its capacity.

use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;

use super::sizes::RecordBytes;
use super::{Core, Kind, counted};
use crate::catalog::{OBJECTS_MAX, turn_around};
use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::bucket::listing::{self, Bounds, Found};
use crate::s3::FailureKind;
use crate::sync::{Arc, Ordering, lock};

/// How long the open of a dynamic store lists objects; what is left is listed in the background.
const LISTING_TIME_MAX: Duration = Duration::from_secs(10);
/// Objects without a telling name that are looked at side by side.
const LOOKS_SIDE_BY_SIDE: usize = 32;
/// How long a call about such an upload may take: closing waits for it.
const ABORT_TIME_MAX: Duration = Duration::from_secs(10);
/// An upload of a process that is gone is aborted at open when it is so old. No put takes as long.
const UPLOAD_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

impl Core {
    /// Learns what has to be known before the first put.
    ///
    /// # Errors
    /// What the server answers; `OutOfMemory`.
    pub(super) fn recover(self: &Arc<Self>) -> Result<()> {
        match &self.kind {
            Kind::Pool { .. } => {
                if !self.list_all(None)? {
                    return Err(Error::new(
                        Status::Format,
                        format!(
                            "{}: more objects than a pool can have, or a listing without an end; remove what is not the \
                             pool's",
                            self.names.of_all()
                        ),
                    ));
                }
                // Left by another owner that could not be kept from putting at the same time.
                let excess = self.catalog.take_excess();
                if !excess.is_empty() {
                    let evicted = self.evict(excess);
                    self.logger.info(format_args!(
                        "{}: removed {} objects beyond nixl_pool_size",
                        self.names.root(),
                        evicted.gone
                    ));
                }
                Ok(())
            }
            Kind::Dynamic if self.rules.capacity_bytes.is_some() => {
                let is_whole = self.list_all(Instant::now().checked_add(LISTING_TIME_MAX))?;
                self.is_listing_due.store(!is_whole, Ordering::Release);
                Ok(())
            }
            Kind::Dynamic => Ok(()),
        }
    }

    /// Takes every object into the catalog, the oldest first. False: not all were seen by `deadline`.
    ///
    /// # Errors
    /// What the server answers; `OutOfMemory`.
    pub(super) fn list_all(self: &Arc<Self>, deadline: Option<Instant>) -> Result<bool> {
        let core = Arc::clone(self);
        let bounds = Bounds { objects_max: OBJECTS_MAX as usize, deadline, stop: Arc::clone(&self.stopping) };
        let (mut found, is_whole) = self.bucket.client.block_on(async move {
            let listed = listing::all(&core.bucket.client, &core.names, &bounds).await?;
            let mut is_whole = listed.is_whole;
            let found = core.only_ours(listed.found, &bounds, &mut is_whole).await?;
            Ok::<_, Error>((found, is_whole))
        })?;
        let unknown = found.iter().filter(|found| !self.catalog.contains(self.names.id_of(&found.name)));
        let (objects, name_bytes) = unknown.fold((0, 0), |(objects, bytes), found| {
            (objects + 1, bytes + self.names.flat(&found.name).map_or(0, |flat| flat.len()))
        });
        if !self.catalog.has_memory_for(objects, name_bytes) {
            return Err(Error::new(
                Status::OutOfMemory,
                format!("listing the objects of the store: no memory for {objects} of them"),
            ));
        }
        self.take_census(&found, is_whole);
        found.sort_unstable_by_key(|found| found.modified);
        turn_around(&mut found, self.catalog.chains());
        for found in &found {
            self.observe(&found.name, found.bytes);
        }
        Ok(is_whole)
    }

    /// Of a listing in the lmcache layout, what ends with a trailer of ours: LMCache and others keep objects there too.
    async fn only_ours(
        self: &Arc<Self>,
        found: Vec<Found>,
        bounds: &Bounds,
        is_whole: &mut bool,
    ) -> Result<Vec<Found>> {
        if self.names.layout() == Layout::Sharded {
            return Ok(found);
        }
        let mut ours = Vec::new();
        let mut looks = JoinSet::new();
        // Nothing of another length can be a record. What is known already was proven before, or put by this process.
        let mut found = found.into_iter().filter(|found| RecordBytes::split(found.bytes).is_some());
        loop {
            while looks.len() < LOOKS_SIDE_BY_SIDE
                && let Some(found) = found.next()
            {
                if self.catalog.contains(self.names.id_of(&found.name)) {
                    ours.push(found);
                    continue;
                }
                let is_over = bounds.deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if is_over || bounds.stop.load(Ordering::Acquire) {
                    *is_whole = false;
                    break;
                }
                let core = Arc::clone(self);
                looks.spawn(async move {
                    let seen = core.look(&found.name, None).await;
                    seen.map(|seen| seen.is_some_and(|seen| seen.ours.is_some()).then_some(found))
                });
            }
            match looks.join_next().await {
                None => return Ok(ours),
                Some(Ok(seen)) => ours.extend(seen?),
                Some(Err(_)) => *is_whole = false,
            }
        }
    }

    fn take_census(&self, found: &[Found], is_whole: bool) {
        if !is_whole || self.names.layout() != Layout::Sharded || self.rules.capacity_bytes.is_none() {
            return;
        }
        let mut sums = [0u64; crate::layout::bucket::SHARDS];
        for found in found {
            let shard = super::shard_of(self.names.id_of(&found.name));
            if let Some(sum) = sums.get_mut(usize::from(shard)) {
                *sum = sum.saturating_add(counted(found.bytes));
            }
        }
        let (now, mut census) = (Instant::now(), lock(&self.census));
        for (shard, sum) in (0..=u8::MAX).zip(sums) {
            census.listed(shard, sum, now);
        }
    }

    /// Aborts what processes that are gone left of uploads under this store's names.
    pub(super) async fn abort_old_uploads(self: &Arc<Self>) {
        let client = &self.bucket.client;
        let deadline = || Instant::now().checked_add(ABORT_TIME_MAX);
        let listed = match client.list_uploads(&self.names.of_all(), deadline()).await {
            Ok(listed) => listed,
            Err(failure) => {
                // Some servers list no uploads, and some identities may not; a lifecycle rule does the same.
                if failure.kind() != FailureKind::Refused {
                    self.logger.info(format_args!("looking for old uploads: {}", failure.message()));
                }
                return;
            }
        };
        let now = SystemTime::now();
        let mut aborted = 0u64;
        for upload in listed {
            let name = self.names.parse(&upload.name);
            let is_ours = name.is_some_and(|name| self.names.is_telling(&name));
            let age = upload.initiated.and_then(|initiated| now.duration_since(initiated).ok());
            if !is_ours || age.is_none_or(|age| age < UPLOAD_AGE_MAX) || self.stopping.load(Ordering::Acquire)
            {
                continue;
            }
            match client.abort_upload(&upload.name, &upload.upload, deadline()).await {
                Ok(()) => aborted += 1,
                Err(failure) => {
                    self.logger.info(format_args!("aborting an old upload: {}", failure.message()));
                    return;
                }
            }
        }
        if aborted > 0 {
            self.logger
                .info(format_args!("aborted {aborted} uploads that processes left a day ago or earlier"));
        }
    }
}
