//! The static pool as lanes see it: the catalog says which slot, the pool says where that is.

mod keys;
mod transfer;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::Extent;
use crate::catalog::{DirtySlot, SlotCatalog, StoredEntry};
use crate::config::CachePolicy;
use crate::error::{Error, Result, Status};
use crate::layout::pool::{Geometry, Pool, Recovered};
use crate::layout::record;
use crate::log::Logger;
use crate::memory::Mapping;
use crate::metrics::Counter;
use crate::sync::{Arc, Condvar, Mutex, RwLock, RwLockReadGuard, lock};
use crate::sys::bus_error::GUARDED_MAX;
use crate::sys::file::DirectAlignment;
use crate::sys::memory_file;
use crate::sys::signal::undisturbed;

/// Longest wait of a removal for the key's readers. They are transfers under way, so this is for a device that hangs.
const REMOVAL_WAIT_MAX: Duration = Duration::from_secs(10);

/// What holds the slots.
enum Backing {
    /// A pool on storage; gone once the store is closed. Whoever takes keys out and then cleans their slots
    /// reads it throughout: the index that closing writes down knows all of it or nothing.
    Pool(RwLock<Option<Pool>>),
    /// Anonymous memory of this process.
    Memory,
}

/// The backing, kept from being closed while this lives.
struct Kept<'a>(Option<RwLockReadGuard<'a, Option<Pool>>>);

/// One of the files that the slots lie in.
struct SlotFile {
    file: Arc<File>,
    mapping: Option<Arc<Mapping>>,
}

/// A static pool and its catalog.
pub struct Slots {
    catalog: SlotCatalog,
    files: Vec<SlotFile>,
    geometry: Geometry,
    pool_id: u128,
    alignment: Option<DirectAlignment>,
    backing: Backing,
    evictions: Counter,
    /// Rounds of cleaning, for those who wait for one.
    cleaned: Mutex<u64>,
    cleaned_changed: Condvar,
    logger: Logger,
}

impl Slots {
    /// The slots of an open pool with what recovery found in them.
    pub fn on_storage(pool: Pool, recovered: Recovered, policy: CachePolicy, logger: &Logger) -> Slots {
        let geometry = *pool.geometry();
        let catalog = SlotCatalog::new(geometry.slot_count(), policy);
        for slot in recovered.unreadable {
            catalog.withhold(slot);
        }
        for entry in &recovered.entries {
            let key = recovered.keys.get(entry.key);
            let stored = StoredEntry {
                key,
                slot: entry.slot,
                length: entry.payload_bytes,
                generation: entry.generation,
                frequency: entry.frequency,
            };
            catalog.restore(record::digest(key), stored);
        }
        catalog.raise_generation(recovered.generation_next);
        Slots {
            catalog,
            files: pool
                .files()
                .iter()
                .map(|file| SlotFile { file: Arc::clone(file), mapping: None })
                .collect(),
            geometry,
            pool_id: pool.pool_id(),
            alignment: pool.direct_alignment(),
            backing: Backing::Pool(RwLock::new(Some(pool))),
            evictions: Counter::default(),
            cleaned: Mutex::new(0),
            cleaned_changed: Condvar::new(),
            logger: logger.clone(),
        }
    }

    /// Slots in this process's memory.
    ///
    /// # Errors
    /// [`Status::Config`] for a size that nothing can have; what `memfd_create(2)` answers.
    pub fn in_memory(
        slot_count: u32,
        chunk_bytes: u64,
        policy: CachePolicy,
        logger: &Logger,
    ) -> Result<Slots> {
        let geometry = Geometry::new(slot_count, chunk_bytes, 1).ok_or_else(|| {
            Error::new(
                Status::Config,
                format!("nixl_pool_size {slot_count} x {chunk_bytes} bytes is more than memory can have"),
            )
        })?;
        let bytes = geometry.total_bytes();
        let file = memory_file::sealed(c"nixl_store", bytes)
            .map_err(|error| Error::os(format_args!("making a pool of {bytes} bytes in memory"), &error))?;
        Ok(Slots {
            catalog: SlotCatalog::new(slot_count, policy),
            files: vec![SlotFile { file: Arc::new(file), mapping: None }],
            geometry,
            pool_id: record::NO_POOL,
            alignment: None,
            backing: Backing::Memory,
            evictions: Counter::default(),
            cleaned: Mutex::new(0),
            cleaned_changed: Condvar::new(),
            logger: logger.clone(),
        })
    }

