//! The static pool: its directory, its slot files, and how its index survives a restart.
//!
//! Opening takes the lock, then believes the manifest, then the files, then the snapshot or the
//! trailers, in that order. The pool knows where slots are; what is in them, who may read them and
//! which are free is the catalog's business. `docs/FORMAT.md` has every byte that is written here.

mod direct;
mod directory_lock;
mod files;
mod geometry;
mod look;
mod manifest;
mod names;
mod out_of_use;
mod owner;
mod recovery;
mod renumber;
mod replace;
mod restart;
mod snapshot;
mod steps;
mod survivors;
#[cfg(test)]
mod tests;
pub mod tombstone;
mod view;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::layout::record;
use crate::log::Logger;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::file::DirectAlignment;
use crate::sys::habits::Habits;
use crate::sys::{file_size_limit, lock, random_u128};
use manifest::Manifest;
use owner::Owned;

pub use direct::probe as probe_direct_io;
pub use geometry::{FILE_BYTES_MAX, FILE_COUNT, Geometry, Place};
pub use look::{Look, look};
pub use out_of_use::{OldRecord, OutOfUse, Why};
pub use recovery::{GENERATION_MAX, KeyPlace, Recovered, RecoveredEntry, RecoveredKeys, Source};
pub use snapshot::SnapshotEntry;
pub use view::{Ownership, PoolContents, PoolView, no_pool};

/// What a pool is made with. All but `direct_io` and `habits` is fixed for its lifetime.
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
    /// What the backend's files do otherwise.
    pub habits: Habits,
}

/// An open pool, owned by this process alone until it is released or dropped.
#[derive(Debug)]
pub struct Pool {
    owned: Owned,
    files: Vec<Arc<File>>,
    direct_alignment: Option<DirectAlignment>,
    geometry: Geometry,
    pool_id: u128,
    habits: Habits,
    /// Whether [`names::DOUBT`] may be there.
    is_doubted: AtomicBool,
}

