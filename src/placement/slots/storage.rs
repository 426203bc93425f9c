//! What holds the slots: a pool on storage, or a file in the memory of this process.
//!
//! Where a slot lies is arithmetic ([`Geometry`]) over files that are open from the start, so transfers need
//! nothing from here. A [`SlotStorage`] is what remains: durability, and what is left behind at the end.

use std::fs::File;

use crate::error::Result;
use crate::layout::pool::{Geometry, OutOfUse, Pool, SnapshotEntry};
use crate::sync::Arc;
use crate::sys::file::DirectAlignment;

/// The index at a clean close.
pub(super) struct Index<'a, 'k> {
    /// Of the next put.
    pub(super) generation_next: u64,
    /// Slots that are not to be used.
    pub(super) out_of_use: &'a [OutOfUse],
    /// The keys, the one that leaves first in front.
    pub(super) entries: &'a mut dyn Iterator<Item = SnapshotEntry<'k>>,
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

    /// Makes durable what was written, in every file that it can; tells `failed` the numbers of the others.
    ///
    /// # Errors
    /// The first that the system answered.
    fn sync(&self, failed: &mut dyn FnMut(u32)) -> Result<()>;

    /// Leaves word for the next process that what was written may be lost: a sync failed.
    fn doubt(&self);

    /// Takes that word back: what may have been lost is written anew or given up, and synced.
    fn trust(&self);

    /// How messages call it.
    fn name(&self) -> String;

    /// Ends it cleanly. `index` is what the next open may believe; `None`: it has to look for itself.
    ///
    /// # Errors
    /// What the system answers; the next open then looks for itself.
    fn close(self: Box<Self>, index: Option<Index<'_, '_>>) -> Result<()>;

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

    fn sync(&self, failed: &mut dyn FnMut(u32)) -> Result<()> {
        Pool::sync(self, failed)
    }

    fn doubt(&self) {
        Pool::doubt(self);
    }

    fn trust(&self) {
        Pool::trust(self);
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn close(self: Box<Self>, index: Option<Index<'_, '_>>) -> Result<()> {
        let written = match index {
            Some(Index { generation_next, out_of_use, entries }) => {
                self.write_snapshot(generation_next, out_of_use, entries)
            }
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

    fn sync(&self, _: &mut dyn FnMut(u32)) -> Result<()> {
        Ok(())
    }

    fn doubt(&self) {}

    fn trust(&self) {}

    fn name(&self) -> String {
        "the pool in memory".to_owned()
    }

    fn close(self: Box<Self>, _: Option<Index<'_, '_>>) -> Result<()> {
        Ok(())
    }

    fn abandon_after_fork(&self) {}
}
