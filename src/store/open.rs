//! Opening a store: backend, buffers, what is on storage, lanes.

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::commands;
use super::gate::Gate;
use super::meter::{self, Meter};
use super::options::DeviceService;
use super::place::{Placed, place};
use super::reading::metrics_text;
use super::regions::Regions;
use super::settings;
use super::streams::Streams;
use super::{CARRIERS, Capabilities, NAMESPACE_BYTES_MAX, OpenOptions, SPARE_BATCHES_MAX, Store};
use crate::backend::{self, Backend, REGION_BYTES_MAX, Stores, Worker};
use crate::batch::ticket::TicketTable;
use crate::config::{Config, Layout};
use crate::cuda::{self, Devices};
use crate::error::{Error, Result, Status};
use crate::lane::chores::Chores;
use crate::lane::shared::Shared;
use crate::lane::{self, deadlines};
use crate::log::Logger;
use crate::memory::{Arena, Copiers, Staging};
use crate::status;
use crate::sync::{Arc, AtomicU64, Mutex, RwLock};
use crate::sys::random_u128;

/// Bytes of the staging buffer where the configuration names none (LMCache 0.5 forbids
/// `nixl_buffer_size` with a buffer on the CPU).
const BUFFER_BYTES_DEFAULT: u64 = 128 << 20;

impl Store {
    /// Opens the store that the configuration describes.
    ///
    /// # Errors
    /// [`Status::Unsupported`] for a backend that is not built in, before anything is touched;
    /// [`Status::InvalidArgument`] for a worker that there is none of; [`Status::Config`], [`Status::Locked`],
    /// [`Status::Format`], or what the system answers.
    pub fn open(config: &Config, options: &OpenOptions) -> Result<Store> {
        options.check_worker()?;
        let logger = &options.logger;
        let worker = Worker { id: options.worker_id, device: options.cuda_device };
        let backend: Arc<dyn Backend> = Arc::from(backend::open(config, worker, logger)?);
        for notice in &config.notices {
            logger.info(format_args!("{notice}"));
        }
        if let Some(warning) = &config.warning {
            logger.warn(format_args!("{warning}"));
        }
        let namespace = namespace(config, options)?;
        // Before anything on storage is touched: a pool made by an open that is then refused would have the wrong shape.
        let (staging, devices) = buffers(config, options, &*backend)?;
        let placed = place(config, options, namespace.len(), &backend)?;
        if config.use_hugepages && !staging.is_huge() {
            logger.warn(format_args!(
                "nixl_use_hugepages: no huge pages are free for the staging buffer; ordinary ones are used"
            ));
        }
        let lanes =
            config.store.io_threads.unwrap_or_else(|| backend.lanes_default(placed.medium)).max(1) as usize;
        let queue_items = config.store.queue_items as usize;
        let shared = Arc::new(Shared::new(lanes, queue_items, staging, logger.clone())?);
        let chores = Arc::new(Chores::new(Arc::clone(&shared)));
        let tickets = Arc::new(TicketTable::new(random_u128().map_or(0, |random| random as u32)));
        let carriers = ArrayQueue::new(CARRIERS);
        for _ in 0..carriers.capacity() {
            let carrier = placed.lanes.carrier(&shared, &chores);
            let carrier = carrier.map_err(|error| Error::os("making the callers' lanes", &error));
            if let Some(carrier) = carrier? {
                // There is room for each.
                drop(carriers.push(carrier));
            }
        }
        let streams = Streams::new(&shared, &devices)?;
        let (threads, registered) = start_threads(&placed, &shared, &chores, &devices, &tickets, lanes)?;
        let device = named_device(options, &shared.staging);
        if let Some(device) = device {
            get_ready(&shared, &devices, device, logger);
        }

        let chosen = settings::Chosen {
            buffer_bytes: shared.staging.bytes() as u64,
            chunk_bytes: (config.pool_size > 0).then_some(placed.object_bytes_max),
            io_threads: lanes,
        };
        settings::log(config, options, &chosen);
        let path = backend.path();
        let direct_io = placed.alignment.is_some();
        if let Some(error) = &registered.refused {
            logger.warn(format_args!(
                "the staging buffer of {} bytes cannot be registered with the kernel ({error}); transfers through it go \
                 on without. A locked-memory limit (ulimit -l) is the usual cause",
                shared.staging.bytes()
            ));
        }
        let capabilities = Capabilities {
            backend: config.backend.to_string(),
            io_path: path.name.to_owned(),
            reason: reasons(config, backend.stores(), path.reason, direct_io, registered.refused.as_ref()),
            layout: placed.layout.to_owned(),
            direct_io,
            registered_buffers: registered.all,
            direct_alignment: placed
                .alignment
                .map_or(1, |alignment| u64::from(alignment.memory.max(alignment.offset))),
            object_bytes_max: placed.object_bytes_max,
            io_threads: lanes as u32,
            buffer_device: shared
                .staging
                .device()
                .map_or_else(|| "cpu".to_owned(), |device| format!("cuda:{device}")),
            // Told when it is asked for: CUDA may come later.
            devices: DeviceService::default(),
        };
        let identity = meter::identity(config, options, &*backend, &capabilities);
        let meter = Arc::new(Meter::new(&shared, &placed.keys, identity));
        let parts = shared.staging.bytes().div_ceil(REGION_BYTES_MAX);
        Ok(Store {
            shared,
            chains: placed.keys.chains(),
            keys: placed.keys,
            threads: Mutex::new(threads),
            chores,
            streams,
            tickets,
            queues: Mutex::new(HashMap::new()),
            queue_next: AtomicU64::new(1),
            regions: Regions::new(u16::try_from(parts).unwrap_or(u16::MAX), Arc::clone(&backend)),
            namespace,
            timeout_default: config.store.timeout_ms.map(Duration::from_millis),
            capabilities,
            device,
            reaches_devices: backend.reach().device,
            carriers,
            carried_bytes_max: lane::caller::bytes_max(placed.medium),
            spare_batches: ArrayQueue::new(SPARE_BATCHES_MAX),
            gate: Gate::default(),
            calls: RwLock::new(()),
            status: Mutex::new(status_socket(config, &meter, logger)),
            meter,
        })
    }
}

