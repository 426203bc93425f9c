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
use super::queue::{Backend, IoPath, IoQueue, Known, Medium, Stores, Worker};
use super::reach::Reach;
use super::target::Target;
use super::threads::{Pool, ThreadQueue};
use crate::config::{BackendKind, BufferDevice, Config};
use crate::cuda::{DeviceMemory, KeptContext, Library, current_device, in_any_context};
use crate::cufile::{ALIGNMENT, Driver, Region, Registration};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::{Arena, DeviceSlice, Stretch};
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
/// Fewest bytes of a read: a call of cuFile's costs the processor some 0.1 ms whatever its length, as much as to move and to sum
/// half a megabyte. (Measured without a driver, which cuFile then tries to load anew for each call: a part of it is that.)
const READ_BYTES_MIN: u64 = 1 << 20;
/// Lanes: two keep a device busy while one of them computes checksums.
const LANES_DEFAULT: u32 = 2;

struct Gds {
    kind: BackendKind,
    driver: Arc<Driver>,
    pool: Arc<Pool>,
    /// The process has CUDA's driver, or could have.
    reaches_devices: bool,
    /// The device that the staging buffer is to lie on.
    buffer: Option<u16>,
    /// It was said that some file goes without cuFile.
    has_warned: AtomicBool,
    logger: Logger,
}

/// Memory that cuFile knows. It asks for the context of a device on the thread that names its memory, and the caller's has any or
/// none.
struct KnownRegion {
    /// `None` once it was forgotten.
    region: Option<Region>,
    context: KeptContext,
}

impl Drop for KnownRegion {
    fn drop(&mut self) {
        let mut region = self.region.take();
        // Where the context cannot be had it is forgotten without, at the end of this.
        let _ = self.context.with(|| drop(region.take()));
    }
}

/// Opens the backend: loads cuFile, opens its driver, starts the threads.
///
/// # Errors
/// [`Status::Unsupported`] for what is missing; what the system answers.
pub fn open(config: &Config, worker: Worker, logger: &Logger) -> Result<Box<dyn Backend>> {
    let kind = config.backend;
    let unsupported = |why: &dyn std::fmt::Display| {
        Error::new(
            Status::Unsupported,
            format!(
                "nixl_backend {kind} cannot serve here: {why}; nixl_backend POSIX serves the same files without it"
            ),
        )
    };
    // Before cuFile, which looks for the driver when it is opened.
    let cuda = Library::load();
    let buffer = match (config.buffer_device, &cuda) {
        (BufferDevice::Cpu, _) => None,
        (BufferDevice::Cuda(named), Ok(_)) => {
            let named = named.or(worker.device).map(|device| u16::try_from(device).unwrap_or(u16::MAX));
            Some(named.or_else(current_device).unwrap_or(0))
        }
        (BufferDevice::Cuda(_), Err(why)) => {
            return Err(Error::new(
                Status::Unsupported,
                format!(
                    "nixl_buffer_device is cuda, and there is no CUDA here: {}; set nixl_buffer_device: cpu",
                    why.message()
                ),
            ));
        }
    };
    let driver = Driver::open(in_any_context).map_err(|why| unsupported(&why))?;
    let pool = start(config, &driver).map_err(|why| unsupported(&why))?;
    if let Some(why) = &driver.properties().compatible {
        logger.warn(format_args!(
            "{kind}: cuFile runs in compatibility mode, in which bytes pass the processor ({why})"
        ));
    }
    let (logger, has_warned) = (logger.clone(), AtomicBool::new(false));
    let reaches_devices = cuda.is_ok();
    Ok(Box::new(Gds { kind, driver, pool, reaches_devices, buffer, has_warned, logger }))
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
    let started = if config.backend == BackendKind::Gds {
        let batches = given("batch_pool_size", BATCHES_DEFAULT).min(BATCHES_MAX);
        let entries = usize::try_from(given("batch_limit", BATCH_ENTRIES_DEFAULT)).unwrap_or(usize::MAX);
        let entries_max = entries.min(properties.batch_entries_max);
        let batches = (0..batches)
            .map(|_| Batched::new(driver, entries_max, request_bytes_max))
            .collect::<std::result::Result<_, _>>()?;
        Pool::start::<Batched>(batches)
    } else {
        let half = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) / 2;
        let threads = given("thread_count", half.max(THREADS_MIN) as u64).min(THREADS_MAX);
        Pool::start((0..threads).map(|_| Calls::new(request_bytes_max)).collect())
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
        Reach {
            device: self.reaches_devices,
            device_alignment: ALIGNMENT as u32,
            slices_max: SLICES_MAX,
            read_bytes_min: READ_BYTES_MIN,
            // Each stretch is a call or an entry of its own.
            writes_whole: false,
            ..Reach::HOST
        }
    }

    fn stores(&self) -> Stores {
        Stores::Files
    }

    fn attach(&self, file: Arc<File>) -> io::Result<Target> {
        match Registration::of(&self.driver, &file)? {
            Registration::Done(registered) => Ok(Target::of_cufile(file, registered)),
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

    fn staging(&self, bytes: usize, huge_pages: bool) -> io::Result<Arena> {
        let Some(device) = self.buffer else { return Arena::new(bytes, huge_pages) };
        let memory = DeviceMemory::allocate(device, bytes).map_err(|why| {
            let message = format!("nixl_buffer_device: {}; set nixl_buffer_device: cpu", why.message());
            io::Error::other(Error::new(why.status(), message))
        })?;
        let slice = memory.slice();
        let known = self.know(slice).unwrap_or_else(|why| {
            let kind = self.kind;
            self.logger.warn(format_args!(
                "{kind}: the staging buffer on device {device} goes by copies of cuFile's ({why})"
            ));
            None
        });
        // It is forgotten before it is freed.
        Ok(Arena::of_others(slice.into(), Box::new((known, memory))))
    }

    fn know(&self, memory: DeviceSlice) -> std::result::Result<Option<Known>, String> {
        // Where bytes pass the processor there is no copy to be spared.
        if self.driver.properties().compatible.is_some() {
            return Ok(None);
        }
        let told = |error: Error| error.message().to_owned();
        let context = KeptContext::of(memory.device).map_err(told)?;
        let region = context.with(|| Region::of(&self.driver, Stretch::Device(memory))).map_err(told)??;
        Ok(Some(Box::new(KnownRegion { region: Some(region), context })))
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
