//! What a store's bytes lie in, as its configuration says: which placement, on which medium, and the lanes for it.

use std::path::Path;
use std::sync::mpsc;

use super::OpenOptions;
#[cfg(feature = "obj")]
use crate::backend::obj::Bucket;
use crate::backend::{Backend, Medium, Stores};
use crate::config::Config;
use crate::cuda::Devices;
use crate::error::{Error, Result, Status};
use crate::lane::caller::Carrier;
use crate::lane::chores::Chores;
use crate::lane::shared::Shared;
use crate::lane::{self, Parts};
#[cfg(feature = "obj")]
use crate::layout::bucket::manifest::PoolShape;
use crate::layout::pool::PoolParameters;
use crate::layout::record;
use crate::memory::Copiers;
#[cfg(feature = "obj")]
use crate::placement::bucket::{Buckets, Pool};
use crate::placement::objects::{OBJECT_BYTES_MAX, Objects};
use crate::placement::slots::Slots;
use crate::placement::{Keys, Placement};
use crate::sync::Arc;
use crate::sys::dir::Dir;
use crate::sys::file::DirectAlignment;
use crate::sys::habits::Habits;

/// Name of a static pool's directory.
const POOL_NAME: &str = "nixl_store_pool";

/// What became of the placement: where bytes are, and what there is to say about it.
pub(super) struct Placed {
    pub(super) keys: Arc<dyn Keys>,
    pub(super) lanes: Box<dyn LaneFactory>,
    pub(super) layout: &'static str,
    pub(super) medium: Medium,
    pub(super) alignment: Option<DirectAlignment>,
    pub(super) object_bytes_max: u64,
}

/// Where a lane answers whether its queue could be opened, and registered the staging buffer.
pub(super) type Opened = mpsc::Sender<std::io::Result<lane::Registered>>;

/// Opens what the store's bytes lie in.
///
/// # Errors
/// As for [`super::Store::open`].
pub(super) fn place(
    config: &Config,
    options: &OpenOptions,
    namespace_bytes: usize,
    backend: &Arc<dyn Backend>,
) -> Result<Placed> {
    let logger = &options.logger;
    let eviction = config.eviction();
    let maps_files = |medium| config.store.map_files && backend.reads_mappings(medium);
    if backend.stores() == Stores::Memory {
        let chunk_bytes = chunk_bytes(config, options)?;
        let mut slots = Slots::in_memory(config.pool_size, chunk_bytes, eviction, backend, logger)?;
        slots.keep_sums(config.store.index_sums_bytes);
        if maps_files(Medium::Memory) {
            slots.map_files(&"the slots in memory");
        }
        return Ok(placed(slots, backend, "static", Medium::Memory, None, chunk_bytes));
    }
    #[cfg(feature = "obj")]
    if let Some(bucket) = backend.bucket() {
        return in_bucket(config, options, namespace_bytes, backend, bucket);
    }
    let path = config.path_of(options.cuda_device, options.worker_id).map(Path::to_owned);
    let path = path.ok_or_else(|| {
        Error::new(Status::Config, format!("nixl_path: nixl_backend {} needs a directory", config.backend))
    })?;
    if config.pool_size == 0 {
        let objects = Objects::open(&path, config, namespace_bytes, backend, logger)?;
        let alignment = objects.alignment();
        let layout = config.store.layout.dynamic_name();
        let object_bytes_max = dynamic_object_bytes_max(config);
        return Ok(placed(
            objects,
            backend,
            layout,
            backend.medium(medium(&path)),
            alignment,
            object_bytes_max,
        ));
    }
    let name = pool_name(options);
    let parameters = pool_parameters(config, options, backend.supports_direct_io(), backend.habits())?;
    let mut slots = Slots::on_storage(&path, &name, &parameters, eviction, backend, logger)?;
    slots.keep_sums(config.store.index_sums_bytes);
    // Not before: opening the pool may have made the directory.
    let medium = backend.medium(medium(&path));
    if maps_files(medium) {
        slots.map_files(&path.join(&name).display());
    }
    let alignment = slots.alignment();
    Ok(placed(slots, backend, "static", medium, alignment, parameters.chunk_bytes))
}

/// What a pool of files is made with.
pub(super) fn pool_parameters(
    config: &Config,
    options: &OpenOptions,
    supports_direct_io: bool,
    habits: Habits,
) -> Result<PoolParameters> {
    Ok(PoolParameters {
        slot_count: config.pool_size,
        chunk_bytes: chunk_bytes(config, options)?,
        chunk_size_tokens: config.chunk_size_tokens,
        direct_io: config.use_direct_io && supports_direct_io,
        habits,
    })
}

/// The same for a store in a bucket.
#[cfg(feature = "obj")]
fn in_bucket(
    config: &Config,
    options: &OpenOptions,
    namespace_bytes: usize,
    backend: &Arc<dyn Backend>,
    bucket: &Bucket,
) -> Result<Placed> {
    let (pool, object_bytes_max) = if config.pool_size == 0 {
        (None, dynamic_object_bytes_max(config))
    } else {
        let shape = pool_shape(config, options)?;
        (Some(Pool { name: pool_name(options), shape }), shape.chunk_bytes)
    };
    let buckets = Buckets::open(config, pool, namespace_bytes, bucket, &options.logger)?;
    let layout = buckets.layout();
    Ok(placed(buckets, backend, layout, Medium::Server, None, object_bytes_max))
}

