//! HF3FS: files of 3FS, through the rings that its client shares with its daemon (USRBIO) in place of reads and writes of FUSE.
//!
//! The daemon moves bytes from and to memory that it shares, so the staging buffer is such memory, and with it what the engine gets
//! from `nixl_store_memory_allocate`, which needs no copy then. What lies elsewhere is copied: payloads through the staging buffer,
//! by the lanes, and the few bytes of trailers by the queue.

mod bounce;
mod line;
mod queue;
mod request;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use self::queue::{SLICES_MAX, UsrbioQueue};
use super::inline;
use super::queue::{Backend, IoPath, IoQueue, Medium, Stores, Worker};
use super::reach::Reach;
use super::target::Target;
use crate::config::Config;
use crate::error::{Error, Result, Status};
use crate::hf3fs::{Client, Iov, Mount, Registered, Wanted};
use crate::log::Logger;
use crate::memory::Arena;
use crate::sync::{Mutex, lock};
use crate::sys::event::Event;
use crate::sys::habits::Habits;

/// Transfers that a ring takes at a time unless `iopool_size` says otherwise, which in NIXL is how many it keeps at hand.
const ENTRIES_DEFAULT: u64 = 64;
/// Fewest: a lane has gets and puts under way, each in several pieces.
const ENTRIES_MIN: u64 = 16;
/// Most: a ring's memory and the pieces for trailers grow with it, and the daemon works off four at a time.
const ENTRIES_MAX: u64 = 1024;

/// Fewest bytes of a read: each is a request to a storage server, and 3FS keeps its bytes in chunks of about so many.
const READ_BYTES_MIN: u64 = 1 << 20;

/// Which memory transfers use as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// What is shared; the rest is copied.
    Auto,
    /// None: everything is copied.
    Copies,
    /// What is shared; and memory that is not may not be registered.
    SharedOnly,
}

struct Hf3fs {
    client: Arc<Client>,
    mode: Mode,
    entries: u32,
    /// The staging buffer, while there is one.
    shared: Mutex<Weak<Iov>>,
}

/// Opens the backend: finds the mount, loads the library, starts the thread that speaks to the daemon.
///
/// # Errors
/// [`Status::Unsupported`] for what is missing.
pub fn open(config: &Config, worker: Worker, logger: &Logger) -> Result<Box<dyn Backend>> {
    let parameters = &config.backend_params;
    let unsupported = |why: String| {
        Error::new(
            Status::Unsupported,
            format!(
                "nixl_backend HF3FS cannot serve here: {why}; nixl_backend POSIX serves other file systems, and 3FS's files through \
                 FUSE"
            ),
        )
    };
    let path = config.path_of(worker.device, worker.id).ok_or_else(|| {
        Error::new(Status::Config, "nixl_path: nixl_backend HF3FS needs a directory on a mount of 3FS")
    })?;
    let mount_point = parameters.get("mount_point").map(Path::new);
    let mount = Mount::find(Wanted { mount_point, path }).map_err(unsupported)?;
    let library = config.store.hf3fs_library.as_deref();
    let client = Client::open(library, mount).map_err(unsupported)?;
    let entries = parameters.number("iopool_size").filter(|&entries| entries > 0).unwrap_or(ENTRIES_DEFAULT);
    let mode = match parameters.get("mem_config") {
        Some("dram") => Mode::Copies,
        Some("dram_zc") => Mode::SharedOnly,
        _ => Mode::Auto,
    };
    logger.info(format_args!("HF3FS: {} is the mount, by its rings", client.mount().path().display()));
    Ok(Box::new(Hf3fs {
        client,
        mode,
        entries: entries.clamp(ENTRIES_MIN, ENTRIES_MAX) as u32,
        shared: Mutex::new(Weak::new()),
    }))
}

impl Backend for Hf3fs {
    fn path(&self) -> IoPath {
        IoPath { name: "usrbio", reason: String::new() }
    }

    fn reach(&self) -> Reach {
        Reach {
            host: self.mode != Mode::Copies,
            slices_max: SLICES_MAX,
            registered_only: true,
            read_bytes_min: READ_BYTES_MIN,
            // Each stretch is a transfer of its own, and they end in any order.
            writes_whole: false,
            ..Reach::HOST
        }
    }

    fn stores(&self) -> Stores {
        Stores::Files
    }

    fn habits(&self) -> Habits {
        Habits {
            needs_direct_io: true,
            writes_outlive: true,
            length_needs_sync: true,
            is_sparse: true,
            directory_lock: Some(c"hf3fs.lock"),
        }
    }

    fn attach(&self, file: Arc<File>) -> io::Result<Target> {
        match Registered::of(&self.client, &file) {
            Ok(registered) => Ok(Target::of_hf3fs(file, registered)),
            // The library says the same of a file whose daemon is gone.
            Err(_) if self.client.is_dead() => Err(io::Error::from_raw_os_error(libc::ENOTCONN)),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "hf3fs_reg_fd does not take it for a file of 3FS ({error}); choose a nixl_path on a mount of 3FS, or \
                     nixl_backend POSIX"
                ),
            )),
            Err(error) => Err(error),
        }
    }

    fn may_refuse_files(&self) -> bool {
        true
    }

    fn staging(&self, bytes: usize, _huge_pages: bool) -> io::Result<Arena> {
        let shared = Arc::new(Iov::new(&self.client, bytes)?);
        *lock(&self.shared) = Arc::downgrade(&shared);
        Ok(Arena::of_others(shared.memory().into(), Box::new(shared)))
    }

    fn medium(&self, _found: Medium) -> Medium {
        // Whatever the daemon keeps it on.
        Medium::Device
    }

    fn lanes_default(&self, _medium: Medium) -> u32 {
        // A client of 3FS is as fast as the network's cards, so that copies and checksums are the work.
        inline::lanes_default()
    }

    fn supports_direct_io(&self) -> bool {
        true
    }

    fn open_queue(&self, waker: Arc<Event>, _medium: Medium) -> io::Result<Box<dyn IoQueue>> {
        let shared = lock(&self.shared).upgrade().ok_or(io::ErrorKind::InvalidInput)?;
        let refuses_others = self.mode == Mode::SharedOnly;
        let queue = UsrbioQueue::new(&self.client, shared, self.entries, refuses_others, waker)?;
        Ok(Box::new(queue))
    }

    fn reads_mappings(&self, _medium: Medium) -> bool {
        false
    }

    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>> {
        None
    }
}
