//! The dynamic store as lanes see it: a file for each key, in a directory that other processes share.
//!
//! The file system is the truth about what is stored; the catalog knows sizes and recency, for the
//! capacity and for the policy.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant, SystemTime};

use super::catalog::{FileCatalog, FileReservation, RoomRefused, Victim};
use super::files::{Evicted, FileStore, ObjectName, Proof, Temporary};
use super::placement::{Extent, Foreign, Gauges, Key, Keys, Placement, PutPlace, Sink, Source};
use super::record::{self, Trailer};
use crate::config::{Config, Layout};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::memory::AlignedBuffer;
use crate::metrics::Counter;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crate::sys::file::DirectAlignment;

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
    catalog: FileCatalog,
    layout: Layout,
    namespace_bytes: usize,
    serve_unverified: bool,
    presence_cache: bool,
    presence_cache_only: bool,
    capacity_bytes: Option<u64>,
    generation: AtomicU64,
    evictions: Counter,
    bytes_since_scan: AtomicU64,
    last_scan: Mutex<Instant>,
    logger: Logger,
}

/// A file being read.
#[derive(Debug)]
pub struct Reading {
    name: ObjectName,
}

/// A file being written.
#[derive(Debug)]
pub struct Draft {
    temporary: Temporary,
    reservation: FileReservation,
    name: ObjectName,
    bytes: u64,
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
        logger: &Logger,
    ) -> Result<Objects> {
        let layout = config.store.layout;
        let files = FileStore::open(path, layout, config.use_direct_io, logger)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let objects = Objects {
            files,
            catalog: FileCatalog::new(config.cache_policy, config.store.capacity_bytes),
            layout,
            namespace_bytes,
            serve_unverified: config.store.serve_unverified,
            presence_cache: config.presence_cache,
            presence_cache_only: config.presence_cache_only,
            capacity_bytes: config.store.capacity_bytes,
            // Only tells versions of a file apart for a person; the newest file is the one there is.
            generation: AtomicU64::new(u64::try_from(now.as_nanos()).unwrap_or(1)),
            evictions: Counter::default(),
            bytes_since_scan: AtomicU64::new(0),
            last_scan: Mutex::new(Instant::now()),
            logger: logger.clone(),
        };
        objects.scan()?;
        Ok(objects)
    }

    /// What O_DIRECT asks for; `None` if it is not in effect.
    pub fn alignment(&self) -> Option<DirectAlignment> {
        self.files.direct_io().then(|| self.files.direct_alignment())
    }

    /// Takes every object into the catalog, the oldest first.
    fn scan(&self) -> Result<()> {
        let mut found = Vec::new();
        self.files.scan(&mut |scanned| found.push(scanned))?;
        found.sort_by_key(|scanned| scanned.modified);
        for scanned in found {
            // A stranger's file in a flat directory must never be evicted.
            let ours =
                scanned.proof == Proof::Name || self.serve_unverified || self.has_trailer(&scanned.name);
            if ours {
                self.observe(&scanned.name, scanned.bytes);
            }
        }
        Ok(())
    }

    fn rescan_if_due(&self, bytes: u64) {
        let Some(capacity) = self.capacity_bytes else { return };
        let since = self.bytes_since_scan.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if since < capacity / RESCAN_CAPACITY_PART {
            return;
        }
        {
            let mut last = lock(&self.last_scan);
            if last.elapsed() < RESCAN_INTERVAL_MIN {
                return;
            }
            *last = Instant::now();
        }
        self.bytes_since_scan.store(0, Ordering::Relaxed);
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
                Ok(Evicted::PinnedElsewhere) => self.catalog.put_back(victim),
                Err(error) => {
                    self.logger.warn(format_args!("evicting {}: {error}", name.file_name()));
                    self.catalog.put_back(victim);
                }
            }
        }
        gone
    }

    /// Makes room within the capacity.
    fn reserve(&self, bytes: u64) -> std::result::Result<FileReservation, RoomRefused> {
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
            if error.status() != Status::NoSpace || attempt == CREATE_ATTEMPTS_MAX || !self.make_room(bytes) {
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

impl Keys for Objects {
    fn contains(&self, key: &Key<'_>) -> Result<bool> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        if self.presence_cache && self.catalog.contains(id) {
            return Ok(true);
        }
        if self.presence_cache_only {
            return Ok(false);
        }
        // In the flat layout a name alone does not tell whether the object may be served.
        if self.layout == Layout::Lmcache && !self.serve_unverified {
            return Ok(self.length(key)?.is_some());
        }
        let found = self
            .files
            .stat(&name)
            .map_err(|error| Error::os(format_args!("looking for object {}", name.file_name()), &error))?;
        match found {
            Some(bytes) if bytes > 0 => Ok(true),
            _ => {
                self.catalog.forget(id);
                Ok(false)
            }
        }
    }

    fn length(&self, key: &Key<'_>) -> Result<Option<u64>> {
        let name = self.name(key)?;
        let Some((file, bytes)) = self.open_object(&name)? else { return Ok(None) };
        let ours = self.with_trailer(&file, bytes, |trailer| {
            let identity = trailer.identity();
            (identity.key == key.effective).then_some(identity.payload_bytes)
        });
        Ok(match ours {
            Some(length) => length,
            None if self.layout == Layout::Lmcache && self.serve_unverified => Some(bytes),
            None => None,
        })
    }

    fn remove(&self, key: &Key<'_>) -> Result<Status> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        let evicted = self
            .files
            .evict(&name)
            .map_err(|error| Error::os(format_args!("removing object {}", name.file_name()), &error))?;
        if evicted == Evicted::PinnedElsewhere {
            return Ok(Status::Pinned);
        }
        self.catalog.forget(id);
        Ok(if evicted == Evicted::Removed { Status::Ok } else { Status::NotFound })
    }

    fn pin(&self, key: &Key<'_>) -> Result<bool> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        self.files
            .pin(id)
            .map_err(|error| Error::os(format_args!("pinning object {}", name.file_name()), &error))?;
        // Only now is the file safe from others; it may have gone before.
        match self.open_object(&name)? {
            Some((_, bytes)) => {
                self.observe(&name, bytes);
                Ok(self.catalog.pin(id))
            }
            None => {
                self.catalog.forget(id);
                drop(self.files.unpin(id));
                Ok(false)
            }
        }
    }

    fn unpin(&self, key: &Key<'_>) -> Result<bool> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        if !self.catalog.unpin(id) {
            return Ok(false);
        }
        if !self.catalog.is_pinned(id) {
            self.files
                .unpin(id)
                .map_err(|error| Error::os(format_args!("unpinning object {}", name.file_name()), &error))?;
        }
        Ok(true)
    }

    fn clear(&self) -> Result<u64> {
        let mut found = Vec::new();
        self.files.scan(&mut |scanned| found.push(scanned))?;
        let mut removed = 0;
        for scanned in found {
            if scanned.proof == Proof::NeedsTrailer
                && !self.serve_unverified
                && !self.has_trailer(&scanned.name)
            {
                continue;
            }
            let evicted = self.files.evict(&scanned.name).map_err(|error| {
                Error::os(format_args!("removing object {}", scanned.name.file_name()), &error)
            })?;
            if evicted != Evicted::PinnedElsewhere {
                self.catalog.forget(self.files.id_of(&scanned.name));
                removed += u64::from(evicted == Evicted::Removed);
            }
        }
        Ok(removed)
    }

    fn sync(&self) -> Result<()> {
        self.files.sync().map_err(|error| Error::os("syncing the file system of nixl_path", &error))
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }

    fn gauges(&self) -> Gauges {
        let gauges = self.catalog.gauges();
        Gauges {
            keys: u64::from(gauges.keys),
            bytes: gauges.bytes,
            evictions: self.evictions.get(),
            capacity_bytes: self.capacity_bytes.unwrap_or(0),
            keys_pinned: gauges.keys_pinned,
            ..Gauges::default()
        }
    }
}

