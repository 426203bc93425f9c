//! Looking at what a store left on storage, without being its owner and without disturbing one: nothing is locked, nothing is
//! written, and what an engine changes meanwhile is told from damage.
//!
//! | file | owns |
//! | --- | --- |
//! | `facts.rs` | where a store lies, what it was made with, who owns it |
//! | `entry.rs` | what is found: entries, places, verdicts |
//! | `proof.rs` | a record against its checksums, a piece at a time |
//! | `pool.rs`, `files.rs`, `bucket.rs` | the same questions, answered for a static pool, a directory, a bucket |
//! | `remove.rs` | what is damaged taken out of a dynamic store, as the store itself would |
//!
//! A record that does not prove right is only a *suspect*: an engine may be writing it. It is looked at once more after
//! [`SETTLE_TIME`], and counts as damaged if the very same trailer still stands over bytes that do not match.

#[cfg(feature = "obj")]
mod bucket;
mod entry;
mod facts;
mod files;
mod pool;
mod proof;
mod remove;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests;

use std::ops::ControlFlow;
use std::time::Duration;

use crate::config::{BackendKind, Config};
use crate::error::{Error, Result, Status};
use crate::layout::files::FilesView;
use crate::layout::pool::{PoolView, no_pool};
use crate::layout::record::EffectiveKey;
use crate::log::Logger;
use crate::store::{self, OpenOptions};

pub use self::entry::{Entry, EntryKind, Look, Place, Record, Removed, Survey, Suspect, Unreadable, Verdict};
pub use self::facts::{Facts, PoolFacts};
pub use self::proof::Room;
pub use self::remove::Remover;
pub use crate::layout::pool::Ownership;

/// How long a suspect is left alone before it is looked at again: far longer than a device works on one write.
pub const SETTLE_TIME: Duration = Duration::from_secs(1);

/// A store that is looked at.
pub struct Inspection {
    facts: Facts,
    view: Box<dyn View>,
    /// What the namespaces of this worker end with: its rank, where that is a part of them.
    rank: Vec<u8>,
    logger: Logger,
}

/// What the ways to lie on storage have in common. All methods may be called from any thread.
trait View: Send + Sync {
    /// Tells every entry there is, the oldest first where that is known; keys are left out where each would cost a read.
    fn survey(&self, logger: &Logger, sink: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<Survey>;

    /// Fills in what the survey left out. False: it is gone.
    fn describe(&self, entry: &mut Entry, room: &mut Room) -> Result<bool>;

    /// The entries of these keys, in their order.
    fn find(&self, keys: &[EffectiveKey], room: &mut Room, logger: &Logger) -> Result<Vec<Option<Entry>>>;

    /// Reads the record of an entry and proves it.
    fn look(&self, entry: &Entry, room: &mut Room) -> Look;
}

impl Inspection {
    /// Looks at the store that the configuration describes.
    ///
    /// # Errors
    /// [`Status::NotFound`] if there is none; [`Status::InvalidArgument`] for a worker that there is none of;
    /// [`Status::Unsupported`] for a backend that leaves nothing on storage, or is not built
    /// in; [`Status::Format`] for a manifest that is damaged; what the system or the server answers.
    pub fn open(config: &Config, options: &OpenOptions) -> Result<Inspection> {
        options.check_worker()?;
        let logger = options.logger.clone();
        let rank = namespace(config, &OpenOptions { namespace: Vec::new(), ..options.clone() })?;
        match config.backend {
            BackendKind::Memory => {
                return Err(Error::new(
                    Status::Unsupported,
                    "nixl_backend MEMORY keeps its chunks in the engine's own memory: there is nothing on storage to look at",
                ));
            }
            BackendKind::Obj => return Inspection::open_bucket(config, options, rank, logger),
            _ => {}
        }
        let path = config.path_of(options.cuda_device, options.worker_id).ok_or_else(|| {
            Error::new(
                Status::Config,
                format!("nixl_path: nixl_backend {} needs a directory", config.backend),
            )
        })?;
        if config.pool_size == 0 {
            let view = FilesView::open(path, config.store.layout)?.ok_or_else(|| {
                let path = path.display();
                Error::new(
                    Status::NotFound,
                    format!("there is no directory {path}: an engine that opens this configuration makes it"),
                )
            })?;
            let facts = facts::of_files(config, &view);
            return Ok(Inspection { facts, view: Box::new(files::Files::new(view)), rank, logger });
        }
        let name = store::pool_name(options);
        let view = PoolView::open(path, &name)?.ok_or_else(|| no_pool(path, &name))?;
        let facts = facts::of_pool(config, options, &view);
        Ok(Inspection { facts, view: Box::new(pool::Slots::new(view)), rank, logger })
    }

