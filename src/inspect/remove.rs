//! Takes what is damaged out of a dynamic store, with the exclusion that the store's own removals use: what is pinned stays, and so
//! does what was put in its place meanwhile. A static pool in files finds its damage out by itself: its owner's get of a key takes out
//! what does not prove right. Objects of a pool in a bucket are removed as those of a dynamic store, while its lease is held.

use super::entry::{Removed, Suspect};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::layout::files::{Evicted, FileStore};
use crate::store::OpenOptions;
use crate::sys::file::fingerprint;
use crate::sys::habits::Habits;

/// Removes damaged files of a dynamic store, or damaged objects of a store in a bucket.
pub struct Remover(How);

enum How {
    Files(Box<FileStore>),
    #[cfg(feature = "obj")]
    Bucket(Box<super::bucket::Removing>),
}

impl Remover {
    /// Opens the store that the configuration describes for removals: a dynamic one, or one in a bucket.
    ///
    /// # Errors
    /// What the system or the server answers.
    pub fn open(config: &Config, options: &OpenOptions) -> Result<Remover> {
        #[cfg(feature = "obj")]
        if config.backend == crate::config::BackendKind::Obj {
            let bucket = super::bucket::Removing::open(config, options)?;
            return Ok(Remover(How::Bucket(Box::new(bucket))));
        }
        let path = config.path_of(options.cuda_device, options.worker_id).ok_or_else(|| {
            Error::new(crate::error::Status::Config, "nixl_path: there is no directory to remove from")
        })?;
        let files = FileStore::open(path, config.store.layout, false, Habits::default(), &options.logger)?;
        Ok(Remover(How::Files(Box::new(files))))
    }

    /// Removes what a suspect stands for, if it is still the same.
    ///
    /// # Errors
    /// What the system or the server answers.
    pub fn remove(&self, suspect: &Suspect) -> Result<Removed> {
        match &self.0 {
            How::Files(files) => remove_file(files, suspect),
            #[cfg(feature = "obj")]
            How::Bucket(bucket) => bucket.remove(suspect),
        }
    }
}

fn remove_file(files: &FileStore, suspect: &Suspect) -> Result<Removed> {
    let failed =
        |error: &std::io::Error| Error::os(format_args!("removing object {}", suspect.entry.place), error);
    let Some(name) = suspect.entry.place.object_name() else { return Ok(Removed::Changed) };
    let is_same = || match files.open_read(&name) {
        Ok(Some((file, _))) => file.metadata().is_ok_and(|found| fingerprint(&found) == suspect.fingerprint),
        _ => false,
    };
    match files.evict_if(&name, is_same).map_err(|error| failed(&error))? {
        Evicted::Removed => Ok(Removed::Yes),
        Evicted::Pinned => Ok(Removed::Pinned),
        Evicted::Absent => Ok(Removed::Changed),
    }
}
