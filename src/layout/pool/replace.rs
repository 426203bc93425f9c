//! Files that are there as a whole or not at all: written under a temporary name, made durable, renamed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use super::steps;
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::signal::undisturbed;

/// Puts a file under `name`, replacing what is there; `fill` writes its bytes.
///
/// # Errors
/// What the system answers. `name` is then as it was, unless the very last step failed: making the
/// rename durable.
pub(super) fn replace(
    directory: &Dir,
    temporary_name: &str,
    name: &str,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    remove_if_present(directory, temporary_name)?;
    let written = write(directory, temporary_name, fill)
        .and_then(|()| directory.rename(OsStr::new(temporary_name), directory, OsStr::new(name)));
    if written.is_err() {
        // The first error is the one to report; a leftover is removed by the next owner as well.
        let _ = directory.unlink(OsStr::new(temporary_name));
    }
    written?;
    steps::done()?;
    directory.sync()?;
    steps::done()
}

fn write(
    directory: &Dir,
    temporary_name: &str,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mode = OpenMode { write: true, exclusive: true, ..OpenMode::default() };
    let file = directory.open_file(OsStr::new(temporary_name), mode)?;
    steps::done()?;
    undisturbed(|| fill(&file))?;
    steps::done()?;
    file.sync_all()?;
    steps::done()
}

/// Removes the file `name`; whether it was there.
///
/// # Errors
/// What the system answers, save that there is no such file.
pub(super) fn remove_if_present(directory: &Dir, name: &str) -> io::Result<bool> {
    match directory.unlink(OsStr::new(name)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
