//! One owner at a time: the pool's directory, the lock in it, and who holds it.
//!
//! The lock is `flock(2)` on the file `lock`, which the kernel drops when its holder dies. The text in
//! the file only serves the message to whoever comes second; nothing is decided by it. Where that binds one host alone, the
//! directory is locked for all of them besides: see [`super::directory_lock`].

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::directory_lock::{self, Held, Taken, is_plain};
use super::{foreign_or_os, names, steps};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::{host_name, lock, retry_on_interrupt};

/// Bytes of the holder's text that are read for a message.
pub(super) const HOLDER_BYTES_MAX: usize = 512;
/// Times that the way in is retried when another process removes the directory it is making.
const ENTER_ATTEMPTS_MAX: u32 = 16;

/// The pool's directory with its lock held. Dropping it drops the lock, but leaves the one for all hosts, as dying would.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) directory: Dir,
    lock: File,
    /// The lock for all hosts, where one is asked for and can be had.
    all_hosts: Option<Held>,
    /// Whether this call made the directory, so that a failed creation may remove it.
    pub(super) directory_created: bool,
}

/// Opens the directory `name` in `parent`, making both where absent, and locks it; for all hosts by the attribute
/// `directory_lock`, if there is one.
///
/// # Errors
/// [`Status::Locked`] naming the holder; [`Status::Format`] for a directory that is not a pool's.
pub(super) fn enter(
    parent: &Dir,
    name: &str,
    directory_lock: Option<&'static CStr>,
    logger: &Logger,
) -> Result<Owned> {
    // A creation that fails removes its lock file and directory. Whoever waited at that very moment
    // holds a lock on a file that nobody can find any more, and must start over.
    for _ in 0..ENTER_ATTEMPTS_MAX {
        if let Some(owned) = try_enter(parent, name, directory_lock, logger)? {
            return Ok(owned);
        }
    }
    Err(Error::new(
        Status::Locked,
        format!("other processes keep making and removing {}", parent.path().join(name).display()),
    ))
}

/// `None` if another process removed the directory or the lock file on the way.
fn try_enter(
    parent: &Dir,
    name: &str,
    directory_lock: Option<&'static CStr>,
    logger: &Logger,
) -> Result<Option<Owned>> {
    let Some((directory, directory_created)) = open_directory(parent, name)? else {
        return Ok(None);
    };
    refuse_foreign(&directory)?;
    let mode = OpenMode { write: true, create: true, ..OpenMode::default() };
    let opened = steps::before_lock_file().and_then(|()| directory.open_file(OsStr::new(names::LOCK), mode));
    let lock = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Another host has the directory, and nothing may be made in it.
        Err(error) if error.raw_os_error() == Some(libc::ENOLCK) => {
            let refusal = directory_lock.map(|name| directory_lock::refusal(&directory, name));
            return Err(refusal.unwrap_or_else(|| foreign_or_os(&directory, names::LOCK, &error)));
        }
        other => other.map_err(|error| foreign_or_os(&directory, names::LOCK, &error))?,
    };
    steps::before_lock();
    match lock::try_lock_exclusive(&lock) {
        Ok(()) if !is_still_there(&directory, &lock) => Ok(None),
        Ok(()) => {
            let all_hosts = match directory_lock {
                None => None,
                Some(attribute) => match directory_lock::take(&directory, attribute, logger) {
                    Ok(Taken::Held(held)) => Some(held),
                    Ok(Taken::Impossible) => None,
                    Ok(Taken::Gone) => return Ok(None),
                    Err(error) => {
                        if directory_created && error.status() != Status::Locked {
                            let _ = directory.unlink(OsStr::new(names::LOCK));
                            let _ = parent.remove_dir(OsStr::new(name));
                        }
                        return Err(error);
                    }
                },
            };
            if all_hosts.is_some() {
                refresh(&directory)?;
            }
            // An owner on another host may have taken the directory back until a moment ago. Where it has, the lock is left: by
            // now it may be that of a process here which was faster.
            let is_there = all_hosts.is_none() || is_still_there(&directory, &lock);
            Ok(is_there.then_some(Owned { directory, lock, all_hosts, directory_created }))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(locked(&directory, &lock)),
        Err(error) => {
            let path = directory.path().join(names::LOCK);
            Err(Error::os(format_args!("locking {}", path.display()), &error))
        }
    }
}

