//! The static pool as lanes see it: the catalog says which slot, the pool says where that is.

mod cleaning;
mod flush;
mod keys;
mod storage;
mod sums;
mod transfer;

use std::fs::File;
use std::path::Path;

use self::cleaning::Chances;
use self::storage::{MemorySlots, SlotStorage};
use self::sums::Sums;
use super::Extent;
use crate::backend::{Backend, Target};
use crate::catalog::{OutOfUse, SlotCatalog, StoredEntry, Why, turn_around};
use crate::config::Eviction;
use crate::error::{Error, Result, Status};
use crate::layout::pool::{self, Geometry, Pool, PoolParameters, Source as Recovery};
use crate::layout::record;
use crate::log::Logger;
use crate::memory::Mapping;
use crate::metrics::Counter;
use crate::sync::{Arc, Condvar, Mutex, RwLock, RwLockReadGuard};
use crate::sys::bus_error::GUARDED_MAX;
use crate::sys::file::DirectAlignment;
use crate::sys::{file_size_limit, memory_file};

/// The storage, which is not closed while this lives.
struct Kept<'a>(RwLockReadGuard<'a, Option<Box<dyn SlotStorage>>>);

/// One of the files that the slots lie in.
struct SlotFile {
    file: Arc<File>,
    target: Target,
}

/// A static pool and its catalog.
pub struct Slots {
    catalog: SlotCatalog,
    sums: Sums,
    files: Vec<SlotFile>,
    geometry: Geometry,
    pool_id: u128,
    alignment: Option<DirectAlignment>,
    /// `None` once the store is closed. A call that takes keys out of the index and then erases their records holds this
    /// for reading from the first step to the last, and closing takes it for writing. Else this could happen:
    /// ```text
    /// remove takes k out of the index; close writes the snapshot, in which k's slot is free; remove is about to erase it
    /// the process is killed: the next open believes the snapshot, a scan after a later crash finds k in that slot
    /// ```
    storage: RwLock<Option<Box<dyn SlotStorage>>>,
    outlives_process: bool,
    /// How messages call the storage.
    place: Box<str>,
    evictions: Counter,
    /// Keys that a flush dropped.
    lost: Counter,
    /// Held by who makes the slots durable.
    flushing: Mutex<()>,
    chances: Mutex<Chances>,
    /// Rounds of cleaning, for those who wait for one.
    cleaned_rounds: Mutex<u64>,
    cleaned_changed: Condvar,
    /// That opened it.
    process: u32,
    logger: Logger,
}

impl Drop for Slots {
    /// Where the store was not opened after all, or was not closed, the storage is given back without a word for the next open. A
    /// forked child gives back nothing: it is its parent's.
    fn drop(&mut self) {
        let storage = self.storage.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(storage) = storage
            && self.process == std::process::id()
        {
            // What the store has to say of it was said.
            drop(storage.close(None));
        }
    }
}

impl Slots {
    /// Opens the pool `name` in the directory `parent`, making it if there is none, and takes in what recovery finds.
    ///
    /// # Errors
    /// As for [`Pool::open`]; [`Status::OutOfMemory`] if there is none for the index, before anything is made; what the
    /// backend answers for a file of the pool.
    pub fn on_storage(
        parent: &Path,
        name: &str,
        parameters: &PoolParameters,
        eviction: Eviction,
        backend: &Arc<dyn Backend>,
        logger: &Logger,
    ) -> Result<Slots> {
        let catalog = catalog(parameters.slot_count, eviction)?;
        let (pool, mut recovered) = Pool::open(parent, name, parameters, logger)?;
        let is_doubted = pool.is_doubted();
        // From here on whatever fails gives the pool back as it goes.
        let slots = Slots::new(catalog, Box::new(pool), backend, logger)?;
        let catalog = &slots.catalog;
        for out in &recovered.out_of_use {
            catalog.withhold(&known_out_of_use(out));
        }
        if recovered.source == Recovery::Scan {
            turn_around(&mut recovered.entries, catalog.chains());
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
            catalog.restore(record::digest(key), stored).map_err(|_| no_memory(parameters.slot_count))?;
        }
        catalog.raise_generation(recovered.generation_next);
        if is_doubted {
            catalog.distrust_everything();
        } else if recovered.source == Recovery::Scan {
            catalog.distrust_restored();
        }
        // Each open gives the slots another chance that were out of use at the close before. What fails again is logged, and
        // is tried once more by whoever needs a slot.
        drop(slots.clean_leftovers());
        Ok(slots)
    }

    /// Slots in this process's memory.
    ///
    /// # Errors
    /// [`Status::Config`] for a size that nothing can have; what `memfd_create(2)` answers.
    pub fn in_memory(
        slot_count: u32,
        chunk_bytes: u64,
        eviction: Eviction,
        backend: &Arc<dyn Backend>,
        logger: &Logger,
    ) -> Result<Slots> {
        let geometry = Geometry::new(slot_count, chunk_bytes, 1).ok_or_else(|| {
            Error::new(
                Status::Config,
                format!("nixl_pool_size {slot_count} x {chunk_bytes} bytes is more than memory can have"),
            )
        })?;
        let catalog = catalog(slot_count, eviction)?;
        let bytes = geometry.total_bytes();
        if bytes > file_size_limit() {
            return Err(Error::new(
                Status::Config,
                format!(
                    "a pool of {bytes} bytes in memory is larger than the {} bytes that this process may give a file (ulimit \
                     -f): raise that, or lower nixl_pool_size or the bytes of a chunk",
                    file_size_limit()
                ),
            ));
        }
        let file = memory_file::sealed(c"nixl_store", bytes)
            .map(Arc::new)
            .map_err(|error| Error::os(format_args!("making a pool of {bytes} bytes in memory"), &error))?;
        let slots = MemorySlots { files: [file], geometry };
        Slots::new(catalog, Box::new(slots), backend, logger)
    }

