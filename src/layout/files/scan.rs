//! Lists the objects in a store: every file whose name the store could have given, nothing else.
//!
//! Names come from a directory that others may write to. A name is parsed strictly or passed
//! over, a link is never followed, and the depth is that of the layout: what is planted here
//! can waste the time of reading its name and no more.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::name::{OBJECTS, ObjectName, has_lmcache_shape, parse_lower_hex};
use crate::sys::dir::Dir;
use crate::sys::retry_on_interrupt;

/// A file that has the name of an object.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Its name.
    pub name: ObjectName,
    /// Its size. It comes from storage: whoever adds it up must expect any number.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
    /// What speaks for its being an object.
    pub proof: Proof,
}

/// What speaks for a file's being an object of this store and not a stranger's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its name: nobody else gives such names.
    Name,
    /// Nothing yet. In the flat layout a key `notes.txt` and a stranger's file of that name look the
    /// same; only a trailer tells them apart. Without one the file must not be touched.
    NeedsTrailer,
}

/// Whoever listens to a scan.
pub(super) struct Listener<'a> {
    /// Is told of every object, until it has enough.
    pub(super) sink: &'a mut dyn FnMut(Scanned) -> ControlFlow<()>,
    /// Is told of every part that could not be read, as it hides none of the others.
    pub(super) missed: &'a mut dyn FnMut(PathBuf, io::Error),
}

/// Every object below the directory `OBJECTS` of `root`.
pub(super) fn sharded(root: &Dir, listener: &mut Listener<'_>) -> io::Result<()> {
    let objects = match root.existing_subdir(OBJECTS.to_str().unwrap_or_default()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in objects.entries()? {
        let name = entry?.file_name();
        let Some(shard) = parse_lower_hex(name.as_bytes(), 2) else { continue };
        let shard = shard as u8;
        match each_file(&objects, shard, &name, listener) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(error) => (listener.missed)(objects.path().join(&name), error),
        }
    }
    Ok(())
}

/// Every object in `root` itself.
pub(super) fn flat(root: &Dir, listener: &mut Listener<'_>) -> io::Result<()> {
    for entry in root.entries()? {
        let entry = entry?;
        let file_name = entry.file_name();
        let proof = if has_lmcache_shape(file_name.as_bytes()) { Proof::Name } else { Proof::NeedsTrailer };
        let name = ObjectName::from_flat_file(file_name.as_bytes());
        if report(root.path(), &entry, name, proof, listener).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn each_file(
    objects: &Dir,
    shard: u8,
    shard_name: &OsStr,
    listener: &mut Listener<'_>,
) -> io::Result<ControlFlow<()>> {
    let directory = objects.existing_subdir(&shard_name.to_string_lossy())?;
    for entry in directory.entries()? {
        let entry = entry?;
        let name = ObjectName::from_sharded_file(shard, entry.file_name().as_bytes());
        if report(directory.path(), &entry, name, Proof::Name, listener).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn report(
    directory: &Path,
    entry: &std::fs::DirEntry,
    name: Option<ObjectName>,
    proof: Proof,
    listener: &mut Listener<'_>,
) -> ControlFlow<()> {
    let Some(name) = name else { return ControlFlow::Continue(()) };
    let found = retry_on_interrupt(|| entry.metadata())
        .and_then(|metadata| Ok((metadata.is_file(), metadata.len(), metadata.modified()?)));
    match found {
        Ok((true, bytes, modified)) => return (listener.sink)(Scanned { name, bytes, modified, proof }),
        Ok(_) => {}
        // Another process removed it after it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => (listener.missed)(directory.join(entry.file_name()), error),
    }
    ControlFlow::Continue(())
}
