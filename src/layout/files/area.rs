//! A process's own directory for unfinished objects, `.nixl_store+tmp/<boot id>.<random>/`.
//!
//! Its file `lock` is held with `flock(2)` for as long as the process lives, which tells leftovers
//! of the dead from the work of the living: see [`super::sweep`] for the other side of the rule.
//! Objects get their names by a rename out of here, so a reader never meets an unfinished one.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use super::name::ObjectName;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::sys::at;
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::file::allocate;
use crate::sys::lock::{let_go_in_child, try_lock_exclusive};
use crate::sys::random_u128;
use crate::sys::retry_on_interrupt;

/// Directory of all areas. `+` keeps it apart from objects: no object's name can hold one.
pub(super) const TEMPORARIES: &str = ".nixl_store+tmp";
/// The file in an area whose lock says that its owner lives.
pub(super) const LOCK: &str = "lock";

/// How often a new area may be lost to a sweeper between its creation and its lock.
const CREATE_ATTEMPTS_MAX: u32 = 8;
/// Hexadecimal digits of the number that names a temporary.
const NUMBER_DIGITS: usize = 16;

/// The directory of this process's temporaries.
#[derive(Debug)]
pub(super) struct Area {
    parent: Dir,
    dir: Dir,
    name: String,
    lock: File,
    created: SystemTime,
    next: AtomicU64,
    allocates: AtomicBool,
    owner: u32,
}

