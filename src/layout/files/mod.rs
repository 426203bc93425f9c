//! The dynamic store's files: one for each object, shared by any number of processes and hosts.
//!
//! Owns names, temporaries, publication, scanning and the pins that other processes see. It
//! does not move payload and knows nothing of what is inside a file.
//!
//! Everything happens below one directory, `nixl_path`:
//!
//! ```text
//! nixl_store_objects/<2 hex>/<32 hex>   an object, sharded layout
//! <LMCache's name>                      an object, lmcache layout
//! .nixl_store+tmp/<boot>.<random>/      a living process's unfinished objects
//! .nixl_store+pins                      locked bytes: see `pins`
//! ```
//!
//! It keeps six descriptors open and opens at most three more for each operation under way; a put holds two.
//! Directories that are missing are made again, so that an operator may empty `nixl_path` while it is
//! in use. Only pins suffer: who opens the store after that does not see those of who had it open.

mod alone;
mod area;
mod direct;
mod durable;
mod name;
mod pins;
mod scan;
mod sweep;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests;
mod view;

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_128;

use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::sync::{Arc, RwLock};
use crate::sys::at::{self, Purpose, Walk};
use crate::sys::dir::Dir;
use crate::sys::file::DirectAlignment;
use crate::sys::habits::{Habits, lacks_direct_io};
use crate::sys::retry_on_interrupt;

pub use alone::Alone;
pub use area::Temporary;
pub use name::ObjectName;
#[cfg(feature = "obj")]
pub(in crate::layout) use name::{OBJECTS, has_lmcache_shape};
pub use pins::Evicted;
pub use scan::{Proof, Scanned};
pub use view::FilesView;

use area::{Area, Place};
use durable::ChangedDirectories;
use name::ObjectPath;
use pins::Pins;

/// The files of one dynamic store. All methods may be called from any thread.
#[derive(Debug)]
pub struct FileStore {
    root: Dir,
    layout: Layout,
    walk: Walk,
    // What O_DIRECT asks for; `None`: buffered.
    direct: Option<DirectAlignment>,
    habits: Habits,
    area: RwLock<Arc<Area>>,
    pins: Pins,
    changed: ChangedDirectories,
    // Whether `syncfs(2)` leaves nothing to be synced.
    syncs_as_a_whole: bool,
    logger: Logger,
}

impl FileStore {
    /// Opens the store at `path`, makes its directories where absent, and removes what dead
    /// processes left unfinished. `habits`: what the backend's files do otherwise.
    ///
    /// # Errors
    /// [`Status::Permission`] if this process may not write there, [`Status::Unsupported`] if its files cannot be opened as the
    /// backend needs it, else what the system answers.
    pub fn open(
        path: &Path,
        layout: Layout,
        direct_io: bool,
        habits: Habits,
        logger: &Logger,
    ) -> Result<FileStore> {
        let context = |what: &str| format!("nixl_path {}: {what}", path.display());
        let root = Dir::open_or_create(path)
            .map_err(|error| Error::os(context("cannot open or create it"), &error))?;
        if layout == Layout::Sharded {
            root.subdir(name::OBJECTS.to_str().unwrap_or_default()).map_err(|error| {
                Error::os(context("cannot make or open the directory of objects"), &error)
            })?;
        }
        let area = new_area(&root, habits)
            .map(Arc::new)
            .map_err(|error| Error::os(context("cannot create a directory for temporaries"), &error))?;
        match sweep::sweep(&area, logger) {
            Ok(0) => {}
            Ok(areas) => logger.info(format_args!(
                "{}: removed what {areas} dead processes left unfinished",
                path.display()
            )),
            Err(error) => return Err(Error::os(context("cannot list the directory of temporaries"), &error)),
        }
        let pins = Pins::open(&root, logger)
            .map_err(|error| Error::os(context("cannot open the file of pins for writing"), &error))?;
        let direct = if direct_io || habits.needs_direct_io {
            let probed = direct::probe(&area)
                .map_err(|error| Error::os(context("cannot create a temporary file"), &error))?;
            match probed {
                Ok(alignment) => Some(alignment),
                Err(why) if habits.needs_direct_io => {
                    return Err(Error::new(Status::Unsupported, context(&lacks_direct_io(&why))));
                }
                Err(why) => {
                    logger.warn(format_args!(
                        "{}: the file system refuses O_DIRECT ({why}); transfers go through the page cache",
                        path.display()
                    ));
                    None
                }
            }
        } else {
            None
        };
        let walk = Walk::detect(&root);
        let syncs_as_a_whole = root.syncs_as_a_whole();
        Ok(FileStore {
            root,
            layout,
            walk,
            direct,
            habits,
            area: RwLock::new(area),
            pins,
            changed: ChangedDirectories::default(),
            syncs_as_a_whole,
            logger: logger.clone(),
        })
    }

