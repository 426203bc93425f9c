//! The dynamic store as lanes see it: a file for each key, in a directory that other processes share.
//!
//! The file system is the truth about what is stored; the catalog knows sizes and recency, for the
//! capacity and for the policy.

mod flush;
mod keys;
mod limits;
mod proof;
mod scan;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests;
mod transfer;
mod unflushed;

use std::fs::File;
use std::time::SystemTime;

use crate::backend::Backend;
use crate::catalog::{ObjectCatalog, ObjectReservation, RoomRefused, Victim};
use crate::config::{Config, Layout};
use crate::error::{Error, Result, Status};
use crate::layout::files::{Evicted, FileStore, ObjectName, Temporary};
use crate::log::Logger;
use crate::metrics::Counter;
use crate::placement::Key;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::sys::descriptor_limit;
use crate::sys::file::DirectAlignment;

use self::scan::Rescan;
use self::unflushed::Unflushed;

pub use self::limits::OBJECT_BYTES_MAX;

/// Attempts to create a file on a full device, each after evicting.
const CREATE_ATTEMPTS_MAX: u32 = 3;
/// On a full device twice what is needed is evicted, so that the next put need not evict again.
const EVICTION_HEADROOM: u64 = 2;
/// A dynamic store's files and their catalog.
pub struct Objects {
    files: FileStore,
    backend: Arc<dyn Backend>,
    catalog: ObjectCatalog,
    layout: Layout,
    namespace_bytes: usize,
    serve_unverified: bool,
    /// Bytes that a file without a proof must have to be served; `None`: any number.
    unverified_bytes: Option<u64>,
    presence_cache: bool,
    presence_cache_only: bool,
    capacity_bytes: Option<u64>,
    generation: AtomicU64,
    evictions: Counter,
    /// Files that no lane ever saw: of no possible length, or given up by a flush.
    damaged: Counter,
    rescan: Rescan,
    unflushed: Unflushed,
    /// One flush at a time: the second one's work is what the first one leaves.
    flushing: Mutex<()>,
    open_files: Arc<AtomicU64>,
    open_files_max: u64,
    logger: Logger,
}

/// One in this many of the process's descriptors may be an object's file of one store. A put also has the directory open
/// that it publishes into.
const DESCRIPTOR_PART: u64 = 8;
/// Object files that one store has open at a time, whatever the process may have.
const OPEN_FILES_RANGE: std::ops::RangeInclusive<u64> = 4..=256;

