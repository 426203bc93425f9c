//! Files below an open directory, in as few system calls as the kernel allows.
//!
//! [`Dir`](super::dir::Dir) serves what happens once; this serves what happens for every object.
//! Names come NUL-terminated, so that nothing is allocated, and no component of a path is followed
//! if it is a symlink: by `openat2(2)` in one call, or component by component where the kernel
//! (before 5.6) or a seccomp filter refuses that call.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{check, retry_on_interrupt};

/// Permission bits of new directories, before the umask.
pub const DIRECTORY_MODE: libc::mode_t = 0o700;
/// Permission bits of new files, before the umask.
pub const FILE_MODE: libc::mode_t = 0o600;
/// Longest file name in bytes, without the NUL: what Linux's file systems share.
pub const NAME_BYTES_MAX: usize = 255;

/// What a path is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read a file; `direct`: with O_DIRECT. What opens may still be anything but a file.
    Read {
        /// With O_DIRECT.
        direct: bool,
    },
    /// To use a directory as an anchor for names.
    Anchor,
}

impl Purpose {
    fn flags(self) -> libc::c_int {
        libc::O_CLOEXEC
            | libc::O_NOFOLLOW
            | match self {
                // O_NONBLOCK: a FIFO planted under an object's name must not block the open.
                Purpose::Read { direct } => {
                    libc::O_RDONLY | libc::O_NONBLOCK | if direct { libc::O_DIRECT } else { 0 }
                }
                Purpose::Anchor => libc::O_PATH | libc::O_DIRECTORY,
            }
    }
}

/// How paths of several components are walked without following a symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// `openat2(2)` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`.
    OneCall,
    /// One `openat(2)` with `O_NOFOLLOW` for each component.
    Stepwise,
}

impl Walk {
    /// The better one of those that work here.
    pub fn detect(anchor: impl AsFd) -> Walk {
        match open_beneath(anchor.as_fd(), c".", Purpose::Anchor) {
            Ok(_) => Walk::OneCall,
            Err(_) => Walk::Stepwise,
        }
    }

