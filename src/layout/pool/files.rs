//! The slot files: made with their space reserved where it can be, made whole again where they were cut.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use super::geometry::Geometry;
use super::{direct, foreign_or_os, names, steps};
use crate::error::{Error, Result};
use crate::layout::direct::is_refusal;
use crate::layout::record::RECORD_ALIGNMENT;
use crate::log::Logger;
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::file::{allocate, available_bytes, set_length};
use crate::sys::habits::Habits;
use crate::sys::retry_on_interrupt;

/// Makes all slot files of a new pool, replacing those that an unfinished creation left.
///
/// # Errors
/// `NoSpace` with the bytes needed; `Unsupported` where O_DIRECT is needed and refused; what else the system answers.
pub(super) fn create(directory: &Dir, geometry: &Geometry, habits: Habits, logger: &Logger) -> Result<()> {
    remove_slot_files(directory)?;
    let mut reserving = Reserving::new(habits);
    let mut needed = geometry.total_bytes();
    for index in 0..geometry.file_count() {
        make(directory, index, geometry, needed, &mut reserving, logger)?;
        needed = needed.saturating_sub(geometry.file_bytes(index));
    }
    Ok(())
}

/// Makes missing slot files anew and extends short ones. Returns whether any was.
///
/// Their records are gone or cut and do not prove right any more; all others stay usable.
///
/// # Errors
/// `Format` for what is no regular file; `Unsupported` as for [`create`]; what else the system answers.
pub(super) fn repair(directory: &Dir, geometry: &Geometry, habits: Habits, logger: &Logger) -> Result<bool> {
    let mut repaired = false;
    let mut reserving = Reserving::new(habits);
    for index in 0..geometry.file_count() {
        let name = names::slot_file(index);
        let expected = geometry.file_bytes(index);
        let mode = OpenMode { write: true, direct: reserving.direct, ..OpenMode::default() };
        match directory.open_file(OsStr::new(&name), mode) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = directory.path().join(&name);
                logger
                    .warn(format_args!("{} is missing; it is made anew, without its chunks", path.display()));
                make(directory, index, geometry, expected, &mut reserving, logger)?;
            }
            Err(error) => {
                let failed = || foreign_or_os(directory, &name, &error);
                return Err(reserving.refusal(directory, &error).unwrap_or_else(failed));
            }
            Ok(file) => {
                let path = directory.path().join(&name);
                let length = retry_on_interrupt(|| file.metadata())
                    .map_err(|error| {
                        Error::os(format_args!("reading the length of {}", path.display()), &error)
                    })?
                    .len();
                if length >= expected {
                    continue;
                }
                logger.warn(format_args!(
                    "{} has {length} bytes instead of {expected}; it is extended, without the chunks that were cut off",
                    path.display()
                ));
                reserving.reserve((directory, &name), &file, expected, expected - length, logger)?;
                file.sync_all()
                    .map_err(|error| Error::os(format_args!("syncing {}", path.display()), &error))?;
            }
        }
        repaired = true;
    }
    if repaired {
        directory.sync().map_err(|error| {
            Error::os(format_args!("syncing directory {}", directory.path().display()), &error)
        })?;
    }
    Ok(repaired)
}

/// Takes back everything that a failed creation made. The manifest goes first: without it, whatever
/// a crash leaves here is an unfinished pool again. Errors are of no consequence for the same reason.
pub(super) fn remove_all(directory: &Dir) {
    let _ = directory.unlink(OsStr::new(names::MANIFEST));
    let _ = directory.unlink(OsStr::new(names::MANIFEST_TEMPORARY));
    let _ = remove_slot_files(directory);
    let _ = directory.unlink(OsStr::new(names::LOCK));
}

fn remove_slot_files(directory: &Dir) -> Result<()> {
    let failed = |error: io::Error| {
        Error::os(format_args!("removing the unfinished pool in {}", directory.path().display()), &error)
    };
    for entry in directory.entries().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.to_str().is_some_and(names::is_slot_file) {
            directory.unlink(&name).map_err(failed)?;
            done_in(directory)?;
        }
    }
    Ok(())
}

fn make(
    directory: &Dir,
    index: u32,
    geometry: &Geometry,
    needed: u64,
    reserving: &mut Reserving,
    logger: &Logger,
) -> Result<()> {
    let name = names::slot_file(index);
    let path = directory.path().join(&name);
    let mode = OpenMode { write: true, exclusive: true, direct: reserving.direct, ..OpenMode::default() };
    let file = directory.open_file(OsStr::new(&name), mode).map_err(|error| {
        let failed = || Error::os(format_args!("creating {}", path.display()), &error);
        reserving.refusal(directory, &error).unwrap_or_else(failed)
    })?;
    done_in(directory)?;
    if reserving.direct {
        direct::check_new(directory, &file)?;
    }
    reserving.reserve((directory, &name), &file, geometry.file_bytes(index), needed, logger)?;
    done_in(directory)?;
    file.sync_all().map_err(|error| Error::os(format_args!("syncing {}", path.display()), &error))?;
    done_in(directory)
}

/// Reserves space, looking before it leaps: filling the disk to find out that it is too small would
/// hurt every other process meanwhile.
struct Reserving {
    /// Whether the file system has been asked what it can do, or need not be.
    asked: bool,
    /// Whether it cannot reserve space.
    sparse: bool,
    /// Whether no other descriptor may be open for the files.
    direct: bool,
    /// Whether it was said that space is not reserved.
    told: bool,
}

impl Reserving {
    fn new(habits: Habits) -> Reserving {
        let Habits { is_sparse, needs_direct_io, .. } = habits;
        Reserving { asked: is_sparse, sparse: is_sparse, direct: needs_direct_io, told: !is_sparse }
    }

    /// What an error of opening says, if it says that O_DIRECT is refused where nothing else will do.
    fn refusal(&self, directory: &Dir, error: &io::Error) -> Option<Error> {
        (self.direct && is_refusal(error)).then(|| direct::refused(directory, &error.to_string()))
    }

    /// Gives `file` its `length`; the pool as a whole still needs `needed` bytes.
    fn reserve(
        &mut self,
        (directory, name): (&Dir, &str),
        file: &File,
        length: u64,
        needed: u64,
        logger: &Logger,
    ) -> Result<()> {
        self.grow(directory, file, length, needed, logger).map_err(|error| {
            let left = available_bytes(file).map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
            Error::os(
                format_args!(
                    "reserving {length} bytes for {} (the pool needs {needed} more bytes, the file system has {left})",
                    directory.path().join(name).display()
                ),
                &error,
            )
        })
    }

    fn grow(
        &mut self,
        directory: &Dir,
        file: &File,
        length: u64,
        needed: u64,
        logger: &Logger,
    ) -> io::Result<()> {
        if !self.asked {
            match allocate(file, 0, RECORD_ALIGNMENT) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                    self.sparse = true;
                    logger.warn(format_args!(
                        "the file system of {} cannot reserve space: the pool's files are sparse, and puts can meet a \
                         full disk",
                        directory.path().display()
                    ));
                }
                other => other?,
            }
            self.asked = true;
            if !self.sparse && available_bytes(file).is_some_and(|available| available < needed) {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
        }
        if !self.told {
            self.told = true;
            logger.info(format_args!(
                "space is not reserved in {}: the pool's files take what is put, and puts can meet a full disk",
                directory.path().display()
            ));
        }
        if self.sparse { set_length(file, length) } else { allocate(file, 0, length) }
    }
}

fn done_in(directory: &Dir) -> Result<()> {
    steps::done()
        .map_err(|error| Error::os(format_args!("making the pool in {}", directory.path().display()), &error))
}
