//! A look at a pool from outside: what it was made with, and who has it. Nothing is locked and nothing is written, so an owner
//! does not notice, and a process that opens the pool meanwhile is not kept out.

use std::ffi::OsStr;
use std::io;
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
    let owner = match directory.open_file(OsStr::new(names::LOCK), OpenMode::default()) {
        Ok(file) => owner::of_lock(&file).unwrap_or_default(),
        Err(error) if is_absent(&error) => None,
        Err(error) => return Err(foreign_or_os(&directory, names::LOCK, &error)),
    };
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
