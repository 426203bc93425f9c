//! Making objects durable, each by itself.
//!
//! `syncfs(2)` does that at once for all, and is enough where it is known to be. It is not everywhere: FUSE file systems
//! never hear of it. What every file system hears of is `fsync(2)`, of a file for its bytes and of a directory for the
//! names in it. Directories in which a name came or went
//! are noted here, 256 bits for the shards; which files were put is for the caller to know.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::name::{self, ObjectName};
use super::{FileStore, Temporary, is_planted, present};
use crate::config::Layout;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::dir::Dir;
use crate::sys::retry_on_interrupt;

/// Shards that one word of marks covers.
const SHARDS_PER_WORD: usize = 64;
/// Words for the shards that two hexadecimal digits name.
const WORDS: usize = 256 / SHARDS_PER_WORD;

/// The directories whose names changed since they were last synced. In the flat layout the first mark stands for the
/// store's own directory.
#[derive(Debug, Default)]
pub(super) struct ChangedDirectories([AtomicU64; WORDS]);

impl ChangedDirectories {
    /// Notes a change. To be called after it and before it is reported as done.
    pub(super) fn mark(&self, name: &ObjectName) {
        self.mark_shard(name.digest().map_or(0, |digest| (digest >> 120) as u8));
    }

    fn mark_shard(&self, shard: u8) {
        let (word, bit) = (usize::from(shard) / SHARDS_PER_WORD, usize::from(shard) % SHARDS_PER_WORD);
        self.0[word].fetch_or(1 << bit, Ordering::AcqRel);
    }

    /// Notes a change everywhere.
    fn mark_all(&self) {
        self.0.iter().for_each(|word| word.store(u64::MAX, Ordering::Release));
    }

    /// Takes all marks off and names the shards that had one.
    fn take(&self) -> Vec<u8> {
        let mut shards = Vec::new();
        for (at, word) in self.0.iter().enumerate() {
            let bits = word.swap(0, Ordering::AcqRel);
            let marked = (0..SHARDS_PER_WORD).filter(|bit| bits & 1 << bit != 0);
            shards.extend(marked.map(|bit| (at * SHARDS_PER_WORD + bit) as u8));
        }
        shards
    }
}

impl FileStore {
    /// Has everything on the file system written back, as far as the file system hears of it.
    ///
    /// # Errors
    /// What `syncfs(2)` answers. It tells also of write-back that failed before, and of files of which nothing else does:
    /// of one whose inode left memory since, `fsync(2)` knows nothing any more.
    pub fn sync_file_system(&self) -> io::Result<()> {
        match self.root.sync_file_system() {
            // A sandbox that does not have it: each file and directory is synced besides.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            other => other,
        }
    }

    /// Whether [`FileStore::sync_file_system`] leaves nothing that was published to be synced, and tells of every failure.
    pub fn syncs_as_a_whole(&self) -> bool {
        self.syncs_as_a_whole
    }

    /// Any directory may have names that are not durable.
    pub fn assume_changed(&self) {
        self.changed.mark_all();
    }

    /// As with files that have other habits.
    #[cfg(test)]
    pub fn set_habits(&mut self, habits: crate::sys::habits::Habits) {
        self.habits = habits;
    }

    /// As on a file system of which it is not known.
    #[cfg(test)]
    pub fn sync_each_file(&mut self) {
        self.syncs_as_a_whole = false;
    }

    /// Opens an object's file to sync it, and to read it through the page cache, unless that is to be kept out of; `None` if
    /// there is none that is this process's.
    ///
    /// # Errors
    /// What opening answers.
    pub fn open_to_sync(&self, name: &ObjectName) -> io::Result<Option<File>> {
        match self.open_object(name, self.habits.needs_direct_io) {
            Ok(opened) => Ok(opened.map(|(file, _)| file)),
            Err(error) if is_planted(&error) => Ok(None),
            // Another user's process has put its own there since.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Publishes a copy of an object in place of `old`, unless that has been replaced or removed since: a newer object is
    /// never hidden by the older one. For a moment the object is not there.
    ///
    /// # Errors
    /// What the system answers; the object may then be gone.
    pub fn replace(&self, mut copy: Temporary, old: &File) -> io::Result<()> {
        let Some(place) = copy.take_place() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let (path, old) = (place.name.path(), retry_on_interrupt(|| old.metadata())?);
        let parent = place.parent(&self.root);
        // What is moved away is looked at where nobody else can replace it any more.
        let Some(moved) = present(copy.take_in(parent, path.leaf()))? else { return Ok(()) };
        self.changed.mark(&place.name);
        let linked = if moved.identity()? == (old.dev(), old.ino()) {
            copy.link(parent, path.leaf())
        } else {
            moved.link(parent, path.leaf())
        };
        self.changed.mark(&place.name);
        match linked {
            // Somebody has put the object meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// The shards in which names came or went since the last time, as far as [`FileStore::sync_file_system`] leaves
    /// anything to do about that. Each is to be handed to [`FileStore::sync_shard`], and at the end comes
    /// [`FileStore::sync_root`].
    pub fn take_changed_shards(&self) -> Vec<u8> {
        self.changed.take()
    }

    /// Makes the names in a shard durable; nothing in the flat layout, which has none.
    ///
    /// # Errors
    /// What the directory answers; it will be among the changed ones again. A later success is then to be believed:
    /// kernels keep names in a journal, which does not work again once it failed.
    pub fn sync_shard(&self, shard: u8) -> io::Result<()> {
        if self.layout == Layout::Lmcache {
            return Ok(());
        }
        let sync = || {
            let Some(objects) = self.objects()? else { return Ok(()) };
            match present(objects.existing_subdir(&format!("{shard:02x}"))) {
                Ok(Some(directory)) => supported(directory.sync()),
                // Somebody removed it, and what it held.
                Ok(None) => Ok(()),
                Err(error) if is_planted(&error) => Ok(()),
                Err(error) => Err(error),
            }
        };
        sync().inspect_err(|_| self.changed.mark_shard(shard))
    }

    /// Makes the names in the directories above the shards durable, which in the flat layout are the objects'.
    ///
    /// # Errors
    /// As for [`FileStore::sync_shard`].
    pub fn sync_root(&self) -> io::Result<()> {
        let sync = || {
            if let Some(objects) = self.objects()? {
                supported(objects.sync())?;
            }
            supported(self.root.sync())
        };
        sync().inspect_err(|_| self.changed.mark_shard(0))
    }

    /// The directory of shards, if there is one.
    fn objects(&self) -> io::Result<Option<Dir>> {
        if self.layout == Layout::Lmcache {
            return Ok(None);
        }
        match present(self.root.existing_subdir(name::OBJECTS.to_str().unwrap_or_default())) {
            Err(error) if is_planted(&error) => Ok(None),
            other => other,
        }
    }
}

/// Some network file systems have no `fsync(2)` of directories: their servers keep names in order by themselves.
fn supported(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS)) =>
        {
            Ok(())
        }
        other => other,
    }
}
