//! Removes what dead processes left in the directory of temporaries.
//!
//! An area may be removed only by a process that holds its lock, and the lock file is the last
//! to go before the directory. An area without a lock file is being made or being removed by
//! somebody else at this moment, or was abandoned in between; it is removed only if it is empty.
//!
//! On file systems that keep locks to one kernel, a free lock proves nothing about an owner
//! on another host: areas of another boot must also have rested for [`FOREIGN_REST`].

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use super::area::{Area, LOCK, boot_id};
use super::name::parse_lower_hex;
use crate::log::Logger;
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::lock::try_lock_exclusive;
use crate::sys::retry_on_interrupt;

/// How long nothing may have happened in another boot's area before it counts as abandoned; far
/// longer than any put takes. Its owner, should it live, makes itself a new one.
pub(super) const FOREIGN_REST: Duration = Duration::from_secs(60 * 60);

/// Sweeps beside `own`; returns how many areas went. What cannot be swept is logged and left.
pub(super) fn sweep(own: &Area, logger: &Logger) -> io::Result<u64> {
    let here = boot_id();
    let mut areas_removed = 0;
    for entry in own.parent().entries()? {
        let name = entry?.file_name();
        let Some(boot) = boot_of_area(name.as_bytes()).filter(|_| name.as_bytes() != own.name().as_bytes())
        else {
            continue;
        };
        let foreign = boot != here.as_bytes() || boot.iter().all(|&digit| digit == b'0');
        let rest = if foreign { FOREIGN_REST } else { Duration::ZERO };
        match sweep_area(own.parent(), &name, own.created(), rest) {
            Ok(removed) => areas_removed += u64::from(removed),
            // Another process swept it first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => logger.warn(format_args!(
                "leftovers in {}/{} cannot be removed: {error}",
                own.parent().path().display(),
                name.display()
            )),
        }
    }
    Ok(areas_removed)
}

fn sweep_area(parent: &Dir, name: &OsStr, now: SystemTime, rest: Duration) -> io::Result<bool> {
    // Area names are ASCII, so nothing is lost here.
    let area = parent.existing_subdir(&name.to_string_lossy())?;
    let mode = OpenMode { write: true, ..OpenMode::default() };
    // Kept open, and so locked, until the directory is gone.
    let _lock = match area.open_file(OsStr::new(LOCK), mode) {
        Ok(lock) => match try_lock_exclusive(&lock) {
            Ok(()) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match parent.remove_dir(name) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
                _ => Ok(false),
            };
        }
        Err(error) => return Err(error),
    };
    if !rest.is_zero() && !has_rested(&area, now, rest)? {
        return Ok(false);
    }
    for entry in area.entries()? {
        let file = entry?.file_name();
        if file != OsStr::new(LOCK) {
            // Directories are not ours: they make this fail, and the area stays.
            area.unlink(&file)?;
        }
    }
    area.unlink(OsStr::new(LOCK))?;
    parent.remove_dir(name)?;
    Ok(true)
}

fn has_rested(area: &Dir, now: SystemTime, rest: Duration) -> io::Result<bool> {
    let rested = |modified: SystemTime| now.duration_since(modified).is_ok_and(|idle| idle >= rest);
    for entry in area.entries()? {
        let entry = entry?;
        if !rested(retry_on_interrupt(|| entry.metadata())?.modified()?) {
            return Ok(false);
        }
    }
    // The directory's own time moves with every temporary that comes or goes.
    let directory = File::from(area.as_fd().try_clone_to_owned()?);
    Ok(rested(retry_on_interrupt(|| directory.metadata())?.modified()?))
}

/// The boot that an area's name tells; `None` if it is not the name of an area.
fn boot_of_area(name: &[u8]) -> Option<&[u8]> {
    let (boot, rest) = name.split_at_checked(32)?;
    parse_lower_hex(boot, 32)?;
    parse_lower_hex(rest.strip_prefix(b".")?, 32)?;
    Some(boot)
}