    /// Whether files are opened with O_DIRECT.
    pub fn direct_io(&self) -> bool {
        self.direct.is_some()
    }

    /// What transfers to and from its files must be aligned to; 1 if they are not O_DIRECT.
    pub fn direct_alignment(&self) -> DirectAlignment {
        self.direct.unwrap_or(direct::BUFFERED)
    }

    /// The name of the object with the effective key's `digest`, made from `key` where the layout names by key.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for a key that has no file name in the lmcache layout.
    ///
    /// [`Status::InvalidArgument`]: crate::error::Status::InvalidArgument
    pub fn name_of(&self, digest: u128, key: &[u8]) -> Result<ObjectName> {
        match self.layout {
            Layout::Sharded => Ok(ObjectName::sharded(digest)),
            Layout::Lmcache => ObjectName::lmcache(key),
        }
    }

    /// A number that stands for the name: the digest in it, else xxh3_128 of the file name.
    pub fn id_of(&self, name: &ObjectName) -> u128 {
        match name.digest() {
            Some(digest) => digest,
            None => XxHash3_128::oneshot(name.flat().unwrap_or_default()),
        }
    }

    /// Opens an object to read it and tells its file's size; `None` if there is none.
    ///
    /// # Errors
    /// `InvalidData` if something else stands in its place: see [`is_planted`]. Else what the system answers.
    pub fn open_read(&self, name: &ObjectName) -> io::Result<Option<(File, u64)>> {
        self.open_object(name, self.direct_io())
    }

    fn open_object(&self, name: &ObjectName, direct: bool) -> io::Result<Option<(File, u64)>> {
        match open_object(&self.root, self.walk, name, direct) {
            // How O_DIRECT is refused for a FIFO, which is a planted thing like any other.
            Err(error) if direct && error.raw_os_error() == Some(libc::EINVAL) => {
                self.stat(name)?;
                Err(error)
            }
            other => other,
        }
    }

