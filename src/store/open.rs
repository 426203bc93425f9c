//! Opening a store: backend, buffers, what is on storage, lanes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::gate::Gate;
use super::regions::Regions;
use super::{CARRIERS, Capabilities, NAMESPACE_BYTES_MAX, OpenOptions, SPARE_BATCHES_MAX, Store};
use crate::backend::{self, Backend, Medium, REGION_BYTES_MAX};
use crate::batch::ticket::TicketTable;
use crate::config::{BackendKind, BufferDevice, Config, Layout};
use crate::error::{Error, Result, Status};
use crate::lane::shared::Shared;
use crate::lane::{self, caller::Carrier};
use crate::layout::pool::{Pool, PoolParameters};
use crate::layout::record;
use crate::memory::Staging;
use crate::placement::objects::{OBJECT_BYTES_MAX, Objects};
use crate::placement::slots::Slots;
use crate::placement::{Keys, Placement};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex};
use crate::sys::dir::Dir;
use crate::sys::file::DirectAlignment;
use crate::sys::random_u128;

/// Bytes of the staging buffer where the configuration names none (LMCache 0.5 forbids
/// `nixl_buffer_size` with a buffer on the CPU).
const BUFFER_BYTES_DEFAULT: u64 = 128 << 20;
/// Name of a static pool's directory.
const POOL_NAME: &str = "nixl_store_pool";

/// What became of the placement: where bytes are, and what there is to say about it.
struct Placed {
    keys: Arc<dyn Keys>,
    lanes: Box<dyn LaneFactory>,
    layout: &'static str,
    medium: Medium,
    alignment: Option<DirectAlignment>,
    object_bytes_max: u64,
}

/// Where a lane answers whether its queue could be opened, and registered the staging buffer.
type Opened = mpsc::Sender<std::io::Result<lane::Registered>>;

impl Store {
    /// Opens the store that the configuration describes.
    ///
    /// # Errors
    /// [`Status::Unsupported`] for a backend that is not built in, before anything is touched;
    /// [`Status::Config`], [`Status::Locked`], [`Status::Format`], or what the system answers.
    pub fn open(config: &Config, options: &OpenOptions) -> Result<Store> {
        let logger = &options.logger;
        let backend: Arc<dyn Backend> = Arc::from(backend::open(config, logger)?);
        for notice in &config.notices {
            logger.info(format_args!("{notice}"));
        }
        let namespace = namespace(config, options)?;
        // Before anything on storage is touched: a pool made by an open that is then refused would have the wrong shape.
        let staging = staging(config)?;
        let placed = place(config, options, namespace.len(), &backend)?;
        if config.use_hugepages && !staging.is_huge() {
            logger.warn(format_args!(
                "nixl_use_hugepages: no huge pages are free for the staging buffer; ordinary ones are used"
            ));
        }
        let lanes =
            config.store.io_threads.unwrap_or_else(|| backend.lanes_default(placed.medium)).max(1) as usize;
        let queue_items = config.store.queue_items as usize;
        let shared = Shared::new(lanes, queue_items, staging, logger.clone());
        let shared = Arc::new(shared.map_err(|error| Error::os("making the lanes' wake-ups", &error))?);
        let carriers = ArrayQueue::new(CARRIERS);
        for _ in 0..carriers.capacity() {
            let carrier = placed.lanes.carrier(Arc::clone(&shared));
            let carrier = carrier.map_err(|error| Error::os("making the callers' lanes", &error));
            if let Some(carrier) = carrier? {
                // There is room for each.
                drop(carriers.push(carrier));
            }
        }
        let (handles, registered) = start_lanes(&placed, &shared, lanes)?;

        let path = backend.path();
        let direct_io = placed.alignment.is_some();
        if let Some(error) = &registered.refused {
            logger.warn(format_args!(
                "the staging buffer of {} bytes cannot be registered with the kernel ({error}); transfers through it go \
                 on without. A locked-memory limit (ulimit -l) is the usual cause",
                shared.staging.region().length
            ));
        }
        let capabilities = Capabilities {
            backend: config.backend.to_string(),
            io_path: path.name.to_owned(),
            reason: reasons(config, path.reason, direct_io, registered.refused.as_ref()),
            layout: placed.layout.to_owned(),
            direct_io,
            registered_buffers: registered.all,
            direct_alignment: placed
                .alignment
                .map_or(1, |alignment| u64::from(alignment.memory.max(alignment.offset))),
            object_bytes_max: placed.object_bytes_max,
            io_threads: lanes as u32,
        };
        let parts = shared.staging.region().length.div_ceil(REGION_BYTES_MAX);
        Ok(Store {
            shared,
            keys: placed.keys,
            lanes: Mutex::new(handles),
            tickets: TicketTable::new(random_u128().map_or(0, |random| random as u32)),
            queues: Mutex::new(HashMap::new()),
            queue_next: AtomicU64::new(1),
            regions: Regions::new(u16::try_from(parts).unwrap_or(u16::MAX)),
            namespace,
            timeout_default: match config.store.timeout_ms {
                0 => None,
                milliseconds => Some(Duration::from_millis(milliseconds)),
            },
            capabilities,
            carriers,
            carried_bytes_max: lane::caller::bytes_max(placed.medium),
            spare_batches: ArrayQueue::new(SPARE_BATCHES_MAX),
            closing: AtomicBool::new(false),
            gate: Gate::default(),
        })
    }
}

