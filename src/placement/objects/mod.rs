//! The dynamic store as lanes see it: a file for each key, in a directory that other processes share.
//!
//! The file system is the truth about what is stored; the catalog knows sizes and recency, for the
//! capacity and for the policy.

mod keys;
mod transfer;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant, SystemTime};

use crate::backend::Backend;
use crate::catalog::{ObjectCatalog, ObjectReservation, RoomRefused, Victim};
use crate::config::{Config, Layout};
use crate::error::{Error, Result, Status};
use crate::layout::files::{Evicted, FileStore, ObjectName, Proof, Scanned, Temporary};
use crate::layout::record::{self, Trailer};
use crate::log::Logger;
use crate::memory::AlignedBuffer;
use crate::metrics::Counter;
use crate::placement::Key;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crate::sys::descriptor_limit;
use crate::sys::file::DirectAlignment;
use crate::sys::retry_on_interrupt;

/// Attempts to create a file on a full device, each after evicting.
const CREATE_ATTEMPTS_MAX: u32 = 3;
/// On a full device twice what is needed is evicted, so that the next put need not evict again.
const EVICTION_HEADROOM: u64 = 2;
/// Bytes put since the last scan, as a part of the capacity, after which other processes' files are
/// looked for again.
const RESCAN_CAPACITY_PART: u64 = 16;
/// The least time between two such scans.
const RESCAN_INTERVAL_MIN: Duration = Duration::from_secs(5);

/// A dynamic store's files and their catalog.
pub struct Objects {
    files: FileStore,
    backend: Arc<dyn Backend>,
    catalog: ObjectCatalog,
    layout: Layout,
    namespace_bytes: usize,
    serve_unverified: bool,
    presence_cache: bool,
    presence_cache_only: bool,
    capacity_bytes: Option<u64>,
    generation: AtomicU64,
    evictions: Counter,
    /// Files of no possible length, which no lane ever saw.
    damaged: Counter,
    bytes_since_scan: AtomicU64,
    last_scan: Mutex<Instant>,
    open_files: Arc<AtomicU64>,
    open_files_max: u64,
    logger: Logger,
}