/// Starts answering on a socket what is measured. The store works as well without.
fn status_socket(config: &Config, meter: &Arc<Meter>, logger: &Logger) -> Option<status::Server> {
    if !config.store.status_socket {
        return None;
    }
    let asked = Arc::clone(meter);
    match status::Server::start(meter.number(), move || metrics_text(&[asked.read()])) {
        Ok(server) => {
            logger.info(format_args!("what is measured can be read at {}", server.path().display()));
            Some(server)
        }
        Err(error) => {
            logger.info(format_args!("no status socket: {}", error.message()));
            None
        }
    }
}

/// The staging buffer, and the devices for the lanes' copies.
fn buffers(
    config: &Config,
    options: &OpenOptions,
    backend: &dyn Backend,
) -> Result<(Arc<Staging>, Arc<Devices>)> {
    let logger = &options.logger;
    let mut buffer = Arc::new(staging(config, |bytes| backend.staging(bytes, config.use_hugepages))?);
    let mut devices = Devices::new(buffer.region(), logger);
    if let Some(device) = buffer.device()
        && !devices.can_sum(device)
    {
        logger.warn(format_args!(
            "nixl_buffer_device: checksums cannot be computed on device {device}, so its bytes pass the processor; the staging \
             buffer is host memory"
        ));
        buffer = Arc::new(staging(config, |bytes| Arena::new(bytes, config.use_hugepages))?);
        devices = devices.with_staging(buffer.region());
    }
    Ok((buffer, Arc::new(devices)))
}

/// The device that items will mostly lie on, as far as is known at open: the one that the caller names, if CUDA is at work in the
/// process, or the staging buffer's.
fn named_device(options: &OpenOptions, staging: &Staging) -> Option<u16> {
    let named = options.cuda_device.filter(|_| cuda::is_in_process());
    named.and_then(|device| u16::try_from(device).ok()).or(staging.device())
}

