//! A static pool as it looks to somebody who only reads: no lock is taken and nothing is written, while an owner may be at work.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use super::geometry::{Geometry, Place};
use super::manifest::Manifest;
use super::recovery::{self, RecoveredEntry, RecoveredKeys, belongs};
use super::survivors::Survivors;
use super::{PoolParameters, foreign_or_os, names, owner, snapshot, steps};
use crate::error::{Error, Result, Status};
use crate::layout::direct::{is_refusal, reads_directly};
use crate::layout::record::{Identity, Invalid};
use crate::log::Logger;
use crate::memory::AlignedBuffer;
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::file::fingerprint;
use crate::sys::retry_on_interrupt;

/// A pool that is looked at.
#[derive(Debug)]
pub struct PoolView {
    directory: Dir,
    manifest: Manifest,
    /// `None`: the file is missing.
    files: Vec<Option<File>>,
    defects: Vec<String>,
}

/// Who owns a pool, as far as it can be told without asking for the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Nobody on this host, and no other host had it last.
    Free,
    /// A process of this host.
    Held {
        /// In words: its number and its host.
        by: String,
    },
    /// The last owner was on another host or in another container, or there is no telling.
    Unknown {
        /// In words.
        last: String,
    },
}

/// The index of a pool as a view finds it.
#[derive(Debug)]
pub struct PoolContents {
    /// Each key once, first the one to be evicted first; after a scan in the order of the puts.
    pub entries: Vec<RecoveredEntry>,
    /// Their keys.
    pub keys: RecoveredKeys,
    /// Which snapshot of a clean close they come from; `None`: they are from the trailers.
    pub snapshot: Option<u64>,
    /// Why there is a snapshot that is not believed.
    pub snapshot_refused: Option<String>,
    /// Records of keys that have a newer one, or that a dead owner may have written late: not in the index.
    pub outdated: u64,
    /// Slots whose trailer is no record of theirs.
    pub damaged: Vec<(u32, Invalid)>,
    /// Slots whose trailer could not be read.
    pub unreadable: Vec<u32>,
    /// The first error behind them.
    pub first_error: Option<io::Error>,
}

