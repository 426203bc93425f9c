//! A look at a pool from outside: what it was made with, and who has it. Nothing is locked and nothing is written, so an owner
//! does not notice, and a process that opens the pool meanwhile is not kept out.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::manifest::Manifest;
use super::{Geometry, PoolParameters, foreign_or_os, names, owner};
use crate::error::Result;
use crate::sys::dir::{Dir, OpenMode};

/// What was found of a pool.
#[derive(Clone, Debug)]
pub struct Look {
    /// What it was made with; `None`: it is not finished, and the next open makes it anew.
    pub geometry: Option<Geometry>,
    /// Who has it, such as "process 12 on host a"; `None`: nobody, as far as this machine knows.
    pub owner: Option<String>,
}

/// Looks at the pool `name` in the directory `parent`; `None` if there is none.
///
/// # Errors
/// [`Status::Format`](crate::error::Status::Format) if it is damaged, is no pool, or was made with other parameters, as an
/// open would say it; else what the system answers.
pub fn look(parent: &Path, name: &str, parameters: &PoolParameters) -> Result<Option<Look>> {
    let is_absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let directory = match Dir::open(parent).and_then(|parent| parent.existing_subdir(name)) {
        Err(error) if is_absent(&error) => return Ok(None),
        other => other.map_err(|error| owner::not_opened(&parent.join(name), &error))?,
    };
    let lock = match directory.open_file(OsStr::new(names::LOCK), OpenMode::default()) {
        Ok(file) => Some(file),
        Err(error) if is_absent(&error) => None,
        Err(error) => return Err(foreign_or_os(&directory, names::LOCK, &error)),
    };
    let owner = lock.as_ref().and_then(owner_of);
    let manifest = Manifest::read(&directory)?;
    match &manifest {
        Some(manifest) => manifest.check(&directory, parameters)?,
        None => {
            owner::refuse_foreign(&directory)?;
            owner::refuse_orphaned_snapshot(&directory)?;
        }
    }
    Ok(Some(Look { geometry: manifest.map(|manifest| manifest.geometry), owner }))
}

/// Who holds the lock on the file, by the kernel's list of locks (`proc_locks(5)`), in which processes of other containers may be
/// missing. The text in the file says the host.
fn owner_of(lock: &File) -> Option<String> {
    let inode = lock.metadata().ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let process = locks.lines().find_map(|line| holder_in(line, inode))?;
    let mut bytes = [0; owner::HOLDER_BYTES_MAX];
    let length = lock.read_at(&mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
    // A child that the owner forked may hold the lock too, and a text may be an earlier owner's: the kernel knows better.
    let told = owner::holder(&text).filter(|_| text.split_whitespace().next() == Some(process));
    Some(told.unwrap_or_else(|| format!("process {process}")))
}

/// The process in a line such as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`, if that is a lock on this inode. The device is
/// not compared: the kernel's name for it is another than `stat(2)`'s on some file systems, and the lock file of another pool with
/// the same inode on another one would have to be locked at the same time.
fn holder_in(line: &str, inode: u64) -> Option<&str> {
    let mut words = line.split_whitespace().skip(1);
    if words.next() != Some("FLOCK") {
        return None;
    }
    // Who waits for a lock has an arrow in this line, and so other words.
    let (process, place) = (words.nth(2)?, words.next()?);
    let (_, found) = place.rsplit_once(':')?;
    (found.parse() == Ok(inode)).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a lock of the right kind on the right file has a holder, and who waits for it is none.
    #[test]
    fn a_holder_is_found_in_the_kernels_list() {
        assert_eq!(holder_in("1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", 1234), Some("4711"));
        assert_eq!(holder_in("1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", 234), None);
        assert_eq!(holder_in("1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", 1234), None);
        assert_eq!(holder_in("2: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", 1234), None);
        assert_eq!(holder_in("", 1234), None);
    }
}
