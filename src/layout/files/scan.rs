//! Lists the objects in a store: every file whose name the store could have given, nothing else.
//!
//! Names come from a directory that others may write to. A name is parsed strictly or passed
//! over, a link is never followed, and the depth is that of the layout: what is planted here
//! can waste the time of reading its name and no more.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use super::name::{OBJECTS, ObjectName, has_lmcache_shape, parse_lower_hex};
use crate::log::Logger;
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

/// Every object below the directory `OBJECTS` of `root`.
pub(super) fn sharded(root: &Dir, logger: &Logger, sink: &mut dyn FnMut(Scanned)) -> io::Result<()> {
    let objects = match root.existing_subdir(OBJECTS.to_str().unwrap_or_default()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in objects.entries()? {
        let name = entry?.file_name();
        let Some(shard) = parse_lower_hex(name.as_bytes(), 2) else { continue };
        let shard = shard as u8;
        // One shard that cannot be read must not hide the others.
        if let Err(error) = each_file(&objects, &name, &mut |entry| {
            let name = ObjectName::from_sharded_file(shard, entry.file_name().as_bytes());
            report(entry, name, Proof::Name, sink)
        }) {
            logger.warn(format_args!(
                "{}/{}: left out of the scan: {error}",
                objects.path().display(),
                name.display()
            ));
        }
    }
    Ok(())
}

/// Every object in `root` itself.
pub(super) fn flat(root: &Dir, sink: &mut dyn FnMut(Scanned)) -> io::Result<()> {
    for entry in root.entries()? {
        let entry = entry?;
        let file_name = entry.file_name();
        let proof = if has_lmcache_shape(file_name.as_bytes()) { Proof::Name } else { Proof::NeedsTrailer };
        report(&entry, ObjectName::from_flat_file(file_name.as_bytes()), proof, sink)?;
    }
    Ok(())
}

fn each_file(
    objects: &Dir,
    shard: &OsStr,
    each: &mut dyn FnMut(&std::fs::DirEntry) -> io::Result<()>,
) -> io::Result<()> {
    let directory = objects.existing_subdir(&shard.to_string_lossy())?;
    for entry in directory.entries()? {
        each(&entry?)?;
    }
    Ok(())
}

fn report(
    entry: &std::fs::DirEntry,
    name: Option<ObjectName>,
    proof: Proof,
    sink: &mut dyn FnMut(Scanned),
) -> io::Result<()> {
    let Some(name) = name else { return Ok(()) };
    match retry_on_interrupt(|| entry.metadata()) {
        Ok(metadata) if metadata.is_file() => {
            sink(Scanned { name, bytes: metadata.len(), modified: metadata.modified()?, proof });
            Ok(())
        }
        Ok(_) => Ok(()),
        // Another process removed it after it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