    fn new(
        catalog: SlotCatalog,
        storage: Box<dyn SlotStorage>,
        backend: &Arc<dyn Backend>,
        logger: &Logger,
    ) -> Result<Slots> {
        let attach = |file: &Arc<File>| {
            let target = backend.attach(Arc::clone(file));
            let target = target.map_err(|error| Error::os("attaching a slot file", &error))?;
            Ok(SlotFile { file: Arc::clone(file), target })
        };
        let mut slots = Slots {
            catalog,
            sums: Sums::default(),
            files: Vec::new(),
            geometry: storage.geometry(),
            pool_id: storage.pool_id(),
            alignment: storage.alignment(),
            outlives_process: storage.outlives_process(),
            place: storage.name().into(),
            storage: RwLock::new(Some(storage)),
            evictions: Counter::default(),
            lost: Counter::default(),
            flushing: Mutex::new(()),
            chances: Mutex::default(),
            cleaned_rounds: Mutex::new(0),
            cleaned_changed: Condvar::new(),
            process: std::process::id(),
            logger: logger.clone(),
        };
        let kept = slots.keep()?;
        let files = kept.storage().map_or(&[][..], SlotStorage::files);
        let files = files.iter().map(attach).collect::<Result<_>>()?;
        drop(kept);
        slots.files = files;
        Ok(slots)
    }

    /// Maps the files, which lie in memory: gets read there. Where that cannot be, they read the files, and a warning says
    /// why; `place` is how it names them.
    pub fn map_files(&mut self, place: &dyn std::fmt::Display) {
        for SlotFile { file, target } in &mut self.files {
            let why = match Mapping::new(file) {
                Ok(Some(mapped)) => {
                    *target = Target::mapped(Arc::clone(file), mapped);
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

    /// Keeps the checksums of what lies in the slots in memory from here on, in at most `bytes_max` bytes, so that gets need not read
    /// them. Where there is not as much memory gets read them, and a warning says so.
    pub fn keep_sums(&mut self, bytes_max: u64) {
        let slots = self.geometry.slot_count();
        match Sums::new(slots, self.geometry.chunk_bytes(), bytes_max) {
            Ok(sums) => self.sums = sums,
            Err(error) => self.logger.warn(format_args!(
                "{}: no memory for checksums ({error}), so each get reads its trailer; nixl_store_index_sums_bytes sets how much is \
                 asked for",
                self.place
            )),
        }
        let kept = self.sums.slots();
        if (1..slots as usize).contains(&kept) {
            self.logger.info(format_args!(
                "{}: the checksums of {kept} of {slots} slots fit nixl_store_index_sums_bytes; gets from the others read trailers",
                self.place
            ));
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
        let Some(((SlotFile { target, .. }, payload_offset), padded_bytes)) = parts else {
            return Err(Error::new(
                Status::Internal,
                format!("slot {slot} cannot hold {payload_bytes} bytes"),
            ));
        };
        Ok(Extent {
            target: target.clone(),
            payload_offset,
            padded_bytes,
            trailer_bytes: self.geometry.trailer_bytes(),
            pool_id: self.pool_id,
            slot: u64::from(slot),
            alignment: self.alignment,
            piece_bytes: None,
        })
    }

    fn file_of(&self, slot: u32) -> Result<&File> {
        let file = self.files.get(self.geometry.place(slot).file_index as usize);
        file.map(|file| &*file.file)
            .ok_or_else(|| Error::new(Status::Internal, format!("slot {slot} lies in no file")))
    }

    /// Keeps the storage from being closed while the answer lives.
    ///
    /// A thread that holds such an answer must not ask for another: if a thread that closes has begun to wait for the first,
    /// the lock lets no further reader in, and both would wait for ever.
    ///
    /// # Errors
    /// [`Status::Closing`] if it is closed.
    fn keep(&self) -> Result<Kept<'_>> {
        let storage = self.storage.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if storage.is_none() {
            return Err(Error::new(Status::Closing, "the pool is closed"));
        }
        Ok(Kept(storage))
    }
}

impl Kept<'_> {
    fn storage(&self) -> Option<&dyn SlotStorage> {
        self.0.as_deref()
    }
}

fn catalog(slots: u32, eviction: Eviction) -> Result<SlotCatalog> {
    SlotCatalog::new(slots, eviction).map_err(|_| no_memory(slots))
}

fn no_memory(slots: u32) -> Error {
    Error::new(
        Status::OutOfMemory,
        format!(
            "no memory for the index of {slots} slots; give this process more, or use a smaller nixl_pool_size"
        ),
    )
}

/// What a pool tells of a slot, as the catalog takes it.
fn known_out_of_use(out: &pool::OutOfUse) -> OutOfUse {
    let why = match out.why {
        // Found damaged by a process that ended. It may have been torn by a loss of power, and is as good as any once what is
        // left in it is erased.
        pool::Why::Damaged => Why::Unclean([None, None]),
        pool::Why::Unclean(records) => {
            Why::Unclean(records.map(|record| record.map(|record| (record.tag, record.generation))))
        }
    };
    OutOfUse { slot: out.slot, why }
}
