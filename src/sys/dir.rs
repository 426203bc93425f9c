//! Directories as anchors: everything inside a store is opened relative to one, never through a symlink.
//!
//! `openat(2)` with `O_NOFOLLOW` keeps a hostile link from leading out of the store, `O_NONBLOCK`
//! keeps a FIFO planted in place of a file from blocking the open, and the check for a regular
//! file refuses whatever else was planted.

use std::ffi::{CString, OsStr};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::at::{self, DIRECTORY_MODE, FILE_MODE};
use super::{check, retry_on_interrupt};

/// Missing in libc.
const RAMFS_MAGIC: libc::c_long = 0x8584_58f6;

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a file in a [`Dir`] is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenMode {
    /// For writing as well as reading.
    pub write: bool,
    /// Create it if absent.
    pub create: bool,
    /// Fail with `EEXIST` if present; implies `create`.
    pub exclusive: bool,
    /// With O_DIRECT.
    pub direct: bool,
}

impl Dir {
    /// Opens `path`, creating it and its parents with [`DIRECTORY_MODE`] where absent.
    ///
    /// # Errors
    /// What the system answers. `path` itself may be a symlink: the configuration named it.
    pub fn open_or_create(path: &Path) -> io::Result<Dir> {
        let Some(missing) = first_missing(path) else { return Dir::open(path) };
        make_all(path)?;
        let dir = Dir::open(path)?;
        sync_made(path, missing)?;
        Ok(dir)
    }

    /// Opens an existing directory that the configuration named.
    ///
    /// # Errors
    /// What `open(2)` answers.
    pub fn open(path: &Path) -> io::Result<Dir> {
        let name = c_string(path.as_os_str())?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: `name` is NUL-terminated and outlives the call.
        let fd = retry_on_interrupt(|| check(unsafe { libc::open(name.as_ptr(), flags) }))?;
        // SAFETY: open returned a descriptor that nobody else owns.
        Ok(Dir { fd: unsafe { OwnedFd::from_raw_fd(fd) }, path: path.to_owned() })
    }

    /// Opens the sub-directory `name`, creating it if absent; a symlink is refused.
    ///
    /// # Errors
    /// What the system answers.
    pub fn subdir(&self, name: &str) -> io::Result<Dir> {
        let c_name = c_string(OsStr::new(name))?;
        // SAFETY: `c_name` is NUL-terminated, the directory descriptor is open.
        let make = || check(unsafe { libc::mkdirat(self.fd.as_raw_fd(), c_name.as_ptr(), DIRECTORY_MODE) });
        match retry_on_interrupt(make) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.existing_subdir(name)
    }