/// Has all that transfers from and to a device take of the driver now, since it may wait for the device later.
fn get_ready(shared: &Shared, devices: &Devices, device: u16, logger: &Logger) {
    let prepared = devices.prepare(device).and_then(|()| commands::prepare(shared, device));
    if let Err(error) = prepared {
        logger.warn(format_args!("device {device} cannot be used for items: {}", error.message()));
    } else if let Err(error) = devices.prepare_streams(device) {
        logger.info(format_args!("streams of device {device} cannot be used: {}", error.message()));
    }
}

/// Starts the lanes, and the thread that keeps deadlines.
fn start_threads(
    placed: &Placed,
    shared: &Arc<Shared>,
    chores: &Arc<Chores>,
    devices: &Arc<Devices>,
    tickets: &Arc<TicketTable>,
    lanes: usize,
) -> Result<(Vec<std::thread::JoinHandle<()>>, lane::Registered)> {
    let (opened, answers) = mpsc::channel();
    let mut handles = Vec::with_capacity(lanes);
    let mut failure = None;
    for index in 0..lanes {
        match placed.lanes.spawn(index, shared, chores, devices, opened.clone()) {
            Ok(handle) => handles.push(handle),
            Err(error) => failure = Some(Error::no_thread("starting the I/O threads", &error)),
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
            Err(error) => {
                let told = Error::told(&error).cloned();
                failure = Some(told.unwrap_or_else(|| Error::os("starting the I/O threads", &error)));
            }
        }
    }
    match deadlines::spawn(Arc::clone(shared), Arc::clone(tickets)) {
        Ok(handle) => handles.push(handle),
        Err(error) => {
            failure = Some(Error::no_thread("starting the thread that keeps deadlines", &error));
        }
    }
    match failure {
        None => Ok((handles, registered)),
        Some(error) => {
            shared.stop();
            for handle in handles {
                drop(handle.join());
            }
            Err(error)
        }
    }
}

/// Ranks of one model hold different bytes under one key, so a rank is part of the namespace. In the
/// lmcache layout names are LMCache's, in which the key itself names the rank.
pub(crate) fn namespace(config: &Config, options: &OpenOptions) -> Result<Vec<u8>> {
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

pub(super) fn staging(
    config: &Config,
    arena: impl FnOnce(usize) -> std::io::Result<Arena>,
) -> Result<Staging> {
    let bytes = config.buffer_bytes.unwrap_or(BUFFER_BYTES_DEFAULT);
    let too_large =
        || Error::new(Status::Config, format!("nixl_buffer_size: {bytes} is more than memory can have"));
    let length = usize::try_from(bytes).map_err(|_| too_large())?;
    Staging::new(length, arena).map_err(|error| {
        if error.kind() == std::io::ErrorKind::InvalidInput {
            let least = crate::memory::staging::SLICES_MIN * crate::memory::staging::SLICE_BYTES_MIN;
            return Error::new(
                Status::Config,
                format!("nixl_buffer_size: {bytes} is too small; at least {least} bytes"),
            );
        }
        Error::told(&error).map_or_else(
            || Error::os(format_args!("nixl_buffer_size: mapping {bytes} bytes"), &error),
            Error::clone,
        )
    })
}

/// All that is not as it could be, in one line.
fn reasons(
    config: &Config,
    stores: Stores,
    path: String,
    direct_io: bool,
    unregistered: Option<&std::io::Error>,
) -> String {
    let direct_refused = config.use_direct_io && !direct_io && stores == Stores::Files;
    let direct = direct_refused.then(|| "the file system refuses O_DIRECT".to_owned());
    let registration = unregistered.map(|error| format!("the staging buffer is not registered: {error}"));
    let path = Some(path).filter(|path| !path.is_empty());
    [path, direct, registration].into_iter().flatten().collect::<Vec<_>>().join("; ")
}