    /// Opens `path`, relative to and below `anchor`; it holds no `.`, `..` or empty component.
    ///
    /// # Errors
    /// What the system answers; `ELOOP` or `ENOTDIR` for a symlink anywhere on the way.
    pub fn open(self, anchor: impl AsFd, path: &CStr, purpose: Purpose) -> io::Result<OwnedFd> {
        let anchor = anchor.as_fd();
        let bytes = path.to_bytes();
        // With one component there is no directory on the way, so O_NOFOLLOW alone keeps links out.
        if !bytes.contains(&b'/') {
            return open_leaf(anchor, path, purpose);
        }
        if self == Walk::OneCall {
            return open_beneath(anchor, path, purpose);
        }
        let mut at: Option<OwnedFd> = None;
        let mut components = bytes.split(|&byte| byte == b'/').peekable();
        while let Some(component) = components.next() {
            let mut buffer = [0u8; NAME_BYTES_MAX + 1];
            let name = terminate(component, &mut buffer)?;
            let purpose = if components.peek().is_some() { Purpose::Anchor } else { purpose };
            let from = at.as_ref().map_or(anchor, |fd| fd.as_fd());
            at = Some(open_leaf(from, name, purpose)?);
        }
        at.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// Creates the file `name` in `directory`, which must not exist, for reading and writing.
///
/// # Errors
/// What `openat(2)` answers; `EINVAL` for O_DIRECT where the file system has none.
pub fn create_new(directory: impl AsFd, name: &CStr, direct: bool) -> io::Result<File> {
    let mut flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    if direct {
        flags |= libc::O_DIRECT;
    }
    open_at(directory.as_fd(), name, flags).map(File::from)
}

/// Creates the directory `name` in `directory`; one that is there already is as good.
///
/// # Errors
/// What `mkdirat(2)` answers.
pub fn make_directory(directory: impl AsFd, name: &CStr) -> io::Result<()> {
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: `name` is NUL-terminated and the directory's descriptor is open.
    let make = || check(unsafe { libc::mkdirat(directory, name.as_ptr(), DIRECTORY_MODE) });
    match retry_on_interrupt(make) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Moves `name` of `directory` to `new_name` of `target`, in one step replacing what is there.
///
/// # Errors
/// What `renameat(2)` answers.
pub fn rename(directory: impl AsFd, name: &CStr, target: impl AsFd, new_name: &CStr) -> io::Result<()> {
    let (from, to) = (directory.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    // SAFETY: both names are NUL-terminated and both descriptors are open.
    let rename = || check(unsafe { libc::renameat(from, name.as_ptr(), to, new_name.as_ptr()) });
    retry_on_interrupt(rename).map(drop)
}

/// Gives the file `name` of `directory` one more name, `new_name` of `target`, which must not exist.
///
/// # Errors
/// What `linkat(2)` answers.
pub fn link(directory: impl AsFd, name: &CStr, target: impl AsFd, new_name: &CStr) -> io::Result<()> {
    let (from, to) = (directory.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    // SAFETY: both names are NUL-terminated and both descriptors are open.
    let link = || check(unsafe { libc::linkat(from, name.as_ptr(), to, new_name.as_ptr(), 0) });
    retry_on_interrupt(link).map(drop)
}

/// Removes `name` from `directory`, unless it is a directory itself.
///
/// # Errors
/// What `unlinkat(2)` answers.
pub fn unlink(directory: impl AsFd, name: &CStr) -> io::Result<()> {
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: `name` is NUL-terminated and the directory's descriptor is open.
    retry_on_interrupt(|| check(unsafe { libc::unlinkat(directory, name.as_ptr(), 0) })).map(drop)
}

/// The size in bytes of the regular file `name` in `directory`; `None` if it is something else.
///
/// # Errors
/// What `fstatat(2)` answers.
pub fn file_size(directory: impl AsFd, name: &CStr) -> io::Result<Option<u64>> {
    let stat = stat(directory.as_fd(), name)?;
    let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    Ok(if regular { u64::try_from(stat.st_size).ok() } else { None })
}

/// Which file `name` in `directory` is: device and inode.
///
/// # Errors
/// What `fstatat(2)` answers.
pub fn identity(directory: impl AsFd, name: &CStr) -> io::Result<(u64, u64)> {
    stat(directory.as_fd(), name).map(|stat| (stat.st_dev, stat.st_ino))
}

fn stat(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<libc::stat> {
    // SAFETY: stat is plain old data, for which all zeros is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let directory = directory.as_raw_fd();
    // SAFETY: `name` is NUL-terminated, the descriptor is open and `stat` is writable.
    let ask =
        || check(unsafe { libc::fstatat(directory, name.as_ptr(), &mut stat, libc::AT_SYMLINK_NOFOLLOW) });
    retry_on_interrupt(ask)?;
    Ok(stat)
}

/// Takes back the O_NONBLOCK with which [`Purpose::Read`] opens.
///
/// io_uring reads a file that has it inside the submitting call wherever the file system does not
/// know `RWF_NOWAIT` (network and FUSE file systems), and the submitter would wait for the bytes.
///
/// # Errors
/// What `fcntl(2)` answers.
pub fn clear_nonblock(file: &File, direct: bool) -> io::Result<()> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    // SAFETY: the descriptor is open; F_SETFL takes an int and touches no memory of ours.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

fn open_leaf(anchor: BorrowedFd<'_>, name: &CStr, purpose: Purpose) -> io::Result<OwnedFd> {
    open_at(anchor, name, purpose.flags())
}

fn open_at(anchor: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    let anchor = anchor.as_raw_fd();
    // SAFETY: `name` is NUL-terminated, `anchor` is open; the mode is read only with O_CREAT.
    let fd = retry_on_interrupt(|| check(unsafe { libc::openat(anchor, name.as_ptr(), flags, FILE_MODE) }))?;
    // SAFETY: openat returned a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn open_beneath(anchor: BorrowedFd<'_>, path: &CStr, purpose: Purpose) -> io::Result<OwnedFd> {
    // SAFETY: open_how is plain old data, for which all zeros is valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = purpose.flags() as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    let anchor = anchor.as_raw_fd();
    let size = std::mem::size_of::<libc::open_how>();
    let fd = retry_on_interrupt(|| {
        // SAFETY: `path` is NUL-terminated, `anchor` is open, `how` is valid for the `size` given.
        let returned = unsafe { libc::syscall(libc::SYS_openat2, anchor, path.as_ptr(), &how, size) };
        check(returned as libc::c_int)
    })?;
    // SAFETY: openat2 returned a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn terminate<'a>(name: &[u8], buffer: &'a mut [u8; NAME_BYTES_MAX + 1]) -> io::Result<&'a CStr> {
    let room = buffer.get_mut(..name.len()).filter(|room| room.len() <= NAME_BYTES_MAX);
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name);
    CStr::from_bytes_until_nul(buffer).map_err(|_| io::ErrorKind::InvalidInput.into())
}