impl Owned {
    /// Writes who holds the lock, for the message to whoever comes second.
    ///
    /// Errors are of no consequence: the lock holds with or without a text, even on a full disk.
    pub(super) fn sign(&self) {
        let text = format!("{} {}\n", std::process::id(), host_name());
        let written = self.lock.set_len(0).and_then(|()| self.lock.write_all_at(text.as_bytes(), 0));
        if written.is_ok() && self.all_hosts.is_some() {
            // Where hosts share it, others learn its length by that.
            let _ = self.lock.sync_all();
        }
    }

    /// In a forked child: see [`lock::let_go_in_child`].
    pub(super) fn abandon_after_fork(&self) {
        lock::let_go_in_child(&self.lock);
    }

    /// Gives the locks back at once. Merely dropping it leaves them held: the one for all hosts for good, the other while a
    /// forked child lives. The former goes first, as who has the latter may take it.
    pub(super) fn unlock(self) {
        if let Some(held) = self.all_hosts {
            held.release(&self.directory);
        }
        // Closing the file, which follows, drops the lock as well.
        let _ = lock::unlock(&self.lock);
    }
}

/// The pool's directory and whether it was made here; `None` if it vanished at once.
fn open_directory(parent: &Dir, name: &str) -> Result<Option<(Dir, bool)>> {
    let path = parent.path().join(name);
    let opened = match parent.existing_subdir(name) {
        Ok(directory) => return Ok(Some((directory, false))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            parent.subdir(name).map(|directory| Some((directory, true)))
        }
        Err(error) => Err(error),
    };
    opened.or_else(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(None),
        _ => Err(not_opened(&path, &error)),
    })
}

/// Why the pool's directory could not be opened.
pub(super) fn not_opened(path: &Path, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENOTDIR) => Error::new(
            Status::Format,
            format!(
                "{} is not a directory (symbolic links are not followed); remove it by hand or choose another nixl_path",
                path.display()
            ),
        ),
        _ => Error::os(format_args!("opening the pool directory {}", path.display()), error),
    }
}

/// Refuses a directory without a manifest that holds anything this library does not make. It is
/// asked before the lock file is made, so that nothing is added to a directory of somebody else.
pub(super) fn refuse_foreign(directory: &Dir) -> Result<()> {
    let failed = |error: io::Error| {
        Error::os(format_args!("reading directory {}", directory.path().display()), &error)
    };
    let mut foreign = None;
    for entry in directory.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name == names::MANIFEST {
            return Ok(());
        }
        let is_file = match entry.file_type() {
            // Gone since: an unfinished creation is being taken back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?.is_file(),
        };
        if !is_file || !names::may_be_unfinished(&name) {
            foreign = Some(name);
        }
    }
    match foreign {
        None => Ok(()),
        Some(name) => Err(Error::new(
            Status::Format,
            format!(
                "{} has no manifest and holds {:?}, which is not part of a pool. Nothing was changed: choose \
                 another nixl_path or empty the directory by hand",
                directory.path().display(),
                name
            ),
        )),
    }
}

/// Has the names in the directory asked for anew. The kernel may know them as they were before another host's owner came: with
/// FUSE a listing brings along what each name is by now, and what was known of it goes (`FUSE_READDIRPLUS`, which the kernel uses
/// at the head of a listing).
fn refresh(directory: &Dir) -> Result<()> {
    let listed = directory.entries().map(|entries| entries.for_each(drop));
    listed
        .map_err(|error| Error::os(format_args!("reading directory {}", directory.path().display()), &error))
}