    #[cfg(feature = "obj")]
    fn open_bucket(
        config: &Config,
        options: &OpenOptions,
        rank: Vec<u8>,
        logger: Logger,
    ) -> Result<Inspection> {
        let (view, facts) = bucket::open(config, options, &logger)?;
        Ok(Inspection { facts, view: Box::new(view), rank, logger })
    }

    #[cfg(not(feature = "obj"))]
    fn open_bucket(_: &Config, _: &OpenOptions, _: Vec<u8>, _: Logger) -> Result<Inspection> {
        Err(Error::new(Status::Unsupported, "nixl_backend OBJ is not part of this build"))
    }

    /// Where the store lies, what it was made with, who owns it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Tells `sink` every entry there is, until it has enough: the oldest first where that is known. Where [`Entry::key`] is
    /// `None`, [`Inspection::describe`] finds it out.
    ///
    /// # Errors
    /// What the system or the server answers; [`Status::OutOfMemory`].
    pub fn survey(&self, sink: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<Survey> {
        self.view.survey(&self.logger, sink)
    }

    /// Fills in what the survey left out of an entry, by reading the end of its record. False: it is gone.
    ///
    /// # Errors
    /// What the system or the server answers.
    pub fn describe(&self, entry: &mut Entry, room: &mut Room) -> Result<bool> {
        if entry.is_described() { Ok(true) } else { self.view.describe(entry, room) }
    }

    /// The entries of these keys, in their order; `None` for one that is not stored. One that cannot be read is
    /// [`EntryKind::Unreadable`].
    ///
    /// # Errors
    /// As for [`Inspection::survey`].
    pub fn find(&self, keys: &[EffectiveKey], room: &mut Room) -> Result<Vec<Option<Entry>>> {
        self.view.find(keys, room, &self.logger)
    }

    /// Namespace and key of an entry as they are asked for: of this worker's own keys without its rank.
    pub fn names<'a>(&self, entry: &'a Entry) -> Option<(&'a [u8], &'a [u8])> {
        let (namespace, key) = entry.names()?;
        Some((namespace.strip_suffix(self.rank.as_slice()).unwrap_or(namespace), key))
    }

    /// Reads the record of an entry and compares every block with its checksum. With [`Room::keeping`] its payload is in the room
    /// afterwards, if it is proven.
    pub fn look(&self, entry: &Entry, room: &mut Room) -> Look {
        self.view.look(entry, room)
    }

    /// Looks once more at what did not prove right, at least [`SETTLE_TIME`] after it was looked at.
    pub fn settle(&self, suspect: Suspect, room: &mut Room) -> Verdict {
        match self.view.look(&suspect.entry, room) {
            Look::Proven(record) => Verdict::Proven(record),
            Look::Suspect(now) if now.fingerprint == suspect.fingerprint => Verdict::Damaged(now),
            Look::Suspect(_) => Verdict::InFlux,
            Look::Gone => Verdict::Gone,
            Look::Unverified => Verdict::Unverified,
            Look::Unreadable(why) => Verdict::Unreadable(why),
        }
    }

    /// Both: what an entry is, as far as it can be told.
    pub fn prove(&self, entry: &Entry, room: &mut Room) -> Verdict {
        match self.look(entry, room) {
            Look::Proven(record) => Verdict::Proven(record),
            Look::Gone => Verdict::Gone,
            Look::Unverified => Verdict::Unverified,
            Look::Unreadable(why) => Verdict::Unreadable(why),
            Look::Suspect(suspect) => {
                std::thread::sleep(SETTLE_TIME);
                self.settle(suspect, room)
            }
        }
    }
}

/// The store's own namespace: the one that is asked for, and the rank where that is a part of it.
///
/// # Errors
/// [`Status::InvalidArgument`] for one that is too long, or that the layout has no place for.
pub fn namespace(config: &Config, options: &OpenOptions) -> Result<Vec<u8>> {
    store::namespace(config, options)
}