    /// Creates a file for the object `name` of `bytes`, trailer included, that nobody sees before it is published.
    /// With it comes the directory that the object will be in, made where absent: what was written need not be given
    /// up because there is no descriptor to publish it with.
    ///
    /// # Errors
    /// `StorageFull` if there is no room for it; else what the system answers. `InvalidData` as in
    /// [`FileStore::open_read`].
    pub fn create_temporary(&self, name: &ObjectName, bytes: u64) -> io::Result<Temporary> {
        let place = Place { directory: self.parent_or_new(&name.path())?, name: name.clone() };
        let area = self.current_area();
        let mut temporary = match area.create_temporary(self.direct_io()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.renew_area(&area)?.create_temporary(self.direct_io())?
            }
            other => other?,
        };
        temporary.reserve(bytes)?;
        temporary.set_place(place);
        Ok(temporary)
    }

    /// Creates an empty file that will be no object.
    ///
    /// # Errors
    /// What the system answers.
    pub fn create_nameless(&self) -> io::Result<Temporary> {
        self.current_area().create_temporary(self.direct_io())
    }

    /// Makes a written object visible under its name, at once and as a whole, in place of the one
    /// that may be there. Whoever reads that one keeps reading it.
    ///
    /// Where others learn the length of a file only when it is synced, that comes first, and takes as long as the device does.
    ///
    /// # Errors
    /// What the system answers; the temporary is then gone. `InvalidData` as in [`FileStore::open_read`].
    pub fn publish(&self, mut temporary: Temporary) -> io::Result<()> {
        let Some(mut place) = temporary.take_place() else { return Err(io::ErrorKind::InvalidInput.into()) };
        if self.habits.length_needs_sync {
            // Not fdatasync(2), to which a length may be no matter.
            temporary.file().sync_all()?;
        }
        let path = place.name.path();
        let renamed = match temporary.rename(place.parent(&self.root), path.leaf()) {
            // Somebody removed the directory since it was opened. Closed before it is opened again: there may be no
            // descriptor but this one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.directory.is_some() => {
                drop(place.directory.take());
                place.directory = self.parent_or_new(&path)?;
                temporary.rename(place.parent(&self.root), path.leaf())
            }
            other => other,
        };
        // Also after an error: a network file system may report one for a rename that it has done.
        self.changed.mark(&place.name);
        renamed.map_err(as_planted)
    }

    /// Gives up a temporary; dropping it does the same.
    pub fn discard(&self, temporary: Temporary) {
        drop(temporary);
    }

    /// Removes an object, whoever pins it; false if there was none.
    ///
    /// # Errors
    /// What the system answers; `InvalidData` for a directory in its place.
    pub fn remove(&self, name: &ObjectName) -> io::Result<bool> {
        let path = name.path();
        let removed = self.parent(&path).and_then(|parent| at::unlink(&parent, path.leaf()));
        let removed = present(removed)?.is_some();
        if removed {
            self.changed.mark(name);
        }
        Ok(removed)
    }

    /// The size of an object's file; `None` if there is none.
    ///
    /// # Errors
    /// What the system answers; `InvalidData` as in [`FileStore::open_read`].
    pub fn stat(&self, name: &ObjectName) -> io::Result<Option<u64>> {
        let path = name.path();
        let found = self.parent(&path).and_then(|parent| at::file_size(&parent, path.leaf()));
        present(found)?.map(|size| size.ok_or_else(planted)).transpose()
    }

    /// Whether an object is not there, as far as one system call tells; false says nothing.
    pub fn is_absent(&self, name: &ObjectName) -> bool {
        // This way follows symlinks between the store's directory and the file. What is not there even so is not there
        // without.
        let found = at::file_size(&self.root, name.path().whole());
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Tells `sink` every object there is. What changes meanwhile may be told or not. A part that cannot be read is logged and left
    /// out; the answer is why the first one could not be, if there was one.
    ///
    /// # Errors
    /// What reading the directory answers.
    pub fn scan(&self, sink: &mut dyn FnMut(Scanned)) -> Result<Option<Error>> {
        let mut sink = |scanned| {
            sink(scanned);
            ControlFlow::Continue(())
        };
        let failed = |path: &Path, error: &io::Error| {
            Error::os(format_args!("nixl_path {}: cannot list its objects", path.display()), error)
        };
        let mut left_out = None;
        let mut missed = |path: PathBuf, error: io::Error| {
            self.logger.warn(format_args!("{}: left out of the scan: {error}", path.display()));
            // What stands where a shard would has no objects.
            if !is_planted(&error) && error.kind() != io::ErrorKind::NotADirectory {
                left_out.get_or_insert_with(|| failed(&path, &error));
            }
        };
        let mut listener = scan::Listener { sink: &mut sink, missed: &mut missed };
        let scanned = match self.layout {
            Layout::Sharded => scan::sharded(&self.root, &mut listener),
            Layout::Lmcache => scan::flat(&self.root, &mut listener),
        };
        scanned.map_err(|error| failed(self.root.path(), &error))?;
        // The flat layout is one directory, of which nothing may be hidden.
        match left_out {
            Some(error) if self.layout == Layout::Lmcache => Err(error),
            left_out => Ok(left_out),
        }
    }

    /// Keeps every process from evicting an object, until it was unpinned as often or until this process dies.
    /// Look for the object afterwards: an eviction may have come first.
    ///
    /// # Errors
    /// `WouldBlock` if an eviction does not end; `Unsupported` where the file system has no byte locks; `OutOfMemory`.
    pub fn pin(&self, id: u128) -> io::Result<()> {
        self.pins.pin(id)
    }

    /// Takes one of this process's pins back. False: there is none.
    ///
    /// # Errors
    /// What unlocking answers; the pin then stays.
    pub fn unpin(&self, id: u128) -> io::Result<bool> {
        self.pins.unpin(id)
    }

    /// Objects that this process pins.
    pub fn pinned(&self) -> u64 {
        self.pins.pinned()
    }

    /// Removes an object unless a process pins it.
    ///
    /// # Errors
    /// What the system answers; `InvalidData` for a directory in its place.
    pub fn evict(&self, name: &ObjectName) -> io::Result<Evicted> {
        self.evict_if(name, || true)
    }

    /// The same, unless `is_due` says at the last moment that it is not any more; then it counts as absent.
    ///
    /// # Errors
    /// As for [`FileStore::evict`].
    pub fn evict_if(&self, name: &ObjectName, is_due: impl FnOnce() -> bool) -> io::Result<Evicted> {
        self.pins.evict(self.id_of(name), || if is_due() { self.remove(name) } else { Ok(false) })
    }

    /// Keeps this process from evicting an object while the answer lives: what an eviction asks at its last moment, and
    /// what is done here, are one after the other.
    pub fn alone(&self, id: u128) -> Alone<'_> {
        self.pins.alone(id)
    }

    /// In a forked child: lets go of the locks, which else would outlive the parent that holds them.
    pub fn abandon_after_fork(&self) {
        // A lock that some thread of the parent held at the fork is held for ever here.
        if let Ok(area) = self.area.try_read() {
            area.abandon_after_fork();
        }
        self.pins.abandon_after_fork();
    }

    fn current_area(&self) -> Arc<Area> {
        Arc::clone(&self.area.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// A new area in place of `lost`, which somebody removed; once, however many threads miss it.
    fn renew_area(&self, lost: &Arc<Area>) -> io::Result<Arc<Area>> {
        let mut area = self.area.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if Arc::ptr_eq(&area, lost) {
            *area = Arc::new(new_area(&self.root, self.habits)?);
            self.logger.warn(format_args!(
                "{}: the directory of temporaries was removed; made a new one",
                self.root.path().display()
            ));
        }
        Ok(Arc::clone(&area))
    }

    /// The directory that an object is in.
    fn parent(&self, path: &ObjectPath) -> io::Result<Parent<'_>> {
        match path.parent() {
            None => Ok(Parent::Root(self.root.as_fd())),
            Some(parent) => self.walk.open(&self.root, parent, Purpose::Anchor).map(Parent::Shard),
        }
    }

    /// The directory that an object is in if that is not the store's own, made where absent.
    fn parent_or_new(&self, path: &ObjectPath) -> io::Result<Option<OwnedFd>> {
        let Some(parent) = path.parent() else { return Ok(None) };
        let open = || self.walk.open(&self.root, parent, Purpose::Anchor);
        let opened = match open() {
            // The first object of a shard: making its directory only now spares the look every time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_parent(path).and_then(|()| open())
            }
            other => other,
        };
        opened.map(Some).map_err(as_planted)
    }

    fn make_parent(&self, path: &ObjectPath) -> io::Result<()> {
        let make_shard = || {
            let objects = self.walk.open(&self.root, name::OBJECTS, Purpose::Anchor)?;
            at::make_directory(&objects, path.parent_leaf())
        };
        match make_shard() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                at::make_directory(&self.root, name::OBJECTS)?;
                make_shard()
            }
            other => other,
        }
    }
}

enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Shard(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Root(fd) => *fd,
            Parent::Shard(fd) => fd.as_fd(),
        }
    }
}

/// Whether an error says that something which is no object stands where an object would be: a
/// symlink, a directory, a FIFO. For a reader that is as good as absent.
pub fn is_planted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

fn open_object(root: &Dir, walk: Walk, name: &ObjectName, direct: bool) -> io::Result<Option<(File, u64)>> {
    let opened = walk.open(root, name.path().whole(), Purpose::Read { direct });
    let Some(fd) = present(opened)? else { return Ok(None) };
    let file = File::from(fd);
    let metadata = retry_on_interrupt(|| file.metadata())?;
    if !metadata.is_file() {
        return Err(planted());
    }
    at::clear_nonblock(&file, direct)?;
    Ok(Some((file, metadata.len())))
}

fn planted() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "something that is not a regular file is in an object's place")
}

fn as_planted(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        // ELOOP, ENOTDIR: a symlink or file on the way. ENXIO, ENODEV: a socket or device. EISDIR: a directory.
        Some(libc::ELOOP | libc::ENOTDIR | libc::ENXIO | libc::ENODEV | libc::EISDIR) => planted(),
        _ => error,
    }
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(as_planted(error)),
    }
}

fn new_area(root: &Dir, habits: Habits) -> io::Result<Area> {
    Area::create(root.subdir(area::TEMPORARIES)?, !habits.is_sparse)
}