/// What a pool in a bucket is made with.
#[cfg(feature = "obj")]
pub(super) fn pool_shape(config: &Config, options: &OpenOptions) -> Result<PoolShape> {
    let chunk_bytes = chunk_bytes(config, options)?;
    Ok(PoolShape { object_count: config.pool_size, chunk_bytes, chunk_size_tokens: config.chunk_size_tokens })
}

/// The name of this worker's static pool.
pub(crate) fn pool_name(options: &OpenOptions) -> String {
    match options.world_size {
        0 | 1 => POOL_NAME.to_owned(),
        world => format!("{POOL_NAME}-w{}of{world}", options.worker_id),
    }
}

/// Bytes of the largest object of a dynamic store.
fn dynamic_object_bytes_max(config: &Config) -> u64 {
    config.store.capacity_bytes.map_or(OBJECT_BYTES_MAX, largest_object).min(OBJECT_BYTES_MAX)
}

/// What lanes are made of. The trait hides which kind of placement it is.
struct Lanes<P> {
    placement: Arc<P>,
    backend: Arc<dyn Backend>,
    medium: Medium,
}

pub(super) trait LaneFactory {
    /// Starts the lane of that number.
    fn spawn(
        &self,
        index: usize,
        shared: &Arc<Shared>,
        chores: &Arc<Chores>,
        devices: &Arc<Devices>,
        opened: Opened,
    ) -> std::io::Result<std::thread::JoinHandle<()>>;

    /// Makes a lane for callers, if the backend has one.
    fn carrier(
        &self,
        shared: &Arc<Shared>,
        chores: &Arc<Chores>,
    ) -> std::io::Result<Option<Box<dyn Carrier>>>;
}

impl<P: Placement> Lanes<P> {
    fn parts(
        &self,
        shared: &Arc<Shared>,
        chores: &Arc<Chores>,
        copiers: Option<Arc<dyn Copiers>>,
    ) -> Parts<P> {
        Parts {
            shared: Arc::clone(shared),
            placement: Arc::clone(&self.placement),
            chores: Arc::clone(chores),
            medium: self.medium,
            reach: self.backend.reach(),
            copiers,
        }
    }
}

impl<P: Placement> LaneFactory for Lanes<P> {
    fn spawn(
        &self,
        index: usize,
        shared: &Arc<Shared>,
        chores: &Arc<Chores>,
        devices: &Arc<Devices>,
        opened: Opened,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let copiers: Arc<dyn Copiers> = Arc::<Devices>::clone(devices);
        lane::spawn(index, self.parts(shared, chores, Some(copiers)), Arc::clone(&self.backend), opened)
    }

    fn carrier(
        &self,
        shared: &Arc<Shared>,
        chores: &Arc<Chores>,
    ) -> std::io::Result<Option<Box<dyn Carrier>>> {
        let Some(queue) = self.backend.blocking_queue() else { return Ok(None) };
        // Callers carry host memory alone.
        lane::caller::new(queue, self.parts(shared, chores, None)).map(Some)
    }
}

fn placed<P: Placement>(
    placement: P,
    backend: &Arc<dyn Backend>,
    layout: &'static str,
    medium: Medium,
    alignment: Option<DirectAlignment>,
    object_bytes_max: u64,
) -> Placed {
    let placement = Arc::new(placement);
    let keys = Arc::clone(&placement);
    let lanes = Lanes { placement, backend: Arc::clone(backend), medium };
    Placed { keys, lanes: Box::new(lanes), layout, medium, alignment, object_bytes_max }
}

/// What the files below `path` lie on. A path that does not say is taken for a device's.
pub(super) fn medium(path: &Path) -> Medium {
    match Dir::open(path).and_then(|directory| directory.is_in_memory()) {
        Ok(true) => Medium::Memory,
        _ => Medium::Device,
    }
}

/// Bytes of the largest object of a static pool.
pub(crate) fn chunk_bytes(config: &Config, options: &OpenOptions) -> Result<u64> {
    if config.pool_size == 0 {
        return Err(Error::new(
            Status::Config,
            format!(
                "nixl_backend {} needs a static pool: set nixl_pool_size to the number of slots",
                config.backend
            ),
        ));
    }
    let derived = config.buffer_bytes.map(|bytes| bytes / u64::from(config.pool_size));
    let known = options.chunk_bytes.or(config.store.chunk_bytes).or(derived).filter(|&bytes| bytes > 0);
    known.ok_or_else(|| {
        Error::new(
            Status::Config,
            format!(
                "the bytes of a chunk are not known: set chunk_bytes in the open options or nixl_store_chunk_bytes in \
                 extra_config (nixl_buffer_size / nixl_pool_size serves where that is set and at least 1; here \
                 nixl_pool_size is {})",
                config.pool_size
            ),
        )
    })
}

/// The largest payload whose file fits a capacity.
fn largest_object(capacity_bytes: u64) -> u64 {
    let whole = capacity_bytes / record::RECORD_ALIGNMENT * record::RECORD_ALIGNMENT;
    // Where no file has just this size, one with a page less has.
    let fits = record::split_file(whole)
        .or_else(|| record::split_file(whole.checked_sub(record::RECORD_ALIGNMENT)?));
    fits.map_or(0, |(padded, _)| padded)
}