impl Area {
    /// Makes an area in `parent`, the directory [`TEMPORARIES`]. `allocates`: whether to reserve space, until the file system
    /// refuses.
    pub(super) fn create(parent: Dir, allocates: bool) -> io::Result<Area> {
        let mut attempts = 1;
        loop {
            let name = format!("{}.{:032x}", boot_id(), random_u128()?);
            match lock_new(&parent, &name) {
                Ok((dir, lock)) => {
                    let created = retry_on_interrupt(|| lock.metadata())?.modified()?;
                    return Ok(Area {
                        parent,
                        dir,
                        name,
                        lock,
                        created,
                        next: AtomicU64::new(0),
                        allocates: AtomicBool::new(allocates),
                        owner: std::process::id(),
                    });
                }
                Err(error) if lost_to_sweeper(&error) && attempts < CREATE_ATTEMPTS_MAX => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its directory, [`TEMPORARIES`].
    pub(super) fn parent(&self) -> &Dir {
        &self.parent
    }

    /// Its name in there.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// When it was created, by the clock of the file system.
    pub(super) fn created(&self) -> SystemTime {
        self.created
    }

    /// In a forked child: see [`let_go_in_child`].
    pub(super) fn abandon_after_fork(&self) {
        let_go_in_child(&self.lock);
    }

    /// Creates an empty temporary.
    pub(super) fn create_temporary(self: &Arc<Area>, direct: bool) -> io::Result<Temporary> {
        let name = Number::new(self.next.fetch_add(1, Ordering::Relaxed));
        let file = at::create_new(&self.dir, name.as_c_str(), direct)?;
        Ok(Temporary { file: Arc::new(file), name, area: Arc::clone(self), place: None, published: false })
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // A forked child closes its copies of the descriptors; the directory is its parent's.
        if self.owner == std::process::id() {
            // The lock file goes last before the directory, as the sweeper's rule has it. What
            // cannot be removed is left to the next sweep.
            let _ = self.dir.unlink(OsStr::new(LOCK));
            let _ = self.parent.remove_dir(OsStr::new(&self.name));
        }
    }
}

/// Where an object will be.
#[derive(Debug)]
pub(super) struct Place {
    /// Its directory; `None`: the store's own.
    pub(super) directory: Option<OwnedFd>,
    /// Its name.
    pub(super) name: ObjectName,
}

impl Place {
    /// The directory, where the store's own is `root`.
    pub(super) fn parent<'a>(&'a self, root: &'a Dir) -> BorrowedFd<'a> {
        self.directory.as_ref().map_or(root.as_fd(), |directory| directory.as_fd())
    }
}

/// The file of an object that is being written. Dropped without being published, it is removed.
#[derive(Debug)]
pub struct Temporary {
    file: Arc<File>,
    name: Number,
    area: Arc<Area>,
    place: Option<Place>,
    published: bool,
}

impl Temporary {
    /// Says where it is to be published.
    pub(super) fn set_place(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Takes out where it is to be published.
    pub(super) fn take_place(&mut self) -> Option<Place> {
        self.place.take()
    }

    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file, for transfers that outlive a borrow.
    pub fn share(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Has another file in its place, for what it does when it is synced.
    #[cfg(test)]
    pub fn set_file(&mut self, file: File) {
        self.file = Arc::new(file);
    }

    /// Reserves `bytes` of storage, where the file system can.
    pub(super) fn reserve(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 || !self.area.allocates.load(Ordering::Relaxed) {
            return Ok(());
        }
        match allocate(&self.file, 0, bytes) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                self.area.allocates.store(false, Ordering::Relaxed);
                Ok(())
            }
            other => other,
        }
    }

    /// Moves the file `name` of `directory` in beside this one, where it is removed when what this gives is dropped.
    pub(super) fn take_in(&self, directory: impl AsFd, name: &CStr) -> io::Result<TakenIn> {
        let number = Number::new(self.area.next.fetch_add(1, Ordering::Relaxed));
        at::rename(directory, name, &self.area.dir, number.as_c_str())?;
        Ok(TakenIn { name: number, area: Arc::clone(&self.area) })
    }

    /// Gives the file one more name, `name` in `directory`, which must not exist.
    pub(super) fn link(&self, directory: impl AsFd, name: &CStr) -> io::Result<()> {
        at::link(&self.area.dir, self.name.as_c_str(), directory, name)
    }

    /// Gives the file its place in `target`.
    pub(super) fn rename(&mut self, target: impl AsFd, name: &CStr) -> io::Result<()> {
        at::rename(&self.area.dir, self.name.as_c_str(), target, name)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published && self.area.owner == std::process::id() {
            // What cannot be removed is left to the next sweep.
            let _ = at::unlink(&self.area.dir, self.name.as_c_str());
        }
    }
}

/// A file that was moved into the area. Its name there goes when this is dropped.
#[derive(Debug)]
pub(super) struct TakenIn {
    name: Number,
    area: Arc<Area>,
}

impl TakenIn {
    /// Which file it is: device and inode.
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        at::identity(&self.area.dir, self.name.as_c_str())
    }

    /// Gives the file one more name, `name` in `directory`, which must not exist.
    pub(super) fn link(&self, directory: impl AsFd, name: &CStr) -> io::Result<()> {
        at::link(&self.area.dir, self.name.as_c_str(), directory, name)
    }
}

impl Drop for TakenIn {
    fn drop(&mut self) {
        if self.area.owner == std::process::id() {
            // What cannot be removed is left to the next sweep.
            let _ = at::unlink(&self.area.dir, self.name.as_c_str());
        }
    }
}

/// A temporary's name: its number in hexadecimal, kept with a NUL.
#[derive(Debug)]
struct Number([u8; NUMBER_DIGITS + 1]);

impl Number {
    fn new(number: u64) -> Number {
        let mut text = [0; NUMBER_DIGITS + 1];
        // Cannot fail: the buffer is one longer than what is written.
        let _ = write!(&mut text[..], "{number:016x}");
        Number(text)
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// Identifies this boot of this kernel, which containers share: the reach of a lock that a file
/// system keeps to itself instead of telling its server. 32 digits, zeros if it cannot be had.
pub(super) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    if digits.len() == 32 { digits.to_ascii_lowercase() } else { "0".repeat(32) }
}

fn lock_new(parent: &Dir, name: &str) -> io::Result<(Dir, File)> {
    let dir = parent.subdir(name)?;
    // Exclusive: whoever else put a lock file here owns the area.
    let mode = OpenMode { write: true, exclusive: true, ..OpenMode::default() };
    let lock = dir.open_file(OsStr::new(LOCK), mode)?;
    try_lock_exclusive(&lock)?;
    // A sweeper that came between the last two calls has removed the file that is locked now.
    if std::os::unix::fs::MetadataExt::nlink(&retry_on_interrupt(|| lock.metadata())?) == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((dir, lock))
}

fn lost_to_sweeper(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock | io::ErrorKind::AlreadyExists)
}
