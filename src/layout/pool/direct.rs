//! Opens the slot files for transfers: with O_DIRECT where it is wanted and can be had, else buffered, unless nothing but
//! O_DIRECT will do.
//!
//! Each is locked through the very descriptor that transfers use. The kernel goes on with a killed process's
//! transfers after the process is gone and its other locks with it; as each transfer holds the open file, this
//! lock is free only when the last of them has landed. Whoever opens the pool next waits for that.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::geometry::Geometry;
use super::{PoolParameters, foreign_or_os, names};
use crate::error::{Error, Result, Status};
use crate::layout::direct::is_refusal;
use crate::layout::record::RECORD_ALIGNMENT;
use crate::log::Logger;
use crate::memory::AlignedBuffer;
use crate::sync::thread;
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::file::{DirectAlignment, direct_alignment};
use crate::sys::habits::lacks_direct_io;
use crate::sys::lock;

/// How long a dead owner's transfers may take to land; far longer than a device works on what a queue holds.
const LANDING_TIME_MAX: Duration = Duration::from_secs(30);
/// The pause between two looks.
const LANDING_PAUSE: Duration = Duration::from_millis(1);

/// The slot files, open.
pub(super) struct Opened {
    pub(super) files: Vec<Arc<File>>,
    /// What O_DIRECT asks for; `None` where it is not in effect.
    pub(super) direct_alignment: Option<DirectAlignment>,
}

/// Why a file is not open with O_DIRECT.
enum Unavailable {
    /// The file system does not do it: buffered transfers still work.
    Refused(String),
    /// Nothing works.
    Failed(Error),
}

/// Opens all slot files; buffered, with one warning, where O_DIRECT is wanted and cannot be had.
///
/// # Errors
/// [`Status::Unsupported`] where O_DIRECT is needed and cannot be had; what the system answers.
pub(super) fn open(
    directory: &Dir,
    geometry: &Geometry,
    parameters: &PoolParameters,
    logger: &Logger,
) -> Result<Opened> {
    let needs_direct_io = parameters.habits.needs_direct_io;
    if parameters.direct_io || needs_direct_io {
        match open_direct(directory, geometry) {
            Ok(opened) => return lock_all(directory, opened),
            Err(Unavailable::Failed(error)) => return Err(error),
            Err(Unavailable::Refused(why)) if needs_direct_io => return Err(refused(directory, &why)),
            Err(Unavailable::Refused(why)) => logger.warn(format_args!(
                "use_direct_io has no effect in {}: {why}; transfers go through the page cache",
                directory.path().display()
            )),
        }
    }
    let files = (0..geometry.file_count())
        .map(|index| open_one(directory, index, false).map_err(|error| open_failed(directory, index, &error)))
        .collect::<Result<_>>()?;
    lock_all(directory, Opened { files, direct_alignment: None })
}

/// Finds out whether a file can serve a store that needs O_DIRECT, with which it is open.
///
/// # Errors
/// [`Status::Unsupported`] if not.
pub(super) fn check_new(directory: &Dir, file: &File) -> Result<()> {
    check(file).map_err(|unavailable| match unavailable {
        Unavailable::Refused(why) => refused(directory, &why),
        Unavailable::Failed(error) => error,
    })
}

/// Whether pools can have files as this one, which is open with O_DIRECT, at no cost to whoever uses the file.
///
/// # Errors
/// Why not, in words.
pub fn probe(file: &File) -> std::result::Result<(), String> {
    check(file).map_err(|unavailable| match unavailable {
        Unavailable::Refused(why) => why,
        Unavailable::Failed(error) => error.message().to_owned(),
    })
}

fn check(file: &File) -> std::result::Result<(), Unavailable> {
    alignment_of(file).and_then(check_alignment).and_then(|()| probe_read(file))
}

/// Why a store is not opened for want of O_DIRECT.
pub(super) fn refused(directory: &Dir, why: &str) -> Error {
    Error::new(Status::Unsupported, format!("{}: {}", directory.path().display(), lacks_direct_io(why)))
}

