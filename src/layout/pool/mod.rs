//! The static pool: its directory, its slot files, and how its index survives a restart.
//!
//! Opening takes the lock, then believes the manifest, then the files, then the snapshot or the
//! trailers, in that order. The pool knows where slots are; what is in them, who may read them and
//! which are free is the catalog's business. `docs/FORMAT.md` has every byte that is written here.

mod aligned;
mod direct;
mod files;
mod geometry;
mod manifest;
mod owner;
mod recovery;
mod replace;
mod snapshot;
mod steps;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Result, Status};
use crate::layout::record;
use crate::log::Logger;
use crate::sys::dir::Dir;
use crate::sys::file::DirectAlignment;
use crate::sys::signal::undisturbed;
use crate::sys::{lock, random_u128};
use aligned::AlignedBuffer;
use manifest::Manifest;
use owner::Owned;

pub use geometry::{FILE_BYTES_MAX, FILE_COUNT, Geometry, Place};
pub use recovery::{GENERATION_MAX, KeyPlace, Recovered, RecoveredEntry, RecoveredKeys, Source};
pub use snapshot::SnapshotEntry;

/// What a pool is made with. All but `direct_io` is fixed for its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolParameters {
    /// Slots.
    pub slot_count: u32,
    /// Bytes of the largest payload.
    pub chunk_bytes: u64,
    /// Tokens per chunk, as the configuration says: a chunk of another length is another chunk.
    pub chunk_size_tokens: u64,
    /// Whether to open the slot files with O_DIRECT where the file system has it.
    pub direct_io: bool,
}

/// An open pool, owned by this process alone until it is released or dropped.
#[derive(Debug)]
pub struct Pool {
    owned: Owned,
    files: Vec<Arc<File>>,
    direct_alignment: Option<DirectAlignment>,
    geometry: Geometry,
    pool_id: u128,
}