impl PoolView {
    /// Looks at the pool `name` in the directory `parent`; `None` if there is none.
    ///
    /// # Errors
    /// [`Status::Format`] for a manifest that is damaged; what the system answers.
    pub fn open(parent: &Path, name: &str) -> Result<Option<PoolView>> {
        let path = parent.join(name);
        let opening = |error: &io::Error| {
            Error::os(format_args!("opening the pool directory {}", path.display()), error)
        };
        let opened = Dir::open(parent).and_then(|parent| parent.existing_subdir(name));
        let directory = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| opening(&error))?,
        };
        let Some(manifest) = Manifest::read(&directory)? else { return Ok(None) };
        let (mut files, mut defects) = (Vec::new(), Vec::new());
        for index in 0..manifest.geometry.file_count() {
            let name = names::slot_file(index);
            match open_to_read(&directory, &name) {
                Ok(file) => {
                    let metadata = retry_on_interrupt(|| file.metadata());
                    let bytes = metadata.map_err(|error| opening(&error))?.len();
                    let expected = manifest.geometry.file_bytes(index);
                    if bytes < expected {
                        defects.push(format!(
                            "{name} has {bytes} bytes instead of {expected}; what was cut off is gone"
                        ));
                    }
                    files.push(Some(file));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    defects.push(format!("{name} is missing, with what was in it"));
                    files.push(None);
                }
                Err(error) => return Err(foreign_or_os(&directory, &name, &error)),
            }
        }
        Ok(Some(PoolView { directory, manifest, files, defects }))
    }

    /// The pool's lengths.
    pub fn geometry(&self) -> &Geometry {
        &self.manifest.geometry
    }

    /// The random number that its records carry.
    pub fn pool_id(&self) -> u128 {
        self.manifest.pool_id
    }

    /// Tokens of a chunk that it was made with.
    pub fn chunk_size_tokens(&self) -> u64 {
        self.manifest.chunk_size_tokens
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What is wrong with its files as a whole.
    pub fn defects(&self) -> &[String] {
        &self.defects
    }

    /// Compares what it was made with to what a configuration asks for.
    ///
    /// # Errors
    /// [`Status::Format`] naming every difference: an engine with that configuration is refused.
    pub fn check(&self, parameters: &PoolParameters) -> Result<()> {
        self.manifest.check(&self.directory, parameters)
    }

    /// Who owns it now.
    pub fn ownership(&self) -> Ownership {
        let Ok(file) = self.directory.open_file(OsStr::new(names::LOCK), OpenMode::default()) else {
            return Ownership::Free;
        };
        let last = owner::signature(&file);
        match owner::of_lock(&file) {
            Ok(Some(by)) => Ownership::Held { by },
            Ok(None) if self.snapshot().is_some() => Ownership::Free,
            Ok(None) => match last {
                Some((_, text)) if !text.ends_with(&format!(" on host {}", crate::sys::host_name())) => {
                    Ownership::Unknown { last: text }
                }
                _ => Ownership::Free,
            },
            Err(error) => Ownership::Unknown { last: format!("somebody ({error})") },
        }
    }

    /// A number that tells the snapshot that is there from any other. It is there only between a clean close and the next open:
    /// an owner removes it before it changes a slot.
    pub fn snapshot(&self) -> Option<u64> {
        let file = self.directory.open_file(OsStr::new(names::SNAPSHOT), OpenMode::default()).ok()?;
        retry_on_interrupt(|| file.metadata()).ok().map(|found| fingerprint(&found))
    }

    /// The index: what the snapshot says, else what the trailers of all slots say, as a recovery would find it.
    ///
    /// # Errors
    /// What the system answers; [`Status::OutOfMemory`].
    pub fn contents(&self, logger: &Logger) -> Result<PoolContents> {
        let (geometry, pool_id) = (&self.manifest.geometry, self.manifest.pool_id);
        let snapshot = self.snapshot();
        let found = snapshot::read(&self.directory, names::SNAPSHOT, pool_id, geometry);
        let found = found.map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => recovery::no_memory(),
            _ => foreign_or_os(&self.directory, names::SNAPSHOT, &error),
        })?;
        let snapshot_refused = match found {
            snapshot::Found::Valid(recovered) if self.defects.is_empty() => {
                return Ok(PoolContents {
                    entries: recovered.entries,
                    keys: recovered.keys,
                    snapshot,
                    snapshot_refused: None,
                    outdated: 0,
                    damaged: Vec::new(),
                    unreadable: Vec::new(),
                    first_error: None,
                });
            }
            snapshot::Found::Valid(_) => Some("the slot files are not whole".to_owned()),
            snapshot::Found::Absent => None,
            snapshot::Found::Invalid(why) => Some(why),
        };
        let survivors = Survivors::read(&self.directory, pool_id, geometry, logger)?;
        let is_believed = |slot, generation| survivors.is_believed(slot, generation);
        let seen =
            recovery::scan(geometry, pool_id, &is_believed, &|slot, out| self.read_trailer(slot, out))?;
        Ok(PoolContents {
            entries: seen.entries,
            keys: seen.keys,
            snapshot: None,
            snapshot_refused,
            outdated: (seen.outdated.len() + seen.late.len()) as u64,
            damaged: seen.damaged,
            unreadable: seen.unreadable,
            first_error: seen.first_error,
        })
    }

    /// Where a slot lies: the name of its file, and the offset of its trailer there.
    pub fn trailer_place(&self, slot: u32) -> (String, u64) {
        let place = self.manifest.geometry.place(slot);
        (names::slot_file(place.file_index), self.manifest.geometry.trailer_offset(place))
    }

    /// Reads a slot's trailer. What was never written is zeros.
    ///
    /// # Errors
    /// What `pread(2)` answers.
    pub fn read_trailer(&self, slot: u32, out: &mut [u8]) -> io::Result<()> {
        let place = self.manifest.geometry.place(slot);
        self.read(place, self.manifest.geometry.trailer_offset(place), out)
    }

    /// Reads `out` from the payload of a slot that holds so many bytes, from `offset` on.
    ///
    /// # Errors
    /// What `pread(2)` answers.
    pub fn read_payload(&self, slot: u32, payload_bytes: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let place = self.manifest.geometry.place(slot);
        let start = self.manifest.geometry.payload_offset(place, payload_bytes);
        let start = start.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.read(place, start.saturating_add(offset), out)
    }

    /// Whether a record that is whole was also written for this very slot of this pool.
    ///
    /// # Errors
    /// Which field says otherwise.
    pub fn check_place(&self, identity: &Identity<'_>, slot: u32) -> std::result::Result<(), Invalid> {
        belongs(identity, slot, &self.manifest.geometry, self.manifest.pool_id)
    }

    /// A buffer for a trailer of this pool.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`].
    pub fn trailer_buffer(&self) -> Result<AlignedBuffer> {
        recovery::trailer_buffer(&self.manifest.geometry)
    }

    fn read(&self, place: Place, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.files.get(place.file_index as usize).and_then(Option::as_ref) {
            Some(file) => steps::read(file, out, offset),
            None => {
                out.fill(0);
                Ok(())
            }
        }
    }
}

/// Opens a slot file to read it, past the page cache where that can be: what a look brings into the cache would push out what
/// others need.
fn open_to_read(directory: &Dir, name: &str) -> io::Result<File> {
    let open = |direct| directory.open_file(OsStr::new(name), OpenMode { direct, ..OpenMode::default() });
    match open(true) {
        Ok(file) if reads_directly(&file) => Ok(file),
        Err(error) if !is_refusal(&error) => Err(error),
        _ => open(false),
    }
}

impl std::fmt::Display for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ownership::Free => f.write_str("nobody"),
            Ownership::Held { by } => f.write_str(by),
            Ownership::Unknown { last } => write!(f, "cannot be told from here; the last was {last}"),
        }
    }
}

/// What to say where there is no pool.
pub fn no_pool(parent: &Path, name: &str) -> Error {
    Error::new(
        Status::NotFound,
        format!(
            "there is no pool at {}: an engine that opens this configuration makes it. If there should be one, nixl_path or the \
             worker is another",
            parent.join(name).display()
        ),
    )
}