    /// Maps the files, which lie in memory: gets read there. Where that cannot be, they read the files, and a warning says
    /// why; `place` is how it names them.
    pub fn map_files(&mut self, place: &dyn std::fmt::Display) {
        for SlotFile { file, mapping } in &mut self.files {
            let why = match Mapping::new(file) {
                Ok(Some(mapped)) => {
                    *mapping = Some(Arc::new(mapped));
                    continue;
                }
                Ok(None) => format!("{GUARDED_MAX} files are mapped in this process, the most there can be"),
                Err(error) => error.to_string(),
            };
            self.logger
                .warn(format_args!("{place}: not mapped, so gets read the files, which is slower ({why})"));
            return;
        }
    }

    /// The largest object.
    pub fn chunk_bytes(&self) -> u64 {
        self.geometry.chunk_bytes()
    }

    /// What O_DIRECT asks for; `None` if it is not in effect.
    pub fn alignment(&self) -> Option<DirectAlignment> {
        self.alignment
    }

    fn extent(&self, slot: u32, payload_bytes: u64) -> Result<Extent> {
        let place = self.geometry.place(slot);
        let parts = self
            .files
            .get(place.file_index as usize)
            .zip(self.geometry.payload_offset(place, payload_bytes))
            .zip(record::padded(payload_bytes));
        let Some(((SlotFile { file, mapping }, payload_offset), padded_bytes)) = parts else {
            return Err(Error::new(
                Status::Internal,
                format!("slot {slot} cannot hold {payload_bytes} bytes"),
            ));
        };
        Ok(Extent {
            file: Arc::clone(file),
            mapping: mapping.clone(),
            payload_offset,
            padded_bytes,
            trailer_bytes: self.geometry.trailer_bytes(),
            pool_id: self.pool_id,
            slot: u64::from(slot),
            alignment: self.alignment,
        })
    }

    /// Keeps the pool from being closed. Not to be asked for by whoever has it already: one that closes may wait
    /// between the two.
    ///
    /// # Errors
    /// [`Status::Closing`] if it is closed.
    fn keep(&self) -> Result<Kept<'_>> {
        let Backing::Pool(pool) = &self.backing else { return Ok(Kept(None)) };
        let pool = pool.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if pool.is_none() {
            return Err(Error::new(Status::Closing, "the pool is closed"));
        }
        Ok(Kept(Some(pool)))
    }

    /// Cleans a slot that a lane let go of. Lanes end before the pool is closed.
    fn clean_now(&self, dirty: DirtySlot) {
        match self.keep() {
            Ok(kept) => self.clean(&kept, dirty),
            Err(_) => self.catalog.quarantine_slot(dirty),
        }
    }

    /// Tombstones a slot and hands it back, and whatever had to wait for that.
    fn clean(&self, kept: &Kept<'_>, dirty: DirtySlot) {
        let mut next = Some(dirty);
        // Only a slot that two others waited for leaves more than one to go on with.
        let mut others = Vec::new();
        while let Some(dirty) = next {
            next = None;
            match self.tombstone(kept, dirty.slot()) {
                Ok(()) => {
                    let mut waited = self.catalog.slot_cleaned(dirty).into_iter();
                    next = waited.next();
                    others.extend(waited);
                }
                Err(error) => {
                    self.logger.error(format_args!(
                        "slot {} cannot be cleaned ({error}); it is taken out of use",
                        dirty.slot()
                    ));
                    self.catalog.quarantine_slot(dirty);
                }
            }
            next = next.or_else(|| others.pop());
        }
        // Under the lock, so that nobody is between a look at the catalog and the wait.
        *lock(&self.cleaned) += 1;
        self.cleaned_changed.notify_all();
    }

    /// Waits until no crash can bring a removed key back: until its last reader has left and its record is gone.
    fn wait_until_clean(&self, digest: u128) {
        let deadline = Instant::now() + REMOVAL_WAIT_MAX;
        let mut cleaned = lock(&self.cleaned);
        while self.catalog.is_haunted(digest) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.cleaned_changed.wait_timeout(cleaned, left);
            cleaned = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn tombstone(&self, kept: &Kept<'_>, slot: u32) -> io::Result<()> {
        if let Some(pool) = kept.pool() {
            return pool.tombstone(slot);
        }
        let place = self.geometry.place(slot);
        let SlotFile { file, .. } = self.files.first().ok_or_else(|| io::Error::other("no memory"))?;
        let offset = self.geometry.trailer_offset(place);
        undisturbed(|| file.write_all_at(&[0; record::TOMBSTONE_BYTES], offset))
    }
}

impl Kept<'_> {
    /// The pool; `None` for slots in memory.
    fn pool(&self) -> Option<&Pool> {
        self.0.as_ref().and_then(|pool| pool.as_ref())
    }
}