fn start_lanes(
    placed: &Placed,
    shared: &Arc<Shared>,
    lanes: usize,
) -> Result<(Vec<std::thread::JoinHandle<()>>, lane::Registered)> {
    let (opened, answers) = mpsc::channel();
    let mut handles = Vec::with_capacity(lanes);
    let mut failure = None;
    for index in 0..lanes {
        match placed.lanes.spawn(index, Arc::clone(shared), opened.clone()) {
            Ok(handle) => handles.push(handle),
            Err(error) => failure = Some(error),
        }
    }
    drop(opened);
    let mut registered = lane::Registered { all: true, refused: None };
    // A lane keeps its end of the channel while it runs, so the answers are counted.
    for answer in answers.iter().take(handles.len()) {
        match answer {
            Ok(one) => {
                registered.all &= one.all;
                registered.refused = registered.refused.or(one.refused);
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        None => Ok((handles, registered)),
        Some(error) => {
            shared.stop();
            for handle in handles {
                drop(handle.join());
            }
            Err(Error::os("starting the I/O threads", &error))
        }
    }
}

/// Ranks of one model hold different bytes under one key, so a rank is part of the namespace. In the
/// lmcache layout names are LMCache's, in which the key itself names the rank.
fn namespace(config: &Config, options: &OpenOptions) -> Result<Vec<u8>> {
    let dynamic = config.pool_size == 0;
    if dynamic && config.store.layout == Layout::Lmcache {
        if options.namespace.is_empty() {
            return Ok(Vec::new());
        }
        return Err(Error::new(
            Status::InvalidArgument,
            "cache_namespace cannot be used with nixl_store_layout lmcache, whose file names have no place for it",
        ));
    }
    let mut namespace = options.namespace.clone();
    if dynamic && options.world_size > 1 {
        namespace.extend_from_slice(format!("\0w{}of{}", options.worker_id, options.world_size).as_bytes());
    }
    if namespace.len() > NAMESPACE_BYTES_MAX {
        return Err(Error::new(
            Status::InvalidArgument,
            format!(
                "cache_namespace and rank take {} bytes together; at most {NAMESPACE_BYTES_MAX}",
                namespace.len()
            ),
        ));
    }
    Ok(namespace)
}

fn place(
    config: &Config,
    options: &OpenOptions,
    namespace_bytes: usize,
    backend: &Arc<dyn Backend>,
) -> Result<Placed> {
    let logger = &options.logger;
    let policy = config.cache_policy;
    let maps_files = |medium| config.store.map_files && backend.reads_mappings(medium);
    if config.backend == BackendKind::Memory {
        let chunk_bytes = chunk_bytes(config, options)?;
        let mut slots = Slots::in_memory(config.pool_size, chunk_bytes, policy, logger)?;
        if maps_files(Medium::Memory) {
            slots.map_files(&"the slots in memory");
        }
        return Ok(placed(slots, backend, "static", Medium::Memory, None, chunk_bytes));
    }
    let path = path(config, options)?;
    if config.pool_size == 0 {
        let objects = Objects::open(&path, config, namespace_bytes, logger)?;
        let alignment = objects.alignment();
        let layout = match config.store.layout {
            Layout::Sharded => "dynamic/sharded",
            Layout::Lmcache => "dynamic/lmcache",
        };
        let fits = config.store.capacity_bytes.map_or(OBJECT_BYTES_MAX, largest_object);
        let object_bytes_max = fits.min(OBJECT_BYTES_MAX);
        return Ok(placed(objects, backend, layout, medium(&path), alignment, object_bytes_max));
    }
    let name = match options.world_size {
        0 | 1 => POOL_NAME.to_owned(),
        world => format!("{POOL_NAME}-w{}of{world}", options.worker_id),
    };
    let parameters = PoolParameters {
        slot_count: config.pool_size,
        chunk_bytes: chunk_bytes(config, options)?,
        chunk_size_tokens: config.chunk_size_tokens,
        direct_io: config.use_direct_io && backend.supports_direct_io(),
    };
    let (pool, recovered) = Pool::open(&path, &name, &parameters, logger)?;
    let mut slots = Slots::on_storage(pool, recovered, policy, logger);
    // Not before: opening the pool may have made the directory.
    let medium = medium(&path);
    if maps_files(medium) {
        slots.map_files(&path.join(&name).display());
    }
    let alignment = slots.alignment();
    Ok(placed(slots, backend, "static", medium, alignment, parameters.chunk_bytes))
}

/// What lanes are made of. The trait hides which kind of placement it is.
struct Lanes<P> {
    placement: Arc<P>,
    backend: Arc<dyn Backend>,
    medium: Medium,
}

trait LaneFactory {
    /// Starts the lane of that number.
    fn spawn(
        &self,
        index: usize,
        shared: Arc<Shared>,
        opened: Opened,
    ) -> std::io::Result<std::thread::JoinHandle<()>>;

    /// Makes a lane for callers, if the backend has one.
    fn carrier(&self, shared: Arc<Shared>) -> std::io::Result<Option<Box<dyn Carrier>>>;
}

impl<P: Placement> LaneFactory for Lanes<P> {
    fn spawn(
        &self,
        index: usize,
        shared: Arc<Shared>,
        opened: Opened,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let (placement, backend) = (Arc::clone(&self.placement), Arc::clone(&self.backend));
        lane::spawn(index, shared, placement, backend, self.medium, opened)
    }

    fn carrier(&self, shared: Arc<Shared>) -> std::io::Result<Option<Box<dyn Carrier>>> {
        let Some(queue) = self.backend.blocking_queue() else { return Ok(None) };
        lane::caller::new(queue, self.medium, shared, Arc::clone(&self.placement)).map(Some)
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
fn medium(path: &Path) -> Medium {
    match Dir::open(path).and_then(|directory| directory.is_in_memory()) {
        Ok(true) => Medium::Memory,
        _ => Medium::Device,
    }
}

/// Bytes of the largest object of a static pool.
fn chunk_bytes(config: &Config, options: &OpenOptions) -> Result<u64> {
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

/// The path of this worker: `by_gpu` picks by device, and by rank where there is no device.
fn path(config: &Config, options: &OpenOptions) -> Result<PathBuf> {
    let configured = match config.buffer_device {
        BufferDevice::Cuda(device) => device,
        BufferDevice::Cpu => None,
    };
    let device = options.cuda_device.or(configured).unwrap_or(options.worker_id);
    let count = config.paths.len().max(1);
    let path = config.paths.get(device as usize % count).map(PathBuf::as_path);
    path.map(Path::to_owned).ok_or_else(|| {
        Error::new(Status::Config, format!("nixl_path: nixl_backend {} needs a directory", config.backend))
    })
}

fn staging(config: &Config) -> Result<Staging> {
    let bytes = config.buffer_bytes.unwrap_or(BUFFER_BYTES_DEFAULT);
    let too_large =
        || Error::new(Status::Config, format!("nixl_buffer_size: {bytes} is more than memory can have"));
    let length = usize::try_from(bytes).map_err(|_| too_large())?;
    Staging::new(length, config.use_hugepages).map_err(|error| {
        if error.kind() == std::io::ErrorKind::InvalidInput {
            let least = crate::memory::staging::SLICES_MIN * crate::memory::staging::SLICE_BYTES_MIN;
            return Error::new(
                Status::Config,
                format!("nixl_buffer_size: {bytes} is too small; at least {least} bytes"),
            );
        }
        Error::os(format_args!("nixl_buffer_size: mapping {bytes} bytes"), &error)
    })
}

/// All that is not as it could be, in one line.
fn reasons(config: &Config, path: String, direct_io: bool, unregistered: Option<&std::io::Error>) -> String {
    let direct_refused = config.use_direct_io && !direct_io && config.backend != BackendKind::Memory;
    let direct = direct_refused.then(|| "the file system refuses O_DIRECT".to_owned());
    let registration = unregistered.map(|error| format!("the staging buffer is not registered: {error}"));
    let path = Some(path).filter(|path| !path.is_empty());
    [path, direct, registration].into_iter().flatten().collect::<Vec<_>>().join("; ")
}