    /// Opens the sub-directory `name`, which must exist; a symlink is refused.
    ///
    /// # Errors
    /// What `openat(2)` answers.
    pub fn existing_subdir(&self, name: &str) -> io::Result<Dir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        Ok(Dir { fd: self.open_at(OsStr::new(name), flags)?, path: self.path.join(name) })
    }

    /// Opens the regular file `name`.
    ///
    /// # Errors
    /// What `openat(2)` answers; `ELOOP` for a symlink; `EINVAL` for O_DIRECT where the file system
    /// has none, and `InvalidInput` for anything but a regular file.
    pub fn open_file(&self, name: &OsStr, mode: OpenMode) -> io::Result<std::fs::File> {
        let mut flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        flags |= if mode.write { libc::O_RDWR } else { libc::O_RDONLY };
        if mode.create || mode.exclusive {
            flags |= libc::O_CREAT;
        }
        if mode.exclusive {
            flags |= libc::O_EXCL;
        }
        if mode.direct {
            flags |= libc::O_DIRECT;
        }
        let file = std::fs::File::from(self.open_at(name, flags)?);
        if !retry_on_interrupt(|| file.metadata())?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // O_NONBLOCK was for the open alone, which a FIFO could have blocked. On a file that keeps it io_uring reads inside
        // the submitting call where the file system is a network's.
        at::clear_nonblock(&file, mode.direct)?;
        Ok(file)
    }

    /// Renames `name` of this directory to `new_name` in `target`, replacing what is there.
    ///
    /// # Errors
    /// What `renameat(2)` answers.
    pub fn rename(&self, name: &OsStr, target: &Dir, new_name: &OsStr) -> io::Result<()> {
        let (from, to) = (c_string(name)?, c_string(new_name)?);
        let (old, new) = (self.fd.as_raw_fd(), target.fd.as_raw_fd());
        // SAFETY: both names are NUL-terminated and both descriptors are open.
        let rename = || check(unsafe { libc::renameat(old, from.as_ptr(), new, to.as_ptr()) });
        retry_on_interrupt(rename).map(drop)
    }

    /// Removes the file `name`.
    ///
    /// # Errors
    /// What `unlinkat(2)` answers.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        self.unlink_at(name, 0)
    }

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    /// What `unlinkat(2)` answers.
    pub fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        self.unlink_at(name, libc::AT_REMOVEDIR)
    }

    /// Makes creations, renames and removals in this directory durable.
    ///
    /// # Errors
    /// What `fsync(2)` answers.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        retry_on_interrupt(|| check(unsafe { libc::fsync(self.fd.as_raw_fd()) })).map(drop)
    }

    /// Makes everything on this directory's file system durable.
    ///
    /// # Errors
    /// What `syncfs(2)` answers.
    pub fn sync_file_system(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        retry_on_interrupt(|| check(unsafe { libc::syncfs(self.fd.as_raw_fd()) })).map(drop)
    }

    /// Whether its file system keeps files in this machine's memory (`statfs(2)`: tmpfs, ramfs).
    ///
    /// # Errors
    /// What `fstatfs(2)` answers.
    pub fn is_in_memory(&self) -> io::Result<bool> {
        Ok(matches!(self.file_system_type()?, libc::TMPFS_MAGIC | RAMFS_MAGIC))
    }

    /// Whether [`Dir::sync_file_system`] is known to leave nothing to be synced on its file system and to tell of every
    /// failure, also of one that another call was told of before.
    ///
    /// That is so for the journalling file systems in the kernel since Linux 5.8, which keeps errors of write-back with
    /// the file system (`s_wb_err`). Of others too little is known: FUSE does not pass the call on.
    pub fn syncs_as_a_whole(&self) -> bool {
        const BTRFS_SUPER_MAGIC: libc::c_long = 0x9123_683e;
        let known = matches!(
            self.file_system_type(),
            Ok(libc::EXT4_SUPER_MAGIC
                | libc::XFS_SUPER_MAGIC
                | BTRFS_SUPER_MAGIC
                | libc::TMPFS_MAGIC
                | RAMFS_MAGIC)
        );
        known && super::kernel_is_at_least(5, 8)
    }

    fn file_system_type(&self) -> io::Result<libc::c_long> {
        // SAFETY: statfs is plain old data, for which all zeros is valid.
        let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `stat` is writable.
        retry_on_interrupt(|| check(unsafe { libc::fstatfs(self.fd.as_raw_fd(), &mut stat) }))?;
        Ok(stat.f_type)
    }

    /// The names in this directory.
    ///
    /// # Errors
    /// What reading it answers.
    pub fn entries(&self) -> io::Result<std::fs::ReadDir> {
        let by_number = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        retry_on_interrupt(|| std::fs::read_dir(&by_number))
            .or_else(|_| retry_on_interrupt(|| std::fs::read_dir(&self.path)))
    }

    /// Its path as it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_at(&self, name: &OsStr, flags: libc::c_int) -> io::Result<OwnedFd> {
        let name = c_string(name)?;
        let anchor = self.fd.as_raw_fd();
        // SAFETY: `name` is NUL-terminated, `anchor` is open; the mode is read only with O_CREAT.
        let fd =
            retry_on_interrupt(|| check(unsafe { libc::openat(anchor, name.as_ptr(), flags, FILE_MODE) }))?;
        // SAFETY: openat returned a descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn unlink_at(&self, name: &OsStr, flags: libc::c_int) -> io::Result<()> {
        let name = c_string(name)?;
        // SAFETY: `name` is NUL-terminated, the directory descriptor is open.
        let unlink = || check(unsafe { libc::unlinkat(self.fd.as_raw_fd(), name.as_ptr(), flags) });
        retry_on_interrupt(unlink).map(drop)
    }
}

/// As std's recursive `DirBuilder`, which takes an interrupted look at what is there for its absence.
fn make_all(path: &Path) -> io::Result<()> {
    let make = || match retry_on_interrupt(|| DirBuilder::new().mode(DIRECTORY_MODE).create(path)) {
        Err(_) if retry_on_interrupt(|| std::fs::metadata(path)).is_ok_and(|found| found.is_dir()) => Ok(()),
        other => other,
    };
    match (make(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound && parent != Path::new("") => {
            make_all(parent)?;
            make()
        }
        (made, _) => made,
    }
}

/// Makes the names of directories durable that [`make_all`] made: from `path` up to the first that was there.
fn sync_made(path: &Path, first_missing: &Path) -> io::Result<()> {
    for made in path.ancestors() {
        let parent = made.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        Dir::open(parent)?.sync()?;
        if made == first_missing {
            break;
        }
    }
    Ok(())
}

/// The uppermost of `path` and its ancestors that is not there.
fn first_missing(path: &Path) -> Option<&Path> {
    let is_missing = |path: &&Path| {
        let found = retry_on_interrupt(|| std::fs::metadata(path));
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    path.ancestors().filter(|path| *path != Path::new("")).take_while(is_missing).last()
}

fn c_string(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "name holds a NUL byte"))
}
