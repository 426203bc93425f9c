//! Opening a store in a bucket.

use std::time::{Instant, SystemTime};

use super::census::Census;
use super::keeper::{Bell, CLOSE_TIME_MAX, Keeper};
use super::{Buckets, Core, InUse, Kind, Rules, Sizes, Undo};
use crate::backend::obj::Bucket;
use crate::catalog::{OBJECTS_MAX, ObjectCatalog};
use crate::config::Config;
use crate::error::{Error, Result, Status};
use crate::layout::bucket::lease::LEASE;
use crate::layout::bucket::manifest::{self, MANIFEST, PoolShape};
use crate::layout::bucket::{Names, PoolOwner};
use crate::log::Logger;
use crate::metrics::Counter;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex};

/// A static pool, as it is to be opened.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name below the prefix.
    pub name: String,
    /// What it is made with; an older one must have been made so.
    pub shape: PoolShape,
}

impl Buckets {
    /// Opens the store in the bucket: the static pool, else the dynamic store. It learns what is there where it has to
    /// know: all objects of a pool; of a dynamic store those it has to count against a capacity.
    ///
    /// # Errors
    /// [`Status::Config`] for a prefix that cannot be used; [`Status::Locked`], [`Status::Format`]; else what the server
    /// answers.
    pub fn open(
        config: &Config,
        pool: Option<Pool>,
        namespace_bytes: usize,
        bucket: &Bucket,
        logger: &Logger,
    ) -> Result<Buckets> {
        let eviction = config.eviction();
        let no_memory = |_| Error::new(Status::OutOfMemory, "no memory for the index of the store");
        let rules = Rules::new(config, namespace_bytes);
        let (names, kind, catalog) = match pool {
            None => {
                let names = Names::dynamic(&bucket.prefix, config.store.layout)?;
                (names, Kind::Dynamic, ObjectCatalog::new(eviction, rules.capacity_bytes).map_err(no_memory)?)
            }
            Some(Pool { name, shape }) => {
                if shape.object_count > OBJECTS_MAX {
                    return Err(Error::new(
                        Status::Config,
                        format!(
                            "nixl_pool_size {}: a static pool in a bucket has at most {OBJECTS_MAX} objects; a dynamic \
                             store (nixl_pool_size 0) has any number",
                            shape.object_count
                        ),
                    ));
                }
                let names = Names::of_pool(&bucket.prefix, &name)?;
                let (owner, pool_id) = enter(bucket, &names, shape, logger)?;
                let PoolShape { object_count, chunk_bytes, .. } = shape;
                let kind = Kind::Pool { owner: Box::new(owner), pool_id, object_count, chunk_bytes };
                (names, kind, ObjectCatalog::of_objects(eviction, object_count).map_err(no_memory)?)
            }
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let core = Arc::new(Core {
            bucket: bucket.clone(),
            names,
            kind,
            catalog,
            in_use: Arc::new(InUse::default()),
            sizes: Sizes::default(),
            undo: Undo::default(),
            census: Mutex::new(Census::new()),
            rules,
            // Tells apart the puts of one key, by this process and others, when one has to be taken back.
            generation: AtomicU64::new(u64::try_from(now.as_nanos()).unwrap_or(1)),
            evictions: Counter::default(),
            damaged: Counter::default(),
            removals: AtomicU64::new(0),
            bytes_put: AtomicU64::new(0),
            is_listing_due: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            bell: Bell::default(),
            stopping: Arc::new(AtomicBool::new(false)),
            logger: logger.clone(),
        });
        let keeper = match Keeper::start(&core) {
            Ok(keeper) => keeper,
            Err(error) => {
                core.give_lease_back(Instant::now() + CLOSE_TIME_MAX);
                return Err(Error::no_thread("starting the thread of the bucket", &error));
            }
        };
        // With the lease being renewed, as a large pool is not listed within its time. Dropped, it is given back.
        let buckets = Buckets { core, keeper };
        buckets.core.recover()?;
        Ok(buckets)
    }
}

/// Takes the lease on a pool and looks at its manifest, or makes it.
fn enter(bucket: &Bucket, names: &Names, shape: PoolShape, logger: &Logger) -> Result<(PoolOwner, u128)> {
    let (client, traits, logger) = (bucket.client.clone(), bucket.traits, logger.clone());
    let (lease, manifest) = (names.beside(LEASE), names.beside(MANIFEST));
    let deadline = Instant::now().checked_add(bucket.call_time_max);
    bucket.client.block_on(async move {
        let owner = PoolOwner::take(&client, lease, &traits, &logger, deadline).await?;
        match manifest::open_or_make(&client, &manifest, shape, deadline).await {
            Ok(pool_id) => Ok((owner, pool_id)),
            Err(error) => {
                owner.give_back(&logger, deadline).await;
                Err(error)
            }
        }
    })
}