/// Whether the locked file is still the one that the next process will find.
fn is_still_there(directory: &Dir, lock: &File) -> bool {
    let identity =
        |file: &File| retry_on_interrupt(|| file.metadata()).map(|found| (found.dev(), found.ino()));
    let found =
        directory.open_file(OsStr::new(names::LOCK), OpenMode::default()).and_then(|file| identity(&file));
    matches!((found, identity(lock)), (Ok(found), Ok(locked)) if found == locked)
}

/// Who wrote its name into the lock file last: the number of the process, and the words for it.
pub(super) fn signature(lock: &File) -> Option<(u32, String)> {
    let mut bytes = [0; HOLDER_BYTES_MAX];
    let length = lock.read_at(&mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
    let process = text.split_whitespace().next()?.parse().ok()?;
    Some((process, holder(&text)?))
}

/// Who has the lock, in words, as the kernel tells it; the lock is not touched. `None`: nobody that can be seen from here.
///
/// # Errors
/// What reading the kernel's lists answers.
pub(super) fn of_lock(file: &File) -> io::Result<Option<String>> {
    let Some(process) = lock::lock_holder(file)? else { return Ok(None) };
    // A child that the owner forked may have the lock too, and the name may be an earlier owner's: the kernel knows better.
    let signed = signature(file).filter(|(signed, _)| *signed == process);
    Ok(Some(signed.map_or_else(|| format!("process {process}"), |(_, words)| words)))
}

fn locked(directory: &Dir, lock: &File) -> Error {
    let holder = signature(lock).map_or_else(|| "another process".to_owned(), |(_, holder)| holder);
    Error::new(
        Status::Locked,
        format!(
            "the pool in {} is in use by {holder}; a static pool has one owner at a time. Stop that process, or give \
             this one another nixl_path or worker id",
            directory.path().display()
        ),
    )
}

/// "process 12 on host a" from the text "12 a". Anything but a number and a plain name is not repeated.
pub(super) fn holder(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let process: u32 = words.next()?.parse().ok()?;
    match words.next().filter(|name| is_plain(name)) {
        Some(host) => Some(format!("process {process} on host {host}")),
        None => Some(format!("process {process}")),
    }
}

/// A snapshot or survivors without a manifest are no unfinished creation: this pool held chunks and lost its manifest. It is not
/// for this library to throw them away.
pub(super) fn refuse_orphaned_snapshot(directory: &Dir) -> Result<()> {
    [names::SNAPSHOT, names::SURVIVORS].iter().try_for_each(|name| refuse_orphaned(directory, name))
}

fn refuse_orphaned(directory: &Dir, name: &str) -> Result<()> {
    match directory.open_file(OsStr::new(name), OpenMode::default()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(foreign_or_os(directory, name, &error)),
        Ok(_) => Err(Error::new(
            Status::Format,
            format!(
                "the pool in {0} has lost its manifest. Nothing was changed: choose another nixl_path, or remove \
                 {0} by hand to start anew",
                directory.path().display()
            ),
        )),
    }
}

/// Opens the directory that holds the pools, making it where absent.
///
/// # Errors
/// What the system answers.
pub(super) fn open_parent(path: &Path) -> Result<Dir> {
    Dir::open_or_create(path)
        .map_err(|error| Error::os(format_args!("opening the directory {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text in a lock file is anybody's; it reaches a message only as a number and a plain name.
    #[test]
    fn a_holders_text_is_repeated_only_if_it_is_harmless() {
        assert_eq!(holder("12 node-3.example\n").unwrap(), "process 12 on host node-3.example");
        assert_eq!(holder("12").unwrap(), "process 12");
        assert_eq!(holder("12 \u{1b}[31mred").unwrap(), "process 12");
        assert_eq!(holder("root 12"), None);
        assert_eq!(holder(""), None);
    }
}