impl Pool {
    /// Opens the pool `name` in the directory `parent`, making it if there is none.
    ///
    /// # Errors
    /// [`Status::Locked`] if another process or host has it, [`Status::Format`] if it was made with other
    /// parameters, is damaged or is no pool, [`Status::Config`] for parameters that no pool can
    /// have, [`Status::NoSpace`] where the disk is too small, [`Status::Unsupported`] where its files cannot be opened as the
    /// backend needs it, else what the system answers. A pool
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
        refuse_limited(&wanted)?;
        let parent = owner::open_parent(parent)?;
        let owned = owner::enter(&parent, name, parameters.habits.directory_lock, logger)?;
        let entered = match Entered::new(&parent, name, &owned, wanted, parameters, logger) {
            Ok(entered) => entered,
            Err(error) => {
                owned.unlock();
                return Err(error);
            }
        };
        let Entered { manifest, opened, is_new, was_repaired } = entered;
        let Manifest { pool_id, geometry, .. } = manifest;
        let direct::Opened { files, direct_alignment } = opened;
        let is_doubted = AtomicBool::new(doubt_is_there(&owned.directory));
        let habits = parameters.habits;
        let pool = Pool { owned, files, direct_alignment, geometry, pool_id, habits, is_doubted };
        match pool.bring_back(is_new, was_repaired, logger) {
            Ok(recovered) => Ok((pool, recovered)),
            Err(error) => {
                pool.release();
                Err(error)
            }
        }
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

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.owned.directory.path()
    }

    /// Makes everything written to the slots durable, in every file that it can; tells `failed` the numbers of the others.
    ///
    /// # Errors
    /// What `fdatasync(2)` answers to the first that fails. What was written before may be lost then, and a later call
    /// answers OK all the same: the kernel tells of a failed write once.
    pub fn sync(&self, failed: &mut dyn FnMut(u32)) -> Result<()> {
        let mut all = Ok(());
        for (index, file) in (0..).zip(&self.files) {
            if let Err(error) = steps::sync(file) {
                failed(index);
                let path = self.path().join(names::slot_file(index));
                all = all.and(Err(Error::os(format_args!("syncing {}", path.display()), &error)));
            }
        }
        all
    }

    /// Leaves word that a sync failed, so that who opens the pool next knows what the page cache does not tell: that what
    /// is read back may not be on the device. Without a sync, as the word need not outlive the page cache.
    pub fn doubt(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
        let mode = OpenMode { write: true, create: true, ..OpenMode::default() };
        // Where it cannot be left, the next process takes what it reads for durable.
        drop(self.owned.directory.open_file(OsStr::new(names::DOUBT), mode));
    }

    /// Takes that word back: all that may have been lost was written anew or given up, and synced.
    pub fn trust(&self) {
        if self.is_doubted.swap(false, Ordering::Relaxed) {
            // Left behind, it costs the next process a second look.
            drop(replace::remove_if_present(&self.owned.directory, names::DOUBT));
        }
    }

    /// Whether a sync failed, in this process or one before, and none has succeeded since.
    pub fn is_doubted(&self) -> bool {
        self.is_doubted.load(Ordering::Relaxed)
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
        match tombstone::write(file, offset) {
            Err(error) if tombstone::is_needless(file, offset, &error) => Ok(()),
            other => other,
        }
    }

    /// Records the index for the next open, `entries` in eviction order with the next to be evicted first, and of slots
    /// that are not to be used and may hold records of one key the older first. What the slots hold is made durable before. Nothing may be written to the pool after:
    /// the next open would believe the snapshot.
    ///
    /// # Errors
    /// What the system answers; the next open then scans.
    pub fn write_snapshot(
        &self,
        generation_next: u64,
        out_of_use: &[OutOfUse],
        entries: &mut dyn Iterator<Item = SnapshotEntry<'_>>,
    ) -> Result<()> {
        self.sync(&mut |_| {})?;
        let directory = &self.owned.directory;
        let contents = snapshot::Contents { generation_next, out_of_use, entries };
        let names = (names::SNAPSHOT_TEMPORARY, names::SNAPSHOT);
        snapshot::write(directory, names, self.pool_id, &self.geometry, contents).map_err(|error| {
            Error::os(format_args!("writing {}", directory.path().join(names.1).display()), &error)
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
        self.files.iter().for_each(lock::let_go_in_child);
        self.owned.abandon_after_fork();
    }

    fn file(&self, place: Place) -> io::Result<&File> {
        self.files
            .get(place.file_index as usize)
            .map(|file| &**file)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such slot file"))
    }
}

/// A pool whose files are open, and of which nobody knows yet what they hold.
struct Entered {
    manifest: Manifest,
    opened: direct::Opened,
    is_new: bool,
    was_repaired: bool,
}

impl Entered {
    fn new(
        parent: &Dir,
        name: &str,
        owned: &Owned,
        wanted: Geometry,
        parameters: &PoolParameters,
        logger: &Logger,
    ) -> Result<Entered> {
        let directory = &owned.directory;
        let found = Manifest::read(directory)?;
        let (manifest, is_new, was_repaired) = match found {
            Some(manifest) => {
                manifest.check(directory, parameters)?;
                owned.sign();
                let was_repaired = files::repair(directory, &manifest.geometry, parameters.habits, logger)?;
                (manifest, false, was_repaired)
            }
            None => (make(parent, name, owned, wanted, parameters, logger)?, true, false),
        };
        let opened = direct::open(directory, &manifest.geometry, parameters, logger)?;
        Ok(Entered { manifest, opened, is_new, was_repaired })
    }
}

fn doubt_is_there(directory: &Dir) -> bool {
    match directory.open_file(OsStr::new(names::DOUBT), OpenMode::default()) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => true,
    }
}

/// The lengths of a pool that is made with these parameters.
///
/// # Errors
/// [`Status::Config`] for parameters that no pool can have.
pub fn wanted_geometry(parameters: &PoolParameters) -> Result<Geometry> {
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

/// Refuses a pool whose slot files are longer than this process may write: at the limit the kernel would not only
/// refuse, it would send SIGXFSZ, which ends a process that does not expect it.
///
/// # Errors
/// [`Status::Config`].
pub fn refuse_limited(geometry: &Geometry) -> Result<()> {
    let (needed, limit) = (geometry.file_bytes(0), file_size_limit());
    if needed <= limit {
        return Ok(());
    }
    Err(Error::new(
        Status::Config,
        format!(
            "the pool's files have {needed} bytes each, and this process may not write files above {limit} (ulimit -f, \
             RLIMIT_FSIZE): raise that limit, or lower nixl_pool_size or the bytes of a chunk"
        ),
    ))
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
    owner::refuse_orphaned_snapshot(directory)?;
    owned.sign();
    let made = files::create(directory, &geometry, parameters.habits, logger).and_then(|()| {
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
