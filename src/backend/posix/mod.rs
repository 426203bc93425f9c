//! POSIX: local files through io_uring, or through threads where io_uring is refused or not wanted.

pub mod uring;

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::inline::{self, InlineQueue};
use super::queue::{Backend, IoPath, IoQueue, Medium, Stores};
use super::reach::Reach;
use super::threads::{self, Positioned};
use crate::config::Config;
use crate::error::Result;
use crate::log::Logger;
use crate::sync::{Mutex, lock};
use crate::sys::event::Event;

/// Submission queue entries of one ring, unless `kernel_queue_size` says otherwise. Deep enough for
/// any NVMe device; a ring of this size takes a few pages.
const QUEUE_DEPTH_DEFAULT: u32 = 128;
/// Bounds for `kernel_queue_size`; the upper one is the kernel's own (`io_uring_setup(2)`).
const QUEUE_DEPTH_RANGE: RangeInclusive<u32> = 4..=4096;
/// Threads that do positioned reads and writes where io_uring is not used, unless `ios_pool_size` says otherwise.
const THREADS_DEFAULT: u32 = 16;
/// Bounds for `ios_pool_size`.
const THREADS_RANGE: RangeInclusive<u32> = 1..=256;
/// NIXL's parameters that choose a queue.
const QUEUES: [&str; 3] = ["use_uring", "use_aio", "use_posix_aio"];
/// Lanes: two keep a device busy while one of them computes checksums.
const LANES_DEFAULT: u32 = 2;

/// The backend. Each lane gets a ring, or a queue into the one pool of threads where a ring is not to be had: the
/// system may refuse all of them (seccomp), or run out of locked memory after some.
struct Posix {
    queue_depth: u32,
    threads: u32,
    /// Whether files in memory are copied by the lanes: unless the parameters name a queue.
    inline: bool,
    state: Mutex<State>,
    logger: Logger,
}

/// What the lanes got.
#[derive(Default)]
struct State {
    /// Why no ring is tried any more.
    no_ring: Option<String>,
    rings: u32,
    /// No queue is needed: the files lie in memory.
    inlined: bool,
    pool: Option<Arc<threads::Pool>>,
}

/// Opens the backend. Which queues are to be had is found out by the lanes, which know what the files lie on.
///
/// # Errors
/// None; the signature is the table's.
pub fn open(config: &Config, logger: &Logger) -> Result<Box<dyn Backend>> {
    let no_ring = unwanted(config).map(|parameter| format!("nixl_backend_params.{parameter} asks for it"));
    Ok(Box::new(Posix {
        queue_depth: parameter(config, "kernel_queue_size", QUEUE_DEPTH_DEFAULT, QUEUE_DEPTH_RANGE),
        threads: parameter(config, "ios_pool_size", THREADS_DEFAULT, THREADS_RANGE),
        inline: !QUEUES.iter().any(|queue| config.backend_params.flag(queue).is_some()),
        state: Mutex::new(State { no_ring, ..State::default() }),
        logger: logger.clone(),
    }))
}

impl Posix {
    /// Notes and says, once, that rings are not to be had.
    fn refused(&self, state: &mut State, error: &io::Error) {
        let hint = match error.raw_os_error() {
            Some(libc::ENOMEM) => "A locked-memory limit (ulimit -l) is the usual cause",
            _ => {
                "Where a container's seccomp profile is the cause, allow io_uring_setup, io_uring_enter and \
                 io_uring_register"
            }
        };
        let threads = self.threads;
        self.logger.warn(format_args!(
            "io_uring is refused here ({error}): falling back to {threads} threads. {hint}"
        ));
        state.no_ring = Some(format!("io_uring is refused: {error}"));
    }

    /// The pool of threads, which is started when it is first needed.
    fn pool(&self, state: &mut State) -> io::Result<Arc<threads::Pool>> {
        if let Some(pool) = &state.pool {
            return Ok(Arc::clone(pool));
        }
        let pool = threads::Pool::start((0..self.threads).map(|_| Positioned).collect())?;
        state.pool = Some(Arc::clone(&pool));
        Ok(pool)
    }
}

impl Backend for Posix {
    fn path(&self) -> IoPath {
        let state = lock(&self.state);
        if state.inlined {
            return IoPath { name: "inline", reason: String::new() };
        }
        let reason = state.no_ring.clone().unwrap_or_default();
        match state.rings {
            0 if state.pool.is_some() => IoPath { name: "threads", reason },
            rings if state.pool.is_some() => {
                IoPath { name: "io_uring", reason: format!("{reason}; {rings} of the I/O threads have it") }
            }
            _ => IoPath { name: "io_uring", reason },
        }
    }

    fn reach(&self) -> Reach {
        Reach::HOST
    }

    fn stores(&self) -> Stores {
        Stores::Files
    }

    fn lanes_default(&self, medium: Medium) -> u32 {
        match medium {
            Medium::Memory if self.inline => inline::lanes_default(),
            _ => LANES_DEFAULT,
        }
    }

    fn supports_direct_io(&self) -> bool {
        true
    }

    fn open_queue(&self, waker: Arc<Event>, medium: Medium) -> io::Result<Box<dyn IoQueue>> {
        let mut state = lock(&self.state);
        if medium == Medium::Memory && self.inline {
            state.inlined = true;
            return Ok(Box::new(InlineQueue::new(waker)));
        }
        if state.no_ring.is_none() {
            match uring::open_ring(self.queue_depth) {
                Ok(ring) => {
                    let queue = uring::UringQueue::new(ring, waker)?;
                    state.rings += 1;
                    return Ok(Box::new(queue));
                }
                Err(error) => self.refused(&mut state, &error),
            }
        }
        let pool = self.pool(&mut state)?;
        Ok(Box::new(threads::ThreadQueue::new(pool, waker)?))
    }

    fn reads_mappings(&self, medium: Medium) -> bool {
        medium == Medium::Memory && self.inline
    }

    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>> {
        Some(Box::new(InlineQueue::polled()))
    }
}

/// The parameter that asks for something other than io_uring. NIXL's `use_aio` does not: it names a
/// kernel queue that io_uring supersedes, and the configuration says so in a notice.
fn unwanted(config: &Config) -> Option<&'static str> {
    let parameters = &config.backend_params;
    match (parameters.flag("use_uring"), parameters.flag("use_posix_aio")) {
        (Some(true), _) => None,
        (_, Some(true)) => Some("use_posix_aio"),
        (Some(false), _) => Some("use_uring"),
        (None, _) => None,
    }
}

/// A number among the parameters. The configuration has checked it; `None` and 0 mean the default.
fn parameter(config: &Config, name: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
    let given = config.backend_params.number(name).filter(|&number| number > 0);
    let number = given.map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX));
    number.clamp(*range.start(), *range.end())
}
