//! GDS and GDS_MT: files through NVIDIA's cuFile, by its batches or by its reads and writes on threads.
//!
//! Both are a pool of threads, since every call of cuFile's blocks, the submission of a batch too: it has no completion that
//! could be polled with anything else. The two differ in what a thread does with the requests that it takes (`mover`).

mod mover;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::mover::{Batched, Calls};
use super::queue::{Backend, IoPath, IoQueue, Medium, Stores};
use super::reach::Reach;
use super::target::Target;
use super::threads::{Pool, ThreadQueue};
use crate::config::{BackendKind, BufferDevice, Config};
use crate::cufile::{Driver, Registration};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::sys::event::Event;

/// Batches unless `batch_pool_size` says otherwise, as NIXL has it. Each has a thread.
const BATCHES_DEFAULT: u64 = 16;
/// Most batches and threads for them: more do not make a device faster, and each batch takes kernel memory.
const BATCHES_MAX: u64 = 64;
/// Entries of a batch unless `batch_limit` says otherwise, as NIXL has it.
const BATCH_ENTRIES_DEFAULT: u64 = 128;
/// Bytes of an entry or a call unless `max_request_size` says otherwise, as NIXL has it.
const REQUEST_BYTES_DEFAULT: u64 = 16 << 20;
/// Most threads of GDS_MT.
const THREADS_MAX: u64 = 256;
/// Fewest threads of GDS_MT where `thread_count` is not given: half of the processors, and no fewer than keep a device busy.
const THREADS_MIN: usize = 4;
/// Stretches of memory that one request may have: each is a call or an entry of its own, and a copy costs less than many.
const SLICES_MAX: usize = 16;
/// Lanes: two keep a device busy while one of them computes checksums.
const LANES_DEFAULT: u32 = 2;

struct Gds {
    kind: BackendKind,
    driver: Arc<Driver>,
    pool: Arc<Pool>,
    /// It was said that some file goes without cuFile.
    has_warned: AtomicBool,
    logger: Logger,
}

/// Opens the backend: loads cuFile, opens its driver, starts the threads.
///
/// # Errors
/// [`Status::Unsupported`] for a buffer on a device, and for what is missing; what the system answers.
pub fn open(config: &Config, logger: &Logger) -> Result<Box<dyn Backend>> {
    let kind = config.backend;
    let unsupported = |why: &dyn std::fmt::Display| {
        Error::new(
            Status::Unsupported,
            format!(
                "nixl_backend {kind} cannot serve here: {why}; nixl_backend POSIX serves the same files without it"
            ),
        )
    };
    if let BufferDevice::Cuda(_) = config.buffer_device {
        return Err(unsupported(
            &"nixl_buffer_device is cuda, and the staging buffer of this build of nixl_store is host memory; set nixl_buffer_device: cpu, with which items may have CUDA memory too",
        ));
    }
    let driver = Driver::open().map_err(|why| unsupported(&why))?;
    let pool = start(config, &driver).map_err(|why| unsupported(&why))?;
    if let Some(why) = &driver.properties().compatible {
        logger.warn(format_args!(
            "{kind}: cuFile runs in compatibility mode, in which bytes pass the processor ({why})"
        ));
    }
    let (logger, has_warned) = (logger.clone(), AtomicBool::new(false));
    Ok(Box::new(Gds { kind, driver, pool, has_warned, logger }))
}

/// The threads, with what they need.
fn start(config: &Config, driver: &Arc<Driver>) -> std::result::Result<Arc<Pool>, String> {
    let properties = driver.properties();
    let given = |name: &str, default: u64| {
        let number = config.backend_params.number(name).filter(|&number| number > 0);
        number.unwrap_or(default)
    };
    let request_bytes_max = usize::try_from(given("max_request_size", REQUEST_BYTES_DEFAULT))
        .unwrap_or(usize::MAX)
        .min(properties.request_bytes_max);
    let calls = Calls::new(request_bytes_max);
    let started = if config.backend == BackendKind::Gds {
        let batches = given("batch_pool_size", BATCHES_DEFAULT).min(BATCHES_MAX);
        let entries = usize::try_from(given("batch_limit", BATCH_ENTRIES_DEFAULT)).unwrap_or(usize::MAX);
        let entries_max = entries.min(properties.batch_entries_max);
        let batches = (0..batches)
            .map(|_| Batched::new(driver, entries_max, calls))
            .collect::<std::result::Result<_, _>>()?;
        Pool::start::<Batched>(batches)
    } else {
        let half = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) / 2;
        let threads = given("thread_count", half.max(THREADS_MIN) as u64).min(THREADS_MAX);
        Pool::start((0..threads).map(|_| calls).collect())
    };
    started.map_err(|error| format!("starting its threads: {error}"))
}

impl Gds {
    /// Says, once, that a file's bytes do not go through cuFile, and why.
    fn warn(&self, why: std::fmt::Arguments<'_>) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            self.logger.warn(format_args!("{}: {why}", self.kind));
        }
    }
}

impl Backend for Gds {
    fn path(&self) -> IoPath {
        let compatible = &self.driver.properties().compatible;
        IoPath {
            name: match (self.kind, compatible) {
                (BackendKind::Gds, None) => "cufile_batch",
                (BackendKind::Gds, Some(_)) => "cufile_batch_compat",
                (_, None) => "cufile",
                (_, Some(_)) => "cufile_compat",
            },
            reason: compatible.as_ref().map_or_else(String::new, |why| format!("compatibility mode: {why}")),
        }
    }

    fn reach(&self) -> Reach {
        // Device memory is cuFile's purpose. It goes direct when there is something that makes and copies it.
        Reach { host: true, device: false, slices_max: SLICES_MAX, ..Reach::HOST }
    }

    fn stores(&self) -> Stores {
        Stores::Files
    }

    fn attach(&self, file: Arc<File>) -> io::Result<Target> {
        match Registration::of(&self.driver, &file)? {
            Registration::Done(registered) => Ok(Target::registered(file, registered)),
            // Its bytes are as good without cuFile, and whoever holds the file has a right to them.
            Registration::Nameless => {
                self.warn(format_args!(
                    "cuFile could not open an object a second time, by its name (it was replaced meanwhile, or descriptors are \
                     short); the bytes of such objects go without cuFile"
                ));
                Ok(Target::file(file))
            }
            Registration::Refused(why) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "cuFileHandleRegister: {why}; choose a nixl_path on another file system, or nixl_backend POSIX"
                ),
            )),
        }
    }

    fn may_refuse_files(&self) -> bool {
        true
    }

    fn lanes_default(&self, _medium: Medium) -> u32 {
        LANES_DEFAULT
    }

    fn supports_direct_io(&self) -> bool {
        true
    }

    fn open_queue(&self, waker: Arc<Event>, _medium: Medium) -> io::Result<Box<dyn IoQueue>> {
        Ok(Box::new(ThreadQueue::new(Arc::clone(&self.pool), waker)?))
    }

    fn reads_mappings(&self, _medium: Medium) -> bool {
        false
    }

    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>> {
        None
    }
}