impl Placement for Objects {
    type GetClaim = Reading;
    type PutClaim = Draft;

    fn open_get(&self, key: &Key<'_>) -> Result<Option<Source<Reading>>> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        let Some((file, bytes)) = self.open_object(&name)? else {
            self.catalog.forget(id);
            return Ok(None);
        };
        if !self.catalog.touch(id) {
            self.observe(&name, bytes);
        }
        let foreign = match (self.layout, self.serve_unverified) {
            (Layout::Sharded, _) => Foreign::Damaged,
            (Layout::Lmcache, false) => Foreign::Ignored,
            (Layout::Lmcache, true) => Foreign::Served { bytes },
        };
        let (padded_bytes, trailer_bytes, payload_bytes) = match (record::split_file(bytes), foreign) {
            (Some((padded, trailer)), _) => (padded, trailer, None),
            (None, Foreign::Served { bytes }) => (record::padded(bytes).unwrap_or(bytes), 0, Some(bytes)),
            (None, Foreign::Ignored) => return Ok(None),
            (None, Foreign::Damaged) => {
                self.logger
                    .warn(format_args!("object {}: {bytes} bytes are no record; removed", name.file_name()));
                self.close_get(key, Reading { name }, true);
                return Ok(None);
            }
        };
        let extent = Extent {
            file: Arc::new(file),
            payload_offset: 0,
            padded_bytes,
            trailer_bytes,
            pool_id: record::NO_POOL,
            slot: record::NO_SLOT,
            alignment: self.alignment(),
        };
        Ok(Some(Source { extent, payload_bytes, generation: None, foreign, claim: Reading { name } }))
    }

    fn close_get(&self, _key: &Key<'_>, claim: Reading, corrupt: bool) {
        if !corrupt {
            return;
        }
        self.catalog.forget(self.files.id_of(&claim.name));
        // Whoever pinned it pinned bytes that are gone already.
        if let Err(error) = self.files.remove(&claim.name) {
            self.logger.error(format_args!("removing damaged object {}: {error}", claim.name.file_name()));
        }
    }

    fn open_put(&self, key: &Key<'_>, length: u64) -> Result<PutPlace<Draft>> {
        let name = self.name(key)?;
        let sizes = record::padded(length).and_then(|padded| Some((padded, record::trailer_bytes(padded)?)));
        let sizes = sizes.and_then(|(padded, trailer)| Some((padded, trailer, padded.checked_add(trailer)?)));
        let Some((padded_bytes, trailer_bytes, bytes)) = sizes else {
            return Err(Error::new(Status::TooLarge, format!("object of {length} bytes")));
        };
        self.rescan_if_due(bytes);
        let reservation = match self.reserve(bytes) {
            Ok(reservation) => reservation,
            Err(RoomRefused::Busy) => return Ok(PutPlace::Busy),
            Err(RoomRefused::TooLarge) => {
                return Err(Error::new(
                    Status::TooLarge,
                    format!("object of {length} bytes takes {bytes}, more than nixl_store_capacity_bytes"),
                ));
            }
            Err(RoomRefused::Full) => {
                return Err(Error::new(
                    Status::PoolFull,
                    "nixl_store_capacity_bytes is reached and everything is pinned; unpin keys or raise it",
                ));
            }
        };
        let temporary = match self.create(bytes) {
            Ok(temporary) => temporary,
            Err(error) => {
                self.catalog.cancel(reservation);
                return Err(error);
            }
        };
        let extent = Extent {
            file: temporary.share(),
            payload_offset: 0,
            padded_bytes,
            trailer_bytes,
            pool_id: record::NO_POOL,
            slot: record::NO_SLOT,
            alignment: self.alignment(),
        };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let claim = Draft { temporary, reservation, name, bytes };
        Ok(PutPlace::Ready(Sink { extent, generation, invalidate_first: false, hidden: true, claim }))
    }

    fn commit_put(&self, _key: &Key<'_>, claim: Draft, _length: u64) -> Result<()> {
        let Draft { temporary, reservation, name, bytes } = claim;
        match self.files.publish(temporary, &name) {
            Ok(()) => {
                self.catalog.commit(reservation, self.files.id_of(&name), self.flat(&name).as_deref(), bytes);
                Ok(())
            }
            Err(error) => {
                self.catalog.cancel(reservation);
                Err(Error::os(format_args!("publishing object {}", name.file_name()), &error))
            }
        }
    }

    fn abort_put(&self, claim: Draft, _touched: bool) {
        let Draft { temporary, reservation, .. } = claim;
        self.files.discard(temporary);
        self.catalog.cancel(reservation);
    }

    fn make_room(&self, bytes: u64) -> bool {
        self.evict(self.catalog.evict_at_least(bytes.saturating_mul(EVICTION_HEADROOM))) > 0
    }
}