/// The right to have one object's file open.
#[derive(Debug)]
pub struct Permit(Arc<AtomicU64>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A file being read.
#[derive(Debug)]
pub struct Reading {
    name: ObjectName,
    file: Arc<File>,
    _permit: Permit,
}

/// A file being written.
#[derive(Debug)]
pub struct Draft {
    temporary: Temporary,
    reservation: ObjectReservation,
    name: ObjectName,
    bytes: u64,
    /// By the clock of what is not flushed.
    begun: u64,
    _permit: Permit,
}

impl Objects {
    /// Opens the store at `path` and learns what is in it.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn open(
        path: &std::path::Path,
        config: &Config,
        namespace_bytes: usize,
        backend: &Arc<dyn Backend>,
        logger: &Logger,
    ) -> Result<Objects> {
        let layout = config.store.layout;
        let files = FileStore::open(path, layout, config.use_direct_io, backend.habits(), logger)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let objects = Objects {
            files,
            backend: Arc::clone(backend),
            catalog: ObjectCatalog::new(config.eviction(), config.store.capacity_bytes)
                .map_err(|_| Error::new(Status::OutOfMemory, "no memory for the index of the store"))?,
            layout,
            namespace_bytes,
            serve_unverified: config.store.serve_unverified,
            unverified_bytes: config.store.unverified_bytes,
            presence_cache: config.presence_cache,
            presence_cache_only: config.presence_cache_only,
            capacity_bytes: config.store.capacity_bytes,
            // Only tells versions of a file apart for a person; the newest file is the one there is.
            generation: AtomicU64::new(u64::try_from(now.as_nanos()).unwrap_or(1)),
            evictions: Counter::default(),
            damaged: Counter::default(),
            rescan: Rescan::new(),
            unflushed: Unflushed::new(),
            flushing: Mutex::new(()),
            open_files: Arc::new(AtomicU64::new(0)),
            open_files_max: (descriptor_limit() / DESCRIPTOR_PART)
                .clamp(*OPEN_FILES_RANGE.start(), *OPEN_FILES_RANGE.end()),
            logger: logger.clone(),
        };
        objects.try_backend()?;
        objects.scan()?;
        if !objects.files.syncs_as_a_whole() {
            // What was put before this open, by a process that ended, may not be durable, and nobody knows which it is.
            objects.unflushed.assume_everything();
            objects.files.assume_changed();
        }
        Ok(objects)
    }

    /// Tries a file of this directory's with a backend that may not serve it.
    fn try_backend(&self) -> Result<()> {
        if !self.backend.may_refuse_files() {
            return Ok(());
        }
        let tried = self.files.create_nameless().and_then(|file| self.backend.attach(file.share()));
        tried.map(drop).map_err(|error| Error::os("trying a file with the backend", &error))
    }

    /// What O_DIRECT asks for; `None` if it is not in effect.
    pub fn alignment(&self) -> Option<DirectAlignment> {
        self.files.direct_io().then(|| self.files.direct_alignment())
    }

    /// Lets the caller open one object's file more. The store keeps to a part of the process's descriptors, so that a
    /// large batch leaves some to the rest of the engine.
    ///
    /// # Errors
    /// `EMFILE` when all of that part are in use: the error that the system gives when all of the process's are. A lane
    /// treats both alike, and starts the item again when another one has closed its file.
    fn permit(&self) -> Result<Permit> {
        let add = |open: u64| (open < self.open_files_max).then_some(open + 1);
        match self.open_files.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(Permit(Arc::clone(&self.open_files))),
            Err(_) => Err(Error::os(
                format_args!(
                    "opening an object: {} are open, the most that this store may have of the process's {} (ulimit -n)",
                    self.open_files_max,
                    descriptor_limit()
                ),
                &std::io::Error::from_raw_os_error(libc::EMFILE),
            )),
        }
    }

    /// The name to remember, where it cannot be made from the id.
    fn flat(&self, name: &ObjectName) -> Option<String> {
        (self.layout == Layout::Lmcache).then(|| name.file_name())
    }

    fn name(&self, key: &Key<'_>) -> Result<ObjectName> {
        self.files.name_of(key.digest, key.effective.get(1 + self.namespace_bytes..).unwrap_or_default())
    }

    /// The name behind an id, and behind what was remembered of it.
    fn name_behind(&self, id: u128, name: Option<&str>) -> Option<ObjectName> {
        match name {
            None => Some(ObjectName::sharded(id)),
            Some(name) => ObjectName::from_flat_file(name.as_bytes()),
        }
    }

    /// Unlinks victims; those that somebody holds go back. Returns how many are gone.
    fn evict(&self, victims: Vec<Victim>) -> u64 {
        let mut gone = 0;
        for victim in victims {
            let Some(name) = self.name_behind(victim.id, victim.name.as_deref()) else { continue };
            // A put of the same key may have published a newer file since the victim was chosen. That one is in the catalog
            // again, and stays.
            match self.unlink_if(&name, || !self.catalog.contains(victim.id)) {
                Ok(Evicted::Removed) => {
                    self.evictions.increment();
                    gone += 1;
                }
                Ok(Evicted::Absent) => gone += 1,
                Ok(Evicted::Pinned) => self.catalog.put_back(victim),
                Err(error) => {
                    self.logger.warn(format_args!("evicting {}: {error}", name.file_name()));
                    self.catalog.put_back(victim);
                }
            }
        }
        gone
    }

    /// Makes room on a full device. False: nothing can go.
    fn evict_at_least(&self, bytes: u64) -> bool {
        self.evict(self.catalog.evict_at_least(bytes.saturating_mul(EVICTION_HEADROOM))) > 0
    }

    /// Makes room within the capacity.
    fn reserve(
        &self,
        id: u128,
        bytes: u64,
        must: bool,
    ) -> std::result::Result<ObjectReservation, RoomRefused> {
        let (reservation, mut victims) = self.catalog.reserve(id, bytes, must)?;
        loop {
            if victims.is_empty() {
                return Ok(reservation);
            }
            self.evict(victims);
            // Those that went back count again; others are named for them until none is left.
            victims = match self.catalog.make_room(&reservation) {
                Ok(victims) => victims,
                Err(refused) => {
                    self.catalog.cancel(reservation);
                    return Err(refused);
                }
            };
        }
    }

    /// Makes what was written since `begun` visible, and notes that it is to be flushed.
    fn publish(&self, temporary: Temporary, name: &ObjectName, begun: u64) -> std::io::Result<()> {
        let published = self.files.publish(temporary);
        // Also after an error, which does not prove that the file has not got its name: a flush then makes durable what is
        // there, so that no loss of power leaves a name without bytes.
        let stored = self.flat(name).map(String::into_boxed_str);
        self.unflushed.published(self.files.id_of(name), stored, begun);
        published
    }

    /// Removes an object that nobody pins, and with it the need to flush it.
    fn unlink(&self, name: &ObjectName) -> std::io::Result<Evicted> {
        self.unlink_if(name, || true)
    }

    /// The same, unless `is_due` says at the last moment that it is not any more.
    fn unlink_if(&self, name: &ObjectName, is_due: impl FnOnce() -> bool) -> std::io::Result<Evicted> {
        let begun = self.unflushed.now();
        let mut was_due = true;
        let evicted = self.files.evict_if(name, || {
            was_due = is_due();
            was_due
        })?;
        // What stays has to be flushed still.
        if evicted != Evicted::Pinned && was_due {
            self.unflushed.removed(self.files.id_of(name), begun);
        }
        Ok(evicted)
    }

    fn create(&self, name: &ObjectName, bytes: u64) -> Result<Temporary> {
        let mut attempt = 0;
        loop {
            let error = match self.files.create_temporary(name, bytes) {
                Ok(temporary) => return Ok(temporary),
                Err(error) => Error::os(format_args!("creating a file of {bytes} bytes"), &error),
            };
            attempt += 1;
            if error.status() != Status::NoSpace
                || attempt == CREATE_ATTEMPTS_MAX
                || !self.evict_at_least(bytes)
            {
                return Err(error);
            }
        }
    }
}