/// Waits until nobody's transfers are under way in the files.
///
/// # Errors
/// [`Status::Locked`] if they do not end; what else `flock(2)` answers.
fn lock_all(directory: &Dir, opened: Opened) -> Result<Opened> {
    let deadline = Instant::now() + LANDING_TIME_MAX;
    for (index, file) in (0..).zip(&opened.files) {
        let path = || directory.path().join(names::slot_file(index));
        while let Err(error) = lock::try_lock_exclusive(file) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(Error::os(format_args!("locking {}", path().display()), &error));
            }
            if Instant::now() >= deadline {
                return Err(Error::new(
                    Status::Locked,
                    format!(
                        "{} is still in use {} s after its owner died: by transfers that do not end, or by a child \
                         that the owner forked. End what has the file open",
                        path().display(),
                        LANDING_TIME_MAX.as_secs()
                    ),
                ));
            }
            thread::sleep(LANDING_PAUSE);
        }
    }
    Ok(opened)
}

fn open_direct(directory: &Dir, geometry: &Geometry) -> std::result::Result<Opened, Unavailable> {
    let mut files = Vec::new();
    let mut alignment = DirectAlignment { memory: 1, offset: 1 };
    for index in 0..geometry.file_count() {
        let file = open_one(directory, index, true).map_err(|error| {
            if is_refusal(&error) {
                Unavailable::Refused(format!("the file system refuses it ({error})"))
            } else {
                Unavailable::Failed(open_failed(directory, index, &error))
            }
        })?;
        let asked = alignment_of(&file)?;
        alignment.memory = alignment.memory.max(asked.memory);
        alignment.offset = alignment.offset.max(asked.offset);
        check_alignment(alignment)?;
        probe_read(&file)?;
        files.push(file);
    }
    Ok(Opened { files, direct_alignment: Some(alignment) })
}

fn alignment_of(file: &File) -> std::result::Result<DirectAlignment, Unavailable> {
    direct_alignment(file).ok_or_else(|| Unavailable::Refused("the file system does not have it".to_owned()))
}

/// Records start at multiples of [`RECORD_ALIGNMENT`]; a file system that asks for more cannot be served.
fn check_alignment(alignment: DirectAlignment) -> std::result::Result<(), Unavailable> {
    let needed = alignment.memory.max(alignment.offset);
    if RECORD_ALIGNMENT.is_multiple_of(u64::from(needed)) {
        return Ok(());
    }
    Err(Unavailable::Refused(format!(
        "it needs an alignment of {needed} bytes here, records have {RECORD_ALIGNMENT}"
    )))
}

/// Some file systems accept the flag and refuse the transfer. Any other error is for recovery to meet.
fn probe_read(file: &File) -> std::result::Result<(), Unavailable> {
    let mut page = AlignedBuffer::new(RECORD_ALIGNMENT as usize)
        .map_err(|error| Unavailable::Failed(Error::os("making a page to read into", &error)))?;
    match file.read_at(page.as_mut_slice(), 0) {
        Err(error) if is_refusal(&error) => {
            Err(Unavailable::Refused(format!("the file system refuses to read with it ({error})")))
        }
        _ => Ok(()),
    }
}

fn open_one(directory: &Dir, index: u32, direct: bool) -> io::Result<Arc<File>> {
    let mode = OpenMode { write: true, direct, ..OpenMode::default() };
    directory.open_file(OsStr::new(&names::slot_file(index)), mode).map(Arc::new)
}

fn open_failed(directory: &Dir, index: u32, error: &io::Error) -> Error {
    foreign_or_os(directory, &names::slot_file(index), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records are laid out for 4096 bytes; a device with larger blocks must be noticed at open, not at the first put.
    #[test]
    fn alignments_above_a_page_are_refused() {
        for (memory, offset, fits) in
            [(4, 512, true), (4096, 4096, true), (4, 8192, false), (65_536, 512, false)]
        {
            assert_eq!(check_alignment(DirectAlignment { memory, offset }).is_ok(), fits);
        }
    }
}
