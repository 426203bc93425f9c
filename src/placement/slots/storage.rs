//! What holds the slots: a pool on storage, or a file in the memory of this process.
//!
//! Where a slot lies is arithmetic ([`Geometry`]) over files that are open from the start, so transfers need
//! nothing from here. A [`SlotStorage`] is what remains: durability, and what is left behind at the end.

use std::fs::File;

use crate::error::Result;
use crate::layout::pool::{Geometry, Pool, SnapshotEntry};
use crate::sync::Arc;
use crate::sys::file::DirectAlignment;

/// The index at a clean close: the generation of the next put, and the keys, the one that leaves first in front.
pub(super) struct Index<'a> {
    pub(super) generation_next: u64,
    pub(super) entries: &'a mut dyn Iterator<Item = SnapshotEntry<'a>>,
}

/// Something that slots lie in.
pub(super) trait SlotStorage: Send + Sync {
    /// The files, as [`Geometry::place`] counts them.
    fn files(&self) -> &[Arc<File>];

    /// The lengths of its slots.
    fn geometry(&self) -> Geometry;

    /// The number that its records carry.
    fn pool_id(&self) -> u128;

    /// What O_DIRECT asks for; `None` if it is not in effect.
    fn alignment(&self) -> Option<DirectAlignment>;

    /// Whether what is written outlives this process, so that a later one may find it.
    fn outlives_process(&self) -> bool;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// What the system answers.
    fn sync(&self) -> Result<()>;

    /// Ends it cleanly. `index` is what the next open may believe; `None`: it has to look for itself.
    ///
    /// # Errors
    /// What the system answers; the next open then looks for itself.
    fn close(self: Box<Self>, index: Option<Index<'_>>) -> Result<()>;

    /// In a forked child: lets go of what else would outlive the parent.
    fn abandon_after_fork(&self);
}

impl SlotStorage for Pool {
    fn files(&self) -> &[Arc<File>] {
        Pool::files(self)
    }

    fn geometry(&self) -> Geometry {
        *Pool::geometry(self)
    }

    fn pool_id(&self) -> u128 {
        Pool::pool_id(self)
    }

    fn alignment(&self) -> Option<DirectAlignment> {
        self.direct_alignment()
    }

    fn outlives_process(&self) -> bool {
        true
    }

    fn sync(&self) -> Result<()> {
        Pool::sync(self)
    }

    fn close(self: Box<Self>, index: Option<Index<'_>>) -> Result<()> {
        let written = match index {
            Some(Index { generation_next, entries }) => self.write_snapshot(generation_next, entries),
            None => Ok(()),
        };
        self.release();
        written
    }

    fn abandon_after_fork(&self) {
        Pool::abandon_after_fork(self);
    }
}

/// Slots in one file in memory that has no name.
pub(super) struct MemorySlots {
    pub(super) files: [Arc<File>; 1],
    pub(super) geometry: Geometry,
}

impl SlotStorage for MemorySlots {
    fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn pool_id(&self) -> u128 {
        crate::layout::record::NO_POOL
    }

    fn alignment(&self) -> Option<DirectAlignment> {
        None
    }

    fn outlives_process(&self) -> bool {
        false
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>, _: Option<Index<'_>>) -> Result<()> {
        Ok(())
    }

    fn abandon_after_fork(&self) {}
}