impl Pool {
    /// Opens the pool `name` in the directory `parent`, making it if there is none.
    ///
    /// # Errors
    /// [`Status::Locked`] if another process has it, [`Status::Format`] if it was made with other
    /// parameters, is damaged or is no pool, [`Status::Config`] for parameters that no pool can
    /// have, [`Status::NoSpace`] where the disk is too small, else what the system answers. A pool
    /// that was to be made leaves nothing behind; one that was there is not changed by a refusal.
    pub fn open(
        parent: &Path,
        name: &str,
        parameters: &PoolParameters,
        logger: &Logger,
    ) -> Result<(Pool, Recovered)> {
        let wanted = wanted_geometry(parameters)?;
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(Error::new(Status::InvalidArgument, format!("{name:?} cannot name a pool")));
        }
        let parent = owner::open_parent(parent)?;
        let owned = owner::enter(&parent, name)?;
        let found = Manifest::read(&owned.directory)?;
        let (manifest, is_new, was_repaired) = match found {
            Some(manifest) => {
                manifest.check(&owned.directory, parameters)?;
                owned.sign();
                let was_repaired = files::repair(&owned.directory, &manifest.geometry, logger)?;
                (manifest, false, was_repaired)
            }
            None => (make(&parent, name, &owned, wanted, parameters, logger)?, true, false),
        };
        let Manifest { pool_id, geometry, .. } = manifest;
        let direct::Opened { files, direct_alignment } =
            direct::open(&owned.directory, &geometry, parameters.direct_io, logger)?;
        let pool = Pool { owned, files, direct_alignment, geometry, pool_id };
        let recovered = if is_new { nothing_yet() } else { pool.recover(was_repaired, logger)? };
        pool.remove_snapshot()?;
        Ok((pool, recovered))
    }

    /// The slot files, as [`Place::file_index`] counts them.
    pub fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// Whether O_DIRECT is in effect.
    pub fn direct_io(&self) -> bool {
        self.direct_alignment.is_some()
    }

    /// What O_DIRECT asks of addresses, offsets and lengths; `None` where it is not in effect.
    /// Neither is above [`record::RECORD_ALIGNMENT`].
    pub fn direct_alignment(&self) -> Option<DirectAlignment> {
        self.direct_alignment
    }

    /// The pool's lengths.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Where `slot` lies.
    pub fn place(&self, slot: u32) -> Place {
        self.geometry.place(slot)
    }

    /// The random number that its records carry.
    pub fn pool_id(&self) -> u128 {
        self.pool_id
    }

    /// Makes everything written to the slots durable.
    ///
    /// # Errors
    /// What `fdatasync(2)` answers.
    pub fn sync(&self) -> Result<()> {
        for (index, file) in self.files.iter().enumerate() {
            file.sync_data().map_err(|error| {
                let name = files::slot_file_name(u32::try_from(index).unwrap_or(u32::MAX));
                Error::os(
                    format_args!("syncing {}", self.owned.directory.path().join(name).display()),
                    &error,
                )
            })?;
        }
        Ok(())
    }

    /// Makes the record of `slot` absent: recovery will not see it. No transfer may be under way there.
    ///
    /// # Errors
    /// What `pwrite(2)` answers; the record may then still be there.
    pub fn tombstone(&self, slot: u32) -> io::Result<()> {
        if slot >= self.geometry.slot_count() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such slot"));
        }
        let place = self.place(slot);
        let (file, offset) = (self.file(place)?, self.geometry.trailer_offset(place));
        match undisturbed(|| file.write_all_at(aligned::zeros(), offset)) {
            // In a sparse file on a full disk: what could not be written for want of room was never written.
            Err(error) if is_full(&error) && is_absent(file, offset) => Ok(()),
            other => other,
        }
    }

    /// Records the index for the next open, `entries` in eviction order with the next to be evicted
    /// first. What the slots hold is made durable before. Nothing may be written to the pool after:
    /// the next open would believe the snapshot.
    ///
    /// # Errors
    /// What the system answers; the next open then scans.
    pub fn write_snapshot(
        &self,
        generation_next: u64,
        entries: &mut dyn Iterator<Item = SnapshotEntry<'_>>,
    ) -> Result<()> {
        self.sync()?;
        let directory = &self.owned.directory;
        snapshot::write(directory, self.pool_id, &self.geometry, generation_next, entries).map_err(|error| {
            Error::os(format_args!("writing {}", directory.path().join(snapshot::NAME).display()), &error)
        })
    }

    /// Gives the pool up, so that another process can open it at once even if this one has forked
    /// children. All transfers must have ended. In a forked child drop the pool instead: releasing
    /// it there would take the lock from the parent.
    pub fn release(self) {
        for file in &self.files {
            // As below: closing the file drops the lock as well.
            let _ = lock::unlock(file);
        }
        self.owned.unlock();
    }

    /// In a forked child: lets go of the locks, which else would outlive the parent that owns the pool.
    pub fn abandon_after_fork(&self) {
        self.files.iter().for_each(|file| lock::let_go_in_child(file));
        self.owned.abandon_after_fork();
    }

    fn file(&self, place: Place) -> io::Result<&File> {
        self.files
            .get(place.file_index as usize)
            .map(|file| &**file)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such slot file"))
    }

    /// Finds out what the pool holds. After a repair the snapshot would list what is gone.
    fn recover(&self, was_repaired: bool, logger: &Logger) -> Result<Recovered> {
        let directory = &self.owned.directory;
        let started = Instant::now();
        let found = snapshot::read(directory, self.pool_id, &self.geometry)
            .map_err(|error| foreign_or_os(directory, snapshot::NAME, &error))?;
        let recovered = match found {
            snapshot::Found::Valid { entries, keys, generation_next } if !was_repaired => {
                Recovered { entries, keys, generation_next, source: Source::Snapshot, unreadable: Vec::new() }
            }
            snapshot::Found::Valid { .. } | snapshot::Found::Absent => self.scan(logger)?,
            snapshot::Found::Invalid(why) => {
                let path = directory.path().join(snapshot::NAME);
                logger.warn(format_args!("{} is not used ({why}); scanning all slots", path.display()));
                self.scan(logger)?
            }
        };
        logger.info(format_args!(
            "pool in {}: {} keys in {} slots, recovered from {} in {} ms",
            directory.path().display(),
            recovered.entries.len(),
            self.geometry.slot_count(),
            if recovered.source == Source::Snapshot { "the snapshot" } else { "a scan" },
            started.elapsed().as_millis()
        ));
        Ok(recovered)
    }

    fn scan(&self, logger: &Logger) -> Result<Recovered> {
        let path = self.owned.directory.path();
        let mut seen = recovery::scan(&self.geometry, self.pool_id, &|slot, out| {
            let place = self.place(slot);
            self.file(place)?.read_exact_at(out, self.geometry.trailer_offset(place))
        })?;
        if let Some(error) = &seen.first_error {
            logger.error(format_args!(
                "{} slots in {} cannot be read and are not used; the first error: {error}",
                seen.unreadable.len(),
                path.display()
            ));
        }
        if let Some((slot, why)) = seen.first_damage {
            logger.warn(format_args!(
                "{} slots in {} hold no record of theirs and count as empty; the first is slot {slot}: {why}",
                seen.damaged,
                path.display()
            ));
        }
        // What could not be read may turn up at the next open: the counter leaps over it, and where
        // the slot can at least be written, it is erased.
        let is_incomplete = !seen.unreadable.is_empty() || seen.damaged > 0;
        let leap = if is_incomplete { recovery::GENERATION_LEAP } else { 0 };
        for slot in &seen.unreadable {
            let _ = self.tombstone(*slot);
        }
        self.erase_outdated(&mut seen, logger);
        Ok(Recovered {
            entries: seen.entries,
            keys: seen.keys,
            generation_next: seen.generation_max.saturating_add(1).saturating_add(leap),
            source: Source::Scan,
            unreadable: seen.unreadable,
        })
    }

    /// Erases the outdated records, durably: should the newer one be removed later, the older must
    /// not come back. A slot where this fails is not to be used.
    fn erase_outdated(&self, seen: &mut recovery::Scan, logger: &Logger) {
        let mut first_error = None;
        for slot in &seen.outdated {
            if let Err(error) = self.tombstone(*slot) {
                seen.unreadable.push(*slot);
                first_error
                    .get_or_insert(Error::os(format_args!("erasing the record of slot {slot}"), &error));
            }
        }
        if seen.outdated.len() + seen.unreadable.len() > 0
            && let Err(error) = self.sync()
        {
            first_error.get_or_insert(error);
        }
        if let Some(error) = first_error {
            let path = self.owned.directory.path();
            logger.error(format_args!("outdated records in {} stay: {error}", path.display()));
        }
    }

    /// From here on the slots change, and no crash may leave a snapshot of what they were.
    fn remove_snapshot(&self) -> Result<()> {
        let directory = &self.owned.directory;
        let remove = || -> io::Result<()> {
            for name in [snapshot::TEMPORARY_NAME, manifest::TEMPORARY_NAME] {
                replace::remove_if_present(directory, name)?;
            }
            steps::done()?;
            if replace::remove_if_present(directory, snapshot::NAME)? {
                steps::done()?;
                directory.sync()?;
            }
            steps::done()
        };
        remove().map_err(|error| {
            Error::os(format_args!("removing {}", directory.path().join(snapshot::NAME).display()), &error)
        })
    }
}

