//! POSIX: local files through io_uring, or through threads where io_uring is refused or not wanted.

pub mod threads;
pub mod uring;

use std::io;
use std::sync::Arc;

use super::{Backend, IoPath, IoQueue};
use crate::config::Config;
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::sys::event::Event;

/// Submission queue entries of one ring, unless `kernel_queue_size` says otherwise. Deep enough for
/// any NVMe device; a ring of this size takes a few pages.
const QUEUE_DEPTH_DEFAULT: u32 = 128;
/// Bounds for `kernel_queue_size`; the upper one is the kernel's own (`io_uring_setup(2)`).
const QUEUE_DEPTH_RANGE: std::ops::RangeInclusive<u32> = 4..=4096;
/// Threads that do positioned reads and writes where io_uring is not used, unless `ios_pool_size` says otherwise.
const THREADS_DEFAULT: u32 = 16;
/// Most such threads.
const THREADS_MAX: u32 = 256;
/// Lanes: two keep a device busy while one of them computes checksums.
const LANES_DEFAULT: u32 = 2;

/// The backend, with the path that was found to work at open.
struct Posix {
    queue_depth: u32,
    path: IoPath,
    pool: Option<Arc<threads::Pool>>,
}

/// Opens the backend: tries a ring, falls back to threads, says so.
///
/// # Errors
/// [`Status::Config`] for a parameter that is not a number, [`Status::Io`] if not even threads can be had.
pub fn open(config: &Config, logger: &Logger) -> Result<Box<dyn Backend>> {
    let queue_depth = parameter(config, "kernel_queue_size")?
        .unwrap_or(QUEUE_DEPTH_DEFAULT)
        .clamp(*QUEUE_DEPTH_RANGE.start(), *QUEUE_DEPTH_RANGE.end());
    let threads = parameter(config, "ios_pool_size")?.unwrap_or(THREADS_DEFAULT).clamp(1, THREADS_MAX);
    let reason = match unwanted(config) {
        Some(parameter) => format!("nixl_backend_params.{parameter} asks for it"),
        None => match uring::probe(queue_depth) {
            Ok(()) => {
                let path = IoPath { name: "io_uring", reason: String::new() };
                return Ok(Box::new(Posix { queue_depth, path, pool: None }));
            }
            Err(error) => {
                logger.warn(format_args!(
                    "io_uring is refused here ({error}): falling back to {threads} threads. Where a container's \
                     seccomp profile is the cause, allow io_uring_setup, io_uring_enter and io_uring_register"
                ));
                format!("io_uring is refused: {error}")
            }
        },
    };
    let pool = threads::Pool::start(threads)
        .map_err(|error| Error::os(format_args!("starting {threads} I/O threads"), &error))?;
    Ok(Box::new(Posix { queue_depth, path: IoPath { name: "threads", reason }, pool: Some(pool) }))
}

impl Backend for Posix {
    fn path(&self) -> IoPath {
        self.path.clone()
    }

    fn lanes_default(&self) -> u32 {
        LANES_DEFAULT
    }

    fn supports_direct_io(&self) -> bool {
        true
    }

    fn open_queue(&self, waker: Arc<Event>) -> io::Result<Box<dyn IoQueue>> {
        match &self.pool {
            Some(pool) => Ok(Box::new(threads::ThreadQueue::new(Arc::clone(pool), waker))),
            None => Ok(Box::new(uring::UringQueue::new(self.queue_depth, waker)?)),
        }
    }
}

/// The parameter that asks for something other than io_uring: NIXL's names for its three queues.
fn unwanted(config: &Config) -> Option<&'static str> {
    let flag = |name: &str| {
        config.backend_params.0.get(name).map(|value| value.eq_ignore_ascii_case("true") || value == "1")
    };
    match (flag("use_uring"), flag("use_aio"), flag("use_posix_aio")) {
        (Some(true), _, _) => None,
        (_, Some(true), _) => Some("use_aio"),
        (_, _, Some(true)) => Some("use_posix_aio"),
        (Some(false), _, _) => Some("use_uring"),
        _ => None,
    }
}

fn parameter(config: &Config, name: &str) -> Result<Option<u32>> {
    config.backend_params.0.get(name).map_or(Ok(None), |value| {
        value.trim().parse().map(Some).map_err(|_| {
            Error::new(Status::Config, format!("nixl_backend_params.{name}: '{value}' is not a whole number"))
        })
    })
}