/// One in this many of the process's descriptors may be an object's file of one store. An operation needs up to two.
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
        let files = FileStore::open(path, layout, config.use_direct_io, logger)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let objects = Objects {
            files,
            backend: Arc::clone(backend),
            catalog: ObjectCatalog::new(config.cache_policy, config.store.capacity_bytes),
            layout,
            namespace_bytes,
            serve_unverified: config.store.serve_unverified,
            presence_cache: config.presence_cache,
            presence_cache_only: config.presence_cache_only,
            capacity_bytes: config.store.capacity_bytes,
            // Only tells versions of a file apart for a person; the newest file is the one there is.
            generation: AtomicU64::new(u64::try_from(now.as_nanos()).unwrap_or(1)),
            evictions: Counter::default(),
            damaged: Counter::default(),
            bytes_since_scan: AtomicU64::new(0),
            last_scan: Mutex::new(Instant::now()),
            open_files: Arc::new(AtomicU64::new(0)),
            open_files_max: (descriptor_limit() / DESCRIPTOR_PART)
                .clamp(*OPEN_FILES_RANGE.start(), *OPEN_FILES_RANGE.end()),
            logger: logger.clone(),
        };
        objects.scan()?;
        Ok(objects)
    }

    /// What O_DIRECT asks for; `None` if it is not in effect.
    pub fn alignment(&self) -> Option<DirectAlignment> {
        self.files.direct_io().then(|| self.files.direct_alignment())
    }

    /// Takes one of the files that may be open at a time.
    ///
    /// # Errors
    /// As the system when it has no more: whoever asked tries again when another operation has ended.
    fn permit(&self) -> Result<Permit> {
        let add = |open: u64| (open < self.open_files_max).then_some(open + 1);
        match self.open_files.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(Permit(Arc::clone(&self.open_files))),
            Err(_) => Err(Error::os("opening an object", &std::io::Error::from_raw_os_error(libc::EMFILE))),
        }
    }

    /// Takes every object into the catalog, the oldest first.
    fn scan(&self) -> Result<()> {
        let mut found = Vec::new();
        self.files.scan(&mut |scanned| found.push(scanned))?;
        found.sort_by_key(|scanned| scanned.modified);
        for scanned in found {
            if self.is_ours(&scanned) {
                self.observe(&scanned.name, scanned.bytes);
            }
        }
        Ok(())
    }

    /// Whether so much was put since the last scan that other processes' files are to be looked for; true once for each
    /// scan that is due.
    fn rescan_is_due(&self) -> bool {
        let Some(capacity) = self.capacity_bytes else { return false };
        if self.bytes_since_scan.load(Ordering::Relaxed) < capacity / RESCAN_CAPACITY_PART {
            return false;
        }
        let mut last = lock(&self.last_scan);
        if last.elapsed() < RESCAN_INTERVAL_MIN {
            return false;
        }
        *last = Instant::now();
        self.bytes_since_scan.store(0, Ordering::Relaxed);
        true
    }

    fn rescan(&self) {
        if let Err(error) = self.scan() {
            self.logger.warn(format_args!("looking for other processes' objects: {error}"));
        }
    }

    fn observe(&self, name: &ObjectName, bytes: u64) {
        self.catalog.observe(self.files.id_of(name), self.flat(name).as_deref(), bytes);
    }

    /// The name to remember, where it cannot be made from the id.
    fn flat(&self, name: &ObjectName) -> Option<String> {
        (self.layout == Layout::Lmcache).then(|| name.file_name())
    }

    fn name(&self, key: &Key<'_>) -> Result<ObjectName> {
        self.files.name_of(key.digest, key.effective.get(1 + self.namespace_bytes..).unwrap_or_default())
    }

    fn victim_name(&self, victim: &Victim) -> Option<ObjectName> {
        match &victim.name {
            None => Some(ObjectName::sharded(victim.id)),
            Some(name) => ObjectName::from_flat_file(name.as_bytes()),
        }
    }

    /// Unlinks victims; those that somebody holds go back. Returns how many are gone.
    fn evict(&self, victims: Vec<Victim>) -> u64 {
        let mut gone = 0;
        for victim in victims {
            let Some(name) = self.victim_name(&victim) else { continue };
            match self.files.evict(&name) {
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
    fn reserve(&self, bytes: u64) -> std::result::Result<ObjectReservation, RoomRefused> {
        let (reservation, mut victims) = self.catalog.reserve(bytes)?;
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

    fn create(&self, bytes: u64) -> Result<Temporary> {
        let mut attempt = 0;
        loop {
            let error = match self.files.create_temporary(bytes) {
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

    /// Reads the trailer of a file and hands it to `look`; `None` if there is none of ours.
    fn with_trailer<T>(&self, file: &File, bytes: u64, look: impl FnOnce(&Trailer<'_>) -> T) -> Option<T> {
        let (padded, trailer_bytes) = record::split_file(bytes)?;
        let mut buffer = AlignedBuffer::new(usize::try_from(trailer_bytes).ok()?).ok()?;
        let place = buffer.as_mut_slice().get_mut(..trailer_bytes as usize)?;
        file.read_exact_at(place, padded).ok()?;
        record::decode(place).ok().map(|trailer| look(&trailer))
    }

    /// Whether a file may be evicted or cleared. In the flat layout LMCache and others keep files too; only the
    /// trailer says that one is this store's.
    fn is_ours(&self, scanned: &Scanned) -> bool {
        (self.layout == Layout::Sharded && scanned.proof == Proof::Name) || self.has_trailer(&scanned.name)
    }

    /// Removes the file that was read under this name, unless another has been published there since.
    fn remove_read(&self, reading: &Reading) -> std::io::Result<()> {
        let Some((now, _)) = self.files.open_read(&reading.name)? else { return Ok(()) };
        let (now, then) =
            (retry_on_interrupt(|| now.metadata())?, retry_on_interrupt(|| reading.file.metadata())?);
        if (now.dev(), now.ino()) == (then.dev(), then.ino()) {
            self.files.remove(&reading.name)?;
        }
        Ok(())
    }

    fn has_trailer(&self, name: &ObjectName) -> bool {
        match self.files.open_read(name) {
            Ok(Some((file, bytes))) => self.with_trailer(&file, bytes, |_| ()).is_some(),
            _ => false,
        }
    }

    /// Opens an object's file. What stands in its place and is no file is not there for us.
    fn open_object(&self, name: &ObjectName) -> Result<Option<(File, u64)>> {
        match self.files.open_read(name) {
            Ok(found) => Ok(found.filter(|(_, bytes)| *bytes > 0)),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                self.logger.warn(format_args!("{}: {error}; passed over", name.file_name()));
                Ok(None)
            }
            Err(error) => Err(Error::os(format_args!("opening object {}", name.file_name()), &error)),
        }
    }
}