fn is_full(error: &io::Error) -> bool {
    Status::from_os_error(error.raw_os_error().unwrap_or(0)) == Status::NoSpace
}

/// Whether there is no record, as far as one can read.
fn is_absent(file: &File, trailer_offset: u64) -> bool {
    let Ok(mut page) = AlignedBuffer::new(record::TOMBSTONE_BYTES) else { return false };
    file.read_exact_at(page.bytes_mut(), trailer_offset).is_ok() && page.bytes() == aligned::zeros()
}

fn nothing_yet() -> Recovered {
    Recovered {
        entries: Vec::new(),
        keys: RecoveredKeys::default(),
        generation_next: 1,
        source: Source::New,
        unreadable: Vec::new(),
    }
}

fn wanted_geometry(parameters: &PoolParameters) -> Result<Geometry> {
    let PoolParameters { slot_count, chunk_bytes, .. } = *parameters;
    Geometry::new(slot_count, chunk_bytes, slot_count.min(FILE_COUNT)).ok_or_else(|| {
        Error::new(
            Status::Config,
            format!(
                "no pool can have {slot_count} slots (nixl_pool_size) of {chunk_bytes} bytes: both must be above 0, and \
                 each of its {FILE_COUNT} files is limited to {FILE_BYTES_MAX} bytes"
            ),
        )
    })
}

/// Makes a pool in the locked directory. The manifest comes last: whatever a crash leaves before
/// that is thrown away by the next open, and nothing was stored in it.
fn make(
    parent: &Dir,
    name: &str,
    owned: &Owned,
    geometry: Geometry,
    parameters: &PoolParameters,
    logger: &Logger,
) -> Result<Manifest> {
    let directory = &owned.directory;
    owned.refuse_orphaned_snapshot()?;
    owned.sign();
    let made = files::create(directory, &geometry, logger).and_then(|()| {
        let failed = |error: io::Error| {
            Error::os(format_args!("making the pool in {}", directory.path().display()), &error)
        };
        let pool_id = random_u128().map_err(failed)?.max(record::NO_POOL + 1);
        let manifest = Manifest { pool_id, geometry, chunk_size_tokens: parameters.chunk_size_tokens };
        parent.sync().map_err(failed)?;
        directory.sync().map_err(failed)?;
        steps::done().map_err(failed)?;
        manifest.write(directory).map_err(failed)?;
        Ok(manifest)
    });
    if made.is_err() {
        files::remove_all(directory);
        if owned.directory_created {
            let _ = parent.remove_dir(OsStr::new(name));
        }
    }
    made
}

/// An error about a file that must be there as a regular file, or not at all.
fn foreign_or_os(directory: &Dir, name: &str, error: &io::Error) -> Error {
    let path = directory.path().join(name);
    let is_foreign = match error.raw_os_error() {
        // How open(2) answers for a symbolic link, a directory, and a socket.
        Some(number) => matches!(number, libc::ELOOP | libc::EISDIR | libc::ENXIO),
        None => error.kind() == io::ErrorKind::InvalidInput,
    };
    if is_foreign {
        return Error::new(
            Status::Format,
            format!(
                "{} is not a regular file (symbolic links are not followed); nothing is served from this pool until it \
                 is removed by hand",
                path.display()
            ),
        );
    }
    Error::os(format_args!("opening {}", path.display()), error)
}
